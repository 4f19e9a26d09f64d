-- name: statistics
-- Turns that ended at or after $1 (UTC, without zone), by status, provider, model, error and UTC day; the times are milliseconds.
WITH turns AS (
    SELECT
        status, coalesce(provider, 'unknown') AS provider, coalesce(model, 'unknown') AS model, error->>'code' AS error,
        timestamp::date AS day, input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, cost_usd,
        first_output_ms - started_ms AS first_ms, ended_ms - started_ms AS total_ms
    FROM messages
    WHERE role = 'assistant' AND turn_id IS NOT NULL AND timestamp >= $1
),
by_kind AS (
    SELECT
        status, provider, model, error, day, count(*) AS turns,
        sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, sum(cached_tokens) AS cached_tokens,
        sum(cache_write_tokens) AS cache_write_tokens, sum(reasoning_tokens) AS reasoning_tokens, sum(cost_usd) AS cost_usd
    FROM turns GROUP BY status, provider, model, error, day
),
times AS (
    SELECT
        percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY first_ms) AS first_ms,
        percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY total_ms) AS total_ms
    FROM turns
)
SELECT by_kind.*, times.first_ms, times.total_ms FROM times LEFT JOIN by_kind ON true;
