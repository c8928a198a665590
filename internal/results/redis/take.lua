-- Takes up to so many of a rate; see task.Rate.Take, which this is. KEYS: when
-- the whole burst is there again, in microseconds. ARGV: per second, burst, want
-- Returns how many were taken, how many are left, and microseconds to the next.
local persecond, burst, want = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local window = burst / persecond * 1000000
local full = math.min(now + window, math.max(now, tonumber(redis.call('GET', KEYS[1]) or 0)))
local here = math.max(0, math.floor((window - (full - now)) / 1000000 * persecond + 0.001))
local n = math.min(want, here)
if n > 0 then
  full = full + n / persecond * 1000000
  redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000) + 1000)
end
local wait = 0
if here == n then
  wait = math.max(0, math.ceil(full - now - window + 1000000 / persecond))
end
return {n, here - n, wait}
