-- Every statement of this folder, by name. Days are UTC; times are stored without zone, in UTC.

-- name: reserve
-- $1 caller, $2 day, $3 limit (1 or more). No row when the limit is reached.
INSERT INTO daily_usage AS usage (caller, day, count) VALUES ($1, $2, 1)
ON CONFLICT (caller, day) DO UPDATE SET count = usage.count + 1 WHERE usage.count < $3
RETURNING count;

-- name: settle
-- Counts kept elsewhere meanwhile, in one order for everybody; below zero when more was given back than taken.
INSERT INTO daily_usage AS usage (caller, day, count)
SELECT caller, day, delta FROM unnest($1::text[], $2::date[], $3::integer[]) AS kept (caller, day, delta)
ORDER BY caller, day
ON CONFLICT (caller, day) DO UPDATE SET count = usage.count + excluded.count;

-- name: used
SELECT count FROM daily_usage WHERE caller = $1 AND day = $2;

-- name: prune_usage
DELETE FROM daily_usage WHERE day < $1;

-- name: spent
SELECT caller, usd FROM daily_spending WHERE caller = ANY ($1::text[]) AND day = $2;

-- name: spend
-- What turns cost that are kept nowhere.
INSERT INTO daily_spending AS spending (caller, day, usd)
SELECT caller, day, usd FROM unnest($1::text[], $2::date[], $3::double precision[]) AS kept (caller, day, usd)
ORDER BY caller, day
ON CONFLICT (caller, day) DO UPDATE SET usd = spending.usd + excluded.usd;

-- name: catch_up_spending
SELECT catch_up_spending($1);

-- name: prune_spending
DELETE FROM daily_spending WHERE day < $1;

-- name: sign_in
-- $1 provider, $2 its subject, $3 the address or null.
SELECT id, $1 AS provider, email, created_at, coalesce(is_active, true) AS is_active FROM sign_in_user($1, $2, $3);

-- name: user
SELECT
    id,
    coalesce(auth_provider, CASE WHEN apple_id IS NOT NULL THEN 'apple' ELSE 'google' END) AS provider,
    email,
    created_at,
    coalesce(is_active, true) AS is_active
FROM users WHERE id = $1;

-- name: touch_user
-- Note that a user is about, and show the day's count where the older server kept it. No row: gone or switched off.
UPDATE users SET
    last_used = now() AT TIME ZONE 'utc',
    daily_requests = coalesce(
        (SELECT usage.count FROM daily_usage usage
         WHERE usage.caller = 'user:' || users.id AND usage.day = (now() AT TIME ZONE 'utc')::date), 0),
    daily_reset_date = (now() AT TIME ZONE 'utc')::date
WHERE id = $1 AND is_active IS NOT FALSE
RETURNING coalesce(extract(epoch FROM created_at), 0)::float8 AS created_s;

-- name: lock_caller
-- Waits for turns of this caller being written and holds off further ones; see turn_outlives_deletion.
SELECT pg_advisory_xact_lock(726502, hashtext($1));

-- name: bury_caller
INSERT INTO deleted_callers (caller) VALUES ($1) ON CONFLICT DO NOTHING;

-- name: delete_user
DELETE FROM users WHERE id = $1;

-- name: unerased_callers
SELECT caller FROM deleted_callers WHERE erased_at IS NULL ORDER BY deleted_at LIMIT 100;

-- name: conversations_of
SELECT id FROM conversations WHERE owner = $1
UNION
SELECT conversation_id FROM conversation_guests WHERE caller = $1
LIMIT 200;

-- name: caller_erased
WITH usage AS (DELETE FROM daily_usage WHERE caller = $1),
spending AS (DELETE FROM daily_spending WHERE caller = $1),
keys AS (DELETE FROM idempotency_keys WHERE caller = $1)
UPDATE deleted_callers SET erased_at = now() AT TIME ZONE 'utc' WHERE caller = $1;

-- name: rounds
-- Follow-ups in conversation $1 by caller $2 since their newest question; those that failed with nothing cost nothing.
SELECT count(*)
FROM messages m
WHERE m.conversation_id = $1 AND m.role = 'assistant' AND m.follow_up AND m.caller IS NOT DISTINCT FROM $2
  AND NOT (m.status = 'failed' AND coalesce(m.content, '') = '' AND m.output_tokens IS NULL)
  AND m.timestamp > coalesce((
      SELECT q.timestamp FROM messages q
      WHERE q.conversation_id = $1 AND q.role = 'user' AND q.caller IS NOT DISTINCT FROM $2
      ORDER BY q.timestamp DESC, q.id DESC LIMIT 1
  ), '-infinity');
