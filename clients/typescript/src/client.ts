/** The gateway as an app sees it. */

import type {FetchLike} from './fetch.js';
import {DEFAULT_POLICY, type RetryPolicy} from './patience.js';
import {ask, type Session, type Signal} from './session.js';
import {ToolRun, type ToolRunRequest} from './tools.js';
import {platformTransport, type Transport} from './transport.js';
import {ChatStream, type Origin} from './turn.js';
import type {ChatReply, ChatRequest, Conversation, ConversationPage, ConversationQuery} from './types.js';
import {newKey} from './keys.js';

export interface GatewayOptions {
  /** Where the gateway is, such as `https://gateway.example.com`. */
  baseUrl: string;
  /** The bearer token, or what gives it; asked for each connection, so that it may be renewed in between. */
  token?: string | (() => string | null | Promise<string | null>);
  /** Further headers of each request. */
  headers?: Record<string, string>;
  /** A `fetch` in place of the platform's, such as that of `expo/fetch`. */
  fetch?: FetchLike;
  /** In place of `fetch` and XMLHttpRequest. */
  transport?: Transport;
  retry?: Partial<RetryPolicy>;
  /** After so long without a byte a connection counts as lost; to be longer than the gateway's `HEARTBEAT_S`. */
  silenceMs?: number;
}

export interface AskOptions {
  /** What makes asking twice harmless, 1 to 200 visible ASCII characters; made here unless the app wants to remember it. */
  idempotencyKey?: string;
  /** Ends reading. The gateway goes on for a while; `stop()` ends the reply itself. */
  signal?: Signal;
}

export class Gateway {
  private readonly session: Session;
  private readonly streams = new Set<ChatStream>();
  private paused = false;

  constructor(options: GatewayOptions) {
    this.session = {
      transport: options.transport ?? platformTransport(options.fetch),
      baseUrl: options.baseUrl.replace(/\/+$/, ''),
      headers: () => headersOf(options),
      policy: {...DEFAULT_POLICY, ...options.retry},
      silenceMs: options.silenceMs ?? 45_000,
    };
  }

  /** Ask, and wait for the whole reply. It comes as a stream too, so that a lost connection is noticed and gone on with. */
  chat(request: ChatRequest, options: AskOptions = {}): Promise<ChatReply> {
    return this.stream(request, options).reply();
  }

  /** Ask, and read the reply while it is being written. */
  stream(request: ChatRequest, options: AskOptions = {}): ChatStream {
    const key = options.idempotencyKey ?? newKey();
    return this.open({kind: 'question', body: JSON.stringify(request), key}, options.signal);
  }

  /** Ask, and run the functions that the model calls, until it has its answer. */
  run(request: ToolRunRequest, options: AskOptions = {}): ToolRun {
    return new ToolRun((body, given) => this.stream(body, given), request, options);
  }

  /** Read a reply that was asked for earlier, behind `lastEventId` or from its beginning. */
  attach(turnId: string, options: {lastEventId?: string | null; signal?: Signal} = {}): ChatStream {
    return this.open({kind: 'turn', turnId, lastEventId: options.lastEventId ?? null}, options.signal);
  }

  /** A conversation as it was logged, and its replies that are still being written: what an app needs that was killed. */
  async follow(conversationId: string, signal?: Signal): Promise<{conversation: Conversation; streams: ChatStream[]}> {
    const conversation = await this.conversation(conversationId, signal);
    const options = signal ? {signal} : {};
    return {conversation, streams: conversation.active_turns.map((turnId) => this.attach(turnId, options))};
  }

  /** A page of the caller's conversations. */
  async conversations(query: ConversationQuery = {}, signal?: Signal): Promise<ConversationPage> {
    const given = Object.entries(query).filter(([, value]) => value !== undefined);
    const pairs = given.map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`);
    return (await ask(this.session, {method: 'GET', path: `/conversations?${pairs.join('&')}`}, signal)) as ConversationPage;
  }

  /** A conversation as it was logged. */
  async conversation(conversationId: string, signal?: Signal): Promise<Conversation> {
    return (await ask(this.session, {method: 'GET', path: pathOf(conversationId)}, signal)) as Conversation;
  }

  /** Delete a conversation and stop what still runs in it. */
  async deleteConversation(conversationId: string, signal?: Signal): Promise<void> {
    await ask(this.session, {method: 'DELETE', path: pathOf(conversationId)}, signal);
  }

  /** Let go of all connections, as an app does that goes into the background. */
  pause(): void {
    this.paused = true;
    for (const stream of this.streams) stream.pause();
  }

  /** Go on with all of them at once: the app is in the foreground again, or the network is back. */
  resume(): void {
    this.paused = false;
    for (const stream of this.streams) stream.resume();
  }

  private open(origin: Origin, signal?: Signal): ChatStream {
    const stream = new ChatStream(this.session, origin, (ended) => this.streams.delete(ended), signal);
    if (!stream.ended) this.streams.add(stream);
    if (this.paused) stream.pause();
    return stream;
  }
}

async function headersOf(options: GatewayOptions): Promise<Record<string, string>> {
  const token = typeof options.token === 'function' ? await options.token() : options.token;
  return {...options.headers, ...(token ? {Authorization: `Bearer ${token}`} : {})};
}

function pathOf(conversationId: string): string {
  return `/conversations/${encodeURIComponent(conversationId)}`;
}
