// Asks for a long reply and stops it: at once (`when`: asked), or behind the first piece of text (`when`: text).

import {gateway, given, readAll, tell} from './platform.mjs';

const stream = gateway.stream(given.body);
if (given.when === 'text') {
  while (!stream.text) await stream.next();
}
const turnBefore = stream.turnId;
const [stopped, read] = await Promise.all([stream.stop(), readAll(stream)]);
tell({...read, turnBefore, stopped: stopped === undefined});
