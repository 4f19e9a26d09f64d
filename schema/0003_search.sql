-- Finding conversations by what was said in them.
--
-- What is searched lies in a table of its own, filled behind the writer (gateway/store/indexing.py), so that writing a turn
-- costs nothing more and an older log is taken in piece by piece while everything runs.

-- Arabic words by their stems, Latin ones by English stems, none left out: positions are those of the words in the text.
CREATE TEXT SEARCH DICTIONARY gateway_english (TEMPLATE = pg_catalog.snowball, LANGUAGE = english);
CREATE TEXT SEARCH CONFIGURATION gateway_words (COPY = pg_catalog.arabic);
ALTER TEXT SEARCH CONFIGURATION gateway_words
    ALTER MAPPING FOR asciiword, asciihword, hword_asciipart WITH gateway_english;

-- The words of a text, one space around each, in one spelling: without vowel marks and tatweel, one form for each of alef,
-- hamza's seats, ya, ta marbuta and ha, kaf, digits; without the article and what is joined to it (`والسلام`, `بالسلام`,
-- `للسلام`). What is no letter or digit parts words. gateway/store/snippets.py parts them the same way.
CREATE FUNCTION search_fold(content text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    folded text := content;
BEGIN
    IF folded ~ '[\ufb50-\ufdff\ufe70-\ufefc]' THEN
        -- One of these letters may stand for four words: bounded, as a tsvector is.
        folded := left(normalize(folded, NFKC), 250000);
    END IF;
    IF folded ~ '[\u00c0-\u04ff\u1e00-\u1fff]' THEN
        -- Latin, Greek and Cyrillic letters without what stands above and below them (`kitāb`), however it was composed.
        folded := normalize(regexp_replace(normalize(folded, NFD), '[\u0300-\u036f]+', '', 'g'), NFC);
    END IF;
    folded := regexp_replace(
        folded, '[\u00ad\u0300-\u036f\u0610-\u061a\u061c\u0640\u064b-\u065f\u0670\u06d6-\u06ed\u08d3-\u08ff\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]+', '', 'g'
    );
    folded := ' ' || regexp_replace(
        folded,
        '[^0-9A-Za-z\u00aa\u00b5\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02af\u0370-\u0373\u0386-\u0481\u048a-\u0587\u05d0-\u05ea'
        '\u0620-\u064a\u0660-\u0669\u066e-\u06d3\u06d5\u06ee-\u06fc\u06ff\u0750-\u077f\u08a0-\u08c9\u0900-\u1fff\u3040-\u318f'
        '\u3400-\u9fff\ua000-\ud7ff]+',
        ' ', 'g'
    ) || ' ';
    IF octet_length(folded) > 2000 THEN
        -- A tsvector takes no word of 2047 bytes, and does not count it either.
        folded := regexp_replace(folded, '([^ ]{255})[^ ]+', '\1', 'g');
    END IF;
    folded := replace(replace(replace(replace(folded, 'أ', 'ا'), 'إ', 'ا'), 'آ', 'ا'), 'ٱ', 'ا');
    folded := replace(replace(replace(replace(folded, 'ؤ', 'و'), 'ئ', 'ي'), 'ى', 'ي'), 'ة', 'ه');
    IF folded ~ '[\u06a9-\u06d5]' THEN
        folded := replace(replace(replace(replace(folded, 'ک', 'ك'), 'ی', 'ي'), 'ے', 'ي'), 'ہ', 'ه');
        folded := replace(replace(replace(replace(folded, 'ھ', 'ه'), 'ۀ', 'ه'), 'ۃ', 'ه'), 'ە', 'ه');
    END IF;
    IF folded ~ '[\u0660-\u0669\u06f0-\u06f9]' THEN
        folded := translate(folded, '٠١٢٣٤٥٦٧٨٩۰۱۲۳۴۵۶۷۸۹', '01234567890123456789');
    END IF;
    folded := replace(replace(replace(folded, ' والله ', ' الله '), ' بالله ', ' الله '), ' فالله ', ' الله ');
    folded := replace(replace(replace(folded, ' لله ', ' الله '), ' ولله ', ' الله '), ' تالله ', ' الله ');
    folded := replace(replace(replace(folded, ' لل', ' ال'), ' ولل', ' ال'), ' فلل', ' ال');
    -- Not the words for parents, whose first letters only look like `و` and the article.
    RETURN regexp_replace(
        folded,
        ' (?!والد(?:ه|ي|ك|ا|ها|هم|نا|يه|يها|ين|ان|ات|ته|تي|تها) )'
        '(?:[وفبك]{0,2}(?:ال){1,2}(?=[ء-ي]{3})|ال(?!(?:له|ان) )(?=[ء-ي]{2} ))',
        ' ', 'g'
    );
END $$;

-- What of a message is searched: the first 100,000 characters of it, and of what its tools were asked.
CREATE FUNCTION search_text(message_id bigint, content text) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT concat_ws(E'\n', left(content, 100000), (
        SELECT left(string_agg(t.arguments, E'\n' ORDER BY t.position, t.id), 100000)
        FROM tool_calls t WHERE t.message_id = search_text.message_id
    ))
$$;

CREATE FUNCTION search_words(content text) RETURNS tsvector
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT to_tsvector('gateway_words', search_fold(content))
$$;

-- One word, or several that must follow each other. The `ل` that may be joined to an Arabic word (`لكتاب`, `ولكتاب`), which the
-- stemmer leaves on, is found with it. Null where there is no word in it.
CREATE FUNCTION search_term(term text) RETURNS tsquery
LANGUAGE sql STABLE STRICT AS $$
    SELECT string_agg(DISTINCT '(' || found || ')', ' | ')::tsquery
    FROM unnest(
        CASE WHEN search_fold(term) ~ '^ [ء-ي]{3}' THEN ARRAY['', 'ل'] ELSE ARRAY[''] END
    ) AS joined,
        CAST(phraseto_tsquery('gateway_words', joined || btrim(search_fold(term))) AS text) AS found
    WHERE found <> ''
$$;

-- One row for each message that can be found. A name of a tool that a message called is the word `tool:<name>`.
CREATE TABLE message_search (
    message_id bigint PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    conversation_id varchar NOT NULL,
    caller text,
    cost_usd double precision,
    words tsvector NOT NULL
);
CREATE INDEX message_search_conversation_idx ON message_search (conversation_id) INCLUDE (cost_usd, caller);
CREATE INDEX message_search_words_idx ON message_search USING gin (words) WITH (gin_pending_list_limit = 1024);

-- How far taking in has come: messages up to `unread` are still to come, newest first; those above it and up to `settled` are
-- in. Above `settled` it is looked what is missing, because ids become visible out of order: `settled` moves up to `mark_id`
-- when all transactions that ran at the time of the mark (older than `mark_xid`) have ended.
CREATE TABLE search_progress (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    unread bigint NOT NULL,
    settled bigint NOT NULL,
    mark_id bigint,
    mark_xid xid8
);
-- The reference to messages, above, has waited for all who were writing.
INSERT INTO search_progress (unread, settled) SELECT coalesce(max(id), 0), coalesce(max(id), 0) FROM messages;
