/** Server-sent events from text in pieces (the HTML standard, 9.2.6 "Interpreting an event stream"). */

export interface ServerSentEvent {
  /** Empty for an event without one. */
  id: string;
  event: string;
  data: string;
}

/** Feed it text as it comes, however it was cut. What was not ended by an empty line is no event. */
export class EventParser {
  private rest = '';
  private afterCarriageReturn = false;
  private started = false;
  private id = '';
  private event = '';
  private data: string[] = [];

  /** `alive` hears of comments, which are heartbeats here. */
  constructor(
    private readonly found: (event: ServerSentEvent) => void,
    private readonly alive: () => void = () => undefined,
  ) {}

  feed(text: string): void {
    if (!this.started && text) {
      this.started = true;
      if (text.charCodeAt(0) === 0xfeff) text = text.slice(1);
    }
    // The CR that ended the text before may have been the first half of a CRLF.
    if (this.afterCarriageReturn && text) {
      this.afterCarriageReturn = false;
      if (text.startsWith('\n')) text = text.slice(1);
    }
    let begin = 0;
    for (let at = lineEnd(text, 0); at !== -1; at = lineEnd(text, begin)) {
      const line = this.rest + text.slice(begin, at);
      this.rest = '';
      begin = at + 1;
      if (text.charCodeAt(at) === CARRIAGE_RETURN) {
        if (begin === text.length) this.afterCarriageReturn = true;
        else if (text.charCodeAt(begin) === LINE_FEED) begin += 1;
      }
      this.line(line);
    }
    this.rest += text.slice(begin);
  }

  private line(line: string): void {
    if (line === '') {
      this.dispatch();
      return;
    }
    const colon = line.indexOf(':');
    if (colon === 0) {
      this.alive();
      return;
    }
    const name = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? '' : line.slice(line.charCodeAt(colon + 1) === SPACE ? colon + 2 : colon + 1);
    if (name === 'data') this.data.push(value);
    else if (name === 'event') this.event = value;
    else if (name === 'id') this.id = value;
  }

  private dispatch(): void {
    const {id, event, data} = this;
    this.id = '';
    this.event = '';
    this.data = [];
    if (data.length) this.found({id, event, data: data.join('\n')});
  }
}

const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;
const SPACE = 32;

function lineEnd(text: string, from: number): number {
  const end = /[\r\n]/g;
  end.lastIndex = from;
  return end.exec(text)?.index ?? -1;
}
