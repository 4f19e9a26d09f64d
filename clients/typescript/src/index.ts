export {Gateway, type AskOptions, type GatewayOptions} from './client.js';
export {
  AbortedError,
  AuthenticationError,
  ConnectionError,
  ForbiddenError,
  GatewayError,
  InterruptedError,
  InvalidRequestError,
  NotFoundError,
  ProviderError,
  RateLimitError,
  RETRYABLE_CODES,
  TurnEndedError,
  type ErrorFacts,
} from './errors.js';
export {fetchTransport, type FetchAnswer, type FetchInit, type FetchLike} from './fetch.js';
export type {RetryPolicy} from './patience.js';
export type {Signal} from './session.js';
export {
  ToolRun,
  type DeviceTool,
  type ToolContext,
  type ToolResult,
  type ToolRunEvent,
  type ToolRunRequest,
} from './tools.js';
export type {Receiver, Transport, WireHead, WireRequest} from './transport.js';
export {ChatStream} from './turn.js';
export type * from './types.js';
export {xhrTransport, type XhrLike} from './xhr.js';
