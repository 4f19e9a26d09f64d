/** One reply as it is being written, read over as many connections as it takes. */

import {AbortedError, errorFromProblem} from './errors.js';
import {exchange, parsed, type Answer, type Exchange, type Listener, type Loss} from './exchange.js';
import {Patience} from './patience.js';
import {Queue} from './queue.js';
import {Pause, prepare, type Call, type Session, type Signal} from './session.js';
import type {ServerSentEvent} from './sse.js';
import {stopTurn} from './stopping.js';
import type {ChatEvent, ChatReply, Problem, ToolCall, Source} from './types.js';

/** How a reply is found: by asking for it, or by its turn's id. */
export type Origin = {kind: 'question'; body: string; key: string} | {kind: 'turn'; turnId: string; lastEventId: string | null};

/**
 * Iterate over it for its events. Each of the gateway's comes once, `start` first and `done` last; whatever ends the reply otherwise is
 * thrown, as a `GatewayError`. It is read whether anybody iterates or not.
 */
export class ChatStream extends Queue<ChatEvent> {
  /** Null until `start` has come. */
  turnId: string | null = null;
  conversationId: string | null = null;
  /** Where `Gateway.attach` goes on. */
  lastEventId: string | null = null;
  /** All of the reply's text that has come so far. */
  text = '';
  readonly idempotencyKey: string | null;

  private readonly patience: Patience;
  private readonly pauseBefore = new Pause();
  private current: Exchange | null = null;
  private stopping: Promise<void> | null = null;
  private connected: boolean | null = null;
  private paused = false;
  private over = false;
  private result: {reply: ChatReply} | {error: unknown} | null = null;
  private readonly waiting: (() => void)[] = [];
  private readonly forget: () => void;

  /** @internal */
  constructor(
    private readonly session: Session,
    private readonly origin: Origin,
    ended: (stream: ChatStream) => void,
    signal?: Signal,
  ) {
    super();
    this.patience = new Patience(session.policy);
    this.idempotencyKey = origin.kind === 'question' ? origin.key : null;
    if (origin.kind === 'turn') {
      this.turnId = origin.turnId;
      this.lastEventId = origin.lastEventId;
    }
    const abort = (): void => this.fail(new AbortedError('The app aborted the request.', this.turnId));
    signal?.addEventListener('abort', abort);
    this.forget = () => {
      signal?.removeEventListener('abort', abort);
      ended(this);
    };
    if (signal?.aborted) abort();
    else void this.read();
  }

  /** Whether nothing more comes. */
  get ended(): boolean {
    return this.over;
  }

  /** The whole reply. Rejects with what iterating would throw. */
  async reply(): Promise<ChatReply> {
    while (!this.result) await new Promise<void>((resolve) => this.waiting.push(resolve));
    if ('error' in this.result) throw this.result.error;
    return this.result.reply;
  }

  /**
   * Have the gateway end the reply and keep what has come; `done` follows, with status `stopped`. A question that never reached the
   * gateway ends with `AbortedError`. Rejects when the gateway cannot be told.
   */
  stop(): Promise<void> {
    this.stopping ??= stopTurn(this.session, {
      over: () => this.over,
      turnId: () => this.turnId,
      key: this.idempotencyKey,
      underway: () => this.current !== null,
      withdraw: (error) => this.fail(error),
    });
    return this.stopping;
  }

  /** Let go of the connection, as an app does that goes into the background. The reply goes on being written. */
  pause(): void {
    if (this.over || this.paused) return;
    this.paused = true;
    this.current?.hangUp(new Error('paused'));
  }

  /** Go on after `pause`, and at once if the connection is lost: the network is back. */
  resume(): void {
    this.paused = false;
    this.patience.renew();
    this.pauseBefore.wake();
  }

  protected left(): void {
    this.fail(new AbortedError('Nobody reads the reply any more.', this.turnId));
  }

  private async read(): Promise<void> {
    try {
      while (!this.over) {
        if (this.paused) {
          this.notice(false);
          await this.pauseBefore.wait();
          continue;
        }
        if (this.stopping && !this.turnId) await this.stopping;
        const outcome = await this.connect();
        if (this.over || this.paused) continue;
        const wait = this.patience.after(outcome, this.turnId !== null, this.turnId);
        this.notice(false);
        await this.pauseBefore.sleep(wait);
      }
    } catch (error) {
      this.fail(error);
    }
  }

  private async connect(): Promise<Answer | Loss> {
    const listener: Listener = {
      open: () => this.notice(true),
      event: (event) => this.hear(event),
      alive: () => this.patience.renew(),
    };
    const request = await prepare(this.session, this.call());
    if (this.over || this.paused) return {kind: 'lost', cause: null};
    this.current = exchange(this.session.transport, request, this.session.silenceMs, listener);
    if (this.over) this.current.hangUp(null);
    const outcome = await this.current.outcome;
    this.current = null;
    return outcome;
  }

  private call(): Call {
    const headers: Record<string, string> = {Accept: 'text/event-stream'};
    if (this.turnId) {
      if (this.lastEventId) headers['Last-Event-ID'] = this.lastEventId;
      return {method: 'GET', path: `/chat/stream/${encodeURIComponent(this.turnId)}`, headers};
    }
    const {body, key} = this.origin as Extract<Origin, {kind: 'question'}>;
    headers['Content-Type'] = 'application/json';
    headers['Idempotency-Key'] = key;
    return {method: 'POST', path: '/chat/stream', headers, body};
  }

  private hear({id, event, data}: ServerSentEvent): void {
    const value = parsed(data);
    if (typeof value !== 'object') {
      this.current?.hangUp(new Error(`The event ${event} holds no JSON object.`));
      return;
    }
    this.patience.renew();
    if (id) this.lastEventId = id;
    switch (event) {
      case 'start': {
        const start = value as {turn_id: string; conversation_id: string; provider: string; model: string};
        this.turnId = start.turn_id;
        this.conversationId = start.conversation_id;
        this.push({type: 'start', ...start});
        break;
      }
      case 'token':
      case 'thought': {
        const {text} = value as {text: string};
        if (event === 'token') this.text += text;
        this.push({type: event, text});
        break;
      }
      case 'tool_call':
        this.push({type: 'tool_call', call: value as ToolCall});
        break;
      case 'source':
        this.push({type: 'source', source: value as Source});
        break;
      case 'status':
        this.push({type: 'status', ...(value as {state: 'retrying' | 'switched'; provider: string; model: string})});
        break;
      case 'done': {
        const reply = value as ChatReply;
        this.conversationId = reply.conversation_id;
        this.push({type: 'done', reply});
        this.finish({reply});
        break;
      }
      case 'failed':
        this.fail(errorFromProblem(value as Problem));
    }
  }

  /** Tell of a connection that is lost, or there again; not of the first one. */
  private notice(connected: boolean): void {
    if (!this.over && connected !== (this.connected ?? true)) {
      this.push({type: 'connection', state: connected ? 'open' : 'lost'});
    }
    this.connected = connected;
  }

  private fail(error: unknown): void {
    this.finish({error});
  }

  private finish(result: {reply: ChatReply} | {error: unknown}): void {
    if (this.over) return;
    this.over = true;
    this.result = result;
    this.close('error' in result ? {error: result.error} : {});
    this.current?.hangUp(new Error('ended'));
    this.pauseBefore.wake();
    this.forget();
    for (const resolve of this.waiting) resolve();
  }
}
