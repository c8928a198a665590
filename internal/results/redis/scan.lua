-- Returns up to limit (id, score) pairs of a list after a place in it.
-- KEYS: list. ARGV: score or '+inf', id ('' with a score: all of that score
-- are passed over), limit
local limit, out, offset = tonumber(ARGV[3]), {}, 0
while true do
  local part = redis.call('ZREVRANGEBYSCORE', KEYS[1], ARGV[1], '-inf', 'WITHSCORES', 'LIMIT', offset, limit)
  for i = 1, #part, 2 do
    if part[i + 1] ~= ARGV[1] or part[i] < ARGV[2] then
      out[#out + 1] = part[i]
      out[#out + 1] = part[i + 1]
      if #out == 2 * limit then
        return out
      end
    end
  end
  if #part < 2 * limit then
    return out
  end
  offset = offset + limit
end
