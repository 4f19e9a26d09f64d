import assert from 'node:assert/strict';
import test from 'node:test';
import {AbortedError, ConnectionError, Gateway, InterruptedError, NotFoundError, RateLimitError, TurnEndedError} from '../dist/esm/index.js';
import {frame, frames, json, positionOf, problem, readAll, reply, serve, stream, TEXT, textOf, TURN, whole} from './server.mjs';

const QUESTION = {message: 'ما معنى كلمة كتاب؟', conversation_id: 'conv-1'};

test('bytes may be cut anywhere, within a character too', async () => {
  const bytes = new TextEncoder().encode(frames().join(''));
  for (let at = 0; at <= bytes.length; at += 1) {
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(bytes.slice(0, at));
        controller.enqueue(bytes.slice(at));
        controller.close();
      },
    });
    const fetch = async () => new Response(body, {headers: {'Content-Type': 'text/event-stream'}});
    const events = await readAll(new Gateway({baseUrl: 'http://gateway.invalid', fetch}).stream(QUESTION));
    assert.equal(textOf(events), TEXT);
  }
});

test('a connection may break behind every byte', async (t) => {
  const all = Buffer.from(frames().join(''));
  let cut = 0;
  const {gateway} = await serve(t, (request, response) => {
    const rest = Buffer.from(frames(positionOf(request)).join(''));
    // A question is cut off where the round says; what follows comes whole.
    if (request.method === 'GET' || cut < 0) return whole(request, response);
    stream(response, rest.subarray(0, cut));
    cut = -1;
    setImmediate(() => response.destroy());
  });
  for (let at = 0; at < all.length; at += 13) {
    cut = at;
    const events = await readAll(gateway().stream(QUESTION));
    assert.equal(textOf(events), TEXT, `cut behind ${at} bytes`);
    const own = events.filter(({type}) => type !== 'connection').map(({type}) => type);
    assert.deepEqual([own[0], own.at(-1), own.length], ['start', 'done', 6]);
  }
});

test('an answer without a body that can be read piece by piece is read whole', async () => {
  const fetch = async () => ({status: 200, headers: new Headers({'Content-Type': 'text/event-stream'}), text: async () => frames().join('')});
  assert.equal((await new Gateway({baseUrl: '', fetch}).chat(QUESTION)).content, TEXT);
});

test('what a proxy says while the server is away, and the page of a captive portal, are losses', async (t) => {
  const page = (_, response) => response.writeHead(200, {'Content-Type': 'text/html'}).end('<p>تسجيل الدخول</p>');
  const bad = (_, response) => response.writeHead(502, {'Content-Type': 'text/html'}).end('<p>Bad Gateway</p>');
  const {gateway, requests} = await serve(t, bad, page, bad, whole);
  assert.equal((await gateway().chat(QUESTION)).content, TEXT);
  assert.deepEqual(new Set(requests.map(({method, body}) => method + body)), new Set([`POST${JSON.stringify(QUESTION)}`]));
  assert.equal(new Set(requests.map(({headers}) => headers['idempotency-key'])).size, 1);
});

test('silence is a loss, heartbeats are not', async (t) => {
  let beats;
  const {gateway, requests} = await serve(
    t,
    (_, response) => {
      stream(response, frames()[0]);
      beats = setInterval(() => response.write(': ping\n\n'), 50);
      setTimeout(() => clearInterval(beats), 600);
    },
    whole,
  );
  const begun = Date.now();
  const read = gateway({silenceMs: 300}).stream(QUESTION);
  assert.equal((await read.reply()).content, TEXT);
  assert.ok(Date.now() - begun >= 600, 'heartbeats kept it');
  assert.deepEqual(requests.map(({method}) => method), ['POST', 'GET']);
  assert.equal(requests[1].headers['last-event-id'], `${TURN}.0`);
});

test('Retry-After is kept to', async (t) => {
  const {gateway, requests} = await serve(t, problem(503, 'overloaded', {retry_after: 1}), whole);
  const begun = Date.now();
  assert.equal((await gateway().chat(QUESTION)).content, TEXT);
  assert.ok(Date.now() - begun >= 990);
  assert.equal(requests.length, 2);
});

