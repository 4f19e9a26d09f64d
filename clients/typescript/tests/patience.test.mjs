import assert from 'node:assert/strict';
import test from 'node:test';
import {Patience} from '../dist/esm/patience.js';

const POLICY = {forMs: 120_000, minDelayMs: 500, maxDelayMs: 10_000, attempts: 2};
const LOST = {kind: 'lost', cause: new Error('offline')};

/** Pauses of somebody whose attempts fail at once, until there are no more. */
function pauses(random) {
  let now = 0;
  const patience = new Patience(POLICY, () => random, () => now);
  const found = [];
  try {
    for (;;) {
      found.push(patience.after(LOST, true, null));
      now += found.at(-1);
    }
  } catch (error) {
    assert.equal(error.code, 'connection_lost');
    return found;
  }
}

test('pauses grow to the longest, and chance shortens them by up to a half', () => {
  assert.deepEqual(pauses(0).slice(0, 7), [500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
  assert.deepEqual(pauses(1).slice(0, 7), [250, 500, 1000, 2000, 4000, 5000, 5000]);
});

test('all of them together are no longer than asked for', () => {
  for (const random of [0, 0.5, 1]) {
    const total = pauses(random).reduce((sum, one) => sum + one, 0);
    assert.ok(total <= 120_000 && total > 105_000, `${total}`);
  }
});

test('a phone that slept for an hour has not been looking for its network for an hour', () => {
  let now = 0;
  const patience = new Patience(POLICY, () => 0, () => now);
  patience.after(LOST, true, null);
  now += 3_600_000;
  assert.equal(patience.after(LOST, true, null), 1000);
  now += 3_600_000;
  assert.throws(() => patience.after(LOST, true, null), {code: 'connection_lost'});
  patience.renew();
  assert.equal(patience.after(LOST, true, null), 500);
});
