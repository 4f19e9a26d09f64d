-- What happened on days that are over, counted once (gateway/store/days.py), so that a month is thirty days to add up.

-- The days that have been counted. One is counted anew when a turn of it is written late, or is deleted.
CREATE TABLE counted_days (
    day date PRIMARY KEY
);

-- Turns of a day by what became of them. The times are counts by class: class n is around 1.01 ^ n - 1 milliseconds.
CREATE TABLE turn_days (
    day date NOT NULL REFERENCES counted_days (day) ON DELETE CASCADE,
    status text NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    error text NOT NULL,
    turns bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    cost_usd double precision NOT NULL,
    first_ms json,
    total_ms json,
    PRIMARY KEY (day, status, provider, model, error)
);

-- Counting and taking messages in hold the lock alone, so that none of them misses the other.
CREATE FUNCTION forget_counted_days() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(726504);
    DELETE FROM counted_days WHERE day IN (SELECT timestamp::date FROM gone WHERE role = 'assistant');
    RETURN NULL;
END $$;
CREATE TRIGGER forget_counted_days AFTER DELETE ON messages
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION forget_counted_days();
