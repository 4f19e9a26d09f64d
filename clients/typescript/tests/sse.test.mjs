import assert from 'node:assert/strict';
import test from 'node:test';
import {EventParser} from '../dist/esm/sse.js';
import {frames} from './server.mjs';

function parse(pieces) {
  const found = [];
  let beats = 0;
  const parser = new EventParser((event) => found.push(event), () => { beats += 1; });
  for (const piece of pieces) parser.feed(piece);
  return {found, beats};
}

const STREAM = `\uFEFF: ping\n${frames().join(': ping\n\n')}`;
const WHOLE = parse([STREAM]);

test('a stream has its events and heartbeats', () => {
  assert.deepEqual(WHOLE.found.map(({event}) => event), ['start', 'token', 'token', 'token', 'token', 'done']);
  assert.equal(WHOLE.beats, 6);
});

for (const [name, end] of [['LF', '\n'], ['CRLF', '\r\n'], ['CR', '\r']]) {
  test(`it may be cut anywhere, with lines that end in ${name}`, () => {
    const text = STREAM.replaceAll('\n', end);
    for (let at = 0; at <= text.length; at += 1) assert.deepEqual(parse([text.slice(0, at), text.slice(at)]), WHOLE);
    assert.deepEqual(parse(text.split('')), WHOLE);
  });
}

test('what no empty line ends is no event', () => {
  assert.deepEqual(parse(['data: {"text":"كتا']).found, []);
  assert.deepEqual(parse(['data: {}\n']).found, []);
});

test('fields as the standard has them', () => {
  const {found} = parse(['data:a\ndata\ndata:  b\nevent:x\nid\nunknown: 1\n\nevent: no data\n\ndata\n\n']);
  assert.deepEqual(found, [{id: '', event: 'x', data: 'a\n\n b'}, {id: '', event: '', data: ''}]);
});
