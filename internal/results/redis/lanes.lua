-- Counts the lanes of a live list. KEYS: list. ARGV: how many lanes, width of
-- one. Returns for each lane how many entries it has and the lowest score.
local width, out = tonumber(ARGV[2]), {}
for lane = 1, tonumber(ARGV[1]) do
  local from, to = lane * width, '(' .. string.format('%.0f', (lane + 1) * width)
  local n = redis.call('ZCOUNT', KEYS[1], from, to)
  out[#out + 1] = n
  local first = n > 0 and redis.call('ZRANGEBYSCORE', KEYS[1], from, to, 'WITHSCORES', 'LIMIT', 0, 1) or {}
  out[#out + 1] = first[2] or '0'
end
return out
