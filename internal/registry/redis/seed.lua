-- Replaces everything if the store is empty or behind in the same epoch.
-- KEYS: meta, items. ARGV: epoch, version, channel, item, value …
local meta = redis.call('HMGET', KEYS[1], 'e', 'v')
if meta[1] and (meta[1] ~= ARGV[1] or tonumber(meta[2]) >= tonumber(ARGV[2])) then
  return 0
end
redis.call('DEL', KEYS[2])
for i = 4, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
redis.call('HSET', KEYS[1], 'e', ARGV[1], 'v', ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[2])
return 1
