/**
 * What goes over the wire, named as there: requests, replies, the log.
 *
 * A field that is left out where it does not apply is optional here; one that may be unknown is `| null`.
 */

export type Provider = 'openai' | 'anthropic' | 'groq' | 'google' | 'gemini' | (string & {});
export type FinishReason = 'stop' | 'length' | 'tool_calls' | 'content_filter' | 'error';
export type TurnStatus = 'completed' | 'stopped' | 'interrupted' | 'failed';

export interface TextPart {
  type: 'text';
  text: string;
}

/** An image by `https:` address or as a `data:` URL. */
export interface ImagePart {
  type: 'image_url';
  image_url: {url: string};
}

/** One entry of a history that the app keeps itself. */
export interface Message {
  role: 'system' | 'user' | 'assistant' | 'tool';
  content?: string | null | (TextPart | ImagePart)[];
  tool_calls?: {id?: string | null; name: string; arguments: Record<string, unknown> | string}[];
  tool_call_id?: string;
}

/** What a model is told about a function of the app; `parameters` is a JSON Schema. */
export interface ToolDefinition {
  name: string;
  description?: string;
  parameters?: Record<string, unknown>;
}

export type ToolChoice = 'auto' | 'none' | 'required' | {name: string};

/** The body of a question. `message`, `messages` or both must be there. */
export interface ChatRequest {
  message?: string;
  /** 1 to 200 characters of the app's own making; left out: the gateway makes one. */
  conversation_id?: string;
  /** The history, newest last; left out: the gateway takes it from its log. */
  messages?: Message[];
  system_prompt?: string;
  tools?: ToolDefinition[];
  tool_choice?: ToolChoice;
  provider?: Provider;
  model?: string;
  temperature?: number;
  max_tokens?: number;
}

/** A call of one of the app's functions. */
export interface ToolCall {
  id: string;
  name: string;
  arguments: Record<string, unknown>;
  /** What the model wrote where it was no JSON object; `arguments` is then empty. */
  arguments_text?: string;
}

export interface Thought {
  iteration: number;
  content: string;
  tool_calls: string[];
  /** Unix milliseconds. */
  timestamp: number;
}

/** A citation. */
export interface Source {
  id: string;
  type: string;
  title: string | null;
  url: string | null;
  snippet: string | null;
  description: string | null;
}

/** Token counts; null where the provider gave none. */
export interface Usage {
  input_tokens: number | null;
  output_tokens: number | null;
  cached_tokens: number | null;
  reasoning_tokens: number | null;
  cost_usd: number | null;
}

/** A whole reply. */
export interface ChatReply {
  /** Null while the turn waits for the database. */
  message_id: string | null;
  content: string;
  tool_calls: ToolCall[];
  thoughts: Thought[];
  sources: Source[];
  turn_id: string;
  conversation_id: string;
  provider: string;
  model: string;
  status: 'completed' | 'stopped';
  /** Null for a stopped reply. */
  finish_reason: FinishReason | null;
  usage: Usage;
  logged: 'stored' | 'spooled';
  attempts?: {provider: string; model: string; code: string}[];
  simulated?: true;
  /** The gateway had the answer to the same first question already. */
  cached?: true;
}

/** An RFC 9457 problem object. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  /** One plain sentence that can be shown to the user. */
  detail: string;
  code: string;
  request_id: string;
  turn_id?: string;
  /** Seconds. */
  retry_after?: number;
  errors?: {loc: string; msg: string}[];
  /** Stands in the event `failed` alone. */
  retryable?: boolean;
}

export interface StartEvent {
  type: 'start';
  turn_id: string;
  conversation_id: string;
  provider: string;
  model: string;
}

/** A piece of the reply (`token`) or of the model's reasoning (`thought`), to be appended. */
export interface TextEvent {
  type: 'token' | 'thought';
  text: string;
}

export interface ToolCallEvent {
  type: 'tool_call';
  call: ToolCall;
}

export interface SourceEvent {
  type: 'source';
  source: Source;
}

/** What the gateway is doing, for a user's eyes. */
export interface StatusEvent {
  type: 'status';
  state: 'retrying' | 'switched';
  provider: string;
  model: string;
}

/** This client's own: the connection is lost and being looked for, or there again. */
export interface ConnectionEvent {
  type: 'connection';
  state: 'lost' | 'open';
}

/** The last event of a reply that is completed or was stopped. */
export interface DoneEvent {
  type: 'done';
  reply: ChatReply;
}

/** What a stream yields: `start` first, `done` last; a failure is thrown. */
export type ChatEvent =
  | StartEvent
  | TextEvent
  | ToolCallEvent
  | SourceEvent
  | StatusEvent
  | ConnectionEvent
  | DoneEvent;

/** A message as it was logged. What only a reply has is null or empty for a question. */
export interface LoggedMessage {
  id: string;
  role: string;
  content: string | null;
  timestamp: string | null;
  turn_id: string | null;
  status: TurnStatus | null;
  provider: string | null;
  model: string | null;
  finish_reason: FinishReason | null;
  /** `arguments` and `result` are JSON texts; `result` is null until the app has sent it. */
  tool_calls: {id: string; tool_name: string | null; arguments: string | null; result: string | null}[];
  thoughts: Thought[];
  sources: Source[];
  usage: Usage | null;
  error: {code: string; detail: string; retryable: boolean} | null;
  cached?: true;
}

/** A conversation as it was logged. */
export interface Conversation {
  id: string;
  provider: string | null;
  created_at: string;
  updated_at: string;
  user_id: string | null;
  messages: LoggedMessage[];
  /** Turns whose reply is still being written. */
  active_turns: string[];
}

export interface ListedConversation {
  id: string;
  provider: string | null;
  created_at: string;
  updated_at: string;
  message_count: number;
  user_id: string | null;
  /** With `q`: the newest message that has the words, and the part of it with them, as HTML with `<mark>`. */
  message_id?: string;
  snippet?: string;
}

/** A page of conversations, newest activity first. */
export interface ConversationPage {
  conversations: ListedConversation[];
  /** The `cursor` of the next page; null on the last one. */
  next_cursor: string | null;
  /** A search, while messages of an older log are still being taken into it. */
  incomplete?: true;
}

/** Which conversations are wanted; the gateway takes further filters. */
export interface ConversationQuery {
  /** 1 to 500; 50. */
  limit?: number;
  cursor?: string;
  /** Words that a message has, in any of their forms. */
  q?: string;
  [filter: string]: string | number | undefined;
}
