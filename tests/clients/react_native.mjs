// An app with react-native-sse, as the README shows it, asking one question.
//
// Reads {base, recipe, questionId, conversation_id, message} from stdin; `recipe` is the README's code. Writes what the app
// was told. Nothing ends this process: it lives for as long as the library wants to ask again.

import {readFileSync} from 'node:fs';
import {text} from 'node:stream/consumers';
import {XMLHttpRequest} from './xhr.mjs';

globalThis.XMLHttpRequest = XMLHttpRequest;

// Its source is a module that its package.json does not call one; the bundler of React Native does not mind.
const source = readFileSync(new URL('node_modules/react-native-sse/src/EventSource.js', import.meta.url));
const {default: EventSource} = await import(`data:text/javascript;base64,${source.toString('base64')}`);

const asked = JSON.parse(await text(process.stdin));
const told = {text: '', ends: [], shown: []};
const given = {
  ...asked,
  EventSource,
  append: (piece) => { told.text += piece; },
  finish: (body) => told.ends.push(body),
  show: (detail) => told.shown.push(detail),
};
new Function(...Object.keys(given), asked.recipe)(...Object.values(given));
process.on('exit', () => process.stdout.write(JSON.stringify(told)));
