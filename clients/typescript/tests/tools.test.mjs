import assert from 'node:assert/strict';
import test from 'node:test';
import {AbortedError} from '../dist/esm/index.js';
import {frame, frames, readAll, reply, serve, stream, TEXT, TURN, whole} from './server.mjs';

const CALLS = [
  {id: 'call-1', name: 'search', arguments: {word: 'كتاب'}},
  {id: 'call-2', name: 'search', arguments: {word: 'سلام'}},
];

/** A handler whose reply calls functions. */
function calling(...calls) {
  return (_, response) => {
    stream(response, frames(-1, frame('end', 'done', reply({content: '', tool_calls: calls, finish_reason: 'tool_calls'}))).join(''));
    response.end();
  };
}

const bodies = (requests) => requests.map(({body}) => JSON.parse(body));
const search = {name: 'search', description: 'يبحث في المعجم', parameters: {type: 'object'}, run: ({word}) => ({word})};

test('results alone are sent where the gateway has the history', async (t) => {
  const {gateway, requests} = await serve(t, calling(...CALLS), whole);
  const run = gateway().run({message: 'سؤال', system_prompt: 'أنت معجم', tools: [search], tool_choice: 'required'});
  const events = await readAll(run);
  assert.deepEqual(events.filter(({type}) => ['round', 'done'].includes(type)).map(({type}) => type), ['round', 'done']);
  const definition = {name: 'search', description: 'يبحث في المعجم', parameters: {type: 'object'}};
  assert.deepEqual(bodies(requests), [
    {message: 'سؤال', system_prompt: 'أنت معجم', tool_choice: 'required', tools: [definition]},
    {
      system_prompt: 'أنت معجم',
      tools: [definition],
      conversation_id: 'conv-1',
      messages: CALLS.map(({id, arguments: {word}}) => ({role: 'tool', tool_call_id: id, content: JSON.stringify({word})})),
    },
  ]);
  assert.notEqual(requests[0].headers['idempotency-key'], requests[1].headers['idempotency-key']);
});

test('all of the history is sent where the app keeps it', async (t) => {
  const {gateway, requests} = await serve(t, calling(CALLS[0]), whole);
  const messages = [{role: 'system', content: 'أنت معجم'}, {role: 'user', content: 'سلام'}, {role: 'assistant', content: 'وعليكم السلام'}];
  await gateway().run({message: 'ما الكتاب؟', messages, tools: [search]}).reply();
  assert.deepEqual(bodies(requests)[1].messages, [
    ...messages,
    {role: 'user', content: 'ما الكتاب؟'},
    {role: 'assistant', content: '', tool_calls: [CALLS[0]]},
    {role: 'tool', tool_call_id: 'call-1', content: '{"word":"كتاب"}'},
  ]);
  assert.equal('message' in bodies(requests)[1], false);
});

test('what goes wrong in a function is told to the model', async (t) => {
  const calls = [
    {id: '1', name: 'search', arguments: {}, arguments_text: '{"word":'},
    {id: '2', name: 'forget', arguments: {}},
    {id: '3', name: 'slow', arguments: {}},
    {id: '4', name: 'nothing', arguments: {}},
    {id: '5', name: 'strange', arguments: {}},
  ];
  const {gateway, requests} = await serve(t, calling(...calls), whole);
  const tools = [
    search,
    {name: 'slow', run: () => new Promise(() => undefined)},
    {name: 'nothing', run: () => undefined},
    {name: 'strange', run() { throw 'نص'; }},
  ];
  const events = await readAll(gateway().run({message: 'سؤال', tools, toolTimeoutMs: 20}));
  assert.deepEqual(bodies(requests)[1].messages.map(({content}) => content), [
    '{"error":"The arguments are no JSON object: {\\"word\\":"}',
    '{"error":"There is no function forget."}',
    '{"error":"slow took longer than 20 ms."}',
    'null',
    '{"error":"نص"}',
  ]);
  assert.equal(events.filter(({type, result}) => type === 'tool_result' && 'error' in result).length, 4);
});

test('rounds are bounded; in the last one the model has to answer', async (t) => {
  const {gateway, requests} = await serve(t, calling(CALLS[0]));
  const run = gateway().run({message: 'سؤال', tools: [search], maxRounds: 3});
  assert.deepEqual((await run.reply()).tool_calls, [CALLS[0]]);
  assert.deepEqual(bodies(requests).map(({tool_choice: choice}) => choice), [undefined, undefined, undefined, 'none']);
});

test('stopped while functions run, it asks no more', async (t) => {
  const {gateway, requests} = await serve(t, calling(...CALLS));
  let aborted = 0;
  const hanging = {
    ...search,
    run: (_, {signal}) => new Promise(() => {
      signal.addEventListener('abort', () => { aborted += 1; });
      if (aborted === 0) setImmediate(() => run.stop());
    }),
  };
  const run = gateway().run({message: 'سؤال', tools: [hanging]});
  const events = await readAll(run);
  assert.deepEqual([events.at(-1).type, events.at(-1).reply.finish_reason, aborted], ['done', 'tool_calls', 2]);
  assert.equal(requests.length, 1);
});

test('aborted, or left, while functions run', async (t) => {
  const {gateway, requests} = await serve(t, calling(...CALLS));
  const controller = new AbortController();
  const hanging = {...search, run: () => { setImmediate(() => controller.abort()); return new Promise(() => undefined); }};
  await assert.rejects(readAll(gateway().run({message: 'سؤال', tools: [hanging]}, {signal: controller.signal})), AbortedError);
  const left = gateway().run({message: 'سؤال', tools: [{...search, run: () => new Promise(() => undefined)}]});
  for await (const event of left) if (event.type === 'round') break;
  await assert.rejects(left.reply(), AbortedError);
  assert.equal(requests.length, 2);
});

test('it goes on from a reply that was being written already', async (t) => {
  const {gateway, requests} = await serve(t, calling(CALLS[0]), whole);
  const client = gateway();
  const answer = await client.run({from: client.attach(TURN), tools: [search]}).reply();
  assert.equal(answer.content, TEXT);
  assert.deepEqual(requests.map(({method}) => method), ['GET', 'POST']);
  assert.deepEqual(bodies(requests.slice(1))[0].messages, [{role: 'tool', tool_call_id: 'call-1', content: '{"word":"كتاب"}'}]);
});
