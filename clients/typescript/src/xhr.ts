/** Requests through XMLHttpRequest, which in React Native is the one that tells text as it comes. */

import type {Transport} from './transport.js';

/** What is needed of an XMLHttpRequest; every platform's fits. */
export interface XhrLike {
  readonly readyState: number;
  readonly status: number;
  readonly responseText: string;
  onreadystatechange: any;
  onload: any;
  onerror: any;
  ontimeout: any;
  open(method: string, url: string): void;
  setRequestHeader(name: string, value: string): void;
  getResponseHeader(name: string): string | null;
  send(body?: any): void;
  abort(): void;
}

const HEADERS_RECEIVED = 2;
const DONE = 4;

export function xhrTransport(Request: new () => XhrLike): Transport {
  return (request, receiver) => {
    const xhr = new Request();
    let over = false;
    let headed = false;
    let taken = 0;

    function advance(): void {
      if (!headed) {
        headed = true;
        receiver.head({status: xhr.status, header: (name) => xhr.getResponseHeader(name)});
      }
      const text = over ? '' : xhr.responseText;
      if (text.length > taken) {
        const piece = text.slice(taken);
        taken = text.length;
        receiver.text(piece);
      }
    }

    function lose(cause: string): void {
      if (over) return;
      over = true;
      receiver.lost(new TypeError(cause));
    }

    xhr.open(request.method, request.url);
    for (const [name, value] of Object.entries(request.headers)) xhr.setRequestHeader(name, value);
    // React Native tells text as it comes only to those who listen for changes, and behind a lost connection the "text" of the
    // answer is the error's: only `load` says that what is there belongs to the answer (Libraries/Network/XMLHttpRequest.js).
    xhr.onreadystatechange = () => {
      if (!over && xhr.readyState >= HEADERS_RECEIVED && xhr.readyState < DONE) advance();
    };
    xhr.onload = () => {
      if (over) return;
      advance();
      if (over) return;
      over = true;
      receiver.end();
    };
    xhr.onerror = () => lose('The connection was lost.');
    xhr.ontimeout = () => lose('The connection timed out.');
    xhr.send(request.body ?? null);
    return () => {
      if (over) return;
      over = true;
      xhr.abort();
    };
  };
}
