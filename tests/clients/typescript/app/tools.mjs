// Runs the functions that the model calls; one of them finds nothing.

import {client, gateway, given, readAll, tell} from './platform.mjs';

const began = [];
let both;
const together = new Promise((resolve) => { both = resolve; });

async function search({word}, {callId}) {
  began.push(callId);
  if (began.length === 2) both();
  // Calls of one round run side by side: none of them would go on alone.
  await together;
  if (callId === began[1]) throw new Error('لا توجد هذه الكلمة في المعجم');
  return {word, meaning: 'ما يُكتَب فيه'};
}

const parameters = {type: 'object', properties: {word: {type: 'string'}}, required: ['word']};
const tools = [{name: 'search_entries', description: 'يبحث عن كلمة في المعجم', parameters, run: search}];
const run = gateway.run({...given.body, tools, maxRounds: given.maxRounds});
const read = await readAll(run);
tell({...read, reply: await run.reply(), retryable: [...client.RETRYABLE_CODES]});
