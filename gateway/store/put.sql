-- name: put
-- Whole turns, idempotently. $1: the turns as JSON (`TurnRecord`) in UTF-8, sorted by conversation, so that statements of several
-- processes lock rows in the same order; $2: `{turn_id, call_id, result}` of every tool result in them; $3: ids of the turns
-- that bind their Idempotency-Key. Times come as Unix milliseconds and are stored without zone, in UTC. A turn whose
-- conversation is another caller's is left out (`owned`), one that is stored already does nothing.
WITH turns AS MATERIALIZED (
    SELECT
        b.turn_id, b.conversation_id, b.caller, b.question, b.question_parts, b.started_ms,
        b.request_hash, b.request_id, b.idempotency_key, b.streamed, b.simulated,
        nullif(b.tool_results, '[]')::json AS tool_results,
        nullif(b.provider, e.provider) AS requested_provider, nullif(b.model, e.model) AS requested_model,
        e.status, e.provider, e.model, e.first_output_ms, e.ended_ms, e.cost_usd, e.error, e.abandoned,
        e.cached, e.question_hash,
        nullif(e.attempts, '[]')::json AS attempts,
        r.content, r.tool_calls, r.finish_reason, r.layout, r.state,
        nullif(r.thoughts, '[]')::json AS thoughts, nullif(r.sources, '[]')::json AS sources,
        u.input_tokens, u.output_tokens, u.cached_tokens, u.reasoning_tokens, u.cache_write_tokens,
        timestamp 'epoch' + b.started_ms * interval '1 millisecond' AS asked_at,
        timestamp 'epoch' + greatest(e.ended_ms, b.started_ms + 1) * interval '1 millisecond' AS answered_at
    FROM json_to_recordset(convert_from($1::bytea, 'UTF8')::json) AS record (begun json, ended json),
        json_to_record(record.begun) AS b (
            turn_id uuid, conversation_id text, caller text, provider text, model text, question text, question_parts text,
            tool_results text, started_ms bigint, request_hash text, request_id text, idempotency_key text,
            streamed boolean, simulated boolean
        ),
        json_to_record(record.ended) AS e (
            status text, provider text, model text, reply json, ended_ms bigint, first_output_ms bigint,
            cost_usd double precision, error json, attempts text, abandoned boolean,
            cached boolean, question_hash text
        ),
        json_to_record(e.reply) AS r (
            content text, tool_calls json, thoughts text, sources text, usage json, finish_reason text, layout text, state json
        ),
        json_to_record(r.usage) AS u (
            input_tokens bigint, output_tokens bigint, cached_tokens bigint, reasoning_tokens bigint, cache_write_tokens bigint
        )
    WHERE turn_outlives_deletion(b.conversation_id, b.caller, b.started_ms)
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
    SELECT t.conversation_id, 'user', t.question, t.asked_at, t.turn_id, t.status, t.caller, t.question_parts::json
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
        request_hash, request_id, idempotency_key, streamed, simulated, abandoned, cached, question_hash
    )
    SELECT
        t.conversation_id, 'assistant', t.content, t.answered_at, t.turn_id, t.status, t.caller, t.question IS NULL,
        t.provider, t.model, t.requested_provider, t.requested_model, t.finish_reason,
        t.started_ms, t.first_output_ms, t.ended_ms,
        t.input_tokens, t.output_tokens, t.cached_tokens, t.reasoning_tokens, t.cache_write_tokens, t.cost_usd,
        t.thoughts, t.sources, t.error, t.attempts, t.tool_results, t.state, t.layout,
        t.request_hash, t.request_id, t.idempotency_key, t.streamed, t.simulated, t.abandoned, t.cached, t.question_hash
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
    SELECT r.id, r.conversation_id, c.name, c.arguments, r.timestamp, c.position, c.call_id, c.arguments_text
    FROM turns t
    JOIN replied r ON r.turn_id = t.turn_id,
    ROWS FROM (json_to_recordset(t.tool_calls) AS (id text, name text, arguments json, arguments_text text))
        WITH ORDINALITY AS c (call_id, name, arguments, arguments_text, position)
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
        FROM json_to_recordset($2::json) AS a (turn_id uuid, call_id text, result text)
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
    WHERE t.turn_id = ANY ($3::uuid[])
    ON CONFLICT DO NOTHING
)
SELECT turn_id::text, id FROM replied;

-- name: put.counting
-- One more part of `put`, for turns whose callers have a daily limit: $4 is `{turn_id, caller, day, owed}` of those whose count
-- is to change with them. Rows of callers are locked behind those of conversations, and in order.
counted AS (
    INSERT INTO daily_usage AS usage (caller, day, count)
    SELECT d.caller, d.day, sum(d.owed)
    FROM json_to_recordset($4::json) AS d (turn_id uuid, caller text, day date, owed integer)
    JOIN replied r ON r.turn_id = d.turn_id
    GROUP BY d.caller, d.day ORDER BY d.caller, d.day
    ON CONFLICT (caller, day) DO UPDATE SET count = usage.count + excluded.count
),


-- name: put.spending
-- One more part of `put`, where a budget is kept: what the turns cost, by UTC day, of each signed-in user and ('') of all
-- together. These rows are locked last, and in order.
spent AS (
    INSERT INTO daily_spending AS spending (caller, day, usd)
    SELECT spender.caller, t.answered_at::date AS day, sum(t.cost_usd)
    FROM turns t
    JOIN replied r ON r.turn_id = t.turn_id,
        LATERAL (VALUES (''), (CASE WHEN t.caller LIKE 'user:%' THEN t.caller END)) AS spender (caller)
    WHERE t.cost_usd > 0 AND spender.caller IS NOT NULL
    GROUP BY spender.caller, day ORDER BY spender.caller, day
    ON CONFLICT (caller, day) DO UPDATE SET usd = spending.usd + excluded.usd
),
