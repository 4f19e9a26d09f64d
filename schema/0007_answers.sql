-- Replies that answer the same first question again (gateway/engine/answers.py). question_hash: of the question, on replies
-- that may; cached: the reply is another turn's, which paid for it.
ALTER TABLE messages
    ADD COLUMN IF NOT EXISTS cached boolean,
    ADD COLUMN IF NOT EXISTS question_hash text;
CREATE INDEX IF NOT EXISTS messages_question_idx ON messages (question_hash, ended_ms) WHERE question_hash IS NOT NULL;
