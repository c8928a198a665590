-- Changes a row if it has the expected version, else returns it.
-- KEYS: row, topics that wait for it
-- ARGV: id, expected version, tag, channel prefix,
--       project, endpoint, created, score if live, failed, expires,
--       KeepTill, wake, n, n fields to remove, field, value …
local id, tag = ARGV[1], ARGV[3]
local row = redis.call('HMGET', KEYS[1], 'v', 'h', 's')
if (row[1] or '0') ~= ARGV[2] then
  return row
end
local n = tonumber(ARGV[13])
redis.call('HSET', KEYS[1], unpack(ARGV, 14 + n))
if n > 0 then
  redis.call('HDEL', KEYS[1], unpack(ARGV, 14, 13 + n))
end
if redis.call('ZREM', tag .. 'pend', id) == 1 then
  redis.call('HDEL', KEYS[1], 'k')
end
redis.call('PEXPIREAT', KEYS[1], ARGV[11])
place(tag, id, {unpack(ARGV, 5, 10)})
if ARGV[12] == '1' then
  for _, topic in ipairs(redis.call('SMEMBERS', KEYS[2])) do
    redis.call('PUBLISH', ARGV[4] .. topic, id)
  end
end
return false
