-- Returns {epoch, version, items} of one moment. KEYS: meta, items
local meta = redis.call('HMGET', KEYS[1], 'e', 'v')
if not meta[1] then
  return false
end
return {meta[1], meta[2], redis.call('HGETALL', KEYS[2])}