test('what the gateway cannot take is asked again so often, and not where it would take long', async (t) => {
  const shortly = await serve(t, problem(503, 'shutting_down'));
  await assert.rejects(shortly.gateway().chat(QUESTION), {code: 'shutting_down', retryable: true});
  assert.equal(shortly.requests.length, 3);
  const later = await serve(t, problem(429, 'rate_limited', {retry_after: 40}));
  await assert.rejects(later.gateway().chat(QUESTION), (error) => error instanceof RateLimitError && error.retryAfter === 40);
  const never = await serve(t, problem(429, 'daily_limit_reached', {retry_after: 1}));
  await assert.rejects(never.gateway().chat(QUESTION), {code: 'daily_limit_reached', retryable: false});
  const provider = await serve(t, problem(502, 'provider_error'));
  await assert.rejects(provider.gateway().chat(QUESTION), {code: 'provider_error', retryable: true});
  assert.deepEqual([later, never, provider].map(({requests}) => requests.length), [1, 1, 1]);
});

test('a reply that is known to be there is waited for', async (t) => {
  const cut = (_, response) => {
    stream(response, frames()[0]);
    setImmediate(() => response.destroy());
  };
  const elsewhere = problem(503, 'turn_elsewhere');
  const {gateway, requests} = await serve(t, cut, elsewhere, elsewhere, elsewhere, elsewhere, whole);
  assert.equal((await gateway().chat(QUESTION)).content, TEXT);
  assert.equal(requests.length, 6);
});

test('heartbeats are signs of life: a loss behind them is a new one', async (t) => {
  const beat = (_, response) => {
    stream(response, ': ping\n\n');
    setImmediate(() => response.destroy());
  };
  const {gateway, requests} = await serve(t, beat, beat, beat, beat, beat, beat, whole);
  assert.equal((await gateway({retry: {minDelayMs: 20, forMs: 50}}).chat(QUESTION)).content, TEXT);
  assert.equal(requests.length, 7);
});

test('it gives up in the end', async (t) => {
  const {gateway, requests} = await serve(t, (_, response) => response.destroy());
  const error = await gateway({retry: {forMs: 60}}).chat(QUESTION).catch((thrown) => thrown);
  assert.ok(error instanceof ConnectionError);
  assert.deepEqual([error.code, error.retryable, error.turnId], ['connection_lost', true, null]);
  assert.ok(requests.length > 1);
});

test('events that cannot be read are no way to go on for ever', async (t) => {
  const broken = (_, response) => stream(response, frames()[0] + 'event: token\ndata: {"text\n\n');
  const {gateway} = await serve(t, broken, (_, response) => stream(response, 'event: token\ndata: 7\n\n'));
  await assert.rejects(gateway({retry: {forMs: 60}}).chat(QUESTION), (error) => error instanceof ConnectionError && error.turnId === TURN);
});

test('a failure at the end is thrown behind the text that came', async (t) => {
  const failure = {type: 'urn:problem:interrupted', title: '', status: 503, detail: 'انقطع.', code: 'interrupted', request_id: 'r-9', turn_id: TURN, retryable: true};
  const {gateway} = await serve(t, (_, response) => {
    stream(response, frames(-1, frame('end', 'failed', failure)).join(''));
    response.end();
  });
  const read = gateway().stream(QUESTION);
  const events = [];
  await assert.rejects(async () => {
    for await (const event of read) events.push(event);
  }, (error) => error instanceof InterruptedError && error.turnId === TURN && error.requestId === 'r-9' && error.retryable);
  assert.equal(textOf(events), TEXT);
  assert.equal(read.text, TEXT);
  assert.deepEqual(await read.next(), {value: undefined, done: true});
  await assert.rejects(read.reply(), InterruptedError);
});

test('unknown events are skipped, and count as read', async (t) => {
  const {gateway, requests} = await serve(t, (_, response) => {
    stream(response, frames()[0] + frame(1, 'weather', {sky: 'صافية'}));
    setTimeout(() => response.destroy(), 20);
  }, whole);
  const events = await readAll(gateway().stream(QUESTION));
  assert.equal(requests[1].headers['last-event-id'], `${TURN}.1`);
  assert.deepEqual(events.filter(({type}) => type === 'weather'), []);
});

test('leaving the loop, or aborting, hangs up and asks no more', async (t) => {
  const closed = [];
  const {gateway, requests} = await serve(t, (request, response) => {
    stream(response, frames().slice(0, 2).join(''));
    response.on('close', () => closed.push(request.method));
  });
  for await (const event of gateway().stream(QUESTION)) if (event.type === 'token') break;
  const controller = new AbortController();
  const read = gateway().stream(QUESTION, {signal: controller.signal});
  while (!read.text) await read.next();
  controller.abort();
  await assert.rejects(read.reply(), (error) => error instanceof AbortedError && error.name === 'AbortError' && error.turnId === TURN);
  await assert.rejects(gateway().chat(QUESTION, {signal: controller.signal}), AbortedError);
  while (closed.length < 2) await new Promise(setImmediate);
  assert.equal(requests.length, 2);
});

