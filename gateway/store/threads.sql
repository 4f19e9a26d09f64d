-- name: thread_of_calls
-- Where caller $1 got the newest of the calls $2.
SELECT m.conversation_id
FROM tool_calls t JOIN messages m ON m.id = t.message_id
WHERE t.call_id = ANY ($2::text[]) AND m.caller IS NOT DISTINCT FROM $1
ORDER BY t.id DESC LIMIT 1;

-- name: thread_of_reply
-- Where caller $1 got the reply $2 last, to the question $3 (or in a turn without one, to the results of tools).
SELECT m.conversation_id
FROM messages m
WHERE hashtextextended(m.content, 0) = hashtextextended($2, 0) AND m.content = $2
  AND m.role = 'assistant' AND m.turn_id IS NOT NULL AND m.caller IS NOT DISTINCT FROM $1
  AND coalesce((SELECT q.content = $3 FROM messages q WHERE q.turn_id = m.turn_id AND q.role = 'user'), true)
ORDER BY m.id DESC LIMIT 1;
