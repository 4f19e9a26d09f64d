// A gateway that answers as it is told, one handler for each request, and events as the gateway writes them.

import http from 'node:http';
import {once} from 'node:events';
import {Gateway} from '../dist/esm/index.js';

export const TURN = '01a2064a-e12d-7471-8ba1-dae77938bd6f';
export const PIECES = ['كِتَابٌ', ': ما يُكتَب فيه، ', 'وجمعه كُتُب 📚', '.'];
export const TEXT = PIECES.join('');

export function reply(more = {}) {
  return {content: TEXT, tool_calls: [], turn_id: TURN, conversation_id: 'conv-1', status: 'completed', ...more};
}

export function frame(place, event, data) {
  return `id: ${TURN}.${place}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** The events of a reply behind the one with this id; `start` is 0. */
export function frames(after = -1, end = frame('end', 'done', reply())) {
  const start = {turn_id: TURN, conversation_id: 'conv-1', provider: 'openai', model: 'gpt-6-luna'};
  const all = [`retry: 1000\n${frame(0, 'start', start)}`, ...PIECES.map((text, at) => frame(at + 1, 'token', {text}))];
  return [...all.slice(after + 1), `retry: 0\n${end}`];
}

export function stream(response, text = '') {
  response.writeHead(200, {'Content-Type': 'text/event-stream; charset=utf-8', 'X-Turn-Id': TURN});
  if (text.length) response.write(text);
}

/** A handler that sends a whole stream. */
export function whole(request, response) {
  stream(response, frames(positionOf(request)).join(''));
  response.end();
}

export function positionOf(request) {
  const id = request.headers['last-event-id'];
  return id === undefined ? -1 : Number(id.split('.')[1]);
}

/** A handler that answers with a problem object. */
export function problem(status, code, more = {}) {
  return (_, response) => {
    const headers = {'Content-Type': 'application/problem+json'};
    if (more.retry_after !== undefined) headers['Retry-After'] = String(more.retry_after);
    const body = {type: `urn:problem:${code}`, title: code, status, detail: 'لا يمكن الآن.', code, request_id: 'r-1', ...more};
    response.writeHead(status, headers).end(JSON.stringify(body));
  };
}

export function json(status, value) {
  return (_, response) => response.writeHead(status, {'Content-Type': 'application/json'}).end(JSON.stringify(value));
}

/** Starts the server; the last handler answers everything behind it. Closed when the test ends. */
export async function serve(test, ...handlers) {
  const requests = [];
  const server = http.createServer(async (request, response) => {
    const handler = handlers[Math.min(requests.length, handlers.length - 1)];
    const seen = {method: request.method, path: request.url, headers: request.headers, body: ''};
    requests.push(seen);
    for await (const piece of request.setEncoding('utf8')) seen.body += piece;
    handler(request, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  test.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const baseUrl = `http://127.0.0.1:${server.address().port}/`;
  const gateway = (options = {}) => new Gateway({baseUrl, ...options, retry: {minDelayMs: 1, maxDelayMs: 1100, ...options.retry}});
  return {requests, gateway};
}

export async function readAll(iterable) {
  const events = [];
  for await (const event of iterable) events.push(event);
  return events;
}

export function textOf(events) {
  return events.filter(({type}) => type === 'token').map(({text}) => text).join('');
}
