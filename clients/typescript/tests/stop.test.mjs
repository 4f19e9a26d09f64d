import assert from 'node:assert/strict';
import test from 'node:test';
import {AbortedError, ConnectionError} from '../dist/esm/index.js';
import {frame, frames, json, problem, readAll, reply, serve, stream, TEXT, TURN, whole} from './server.mjs';

const QUESTION = {message: 'أطل الحديث'};
const STOPPED = frame('end', 'done', reply({status: 'stopped', finish_reason: null}));
const stopping = json(202, {turn_id: TURN, status: 'stopping'});

/** A handler that holds the request until somebody answers it. */
function held() {
  let arrive;
  const response = new Promise((resolve) => { arrive = resolve; });
  return {handler: (_, found) => arrive(found), response};
}

test('by the turn, once the turn is known', async (t) => {
  const question = held();
  const {gateway, requests} = await serve(t, question.handler, async (request, response) => {
    stopping(request, response);
    (await question.response).end(STOPPED);
  });
  const read = gateway().stream(QUESTION);
  stream(await question.response, frames()[0]);
  await read.next();
  await Promise.all([read.stop(), read.stop()]);
  assert.equal((await read.reply()).status, 'stopped');
  assert.deepEqual(requests.slice(1).map(({method, path}) => [method, path]), [['DELETE', `/chat/stream/${TURN}`]]);
});

test('by the key, before that; and again while the question may be on its way', async (t) => {
  const question = held();
  const {gateway, requests} = await serve(t, question.handler, problem(404, 'not_found'), async (request, response) => {
    stopping(request, response);
    const found = await question.response;
    stream(found, frames(-1, STOPPED).join(''));
    found.end();
  });
  const read = gateway().stream(QUESTION, {idempotencyKey: 'question-1'});
  await question.response;
  await read.stop();
  assert.equal((await read.reply()).status, 'stopped');
  assert.deepEqual(requests.map(({method, path}) => `${method} ${path}`), ['POST /chat/stream', 'DELETE /chat/stream', 'DELETE /chat/stream']);
  assert.deepEqual(new Set(requests.map(({headers}) => headers['idempotency-key'])), new Set(['question-1']));
});

test('a question that never arrived is not put again', async (t) => {
  const {gateway, requests} = await serve(t, (_, response) => response.destroy(), problem(404, 'not_found'), whole);
  const read = gateway({retry: {minDelayMs: 1e6, maxDelayMs: 1e6, forMs: 1e9}}).stream(QUESTION);
  assert.deepEqual((await read.next()).value, {type: 'connection', state: 'lost'});
  await read.stop();
  await assert.rejects(read.reply(), AbortedError);
  assert.deepEqual(requests.map(({method}) => method), ['POST', 'DELETE']);
});

test('while it is not known whether a question arrived, it is not put again', async (t) => {
  const stop = held();
  const {gateway, requests} = await serve(t, (_, response) => response.destroy(), stop.handler, whole);
  const read = gateway({retry: {minDelayMs: 1e6, maxDelayMs: 1e6, forMs: 1e9}}).stream(QUESTION);
  await read.next();
  const stopped = read.stop();
  const response = await stop.response;
  read.resume();
  await new Promise((resolve) => setTimeout(resolve, 50));
  problem(404, 'not_found')(null, response);
  await stopped;
  await assert.rejects(read.reply(), AbortedError);
  assert.deepEqual(requests.map(({method}) => method), ['POST', 'DELETE']);
});

test('a question that arrived although its answer was lost is stopped, and its end is read', async (t) => {
  const end = (_, response) => {
    stream(response, frames(-1, STOPPED).join(''));
    response.end();
  };
  const {gateway, requests} = await serve(t, (_, response) => response.destroy(), stopping, end);
  const read = gateway({retry: {minDelayMs: 300}}).stream(QUESTION);
  await read.next();
  await read.stop();
  assert.equal((await read.reply()).status, 'stopped');
  assert.deepEqual(requests.map(({method}) => method), ['POST', 'DELETE', 'POST']);
});

test('over a bad network the gateway is told until it has heard', async (t) => {
  const question = held();
  const lost = (_, response) => response.destroy();
  const {gateway, requests} = await serve(t, question.handler, lost, problem(503, 'turn_elsewhere'), lost, stopping);
  const read = gateway().stream(QUESTION);
  stream(await question.response, frames()[0]);
  await read.next();
  await read.stop();
  assert.deepEqual(requests.slice(1).map(({method}) => method), ['DELETE', 'DELETE', 'DELETE', 'DELETE']);
  await read.return();
});

test('a gateway that cannot be told', async (t) => {
  const question = held();
  const {gateway} = await serve(t, question.handler, (_, response) => response.destroy());
  const read = gateway({retry: {forMs: 40}}).stream(QUESTION);
  stream(await question.response, frames()[0]);
  await read.next();
  await assert.rejects(read.stop(), ConnectionError);
  (await question.response).end(frames(0).join(''));
  assert.equal((await read.reply()).content, TEXT);
});

test('a reply that has ended', async (t) => {
  const {gateway, requests} = await serve(t, whole, problem(409, 'turn_ended'));
  const read = gateway().stream(QUESTION);
  await readAll(read);
  await read.stop();
  assert.equal(requests.length, 1);
});
