/** Values that are pushed on one side and iterated over on the other; each is given out once. */

export abstract class Queue<T> implements AsyncIterableIterator<T> {
  private readonly values: T[] = [];
  private readonly readers: {resolve(result: IteratorResult<T>): void; reject(error: unknown): void}[] = [];
  private ending: {error?: unknown} | null = null;

  /** The next value. Rejects once if it all ended with an error. */
  next(): Promise<IteratorResult<T>> {
    if (this.values.length) return Promise.resolve({value: this.values.shift() as T, done: false});
    if (!this.ending) return new Promise((resolve, reject) => this.readers.push({resolve, reject}));
    const {ending} = this;
    this.ending = {};
    return 'error' in ending ? Promise.reject(ending.error) : Promise.resolve(END);
  }

  /** Leaving a loop over the values. */
  return(): Promise<IteratorResult<T>> {
    this.left();
    this.values.length = 0;
    this.ending = {};
    for (const reader of this.readers.splice(0)) reader.resolve(END);
    return Promise.resolve(END);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Nobody iterates any more. */
  protected abstract left(): void;

  protected push(value: T): void {
    if (this.ending) return;
    const reader = this.readers.shift();
    if (reader) reader.resolve({value, done: false});
    else this.values.push(value);
  }

  protected close(ending: {error?: unknown}): void {
    if (this.ending) return;
    this.ending = ending;
    const [first, ...others] = this.readers.splice(0);
    if (!first) return;
    this.ending = {};
    if ('error' in ending) first.reject(ending.error);
    else first.resolve(END);
    for (const reader of others) reader.resolve(END);
  }
}

const END: IteratorReturnResult<undefined> = {value: undefined, done: true};

// Where the engine has no Symbol.asyncIterator, compiled `for await` loops look for this name (Babel's `asyncIterator` helper).
Object.defineProperty(Queue.prototype, '@@asyncIterator', {
  value(this: Queue<unknown>) {
    return this;
  },
});