test('a token is asked for anew for each connection', async (t) => {
  const {gateway, requests} = await serve(t, (_, response) => {
    stream(response, frames()[0]);
    setImmediate(() => response.destroy());
  }, whole);
  let given = 0;
  await gateway({token: async () => `token-${(given += 1)}`, headers: {'X-App': 'mujam'}}).chat(QUESTION);
  assert.deepEqual(requests.map(({headers}) => headers.authorization), ['Bearer token-1', 'Bearer token-2']);
  assert.equal(requests[1].headers['x-app'], 'mujam');
  const failing = gateway({token: () => Promise.reject(new Error('انتهت الجلسة'))});
  await assert.rejects(failing.chat(QUESTION), {message: 'انتهت الجلسة'});
});

test('an app in the background has no connection; in the foreground it goes on at once', async (t) => {
  const closed = [];
  const {gateway, requests} = await serve(t, (request, response) => {
    stream(response, frames().slice(0, 2).join(''));
    response.on('close', () => closed.push(request.method));
  }, whole);
  const client = gateway({retry: {minDelayMs: 1100}});
  const read = client.stream(QUESTION);
  while (!read.text) await read.next();
  client.pause();
  while (!closed.length) await new Promise(setImmediate);
  const later = client.stream(QUESTION);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(requests.length, 1);
  client.resume();
  assert.equal((await read.reply()).content, TEXT);
  assert.equal((await later.reply()).content, TEXT);
  assert.deepEqual((await readAll(read)).filter(({type}) => type === 'connection'), [{type: 'connection', state: 'lost'}, {type: 'connection', state: 'open'}]);
});

test('a network that is back need not be waited for', async (t) => {
  const {gateway, requests} = await serve(t, (_, response) => response.destroy(), whole);
  const client = gateway({retry: {minDelayMs: 1e9, maxDelayMs: 1e9, forMs: 1e12}});
  const read = client.stream(QUESTION);
  while ((await read.next()).value?.type !== 'connection');
  client.resume();
  assert.equal((await read.reply()).content, TEXT);
  assert.equal(requests.length, 2);
});

test('replies of a conversation that are still being written are found', async (t) => {
  const {gateway, requests} = await serve(t, problem(503, 'log_unavailable'), json(200, {id: 'محادثة/1', messages: [], active_turns: [TURN]}), whole);
  const {conversation, streams} = await gateway().follow('محادثة/1');
  assert.equal(conversation.id, 'محادثة/1');
  assert.equal(textOf(await readAll(streams[0])), TEXT);
  assert.equal(decodeURIComponent(requests[1].path), '/conversations/محادثة/1');
  assert.deepEqual([requests[2].method, requests[2].path, requests[2].headers['last-event-id']], ['GET', `/chat/stream/${TURN}`, undefined]);
});

test('conversations are listed, found and deleted', async (t) => {
  const page = {conversations: [], next_cursor: 'أ='};
  const {gateway, requests} = await serve(t, json(200, page), json(200, page), (_, response) => response.writeHead(204).end(), problem(404, 'not_found'));
  assert.deepEqual(await gateway().conversations(), page);
  await gateway().conversations({q: '«كتاب» & more', cursor: page.next_cursor, limit: 2});
  await gateway().deleteConversation('a/b');
  await assert.rejects(gateway().deleteConversation('a/b'), NotFoundError);
  const {searchParams} = new URL(requests[1].path, 'http://gateway');
  assert.deepEqual(Object.fromEntries(searchParams), {q: '«كتاب» & more', cursor: 'أ=', limit: '2'});
  assert.deepEqual(requests.slice(2).map(({method, path}) => `${method} ${path}`), ['DELETE /conversations/a%2Fb', 'DELETE /conversations/a%2Fb']);
});

test('attaching behind the last event, or to what is not there', async (t) => {
  const {gateway} = await serve(t, (_, response) => response.writeHead(204).end(), problem(404, 'not_found'));
  await assert.rejects(gateway().attach(TURN, {lastEventId: `${TURN}.end`}).reply(), TurnEndedError);
  await assert.rejects(gateway().attach(TURN).reply(), NotFoundError);
});

test('a reply can be read and awaited together', async (t) => {
  const {gateway} = await serve(t, whole);
  const read = gateway().stream(QUESTION);
  const [events, body] = await Promise.all([readAll(read), read.reply()]);
  assert.deepEqual(events.at(-1), {type: 'done', reply: reply()});
  assert.deepEqual(body, reply());
  assert.deepEqual([read.turnId, read.conversationId, read.ended], [TURN, 'conv-1', true]);
});
