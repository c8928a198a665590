-- Adds to a name's counters of a minute and sets an owner's level.
-- KEYS: counters (hash: counter → n), levels (hash: owner → "n till")
-- ARGV: how long counters are kept, owner, level, its ttl, counter, n, …
local keep, owner, level, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
for i = 5, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
end
if #ARGV > 4 then
  redis.call('PEXPIRE', KEYS[1], keep)
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  if tonumber(string.match(all[i + 1], ' (%d+)$')) <= now then
    redis.call('HDEL', KEYS[2], all[i])
  end
end
if level == 0 then
  redis.call('HDEL', KEYS[2], owner)
  return false
end
redis.call('HSET', KEYS[2], owner, string.format('%d %d', level, now + ttl))
redis.call('PEXPIRE', KEYS[2], math.max(ttl, redis.call('PTTL', KEYS[2])))
return false
