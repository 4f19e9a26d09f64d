// The client as an app loads it (`modules`: esm or cjs), on what a platform has (`way`: fetch, or XMLHttpRequest alone, as React
// Native).

import {createRequire} from 'node:module';
import {text} from 'node:stream/consumers';
import {XMLHttpRequest} from './xhr.mjs';

export const given = JSON.parse(await text(process.stdin));

if (given.way === 'xhr') {
  // React Native has a fetch and a Response too, but its answers have no body to be read piece by piece.
  globalThis.fetch = () => Promise.reject(new Error('not to be used'));
  globalThis.Response = class {};
  globalThis.XMLHttpRequest = XMLHttpRequest;
}

const require = createRequire(import.meta.url);
export const client = given.modules === 'cjs' ? require('@m3ajem/gateway') : await import('@m3ajem/gateway');

export const gateway = new client.Gateway({
  baseUrl: given.base,
  token: given.token,
  retry: {minDelayMs: 10, ...given.retry},
  ...(given.silenceMs ? {silenceMs: given.silenceMs} : {}),
});

/** What a failure is, as JSON. */
export function told(error) {
  if (!(error instanceof client.GatewayError)) throw error;
  const {name, code, status, detail, retryable, retryAfter, turnId, requestId} = error;
  return {name, code, status, detail, retryable, retryAfter, turnId, requestId};
}

/** Every event of a stream, and what it threw. */
export async function readAll(stream) {
  const events = [];
  try {
    for await (const event of stream) events.push(event);
  } catch (error) {
    return {events, error: told(error), text: stream.text};
  }
  return {events, error: null, text: stream.text};
}

export function tell(value) {
  process.stdout.write(JSON.stringify(value));
}
