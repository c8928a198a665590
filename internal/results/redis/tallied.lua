-- Sums a name's counters over minutes, and the levels of its owners.
-- KEYS: levels, counters of each minute. Returns level, counter, n, …
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local level, sums = 0, {}
for _, said in ipairs(redis.call('HVALS', KEYS[1])) do
  local n, till = string.match(said, '^(%d+) (%d+)$')
  if tonumber(till) > now then
    level = level + tonumber(n)
  end
end
for k = 2, #KEYS do
  local all = redis.call('HGETALL', KEYS[k])
  for i = 1, #all, 2 do
    sums[all[i]] = (sums[all[i]] or 0) + tonumber(all[i + 1])
  end
end
local out = {level}
for counter, n in pairs(sums) do
  out[#out + 1] = tonumber(counter)
  out[#out + 1] = n
end
return out
