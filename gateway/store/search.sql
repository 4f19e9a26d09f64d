-- Finding conversations: taking messages in, and looking for them.

-- name: search.lock
-- One process at a time takes messages in, or counts a day.
SELECT pg_advisory_xact_lock(726504);

-- name: search.try_lock
SELECT pg_try_advisory_xact_lock(726504);

-- name: search.take_in
-- Take in at most $1 messages, as far as they have $2 bytes or there is one alone, those just written first: how many came, and
-- whether there may be more. Messages that are just being deleted are left alone.
WITH state AS MATERIALIZED (
    SELECT
        p.*, (SELECT coalesce(max(id), 0) FROM messages) AS newest,
        pg_snapshot_xmin(pg_current_snapshot()) AS xmin, pg_snapshot_xmax(pg_current_snapshot()) AS xmax
    FROM search_progress p
),
missing AS MATERIALIZED (
    SELECT m.id, m.content FROM messages m
    -- Looked up one by one: they are few, and a join would read all that is in.
    WHERE m.id > (SELECT settled FROM state) AND (SELECT s.message_id FROM message_search s WHERE s.message_id = m.id) IS NULL
    ORDER BY m.id LIMIT $1
    FOR KEY SHARE OF m SKIP LOCKED
),
older AS MATERIALIZED (
    SELECT m.id, m.content FROM messages m
    WHERE m.id <= (SELECT unread FROM state)
    ORDER BY m.id DESC LIMIT $1 - (SELECT count(*) FROM missing)
    FOR KEY SHARE OF m SKIP LOCKED
),
portion AS MATERIALIZED (
    SELECT id, is_new, row_number() OVER behind = 1 OR sum(bytes) OVER behind <= $2 AS fits
    FROM (
        SELECT
            id, is_new,
            least(octet_length(content), 200000) + least((
                SELECT coalesce(sum(octet_length(arguments)), 0) FROM tool_calls t WHERE t.message_id = candidates.id
            ), 200000) AS bytes
        FROM (SELECT id, content, true AS is_new FROM missing UNION ALL SELECT id, content, false FROM older) AS candidates
    ) AS sized
    WINDOW behind AS (ORDER BY is_new DESC, CASE WHEN is_new THEN id ELSE -id END)
),
taken AS (
    INSERT INTO message_search (message_id, conversation_id, caller, cost_usd, words)
    SELECT
        m.id, m.conversation_id, m.caller, m.cost_usd,
        search_words(search_text(m.id, m.content)) || array_to_tsvector(ARRAY(
            SELECT DISTINCT 'tool:' || left(t.tool_name, 200) FROM tool_calls t
            WHERE t.message_id = m.id AND t.tool_name IS NOT NULL
        ))
    FROM messages m
    WHERE m.id = ANY (ARRAY(SELECT id FROM portion WHERE fits))
    ON CONFLICT DO NOTHING
),
-- Turns of days that had been counted already.
late AS (
    DELETE FROM counted_days WHERE day IN (
        SELECT m.timestamp::date FROM messages m
        WHERE m.id = ANY (ARRAY(SELECT id FROM portion WHERE fits)) AND m.role = 'assistant'
    )
),
found AS (
    SELECT
        count(*) FILTER (WHERE fits) AS taken,
        count(*) FILTER (WHERE is_new) < $1 AND bool_and(fits) FILTER (WHERE is_new) IS NOT FALSE AS all_new,
        count(*) < $1 AND bool_and(fits) IS NOT FALSE AS everything,
        min(id) FILTER (WHERE fits AND NOT is_new) AS lowest
    FROM portion
),
counted AS MATERIALIZED (
    SELECT
        state.*, found.taken, found.all_new,
        CASE WHEN found.everything THEN 0 ELSE coalesce(found.lowest - 1, state.unread) END AS now_unread,
        -- A database that was restored elsewhere counts its transactions anew.
        found.all_new AND (mark_xid IS NULL OR mark_xid <= xmin OR mark_xid > xmax) AS marks,
        mark_xid <= xmin AND mark_id > settled AS settles,
        -- Some ids lower: a transaction has its first id a moment before it has a number.
        newest - 1000 AS next_mark
    FROM state, found
),
moved AS (
    UPDATE search_progress p SET
        unread = c.now_unread,
        settled = CASE WHEN c.marks AND c.settles THEN c.mark_id ELSE p.settled END,
        mark_id = CASE WHEN c.marks THEN c.next_mark ELSE p.mark_id END,
        mark_xid = CASE WHEN c.marks THEN c.xmax ELSE p.mark_xid END
    FROM counted c
    WHERE c.now_unread <> c.unread OR (c.marks AND (c.settles OR c.next_mark > coalesce(c.mark_id, c.settled) + 1000))
)
SELECT taken::integer, NOT all_new OR now_unread > 0 AS more FROM counted;

-- name: search.behind
-- Whether there are messages that were written before this was made, and have not been taken in yet.
SELECT unread > 0 FROM search_progress;

