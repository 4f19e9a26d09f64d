/** The seam to the network: one request, its answer told in pieces. */

import {fetchTransport, type FetchLike} from './fetch.js';
import {xhrTransport, type XhrLike} from './xhr.js';

export interface WireRequest {
  method: 'GET' | 'POST' | 'DELETE';
  url: string;
  headers: Record<string, string>;
  body?: string;
}

export interface WireHead {
  status: number;
  header(name: string): string | null;
}

/** Is told `head` once, `text` any number of times, then either `end` or `lost`; `lost` may come at any time. */
export interface Receiver {
  head(head: WireHead): void;
  text(piece: string): void;
  end(): void;
  lost(cause: unknown): void;
}

/** Sends a request and returns what hangs up; after that, nothing more is told. */
export type Transport = (request: WireRequest, receiver: Receiver) => () => void;

/** `fetch` where its answers can be read piece by piece, else XMLHttpRequest, as in React Native. */
export function platformTransport(given?: FetchLike): Transport {
  if (given) return fetchTransport(given);
  const platform = globalThis as {fetch?: FetchLike; XMLHttpRequest?: new () => XhrLike};
  if (platform.fetch && bodiesCanBeRead()) return fetchTransport(platform.fetch.bind(globalThis));
  if (platform.XMLHttpRequest) return xhrTransport(platform.XMLHttpRequest);
  throw new TypeError('There is neither a fetch whose answers can be read piece by piece nor an XMLHttpRequest; pass `fetch`.');
}

function bodiesCanBeRead(): boolean {
  if (typeof Response === 'undefined' || typeof TextDecoder === 'undefined') return false;
  const body = new Response('?').body as ReadableStream | null | undefined;
  return typeof body?.getReader === 'function';
}
