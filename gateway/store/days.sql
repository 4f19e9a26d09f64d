-- What happened on days that are over; see schema/0005_days.sql.

-- name: days.kinds
-- Turns that ended from $1 on and before $2 (UTC, without zone), by what became of them.
WITH turns AS MATERIALIZED (
    SELECT
        timestamp::date AS day, status, coalesce(provider, 'unknown') AS provider, coalesce(model, 'unknown') AS model,
        coalesce(error->>'code', '') AS error,
        input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, cost_usd,
        round(ln(1.0::float8 + abs(first_output_ms - started_ms)) / ln(1.01::float8))::integer AS first_class,
        round(ln(1.0::float8 + abs(ended_ms - started_ms)) / ln(1.01::float8))::integer AS total_class
    FROM messages
    WHERE role = 'assistant' AND turn_id IS NOT NULL AND timestamp >= $1::timestamp AND timestamp < $2::timestamp
),
first AS (
    SELECT day, status, provider, model, error, json_object_agg(first_class, turns) AS first_ms FROM (
        SELECT day, status, provider, model, error, first_class, count(*) AS turns
        FROM turns WHERE first_class IS NOT NULL GROUP BY day, status, provider, model, error, first_class
    ) classes GROUP BY day, status, provider, model, error
),
total AS (
    SELECT day, status, provider, model, error, json_object_agg(total_class, turns) AS total_ms FROM (
        SELECT day, status, provider, model, error, total_class, count(*) AS turns
        FROM turns WHERE total_class IS NOT NULL GROUP BY day, status, provider, model, error, total_class
    ) classes GROUP BY day, status, provider, model, error
),
sums AS (
    SELECT
        day, status, provider, model, error, count(*) AS turns,
        coalesce(sum(input_tokens), 0)::bigint AS input_tokens, coalesce(sum(output_tokens), 0)::bigint AS output_tokens,
        coalesce(sum(cached_tokens), 0)::bigint AS cached_tokens,
        coalesce(sum(cache_write_tokens), 0)::bigint AS cache_write_tokens,
        coalesce(sum(reasoning_tokens), 0)::bigint AS reasoning_tokens, coalesce(sum(cost_usd), 0) AS cost_usd
    FROM turns GROUP BY day, status, provider, model, error
)
SELECT sums.*, first.first_ms, total.total_ms
FROM sums
LEFT JOIN first USING (day, status, provider, model, error)
LEFT JOIN total USING (day, status, provider, model, error)

-- name: days.count
-- Count the day that begins at $1, unless it has been counted.
WITH added AS (
    INSERT INTO counted_days (day) VALUES ($1::timestamp::date) ON CONFLICT DO NOTHING RETURNING day
)
INSERT INTO turn_days (
    day, status, provider, model, error, turns, input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens,
    cost_usd, first_ms, total_ms
)
SELECT
    k.day, k.status, k.provider, k.model, k.error, k.turns, k.input_tokens, k.output_tokens, k.cached_tokens,
    k.cache_write_tokens, k.reasoning_tokens, k.cost_usd, k.first_ms, k.total_ms
FROM added JOIN ({kinds}) k ON k.day = added.day;

-- name: days.count_empty
-- Count those of the days $1 on which no turn ended, all at once.
INSERT INTO counted_days (day)
SELECT past.day::date FROM unnest($1::timestamp[]) AS past (day)
WHERE NOT EXISTS (
    SELECT FROM messages m
    WHERE m.timestamp >= past.day AND m.timestamp < past.day + interval '1 day' AND m.role = 'assistant' AND m.turn_id IS NOT NULL
)
ON CONFLICT DO NOTHING
RETURNING day;

-- name: days.uncounted
-- The days from $1 on and before $2 that have not been counted, newest first.
SELECT past.day FROM generate_series($1::timestamp, $2::timestamp - interval '1 day', interval '1 day') AS past (day)
WHERE NOT EXISTS (SELECT FROM counted_days c WHERE c.day = past.day::date)
ORDER BY past.day DESC;

-- name: days.counted
SELECT * FROM turn_days WHERE day >= $1::timestamp::date AND day < $2::timestamp::date ORDER BY day;
