-- Returns ids of a list of times whose time has come; entries of rows that are
-- gone are removed on the way. KEYS: list. ARGV: now, limit, tag
local out, limit, offset = {}, tonumber(ARGV[2]), 0
for _ = 1, 10 do
  local part = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'WITHSCORES', 'LIMIT', offset, limit)
  local last = #part < 2 * limit
  for i = 1, #part, 2 do
    if redis.call('EXISTS', ARGV[3] .. 't:' .. part[i]) == 1 then
      out[#out + 1] = part[i]
      out[#out + 1] = part[i + 1]
      offset = offset + 1
      if #out == 2 * limit then
        return out
      end
    else
      redis.call('ZREM', KEYS[1], part[i])
    end
  end
  if last then
    return out
  end
end
return out
