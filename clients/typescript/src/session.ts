/** What all requests of one client share, and requests whose answer is read whole. */

import {AbortedError} from './errors.js';
import {exchange, parsed, type Answer, type Exchange, type Loss} from './exchange.js';
import {Patience, type RetryPolicy} from './patience.js';
import type {Transport, WireRequest} from './transport.js';

/** An AbortSignal of any platform's. */
export interface Signal {
  readonly aborted: boolean;
  addEventListener(type: 'abort', listener: () => void): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

export interface Session {
  transport: Transport;
  baseUrl: string;
  headers(): Promise<Record<string, string>>;
  policy: RetryPolicy;
  silenceMs: number;
}

export interface Call {
  method: WireRequest['method'];
  path: string;
  headers?: Record<string, string>;
  body?: string;
}

/** A call as it goes over the wire. Rejects with what the app's own `token` function throws. */
export async function prepare(session: Session, call: Call): Promise<WireRequest> {
  const {method, path, body} = call;
  const headers = {...(await session.headers()), ...call.headers};
  return {method, url: session.baseUrl + path, headers, ...(body === undefined ? {} : {body})};
}

/** Make one request and read its answer whole. */
export async function once(session: Session, call: Call, begun?: (exchange: Exchange) => void): Promise<Answer | Loss> {
  const sent = exchange(session.transport, await prepare(session, call), session.silenceMs);
  begun?.(sent);
  return sent.outcome;
}

/** The JSON value that a request is answered with, tried again as `policy` says; undefined for an empty answer. */
export async function ask(session: Session, call: Call, signal?: Signal): Promise<unknown> {
  const patience = new Patience(session.policy);
  const pause = new Pause();
  let current: Exchange | null = null;
  const abort = (): void => {
    current?.hangUp(new Error('aborted'));
    pause.wake();
  };
  signal?.addEventListener('abort', abort);
  try {
    for (;;) {
      refuseIfAborted(signal);
      const outcome = await once(session, call, (exchange) => {
        current = exchange;
        if (signal?.aborted) abort();
      });
      refuseIfAborted(signal);
      if (isGood(outcome)) return parsed(outcome.text);
      await pause.sleep(patience.after(outcome, false, null));
    }
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

/** A wait that can be cut short. */
export class Pause {
  private finish: (() => void) | null = null;

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.wake(), ms);
      this.finish = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Until somebody wakes it. */
  wait(): Promise<void> {
    return new Promise((resolve) => {
      this.finish = resolve;
    });
  }

  wake(): void {
    this.finish?.();
    this.finish = null;
  }
}

/** A whole answer that is what was asked for: JSON, or nothing at all; not the page of a captive portal. */
function isGood(outcome: Answer | Loss): outcome is Answer {
  if (outcome.kind === 'lost' || outcome.status < 200 || outcome.status > 299) return false;
  return outcome.text === '' || parsed(outcome.text) !== undefined;
}

function refuseIfAborted(signal?: Signal): void {
  if (signal?.aborted) throw new AbortedError('The app aborted the request.');
}
