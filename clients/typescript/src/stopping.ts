/** Ending a turn whose id may not be known yet. */

import {AbortedError} from './errors.js';
import type {Answer, Loss} from './exchange.js';
import {Patience} from './patience.js';
import {Pause, once, type Call, type Session} from './session.js';

/** A reply that is being read. */
export interface Stoppable {
  over(): boolean;
  turnId(): string | null;
  key: string | null;
  /** Whether a question is on its way to the gateway. */
  underway(): boolean;
  /** End it here: the gateway knows nothing of it. */
  withdraw(error: unknown): void;
}

const ARRIVAL_MS = 200;

/**
 * Before `start` has come the turn is named by its key. The gateway not knowing the key means that the question has not arrived:
 * while it may still be on its way, ask again a little later; otherwise nobody is to send it any more.
 */
export async function stopTurn(session: Session, turn: Stoppable): Promise<void> {
  const patience = new Patience(session.policy);
  const pause = new Pause();
  for (let missed = 0; !turn.over(); ) {
    const turnId = turn.turnId();
    const mayArrive = turn.underway();
    const outcome = await tell(session, turnId, turn.key);
    if (turn.over() || heard(outcome)) return;
    if (isUnknown(outcome)) {
      if (turnId) return;
      if (!mayArrive && !turn.underway() && !turn.turnId()) {
        turn.withdraw(new AbortedError('The question was withdrawn before it reached the server.'));
        return;
      }
      await pause.sleep(ARRIVAL_MS * 2 ** Math.min(missed++, 3));
      continue;
    }
    try {
      await pause.sleep(patience.after(outcome, true, turnId));
    } catch (error) {
      if (!turn.turnId()) turn.withdraw(error);
      throw error;
    }
  }
}

function tell(session: Session, turnId: string | null, key: string | null): Promise<Answer | Loss> {
  const call: Call = {method: 'DELETE', path: turnId ? `/chat/stream/${encodeURIComponent(turnId)}` : '/chat/stream'};
  if (!turnId && key) call.headers = {'Idempotency-Key': key};
  return once(session, call);
}

/** 409: the reply has ended already. */
function heard(outcome: Answer | Loss): boolean {
  return outcome.kind === 'answer' && (outcome.status === 202 || outcome.status === 409);
}

function isUnknown(outcome: Answer | Loss): boolean {
  return outcome.kind === 'answer' && outcome.status === 404;
}
