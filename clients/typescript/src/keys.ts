/** Names for questions that nobody else will think of. */

interface Chance {
  randomUUID?(): string;
  getRandomValues?(bytes: Uint8Array): Uint8Array;
}

/** A new Idempotency-Key; React Native has no `crypto`, and pages without TLS no `randomUUID`. */
export function newKey(): string {
  const {crypto} = globalThis as {crypto?: Chance};
  if (crypto?.randomUUID) return crypto.randomUUID();
  const bytes = new Uint8Array(16);
  if (crypto?.getRandomValues) crypto.getRandomValues(bytes);
  else for (let at = 0; at < bytes.length; at += 1) bytes[at] = Math.floor(Math.random() * 256);
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
