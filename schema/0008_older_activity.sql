-- While the older server goes on writing, what it says counts as activity: conversations are listed by that, and deleted for want
-- of it (RETENTION_DAYS). Our own messages have a turn, and bring their conversation's time with them.
CREATE FUNCTION note_older_message() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE conversations SET updated_at = coalesce(NEW.timestamp, now() AT TIME ZONE 'utc')
    WHERE id = NEW.conversation_id AND updated_at < coalesce(NEW.timestamp, now() AT TIME ZONE 'utc');
    RETURN NULL;
END $$;
CREATE TRIGGER note_older_message AFTER INSERT ON messages
    FOR EACH ROW WHEN (NEW.turn_id IS NULL) EXECUTE FUNCTION note_older_message();
