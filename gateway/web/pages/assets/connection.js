// One turn over a connection that may be cut, by hand too: the rest comes by Last-Event-ID.

import { eventsOf } from "./sse.js";

const RETRY_MS = 1000;
const TRIES = 5;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Turn {
  constructor(body) {
    this.body = body;
    this.key = crypto.randomUUID ? crypto.randomUUID() : `${Date.now()}-${Math.random().toString(36).slice(2)}`;
    this.id = null;
    this.lastEventId = null;
    this.counts = [];
  }

  /** Every event of the turn, exactly once; `onCut` hears of each connection that ended too early, `onResumed` of the next. */
  async *events(onCut, onResumed) {
    for (let failures = 0; ; ) {
      const events = this.connect();
      this.counts.push(0);
      if (this.counts.length > 1) onResumed(this);
      try {
        for await (const event of events) {
          failures = 0;
          this.counts[this.counts.length - 1] += 1;
          if (event.id) this.lastEventId = event.id;
          this.id = event.data.turn_id ?? this.id;
          yield event;
          if (event.event === "done" || event.event === "failed") return;
        }
      } catch (error) {
        // Cut by hand (AbortError), by the network (TypeError), or refused, which repeating does not mend.
        if (error instanceof Refused || !(error instanceof DOMException || error instanceof TypeError)) throw error;
      }
      if (++failures > TRIES) throw new Error("the connection does not hold");
      onCut(this);
      await pause(RETRY_MS);
    }
  }

  async *connect() {
    this.abort = new AbortController();
    const known = this.lastEventId !== null;
    const address = known ? `/chat/stream/${this.id}` : "/chat/stream";
    const headers = known ? { "Last-Event-ID": this.lastEventId } : { "Content-Type": "application/json", "Idempotency-Key": this.key };
    const response = await fetch(address, {
      method: known ? "GET" : "POST",
      headers,
      body: known ? undefined : JSON.stringify(this.body),
      signal: this.abort.signal,
    });
    if (!response.ok) throw new Refused(await response.json());
    yield* eventsOf(response);
  }

  /** Cut the connection, as a phone in a tunnel does; the turn goes on. */
  drop() {
    this.abort.abort();
  }

  /** Ask the gateway to end the turn. */
  async stop() {
    const address = this.id ? `/chat/stream/${this.id}` : "/chat/stream";
    await fetch(address, { method: "DELETE", headers: this.id ? {} : { "Idempotency-Key": this.key } });
  }
}

/** The gateway's answer was a problem object. */
export class Refused extends Error {
  constructor(problem) {
    super(problem.detail);
    this.problem = problem;
  }
}
