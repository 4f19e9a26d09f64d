// An app that is killed in the middle of a reply; then its next start, which knows the conversation and nothing else.

import {client, gateway, given, readAll, tell} from './platform.mjs';

const before = new AbortController();
const stream = gateway.stream(given.body, {signal: before.signal});
while (!stream.text) await stream.next();
before.abort();
const aborted = await readAll(stream);

const {conversation, streams} = await gateway.follow(given.body.conversation_id);
const reads = await Promise.all(streams.map(readAll));
const unknown = await gateway.follow('لا وجود لها').catch((error) => error instanceof client.NotFoundError);
tell({aborted, active: conversation.active_turns, reads, unknown});
