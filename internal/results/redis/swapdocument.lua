-- Writes a document if it has the expected version, else returns it.
-- KEYS: document, the group's names
-- ARGV: name, expected version, KeepTill, data (none: remove)
local present = redis.call('HMGET', KEYS[1], 'v', 'd')
if (present[1] or '0') ~= ARGV[2] then
  return present
end
if not ARGV[4] then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  return false
end
redis.call('HSET', KEYS[1], 'v', string.format('%d', ARGV[2] + 1), 'd', ARGV[4])
redis.call('PEXPIREAT', KEYS[1], ARGV[3])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
-- The names live as long as the document that lives longest. (GT alone would
-- take a key without an end for one that never ends.)
if redis.call('PTTL', KEYS[2]) < 0 then
  redis.call('PEXPIREAT', KEYS[2], ARGV[3])
else
  redis.call('PEXPIREAT', KEYS[2], ARGV[3], 'GT')
end
return false
