// A client on Node's fetch and eventsource-parser, which goes on by GET with Last-Event-ID.
//
// Reads {base, body, key} from stdin, writes {text, ends}.

import {text} from 'node:stream/consumers';
import {createParser} from 'eventsource-parser';

const {base, body, key} = JSON.parse(await text(process.stdin));
const told = {text: '', ends: []};
let turn = null;
let last = null;

const parser = createParser({
  onEvent({id, event, data}) {
    last = id;
    if (event === 'token') told.text += JSON.parse(data).text;
    if (event === 'done' || event === 'failed') told.ends.push(JSON.parse(data));
  },
  onError(error) {
    throw error;
  },
});

function request() {
  if (last !== null) return fetch(`${base}/chat/stream/${turn}`, {headers: {'Last-Event-ID': last}});
  const headers = {'Content-Type': 'application/json', 'Idempotency-Key': key};
  return fetch(`${base}/chat/stream`, {method: 'POST', headers, body: JSON.stringify(body)});
}

while (!told.ends.length) {
  parser.reset();
  try {
    const answer = await request();
    if (answer.status !== 200) throw new Error(`${answer.status} ${await answer.text()}`);
    turn = answer.headers.get('X-Turn-Id');
    for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) parser.feed(piece);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // a broken connection is a TypeError here
  }
}
process.stdout.write(JSON.stringify(told));