-- name: search.terms
SELECT search_term(term)::text FROM unnest($1::text[]) WITH ORDINALITY AS terms (term, place) ORDER BY place;

-- name: search.said
-- A message of the conversation that the viewer sees has these words.
coalesce((
    SELECT true FROM message_search s
    WHERE s.conversation_id = c.id AND s.words @@ {0}::tsquery AND ($2 OR c.owner = $3 OR s.caller = $3) LIMIT 1
), false)

-- name: search.cost
coalesce((
    SELECT sum(s.cost_usd) FROM message_search s
    WHERE s.conversation_id = c.id AND ($2 OR c.owner = $3 OR s.caller = $3)
) >= {0}, false)

-- name: search.status
coalesce((
    SELECT true FROM messages m
    WHERE m.conversation_id = c.id AND m.role = 'assistant' AND m.status = {0} AND ($2 OR c.owner = $3 OR m.caller = $3) LIMIT 1
), false)

-- name: search.all_said
SELECT s.conversation_id FROM message_search s WHERE s.words @@ {0}::tsquery

-- name: search.all_cost
SELECT s.conversation_id FROM message_search s GROUP BY s.conversation_id HAVING sum(s.cost_usd) >= {0}

-- name: search.probe
-- How the newest conversations fare with each test. $1: how many of them, $2: everything may be seen, $3: by whom (null: by nobody
-- in particular, who sees nothing); the same in those that follow.
SELECT c.id, ARRAY[{tests}] AS passed
FROM (
    SELECT c.* FROM {scope} c WHERE ($2 OR $3 <> '') AND {conditions} ORDER BY c.updated_at DESC, c.id DESC LIMIT $1
) c
ORDER BY c.updated_at DESC, c.id DESC;

-- name: search.walk
-- The newest conversations that pass all tests, among the newest {within}. $1: how many are wanted.
SELECT c.id
FROM (
    SELECT c.* FROM {scope} c WHERE ($2 OR $3 <> '') AND {conditions} ORDER BY c.updated_at DESC, c.id DESC LIMIT {within}
) c
WHERE {tests}
ORDER BY c.updated_at DESC, c.id DESC LIMIT $1;

-- name: search.gather
-- The same among all, beginning with those that pass the rarest test.
WITH found AS MATERIALIZED (SELECT DISTINCT conversation_id FROM ({rarest}) AS rarest)
SELECT c.id
FROM {scope} c JOIN found ON found.conversation_id = c.id
WHERE ($2 OR $3 <> '') AND {conditions} AND {tests}
ORDER BY c.updated_at DESC, c.id DESC LIMIT $1;

-- name: search.page
SELECT
    c.id, c.provider, c.created_at, c.updated_at, c.owner,
    (
        SELECT count(*) FROM messages m WHERE m.conversation_id = c.id AND ($2 OR c.owner = $3 OR m.caller = $3)
    ) AS message_count
FROM conversations c WHERE c.id = ANY ($1::text[])
ORDER BY c.updated_at DESC, c.id DESC;

-- name: search.matches
-- The newest message in each of these conversations ($1) that has the words ($4), with the places of these lexemes ($5) in it.
WITH newest AS MATERIALIZED (
    SELECT DISTINCT ON (s.conversation_id) s.conversation_id, s.message_id
    FROM message_search s JOIN conversations c ON c.id = s.conversation_id
    WHERE s.conversation_id = ANY ($1::text[]) AND s.words @@ $4::tsquery AND ($2 OR c.owner = $3 OR s.caller = $3)
    ORDER BY s.conversation_id, s.message_id DESC
)
SELECT
    newest.conversation_id, newest.message_id, search_text(m.id, m.content) AS content, (
        SELECT json_object_agg(word.lexeme, word.positions) FROM unnest(s.words) AS word WHERE word.lexeme = ANY ($5::text[])
    ) AS places
FROM newest
JOIN messages m ON m.id = newest.message_id
JOIN message_search s ON s.message_id = newest.message_id;

-- name: export.portion
-- The next $1 conversations in the order of their ids, and whether they pass all tests.
SELECT c.*, {tests} AS wanted
FROM (SELECT c.* FROM {scope} c WHERE ($2 OR $3 <> '') AND {conditions} ORDER BY c.id LIMIT $1) c
ORDER BY c.id;

-- name: export.after
c.id > {0}

-- name: export.messages
-- Of these conversations ($1), those of callers' own turns alone where they are guests.
SELECT
    m.id, m.conversation_id, m.role, m.content, m.timestamp, m.turn_id, m.status, m.provider, m.model, m.finish_reason,
    m.started_ms, m.thoughts, m.sources, m.error,
    m.input_tokens, m.output_tokens, m.cached_tokens, m.reasoning_tokens, m.cost_usd, m.cached
FROM messages m JOIN conversations c ON c.id = m.conversation_id
WHERE m.conversation_id = ANY ($1::text[]) AND ($2 OR c.owner IS NOT NULL OR m.caller = $3)
ORDER BY m.conversation_id, m.timestamp, m.id;
