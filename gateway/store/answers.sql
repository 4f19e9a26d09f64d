-- name: answer
-- The newest reply to the question with hash $1 that ended at $2 (Unix milliseconds) or later.
SELECT content, thoughts, sources, layout FROM messages
WHERE question_hash = $1 AND ended_ms >= $2 AND status = 'completed'
ORDER BY ended_ms DESC LIMIT 1;
