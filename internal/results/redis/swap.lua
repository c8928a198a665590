-- Changes a row if it has the expected version, else returns it.
-- KEYS: row, topics that wait for it
-- ARGV: id, expected version, tag, channel prefix,
--       project, endpoint, created, score if live, failed, expires, hidden,
--       KeepTill, wake, when flagged or -1, n, n fields to remove, field, value … (the last one is u: what the row takes up)
local id, tag = ARGV[1], ARGV[3]
local row = redis.call('HMGET', KEYS[1], 'v', 'k', 'u')
if (row[1] or '0') ~= ARGV[2] then
  return redis.call('HMGET', KEYS[1], 'v', 'h', 's', 'f')
end
local n = tonumber(ARGV[15])
redis.call('HSET', KEYS[1], unpack(ARGV, 16 + n))
if n > 0 then
  redis.call('HDEL', KEYS[1], unpack(ARGV, 16, 15 + n))
end
if ARGV[14] ~= '-1' then
  redis.call('ZADD', tag .. 'f', ARGV[14], id)
end
local ix = {unpack(ARGV, 5, 11)}
if not row[1] then
  -- What an earlier row of this id left behind must not stay.
  redis.call('ZREM', tag .. 'pend', id)
  unplace(tag, id, ix)
  place(tag, id, ix)
else
  if row[2] then -- its acceptance was not noted yet
    redis.call('ZREM', tag .. 'pend', id)
    redis.call('HDEL', KEYS[1], 'k')
  end
  move(tag, id, ix)
end
charge(tag, ix[1], row[3], ARGV[#ARGV])
redis.call('PEXPIREAT', KEYS[1], ARGV[12])
if ARGV[13] == '1' then
  for _, topic in ipairs(redis.call('SMEMBERS', KEYS[2])) do
    redis.call('PUBLISH', ARGV[4] .. topic, id)
  end
end
return 1
