-- Every statement the store sends, by name; the one that writes turns is in put.sql.

-- name: unwritten
-- Why turns were not written: stored before (and where), deleted since they began, or in another caller's conversation.
SELECT
    t.turn_id, t.conversation_id, m.id, m.conversation_id AS stored_in,
    NOT turn_outlives_deletion(t.conversation_id, t.caller, t.started_ms) AS deleted,
    coalesce(c.owner <> coalesce(t.caller, ''), false) AS foreign_conversation
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[]) AS t (turn_id, conversation_id, caller, started_ms)
LEFT JOIN messages m ON m.turn_id = t.turn_id AND m.role = 'assistant'
LEFT JOIN conversations c ON c.id = t.conversation_id;

-- name: access
SELECT owner FROM conversations WHERE id = $1;

-- name: conversation
-- $2: everything may be seen, $3: by whom.
SELECT c.id, c.provider, c.created_at, c.updated_at, c.owner
FROM conversations c
WHERE c.id = $1 AND (
    $2 OR c.owner = $3 OR (
        c.owner IS NULL AND EXISTS (SELECT FROM conversation_guests g WHERE g.caller = $3 AND g.conversation_id = c.id)
    )
);

-- name: conversation_messages
-- $2: all of them, else those of turns of caller $3.
SELECT
    id, role, content, timestamp, turn_id, status, provider, model, finish_reason, started_ms, thoughts, sources, error,
    input_tokens, output_tokens, cached_tokens, reasoning_tokens, cost_usd, cached
FROM messages
WHERE conversation_id = $1 AND ($2 OR caller = $3)
ORDER BY timestamp, id;

-- name: calls_of_messages
SELECT id, message_id, tool_name, arguments, result, call_id, arguments_text
FROM tool_calls WHERE message_id = ANY($1::bigint[])
ORDER BY message_id, position, id;

-- name: history
-- The newest rows of completed and stopped turns, newest first. $2: all of them, else those of caller $3 (null: turns of
-- nobody in particular that this gateway wrote) where the conversation has no owner.
SELECT id, role, content, timestamp, turn_id, started_ms, follow_up, parts, provider, model, state
FROM messages
WHERE conversation_id = $1
  AND coalesce(status, 'completed') IN ('completed', 'stopped')
  AND role IN ('user', 'assistant')
  AND ($2 OR (turn_id IS NOT NULL AND caller IS NOT DISTINCT FROM $3))
ORDER BY timestamp DESC, id DESC
LIMIT $4;

-- name: states
SELECT t.call_id, m.provider, m.model, m.state
FROM tool_calls t JOIN messages m ON m.id = t.message_id
WHERE t.conversation_id = $1 AND t.call_id = ANY($2::text[]) AND m.state IS NOT NULL
ORDER BY t.id;

-- name: issued
-- Calls of the newest completed or stopped turn, then older ones that still have no result.
WITH newest AS (
    SELECT id FROM messages
    WHERE conversation_id = $1 AND role = 'assistant' AND turn_id IS NOT NULL
      AND status IN ('completed', 'stopped') AND caller IS NOT DISTINCT FROM $2
    ORDER BY timestamp DESC, id DESC LIMIT 1
)
SELECT t.call_id
FROM tool_calls t JOIN messages m ON m.id = t.message_id
WHERE t.conversation_id = $1 AND t.call_id IS NOT NULL AND m.caller IS NOT DISTINCT FROM $2
  AND (t.message_id = (SELECT id FROM newest) OR t.result IS NULL)
ORDER BY t.message_id = (SELECT id FROM newest) DESC, t.message_id DESC, t.position
LIMIT 100;

-- name: turn
SELECT
    m.id, m.turn_id, m.conversation_id, m.content, m.status, m.caller, m.follow_up,
    coalesce(m.requested_provider, m.provider) AS asked_provider, coalesce(m.requested_model, m.model) AS asked_model,
    m.provider, m.model, m.finish_reason,
    m.started_ms, m.first_output_ms, m.ended_ms,
    m.input_tokens, m.output_tokens, m.cached_tokens, m.reasoning_tokens, m.cache_write_tokens, m.cost_usd,
    m.thoughts, m.sources, m.error, m.attempts, m.tool_results, m.state, m.layout,
    m.request_hash, m.request_id, m.idempotency_key, m.streamed, m.simulated, m.abandoned, m.cached,
    m.question_hash,
    asked.content AS question, asked.parts
FROM messages m
LEFT JOIN messages asked ON asked.turn_id = m.turn_id AND asked.role = 'user'
WHERE m.turn_id = $1 AND m.role = 'assistant';

-- name: conversations
-- One page, put together from the fragments below. $1: rows wanted, $2: everything may be seen, $3: by whom.
SELECT
    page.*,
    CASE WHEN $2 OR page.owner = $3
        THEN (SELECT count(*) FROM messages m WHERE m.conversation_id = page.id)
        ELSE (SELECT count(*) FROM messages m WHERE m.conversation_id = page.id AND m.caller = $3)
    END AS message_count
