/**
 * What can go wrong. One root, `GatewayError`; `code` tells errors apart where classes do not.
 *
 *     GatewayError
 *     ├── InvalidRequestError   400, 413, 415, 422
 *     ├── AuthenticationError   401
 *     ├── ForbiddenError        403
 *     ├── NotFoundError         404
 *     ├── TurnEndedError        409
 *     ├── RateLimitError        429: the caller's own limits
 *     ├── ProviderError         the provider failed, or is overloaded
 *     ├── InterruptedError      the gateway was shut down in the middle of a reply
 *     ├── ConnectionError       the gateway was out of reach for too long
 *     └── AbortedError          the app gave up itself
 */

import type {Problem} from './types.js';

export interface ErrorFacts {
  code: string;
  /** The HTTP status; 0 where there was no answer. */
  status: number;
  /** One plain sentence that can be shown to the user. */
  detail: string;
  /** Whether the same request may succeed later. */
  retryable: boolean;
  /** Seconds to wait before that. */
  retryAfter?: number | null;
  turnId?: string | null;
  /** What the gateway's own log calls the request. */
  requestId?: string | null;
  /** Places of an invalid request. */
  errors?: readonly {loc: string; msg: string}[];
  cause?: unknown;
}

export class GatewayError extends Error {
  readonly code: string;
  readonly status: number;
  readonly detail: string;
  readonly retryable: boolean;
  readonly retryAfter: number | null;
  readonly turnId: string | null;
  readonly requestId: string | null;
  readonly errors: readonly {loc: string; msg: string}[];
  readonly cause: unknown;

  constructor(facts: ErrorFacts) {
    super(`${facts.code}: ${facts.detail}`);
    this.name = 'GatewayError';
    this.code = facts.code;
    this.status = facts.status;
    this.detail = facts.detail;
    this.retryable = facts.retryable;
    this.retryAfter = facts.retryAfter ?? null;
    this.turnId = facts.turnId ?? null;
    this.requestId = facts.requestId ?? null;
    this.errors = facts.errors ?? [];
    this.cause = facts.cause;
  }
}

export class InvalidRequestError extends GatewayError {
  override name = 'InvalidRequestError';
}
export class AuthenticationError extends GatewayError {
  override name = 'AuthenticationError';
}
export class ForbiddenError extends GatewayError {
  override name = 'ForbiddenError';
}
export class NotFoundError extends GatewayError {
  override name = 'NotFoundError';
}
export class TurnEndedError extends GatewayError {
  override name = 'TurnEndedError';
}
export class RateLimitError extends GatewayError {
  override name = 'RateLimitError';
}
export class ProviderError extends GatewayError {
  override name = 'ProviderError';
}
export class InterruptedError extends GatewayError {
  override name = 'InterruptedError';
}

export class ConnectionError extends GatewayError {
  override name = 'ConnectionError';

  constructor(detail: string, cause: unknown, turnId: string | null = null) {
    super({code: 'connection_lost', status: 0, detail, retryable: true, turnId, cause});
  }
}

/** Its `name` is the one that aborted operations have everywhere. */
export class AbortedError extends GatewayError {
  override name = 'AbortError';

  constructor(detail: string, turnId: string | null = null, cause?: unknown) {
    super({code: 'aborted', status: 0, detail, retryable: false, turnId, cause});
  }
}

/** Codes of failures that may pass. Others do not, whatever their status. */
export const RETRYABLE_CODES: ReadonlySet<string> = new Set([
  'rate_limited',
  'internal_error',
  'provider_error',
  'interrupted',
  'turn_elsewhere',
  'log_unavailable',
  'sign_in_unavailable',
  'provider_overloaded',
  'shutting_down',
  'overloaded',
  'provider_timeout',
]);

/** The error that a problem object stands for. */
export function errorFromProblem(problem: Problem, retryAfter: number | null = null): GatewayError {
  const {code, status, detail} = problem;
  return new (classOf(code, status))({
    code,
    status,
    detail,
    retryable: problem.retryable ?? RETRYABLE_CODES.has(code),
    retryAfter: problem.retry_after ?? retryAfter,
    turnId: problem.turn_id ?? null,
    requestId: problem.request_id,
    errors: problem.errors ?? [],
  });
}

/** The error that an answer stands for which is none of the gateway's, but of a proxy before it, say. */
export function errorFromStatus(status: number, retryAfter: number | null, requestId: string | null): GatewayError {
  const detail = `The server answered with status ${status}.`;
  const retryable = status === 408 || status === 429 || status >= 500;
  return new (classOf('', status))({code: `http_${status}`, status, detail, retryable, retryAfter, requestId});
}

function classOf(code: string, status: number): new (facts: ErrorFacts) => GatewayError {
  if (code === 'interrupted') return InterruptedError;
  if (code.startsWith('provider_') && status >= 500) return ProviderError;
  switch (status) {
    case 400:
    case 413:
    case 415:
    case 422:
      return InvalidRequestError;
    case 401:
      return AuthenticationError;
    case 403:
      return ForbiddenError;
    case 404:
      return NotFoundError;
    case 409:
      return TurnEndedError;
    case 429:
      return RateLimitError;
    default:
      return GatewayError;
  }
}
