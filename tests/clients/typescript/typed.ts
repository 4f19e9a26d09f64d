// Checked by a compiler against the packed client's types, never run.

import {AbortedError, Gateway, GatewayError, RateLimitError, type ChatEvent, type ChatReply, type FetchLike} from '@m3ajem/gateway';

declare const expoFetch: (url: string, init?: {method?: string; body?: string; signal?: AbortSignal}) => Promise<Response>;

const platform: FetchLike = globalThis.fetch;
const gateway = new Gateway({baseUrl: 'https://gateway.example.com', token: async () => 'token', fetch: expoFetch});

async function useAll(): Promise<ChatReply> {
  const stop = new AbortController();
  const stream = gateway.stream({message: 'ما معنى كلمة كتاب؟', provider: 'ollama'}, {signal: stop.signal});
  for await (const event of stream) {
    const seen: ChatEvent = event;
    if (event.type === 'token') event.text.length;
    else if (event.type === 'tool_call') event.call.arguments['word'];
    else if (event.type === 'done') event.reply.usage.cost_usd?.toFixed(2);
    // @ts-expect-error: what stands only in other events
    seen.text;
  }
  // @ts-expect-error: there is no such role
  await gateway.chat({messages: [{role: 'robot', content: 'سلام'}]});
  // @ts-expect-error: may be null
  stream.turnId.length;
  const run = gateway.run({
    message: 'ما معنى كلمة كتاب؟',
    tools: [{name: 'search', parameters: {type: 'object'}, run: ({word}: {word: string}, {signal}) => platform(word, {method: 'GET', headers: {}, signal})}],
  });
  for await (const event of run) if (event.type === 'tool_result') event.result.content.length;
  const {conversation, streams} = await gateway.follow('conv-1');
  conversation.messages[0]?.usage?.input_tokens?.toFixed();
  await Promise.all(streams.map((one) => one.stop()));
  return run.reply();
}

useAll().catch((error: unknown) => {
  if (error instanceof RateLimitError) error.retryAfter?.toFixed();
  else if (error instanceof AbortedError) error.turnId?.length;
  else if (error instanceof GatewayError) error.errors.map(({loc}) => loc);
});
