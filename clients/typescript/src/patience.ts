/** How long, and how often, to try again. */

import {errorOf, type Answer, type Loss} from './exchange.js';
import {ConnectionError, TurnEndedError, type GatewayError} from './errors.js';

export interface RetryPolicy {
  /** How long a lost connection is looked for until `ConnectionError` is thrown; begins anew with everything that comes. */
  forMs: number;
  /** The first pause; each further one is twice as long, and all are shortened at random by up to a half. */
  minDelayMs: number;
  /** The longest pause. */
  maxDelayMs: number;
  /** How often a question is asked again that the gateway could not take (`overloaded`, `rate_limited`…). */
  attempts: number;
}

export const DEFAULT_POLICY: RetryPolicy = {forMs: 120_000, minDelayMs: 500, maxDelayMs: 10_000, attempts: 2};

/**
 * Refusals after which the same question may be put again without asking the user. A provider's failures are not among them: the
 * gateway has tried again by itself, as often as its operator wants to pay for.
 */
const WORTH_REPEATING = new Set([
  'rate_limited',
  'internal_error',
  'interrupted',
  'turn_elsewhere',
  'log_unavailable',
  'shutting_down',
  'overloaded',
]);
/** What took longer was no attempt, but a phone that slept. */
const LONGEST_ATTEMPT_MS = 60_000;
/** What proxies say while the server behind them is away. */
const AWAY = new Set([408, 502, 503, 504]);

export class Patience {
  private losses = 0;
  private refusals = 0;
  private lostAt: number | null = null;
  private waited = 0;
  private spent = 0;

  constructor(
    private readonly policy: RetryPolicy,
    private readonly random: () => number = Math.random,
    private readonly now: () => number = Date.now,
  ) {}

  /** Something came: a later loss is a new one. */
  renew(): void {
    this.losses = 0;
    this.lostAt = null;
    this.spent = 0;
  }

  /**
   * Milliseconds to wait before the next attempt. Throws the error when there is to be none. `begun`: a reply is known to be
   * there, so that it is worth waiting for as if the connection were lost.
   */
  after(outcome: Answer | Loss, begun: boolean, turnId: string | null): number {
    if (outcome.kind === 'lost') return this.afterLoss(outOfReach(outcome.cause, turnId), null);
    if (outcome.status === 204) throw allRead(turnId);
    if (outcome.status >= 200 && outcome.status < 300) {
      // A stream that just ended, or a captive portal's page.
      return this.afterLoss(outOfReach(new Error(`An answer without an end (${outcome.status}).`), turnId), null);
    }
    const {error, own} = errorOf(outcome);
    if (own ? begun && error.retryable : AWAY.has(error.status)) return this.afterLoss(error, error.retryAfter);
    if (own && WORTH_REPEATING.has(error.code)) return this.afterRefusal(error);
    throw error;
  }

  private afterLoss(error: GatewayError, retryAfter: number | null): number {
    const now = this.now();
    if (this.lostAt !== null) this.spent += Math.min(now - this.lostAt, this.waited + LONGEST_ATTEMPT_MS);
    this.lostAt = now;
    this.waited = Math.max(this.pause(this.losses), (retryAfter ?? 0) * 1000);
    this.losses += 1;
    if (this.spent + this.waited > this.policy.forMs) throw error;
    return this.waited;
  }

  private afterRefusal(error: GatewayError): number {
    const wait = Math.max(this.pause(this.refusals), (error.retryAfter ?? 0) * 1000);
    this.refusals += 1;
    if (this.refusals > this.policy.attempts || wait > this.policy.maxDelayMs) throw error;
    return wait;
  }

  private pause(before: number): number {
    const {minDelayMs, maxDelayMs} = this.policy;
    return Math.min(maxDelayMs, minDelayMs * 2 ** before) * (1 - this.random() / 2);
  }
}

function outOfReach(cause: unknown, turnId: string | null): ConnectionError {
  return new ConnectionError('The connection to the server was lost.', cause, turnId);
}

/** The gateway's word on an id that names the last event. */
function allRead(turnId: string | null): TurnEndedError {
  const detail = 'The reply has ended, and all of it has been read.';
  return new TurnEndedError({code: 'turn_ended', status: 204, detail, retryable: false, turnId});
}
