-- Removes a bounded number of entries whose rows are gone, from one list.
-- KEYS: list. ARGV: tag, cursor of ZSCAN, how many, and for a live list its
-- endpoint and the set of those that have one. Returns the next cursor.
local part = redis.call('ZSCAN', KEYS[1], ARGV[2], 'COUNT', ARGV[3])
for i = 1, #part[2], 2 do
  local id = part[2][i]
  if redis.call('EXISTS', ARGV[1] .. 't:' .. id) == 0 then
    redis.call('ZREM', KEYS[1], id)
  end
end
if ARGV[4] ~= '' and redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('SREM', ARGV[5], ARGV[4])
end
return part[1]
