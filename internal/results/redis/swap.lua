-- Changes a row if it has the expected version, else returns it.
-- KEYS: row, topics that wait for it
-- ARGV: id, expected version, tag, channel prefix,
--       project, endpoint, created, score if live, failed, expires, hidden,
--       KeepTill, wake, when flagged or -1, n, n fields to remove, field, value …
local id, tag = ARGV[1], ARGV[3]
local row = redis.call('HMGET', KEYS[1], 'v', 'h', 's', 'f')
if (row[1] or '0') ~= ARGV[2] then
  return row
end
local n = tonumber(ARGV[15])
redis.call('HSET', KEYS[1], unpack(ARGV, 16 + n))
if n > 0 then
  redis.call('HDEL', KEYS[1], unpack(ARGV, 16, 15 + n))
end
if ARGV[14] ~= '-1' then
  redis.call('ZADD', tag .. 'f', ARGV[14], id)
end
if redis.call('ZREM', tag .. 'pend', id) == 1 then
  redis.call('HDEL', KEYS[1], 'k')
end
redis.call('PEXPIREAT', KEYS[1], ARGV[12])
place(tag, id, {unpack(ARGV, 5, 11)})
if ARGV[13] == '1' then
  for _, topic in ipairs(redis.call('SMEMBERS', KEYS[2])) do
    redis.call('PUBLISH', ARGV[4] .. topic, id)
  end
end
return false
