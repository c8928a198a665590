-- Removes a row's flag, if it is the given one, and then sets when the row
-- ends, if it has the given version. KEYS: row, flags.
-- ARGV: id, flag, version, KeepTill
local row = redis.call('HMGET', KEYS[1], 'f', 'v')
if row[1] == ARGV[2] then
  redis.call('HDEL', KEYS[1], 'f')
  redis.call('ZREM', KEYS[2], ARGV[1])
  if row[2] == ARGV[3] then
    redis.call('PEXPIREAT', KEYS[1], ARGV[4])
  end
end
return 1
