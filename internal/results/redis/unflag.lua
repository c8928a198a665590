-- Removes a row's flag, if it is the given one, and sets when the row ends.
-- KEYS: row, flags. ARGV: id, flag, KeepTill
if redis.call('HGET', KEYS[1], 'f') == ARGV[2] then
  redis.call('HDEL', KEYS[1], 'f')
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('PEXPIREAT', KEYS[1], ARGV[3])
end
return false
