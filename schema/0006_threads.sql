-- Finding the conversation that a client without a name for it goes on with: by the calls, or by the reply, that it repeats.
CREATE INDEX IF NOT EXISTS messages_said_idx ON messages (hashtextextended(content, 0), id)
    WHERE role = 'assistant' AND turn_id IS NOT NULL;
-- step
CREATE INDEX IF NOT EXISTS tool_calls_given_idx ON tool_calls (call_id) WHERE call_id IS NOT NULL;
