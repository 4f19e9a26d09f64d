/** Requests through `fetch`, for browsers, Node and `expo/fetch`. */

import type {Transport} from './transport.js';

export interface FetchInit {
  method: string;
  headers: Record<string, string>;
  body?: string;
  /** An AbortSignal of the platform's own. */
  signal: any;
}

export interface FetchAnswer {
  status: number;
  headers: {get(name: string): string | null};
  /** A ReadableStream of bytes; where there is none, answers are read whole. */
  body?: unknown;
  text(): Promise<string>;
}

/** What is needed of a `fetch`; every platform's fits, and so does that of `expo/fetch`. */
export type FetchLike = (url: string, init: FetchInit) => Promise<FetchAnswer>;

export function fetchTransport(fetch: FetchLike): Transport {
  return (request, receiver) => {
    const {method, url, headers, body} = request;
    const hangUp = new AbortController();
    let over = false;

    async function carry(): Promise<void> {
      const answer = await fetch(url, {method, headers, signal: hangUp.signal, ...(body === undefined ? {} : {body})});
      if (over) return;
      receiver.head({status: answer.status, header: (name) => answer.headers.get(name)});
      const stream = answer.body as ReadableStream<Uint8Array> | null | undefined;
      if (stream) await read(stream.getReader());
      else tell(await answer.text());
    }

    async function read(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
      // A character may have been cut anywhere: the decoder keeps its first bytes for the next piece.
      const decoder = new TextDecoder();
      for (;;) {
        const {done, value} = await reader.read();
        if (done || over) break;
        tell(decoder.decode(value, {stream: true}));
      }
      tell(decoder.decode());
    }

    function tell(text: string): void {
      if (text && !over) receiver.text(text);
    }

    function finish(how: () => void): void {
      if (over) return;
      over = true;
      how();
    }

    carry().then(
      () => finish(() => receiver.end()),
      (cause: unknown) => finish(() => receiver.lost(cause)),
    );
    return () => {
      over = true;
      hangUp.abort();
    };
  };
}
