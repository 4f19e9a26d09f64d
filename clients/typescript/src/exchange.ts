/** One request and what becomes of it: a stream of events, another answer, or a connection that is lost or too quiet. */

import {errorFromProblem, errorFromStatus, type GatewayError} from './errors.js';
import {EventParser, type ServerSentEvent} from './sse.js';
import type {Transport, WireHead, WireRequest} from './transport.js';
import type {Problem} from './types.js';

export interface Answer {
  kind: 'answer';
  status: number;
  text: string;
  /** Seconds. */
  retryAfter: number | null;
  requestId: string | null;
  isStream: boolean;
}

export interface Loss {
  kind: 'lost';
  cause: unknown;
}

/** What a stream of events is told to; other answers are collected instead. */
export interface Listener {
  open(): void;
  event(event: ServerSentEvent): void;
  alive(): void;
}

export interface Exchange {
  /** Never rejects. */
  outcome: Promise<Answer | Loss>;
  hangUp(cause: unknown): void;
}

/** Make a request; silence of more than `silenceMs` is a loss. */
export function exchange(transport: Transport, request: WireRequest, silenceMs: number, listener?: Listener): Exchange {
  let head: WireHead | null = null;
  let parser: EventParser | null = null;
  let text = '';
  let heardAt = Date.now();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let over = false;
  let hangUpWire = (): void => undefined;
  let settle: (outcome: Answer | Loss) => void;
  const outcome = new Promise<Answer | Loss>((resolve) => {
    settle = resolve;
  });

  function finish(found: Answer | Loss): void {
    if (over) return;
    over = true;
    clearTimeout(timer);
    settle(found);
  }

  function lose(cause: unknown): void {
    finish({kind: 'lost', cause});
    hangUpWire();
  }

  // One timer for a connection, not one for each piece: it looks how long ago the last piece came.
  function watch(afterMs: number): void {
    timer = setTimeout(() => {
      const left = heardAt + silenceMs - Date.now();
      if (left > 0) watch(left);
      else lose(new Error(`Nothing came for ${silenceMs} ms.`));
    }, afterMs);
  }

  watch(silenceMs);
  hangUpWire = transport(request, {
    head(found) {
      heardAt = Date.now();
      head = found;
      if (listener && found.status === 200 && isEventStream(found)) {
        parser = new EventParser(
          (event) => over || listener.event(event),
          () => listener.alive(),
        );
        listener.open();
      }
    },
    text(piece) {
      heardAt = Date.now();
      if (parser) parser.feed(piece);
      else text += piece;
    },
    end() {
      finish(head ? answerOf(head, text, parser !== null) : {kind: 'lost', cause: new Error('There was no answer.')});
    },
    lost(cause) {
      finish({kind: 'lost', cause});
    },
  });
  return {outcome, hangUp: lose};
}

/** The error that an answer stands for, and whether it is the gateway's own word. */
export function errorOf(answer: Answer): {error: GatewayError; own: boolean} {
  const problem = parsed(answer.text) as Partial<Problem> | undefined;
  if (typeof problem?.code === 'string' && typeof problem.detail === 'string' && typeof problem.status === 'number') {
    return {error: errorFromProblem(problem as Problem, answer.retryAfter), own: true};
  }
  return {error: errorFromStatus(answer.status, answer.retryAfter, answer.requestId), own: false};
}

/** A JSON text's value; undefined where it is none. */
export function parsed(text: string): unknown {
  try {
    return JSON.parse(text) ?? undefined;
  } catch {
    return undefined;
  }
}

function answerOf(head: WireHead, text: string, isStream: boolean): Answer {
  const retryAfter = secondsOf(head.header('Retry-After'));
  return {kind: 'answer', status: head.status, text, retryAfter, requestId: head.header('X-Request-Id'), isStream};
}

/** Retry-After holds seconds or a date (RFC 9110, 10.2.3). */
function secondsOf(retryAfter: string | null): number | null {
  if (!retryAfter) return null;
  const seconds = /^\d+$/.test(retryAfter) ? Number(retryAfter) : (Date.parse(retryAfter) - Date.now()) / 1000;
  return Number.isNaN(seconds) ? null : Math.max(0, seconds);
}

function isEventStream(head: WireHead): boolean {
  return (head.header('Content-Type') ?? '').toLowerCase().startsWith('text/event-stream');
}
