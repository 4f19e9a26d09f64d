-- Who asks: questions a day, signing in, and callers who were forgotten.

-- Questions by caller and UTC day: the truth. users.daily_requests follows within a minute, for those who look there.
CREATE TABLE IF NOT EXISTS daily_usage (
    caller text NOT NULL,
    day date NOT NULL,
    count integer NOT NULL,
    PRIMARY KEY (caller, day)
) WITH (fillfactor = 70);

-- What was asked today through the older server counts. Its daily_reset_date is the day that daily_requests is about.
INSERT INTO daily_usage (caller, day, count)
SELECT 'user:' || id, daily_reset_date::date, daily_requests
FROM users
WHERE daily_reset_date::date = (now() AT TIME ZONE 'utc')::date AND daily_requests > 0
ON CONFLICT DO NOTHING;

-- Callers who asked to be forgotten; their ids are never given again. erased_at: when the last of their conversations went.
CREATE TABLE IF NOT EXISTS deleted_callers (
    caller text PRIMARY KEY,
    deleted_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc'),
    erased_at timestamp
);

-- As before, and its caller has not been forgotten either.
CREATE OR REPLACE FUNCTION turn_outlives_deletion(conversation text, turn_caller text, began_ms bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(726501, hashtext(conversation));
    IF turn_caller LIKE 'user:%' THEN
        PERFORM pg_advisory_xact_lock_shared(726502, hashtext(turn_caller));
        IF EXISTS (SELECT FROM deleted_callers gone WHERE gone.caller = turn_caller) THEN
            RETURN false;
        END IF;
    END IF;
    RETURN NOT EXISTS (
        SELECT FROM deleted_conversations gone
        WHERE gone.id = conversation
          AND (gone.caller IS NULL OR gone.caller = turn_caller)
          AND gone.deleted_at >= timestamp 'epoch' + began_ms * interval '1 millisecond'
    );
END $$;

-- The account of an identity, made when there is none. Sign-ins of one identity wait for each other: an older database may
-- lack the unique indexes. Where it allows an address in one account only, later ones go without: accounts are never joined
-- by it.
CREATE OR REPLACE FUNCTION sign_in_user(issuer text, subject text, address text) RETURNS SETOF users
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    moment CONSTANT timestamp := clock_timestamp() AT TIME ZONE 'utc';
    known users%ROWTYPE;
BEGIN
    PERFORM pg_advisory_xact_lock(726503, hashtext(issuer || ':' || subject));
    FOR attempt IN 1..3 LOOP
        BEGIN
            IF issuer = 'google' THEN
                SELECT * INTO known FROM users WHERE google_id = subject ORDER BY last_used DESC NULLS LAST, id LIMIT 1;
            ELSE
                SELECT * INTO known FROM users WHERE apple_id = subject ORDER BY last_used DESC NULLS LAST, id LIMIT 1;
            END IF;
            IF NOT FOUND THEN
                RETURN QUERY
                INSERT INTO users (
                    auth_provider, google_id, apple_id, email, created_at, last_used, is_active, daily_requests,
                    daily_reset_date
                ) VALUES (
                    issuer, CASE WHEN issuer = 'google' THEN subject END, CASE WHEN issuer = 'apple' THEN subject END,
                    address, moment, moment, true, 0, moment::date
                ) RETURNING users.*;
            ELSIF known.is_active IS FALSE THEN
                RETURN NEXT known;
            ELSE
                RETURN QUERY
                UPDATE users SET last_used = moment, email = coalesce(address, users.email)
                WHERE users.id = known.id RETURNING users.*;
            END IF;
            RETURN;
        EXCEPTION WHEN unique_violation THEN
            IF attempt = 3 THEN
                RAISE;
            END IF;
            address := NULL;
        END;
    END LOOP;
END $$;
