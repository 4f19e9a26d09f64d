/** Functions that run on the device while a model answers: call, result, and on, for a bounded number of rounds. */

import type {AskOptions} from './client.js';
import {AbortedError} from './errors.js';
import {Queue} from './queue.js';
import type {ChatStream} from './turn.js';
import type {ChatEvent, ChatReply, ChatRequest, DoneEvent, Message, ToolCall, ToolDefinition} from './types.js';

export interface ToolContext {
  callId: string;
  /** Aborts when the result is not wanted any more. */
  signal: AbortSignal;
}

/** A function of the app. What `run` throws is told to the model, by its message. */
export interface DeviceTool extends ToolDefinition {
  /** A text, or what becomes one as JSON. `args` is what the model wrote: an object, not checked against `parameters`. */
  run(args: any, context: ToolContext): unknown;
}

export interface ToolRunRequest extends Omit<ChatRequest, 'tools'> {
  tools: DeviceTool[];
  /** How often the model may call functions until it has to answer with what it has; 8. */
  maxRounds?: number;
  /** How long one call may take; 60,000. */
  toolTimeoutMs?: number;
  /** In place of asking: a reply that is being written already, such as one of `Gateway.follow`. */
  from?: ChatStream;
}

export interface ToolResult {
  call: ToolCall;
  /** What the model is told. */
  content: string;
  /** What the function threw, if it did. */
  error?: unknown;
}

/** `round`: a reply that calls functions, whose results follow. `done` comes once, with the answer. */
export type ToolRunEvent =
  | ChatEvent
  | {type: 'round'; round: number; reply: ChatReply}
  | {type: 'tool_result'; result: ToolResult};

type Ask = (request: ChatRequest, options: AskOptions) => ChatStream;

const NOT_WANTED = 'The result is not wanted any more.';

/** Iterate over it for the events of all rounds. */
export class ToolRun extends Queue<ToolRunEvent> {
  private readonly tools: Map<string, DeviceTool>;
  private readonly running = new AbortController();
  private readonly answered: Promise<ChatReply>;
  private stream: ChatStream | null = null;
  private stopped = false;

  /** @internal */
  constructor(
    private readonly ask: Ask,
    private readonly request: ToolRunRequest,
    private readonly options: AskOptions,
  ) {
    super();
    this.tools = new Map(request.tools.map((tool) => [tool.name, tool]));
    const abort = (): void => this.running.abort();
    options.signal?.addEventListener('abort', abort);
    this.answered = this.go().finally(() => options.signal?.removeEventListener('abort', abort));
    this.answered.then(
      (reply) => {
        this.push({type: 'done', reply});
        this.close({});
      },
      (error: unknown) => this.close({error}),
    );
  }

  /** The reply of the last round. Rejects with what iterating would throw. */
  reply(): Promise<ChatReply> {
    return this.answered;
  }

  /** End the reply that is being written, and ask no more; `done` follows with what there is. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.running.abort();
    await this.stream?.stop();
  }

  protected left(): void {
    this.running.abort();
    void this.stream?.return();
  }

  private async go(): Promise<ChatReply> {
    const {tools: offered, maxRounds = 8, toolTimeoutMs: _, from, ...question} = this.request;
    const tools = offered.map(({run: _run, ...definition}) => definition);
    let asked: ChatRequest = {...question, tools};
    this.stream = from ?? this.ask(asked, this.options);
    for (let round = 1; ; round += 1) {
      const reply = await this.follow(this.stream);
      if (this.stopped || reply.status === 'stopped' || round > maxRounds || !reply.tool_calls.length) return reply;
      this.push({type: 'round', round, reply});
      const results = await Promise.all(reply.tool_calls.map((call) => this.result(call)));
      if (this.stopped) return reply;
      if (this.running.signal.aborted) throw new AbortedError('The app aborted the request.', reply.turn_id);
      asked = followUp(asked, reply, results);
      if (round === maxRounds) asked.tool_choice = 'none';
      // Another question to the gateway, so another key.
      this.stream = this.ask(asked, this.options.signal ? {signal: this.options.signal} : {});
    }
  }

  private async follow(stream: ChatStream): Promise<ChatReply> {
    for (;;) {
      const {value, done} = await stream.next();
      if (done) return stream.reply();
      if (!isDone(value)) this.push(value);
    }
  }

  private async result(call: ToolCall): Promise<ToolResult> {
    let result: ToolResult;
    try {
      result = {call, content: textOf(await this.call(call))};
    } catch (error) {
      result = {call, content: JSON.stringify({error: error instanceof Error ? error.message : String(error)}), error};
    }
    this.push({type: 'tool_result', result});
    return result;
  }

  private async call(call: ToolCall): Promise<unknown> {
    const tool = this.tools.get(call.name);
    if (!tool) throw new Error(`There is no function ${call.name}.`);
    if (call.arguments_text !== undefined) throw new Error(`The arguments are no JSON object: ${call.arguments_text}`);
    const {signal} = this.running;
    if (signal.aborted) throw new Error(NOT_WANTED);
    const {toolTimeoutMs = 60_000} = this.request;
    let give: (error: Error) => void;
    const givenUp = new Promise<never>((_, reject) => {
      give = reject;
    });
    const timer = setTimeout(() => give(new Error(`${call.name} took longer than ${toolTimeoutMs} ms.`)), toolTimeoutMs);
    const abort = (): void => give(new Error(NOT_WANTED));
    signal.addEventListener('abort', abort);
    try {
      return await Promise.race([tool.run(call.arguments, {callId: call.id, signal}), givenUp]);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
    }
  }
}

function isDone(event: ChatEvent): event is DoneEvent {
  return event.type === 'done';
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? 'null');
}

/** What tells the model the results: these alone where the gateway has the history, all of it where the app keeps it. */
function followUp(asked: ChatRequest, reply: ChatReply, results: ToolResult[]): ChatRequest {
  const {message, messages, tool_choice: choice, ...same} = asked;
  const told = results.map(({call, content}): Message => ({role: 'tool', tool_call_id: call.id, content}));
  const next: ChatRequest = {...same, conversation_id: reply.conversation_id};
  // A choice that forces a call would force one in every round.
  if (choice === 'auto' || choice === 'none') next.tool_choice = choice;
  const said = (messages ?? []).filter(({role}) => role !== 'system');
  if (said.every(({role}) => role === 'tool')) return {...next, messages: [...systemOf(messages), ...told]};
  const history = [...(messages ?? [])];
  if (message !== undefined && said[said.length - 1]?.role === 'assistant') history.push({role: 'user', content: message});
  history.push({role: 'assistant', content: reply.content, tool_calls: reply.tool_calls});
  return {...next, messages: [...history, ...told]};
}

function systemOf(messages: Message[] | undefined): Message[] {
  return (messages ?? []).filter(({role}) => role === 'system');
}
