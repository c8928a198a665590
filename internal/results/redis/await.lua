-- Reads a row and registers a topic for its Wake. KEYS: row, topics.
-- ARGV: topic, ttl
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return redis.call('HMGET', KEYS[1], 'v', 'h', 's', 'f')