FROM (
    SELECT c.id, c.provider, c.created_at, c.updated_at, c.owner
    FROM {scope} c
    WHERE {conditions}
    ORDER BY c.updated_at DESC, c.id DESC
    LIMIT $1
) page
ORDER BY page.updated_at DESC, page.id DESC;

-- name: conversations.of_caller
(
    SELECT v.* FROM conversations v WHERE v.owner = $3
    UNION ALL
    SELECT v.* FROM conversation_guests g JOIN conversations v ON v.id = g.conversation_id
    WHERE g.caller = $3 AND v.owner IS NULL
)

-- name: conversations.after
(c.updated_at, c.id) < ({0}::timestamp, {1})

-- name: conversations.provider
c.provider = {0}

-- name: conversations.user
c.owner = {0}

-- name: conversations.since
c.updated_at >= {0}::timestamp

-- name: conversations.until
c.updated_at < {0}::timestamp

-- name: conversations.status
-- The status goes in as a literal, so that the partial index can serve it.
c.id IN (SELECT m.conversation_id FROM messages m WHERE m.role = 'assistant' AND m.status = '{status}')

-- name: conversations.status_of_caller
EXISTS (
    SELECT FROM messages m
    WHERE m.conversation_id = c.id AND m.role = 'assistant' AND m.status = '{status}' AND (c.owner = $3 OR m.caller = $3)
)

-- name: claim
-- Bind key $2 of caller $1 to turn $3 unless it is bound; a day frees it, and so does being bound to turn $5. On the way,
-- a few claims that nobody can ask for any more are removed.
WITH outdated AS (
    DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
        SELECT old.ctid FROM idempotency_keys old
        WHERE old.claimed_at < now() AT TIME ZONE 'utc' - interval '25 hours' AND (old.caller, old.key) <> ($1, $2)
        LIMIT 4 FOR UPDATE SKIP LOCKED
    ))
)
INSERT INTO idempotency_keys AS bound (caller, key, turn_id, request_hash) VALUES ($1, $2, $3, $4)
ON CONFLICT (caller, key) DO UPDATE
    SET turn_id = excluded.turn_id, request_hash = excluded.request_hash, claimed_at = excluded.claimed_at
    WHERE bound.claimed_at < now() AT TIME ZONE 'utc' - interval '24 hours' OR bound.turn_id = $5
RETURNING turn_id, request_hash;

-- name: claimed
SELECT turn_id, request_hash FROM idempotency_keys
WHERE caller = $1 AND key = $2 AND claimed_at >= now() AT TIME ZONE 'utc' - interval '24 hours';

-- name: unclaim
DELETE FROM idempotency_keys WHERE caller = $1 AND key = $2 AND turn_id = $3;

-- name: lock_conversation
-- Waits for turns being written to it and holds off further ones; see turn_outlives_deletion.
SELECT pg_advisory_xact_lock(726501, hashtext($1));

-- name: bury
INSERT INTO deleted_conversations AS grave (id, caller, deleted_at)
VALUES ($1, $2, timestamp 'epoch' + $3 * interval '1 millisecond')
ON CONFLICT (id, coalesce(caller, '')) DO UPDATE SET deleted_at = greatest(grave.deleted_at, excluded.deleted_at);

-- name: forget_graves
DELETE FROM deleted_conversations WHERE deleted_at < now() AT TIME ZONE 'utc' - $1 * interval '1 day';

-- name: delete_calls
-- $2: of the whole conversation, else of caller $3's turns in it; the same in the statements that follow.
DELETE FROM tool_calls t USING messages m
WHERE t.message_id = m.id AND m.conversation_id = $1 AND ($2 OR m.caller = $3);

-- name: delete_messages
DELETE FROM messages WHERE conversation_id = $1 AND ($2 OR caller = $3);

-- name: delete_guests
DELETE FROM conversation_guests WHERE conversation_id = $1 AND ($2 OR caller = $3);

-- name: delete_conversation
-- A guest's departure deletes the conversation only when nothing is left in it.
DELETE FROM conversations
WHERE id = $1 AND ($2 OR NOT EXISTS (SELECT FROM messages m WHERE m.conversation_id = $1));

-- name: ping
SELECT 1;

-- name: applied_migrations
SELECT version FROM schema_migrations;

-- name: create_migrations
CREATE TABLE IF NOT EXISTS schema_migrations (
    version text PRIMARY KEY,
    applied_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc')
);

-- name: lock_migrations
SELECT pg_advisory_xact_lock(726500);

-- name: migration_applied
INSERT INTO schema_migrations (version) VALUES ($1);

-- name: expired
-- The longest silent conversations, without activity since $1 (Unix milliseconds).
SELECT id FROM conversations
WHERE updated_at < timestamp 'epoch' + $1 * interval '1 millisecond'
ORDER BY updated_at LIMIT $2;

-- name: silent
SELECT EXISTS (SELECT FROM conversations WHERE id = $1 AND updated_at < timestamp 'epoch' + $2 * interval '1 millisecond');
