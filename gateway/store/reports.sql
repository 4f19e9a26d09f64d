-- name: timeline
-- Turns that ended from $1 on (UTC, without zone), by step of $2 seconds (the first is 0) and provider; rows without a
-- provider are all of their step together. The times are milliseconds.
WITH turns AS (
    SELECT
        floor(extract(epoch FROM timestamp - $1::timestamp) / $2)::integer AS step, coalesce(provider, 'unknown') AS provider, status,
        input_tokens, output_tokens, cost_usd, first_output_ms - started_ms AS first_ms
    FROM messages
    WHERE role = 'assistant' AND turn_id IS NOT NULL AND timestamp >= $1::timestamp
)
SELECT
    step, CASE WHEN grouping(provider) = 0 THEN provider END AS provider, count(*) AS turns,
    count(*) FILTER (WHERE status = 'stopped') AS stopped,
    count(*) FILTER (WHERE status = 'interrupted') AS interrupted,
    count(*) FILTER (WHERE status = 'failed') AS failed,
    coalesce(sum(input_tokens), 0)::bigint AS input_tokens, coalesce(sum(output_tokens), 0)::bigint AS output_tokens,
    coalesce(sum(cost_usd), 0) AS cost_usd,
    percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY first_ms) AS first_ms
FROM turns
GROUP BY GROUPING SETS ((step, provider), (step))
ORDER BY step, provider;

-- name: callers
-- Who asked from $1 on (UTC, without zone), most turns first: at most $2 of them; null is nobody in particular.
WITH seen AS (
    SELECT
        caller, count(*) AS turns, count(*) FILTER (WHERE status IN ('failed', 'interrupted')) AS failures,
        coalesce(sum(input_tokens), 0)::bigint AS input_tokens, coalesce(sum(output_tokens), 0)::bigint AS output_tokens,
        coalesce(sum(cost_usd), 0) AS cost_usd, max(timestamp) AS last_at
    FROM messages
    WHERE role = 'assistant' AND turn_id IS NOT NULL AND timestamp >= $1
    GROUP BY caller ORDER BY turns DESC, caller LIMIT $2
)
SELECT seen.*, account.email, coalesce(usage.count, 0) AS asked_today
FROM seen
LEFT JOIN users account
    ON account.id = CASE WHEN seen.caller ~ '^user:[0-9]{1,9}$' THEN substring(seen.caller FROM 6)::integer END
LEFT JOIN daily_usage usage ON usage.caller = seen.caller AND usage.day = (now() AT TIME ZONE 'utc')::date
ORDER BY seen.turns DESC, seen.caller;

-- name: failures
-- The newest failed and interrupted turns, $1 at most, older than row $2; $3 error code and $4 provider, null for any.
SELECT
    id, turn_id, conversation_id, timestamp, status, caller, provider, model, error, attempts, request_id, started_ms, ended_ms
FROM messages
WHERE role = 'assistant' AND status <> 'completed' AND status IN ('failed', 'interrupted') AND turn_id IS NOT NULL
  AND id < coalesce($2, 9223372036854775807)
  AND ($3::text IS NULL OR error->>'code' = $3) AND ($4::text IS NULL OR provider = $4)
ORDER BY id DESC LIMIT $1;

-- name: turn_details
-- What the log knows of the turns of a conversation beside what their readers see.
SELECT
    turn_id, caller, started_ms, first_output_ms, ended_ms, requested_provider, requested_model, error, attempts, request_id,
    idempotency_key, cache_write_tokens, streamed, simulated, abandoned, follow_up
FROM messages
WHERE conversation_id = $1 AND role = 'assistant' AND turn_id IS NOT NULL;

-- name: outlines
-- Each of these conversations in a line: its first question, its turns, those that failed, what they cost.
SELECT
    wanted.id,
    (
        SELECT left(m.content, 200) FROM messages m
        WHERE m.conversation_id = wanted.id AND m.role = 'user' ORDER BY m.timestamp, m.id LIMIT 1
    ) AS opening,
    count(m.id) AS turns, count(m.id) FILTER (WHERE m.status IN ('failed', 'interrupted')) AS failures, sum(m.cost_usd) AS cost_usd
FROM unnest($1::text[]) AS wanted (id)
LEFT JOIN messages m ON m.conversation_id = wanted.id AND m.role = 'assistant'
GROUP BY wanted.id;
