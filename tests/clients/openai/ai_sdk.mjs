// The AI SDK with its provider for servers of OpenAI's format.
import {createOpenAICompatible} from '@ai-sdk/openai-compatible';
import {generateText, jsonSchema, stepCountIs, streamText, tool} from 'ai';

const given = JSON.parse(await new Response(process.stdin).text());
const gateway = createOpenAICompatible({name: 'gateway', baseURL: `${given.base}/v1`, apiKey: 'any', includeUsage: true});
const called = [];
const tools = Object.fromEntries(
  given.tools.map(({function: {name, description, parameters}}) => [
    name,
    tool({
      description,
      inputSchema: jsonSchema(parameters),
      execute: (input) => {
        called.push(input);
        return given.result;
      },
    }),
  ]),
);
const asked = {model: gateway(given.model), messages: given.messages, maxRetries: 0};

const whole = await generateText(asked);
const reply = streamText(asked);
let text = '';
for await (const piece of reply.textStream) text += piece;
const agent = streamText({...asked, messages: given.toolMessages, tools, stopWhen: stepCountIs(4)});
const final = await agent.text;
const errors = [];
const broken = streamText({...asked, messages: given.brokenMessages, onError: ({error}) => errors.push(String(error.message ?? error))});
await broken.consumeStream();
process.stdout.write(
  JSON.stringify({
    whole: {text: whole.text, reasoning: whole.reasoningText ?? '', id: whole.response.id},
    stream: {text, reasoning: (await reply.reasoningText) ?? '', usage: await reply.usage, id: (await reply.response).id, reason: await reply.finishReason},
    agent: {text: final, steps: (await agent.steps).length, called},
    errors,
  }),
);
