-- Money: what was spent, where a budget is kept.

-- US dollars by caller and UTC day (the day on which turns ended): a row for each signed-in user, and one with caller '' for all
-- turns together. Every turn adds to the latter.
CREATE TABLE IF NOT EXISTS daily_spending (
    caller text NOT NULL,
    day date NOT NULL,
    usd double precision NOT NULL,
    PRIMARY KEY (caller, day)
) WITH (fillfactor = 50);

-- Brings a day's rows up to what the log says: turns that were stored while no budget was kept. Statements that store turns
-- with a budget wait meanwhile, so that none is counted twice or not at all.
CREATE OR REPLACE FUNCTION catch_up_spending(that_day date) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    LOCK TABLE daily_spending IN SHARE ROW EXCLUSIVE MODE;
    INSERT INTO daily_spending AS spending (caller, day, usd)
    SELECT spender.caller, that_day, sum(m.cost_usd)
    FROM messages m,
        LATERAL (VALUES (''), (CASE WHEN m.caller LIKE 'user:%' THEN m.caller END)) AS spender (caller)
    WHERE m.role = 'assistant' AND m.turn_id IS NOT NULL AND m.cost_usd > 0 AND spender.caller IS NOT NULL
      AND m.timestamp >= that_day AND m.timestamp < that_day + 1
    GROUP BY spender.caller
    ON CONFLICT (caller, day) DO UPDATE SET usd = greatest(spending.usd, excluded.usd);
END $$;
