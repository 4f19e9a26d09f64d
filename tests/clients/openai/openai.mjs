// OpenAI's client for JavaScript: what is asked comes on stdin, what it made of the answers goes to stdout.
import OpenAI from 'openai';

const given = JSON.parse(await new Response(process.stdin).text());
const client = new OpenAI({baseURL: `${given.base}/v1`, apiKey: given.key ?? 'any', maxRetries: 0});

async function streamed(asked) {
  const stream = await client.chat.completions.create({...asked, stream: true, stream_options: {include_usage: true}});
  const told = {text: '', reasons: [], usage: null, error: null};
  try {
    for await (const chunk of stream) {
      told.id = chunk.id;
      told.usage = chunk.usage ?? told.usage;
      for (const choice of chunk.choices) {
        told.text += choice.delta.content ?? '';
        if (choice.finish_reason) told.reasons.push(choice.finish_reason);
      }
    }
  } catch (error) {
    told.error = {name: error.constructor.name, message: error.message, code: error.code};
  }
  return told;
}

async function withTools(asked) {
  const results = [];
  const runner = client.chat.completions.runTools({
    ...asked,
    stream: true,
    tools: given.tools.map((tool) => ({
      type: 'function',
      function: {
        ...tool.function,
        parse: JSON.parse,
        function: (found) => {
          results.push(found);
          return given.result;
        },
      },
    })),
  });
  return {text: await runner.finalContent(), results, calls: runner.allChatCompletions().length};
}

async function refused(asked) {
  try {
    await client.chat.completions.create(asked);
  } catch (error) {
    return {name: error.constructor.name, status: error.status, code: error.code, requestId: Boolean(error.requestID)};
  }
  return null;
}

const told = {};
if (given.withTools) told.withTools = await withTools(given.withTools);
if (given.whole) told.whole = await client.chat.completions.create(given.whole);
if (given.stream) told.stream = await streamed(given.stream);
if (given.refused) told.refused = await refused(given.refused);
if (given.models) told.models = (await client.models.list()).data.map((model) => model.id);
process.stdout.write(JSON.stringify(told));
