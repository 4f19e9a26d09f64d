-- How turns are written. Times go in as Unix milliseconds and are stored without zone, in UTC.

-- name: put
-- Whole turns, idempotently. `turns` come sorted by conversation, so that statements of several processes lock rows in the
-- same order. A turn whose conversation is another caller's is left out (`owned`), one that is stored already does nothing.
WITH turns AS MATERIALIZED (
    SELECT
        t.*,
        timestamp 'epoch' + t.started_ms * interval '1 millisecond' AS asked_at,
        timestamp 'epoch' + greatest(t.ended_ms, t.started_ms + 1) * interval '1 millisecond' AS answered_at
    FROM unnest(
        $1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[],
        $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[],
        $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::double precision[],
        $22::text[], $23::text[], $24::text[], $25::text[], $26::text[], $27::text[], $28::text[],
        $29::text[], $30::text[], $31::text[], $32::boolean[], $33::boolean[], $34::boolean[], $35::boolean[]
    ) AS t (
        turn_id, conversation_id, caller, question, parts, started_ms, first_output_ms, ended_ms,
        status, provider, model, requested_provider, requested_model, content, finish_reason,
        input_tokens, output_tokens, cached_tokens, reasoning_tokens, cache_write_tokens, cost_usd,
        thoughts, sources, error, attempts, tool_results, state, layout,
        request_hash, request_id, idempotency_key, streamed, simulated, abandoned, binds_key
    )
    WHERE turn_outlives_deletion(t.conversation_id, t.caller, t.started_ms)
),
owned AS (
    INSERT INTO conversations AS c (id, provider, owner, created_at, updated_at)
    SELECT conversation_id, provider, caller, asked_at, answered_at FROM turns
    ON CONFLICT (id) DO UPDATE SET updated_at = greatest(c.updated_at, excluded.updated_at)
    WHERE c.owner IS NULL OR c.owner = excluded.owner
    RETURNING id, owner
),
asked AS (
    INSERT INTO messages (conversation_id, role, content, timestamp, turn_id, status, caller, parts)
    SELECT t.conversation_id, 'user', t.question, t.asked_at, t.turn_id, t.status, t.caller, t.parts::json
    FROM turns t JOIN owned ON owned.id = t.conversation_id
    WHERE t.question IS NOT NULL
    ON CONFLICT (turn_id, role) WHERE turn_id IS NOT NULL DO NOTHING
    RETURNING turn_id
),
replied AS (
    INSERT INTO messages (
        conversation_id, role, content, timestamp, turn_id, status, caller, follow_up,
        provider, model, requested_provider, requested_model, finish_reason, started_ms, first_output_ms, ended_ms,
        input_tokens, output_tokens, cached_tokens, reasoning_tokens, cache_write_tokens, cost_usd,
        thoughts, sources, error, attempts, tool_results, state, layout,
        request_hash, request_id, idempotency_key, streamed, simulated, abandoned
    )
    SELECT
        t.conversation_id, 'assistant', t.content, t.answered_at, t.turn_id, t.status, t.caller, t.question IS NULL,
        t.provider, t.model, t.requested_provider, t.requested_model, t.finish_reason,
        t.started_ms, t.first_output_ms, t.ended_ms,
        t.input_tokens, t.output_tokens, t.cached_tokens, t.reasoning_tokens, t.cache_write_tokens, t.cost_usd,
        t.thoughts::json, t.sources::json, t.error::json, t.attempts::json, t.tool_results::json, t.state::json, t.layout,
        t.request_hash, t.request_id, t.idempotency_key, t.streamed, t.simulated, t.abandoned
    FROM turns t
    JOIN owned ON owned.id = t.conversation_id
    LEFT JOIN asked ON asked.turn_id = t.turn_id -- so that a question's id is lower than its reply's
    ON CONFLICT (turn_id, role) WHERE turn_id IS NOT NULL DO NOTHING
    RETURNING turn_id, id, conversation_id, timestamp
),
called AS (
    INSERT INTO tool_calls (
        message_id, conversation_id, tool_name, arguments, timestamp, position, call_id, arguments_text
    )
    SELECT r.id, r.conversation_id, c.tool_name, c.arguments, r.timestamp, c.position, c.call_id, c.arguments_text
    FROM unnest($36::uuid[], $37::integer[], $38::text[], $39::text[], $40::text[], $41::text[])
        AS c (turn_id, position, call_id, tool_name, arguments, arguments_text)
    JOIN replied r ON r.turn_id = c.turn_id
    ORDER BY r.id, c.position
),
answered AS (
    UPDATE tool_calls SET result = answer.result
    FROM (
        SELECT a.result, (
            SELECT open_call.id FROM tool_calls open_call
            WHERE open_call.conversation_id = r.conversation_id AND open_call.call_id = a.call_id
              AND open_call.result IS NULL
            ORDER BY open_call.id DESC LIMIT 1
        ) AS id
        FROM unnest($42::uuid[], $43::text[], $44::text[]) AS a (turn_id, call_id, result)
        JOIN replied r ON r.turn_id = a.turn_id
    ) answer
    WHERE tool_calls.id = answer.id AND tool_calls.result IS NULL
),
guests AS (
    INSERT INTO conversation_guests (caller, conversation_id)
    SELECT t.caller, t.conversation_id FROM turns t JOIN owned ON owned.id = t.conversation_id
    WHERE owned.owner IS NULL AND t.caller IS NOT NULL
    ON CONFLICT DO NOTHING
),
-- Keys that could not be claimed while the database was away.
claims AS (
    INSERT INTO idempotency_keys (caller, key, turn_id, request_hash)
    SELECT coalesce(t.caller, ''), t.idempotency_key, t.turn_id, t.request_hash
    FROM turns t JOIN replied r ON r.turn_id = t.turn_id
    WHERE t.idempotency_key IS NOT NULL AND t.binds_key
    ON CONFLICT DO NOTHING
)
SELECT turn_id, id FROM replied;
