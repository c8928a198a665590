-- Renews an owner's part of a quota and returns it; see results.Quotas.
-- KEYS: quota, a hash: owner → "want held till". ARGV: owner, limit, want, held, ttl
local owner, limit, want, before = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local wants, others = {{owner, want}}, 0
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local w, held, till = string.match(all[i + 1], '^(%d+) (%d+) (%d+)$')
  if tonumber(till) <= now then
    redis.call('HDEL', KEYS[1], all[i])
  elseif all[i] ~= owner then
    wants[#wants + 1] = {all[i], tonumber(w)}
    others = others + tonumber(held)
  end
end
table.sort(wants, function(a, b)
  if a[2] ~= b[2] then
    return a[2] < b[2]
  end
  return a[1] < b[1]
end)
-- As results.FairShares.
local left, grant = limit, 0
for i, w in ipairs(wants) do
  local share = math.min(w[2], math.ceil(left / (#wants - i + 1)))
  left = left - share
  if w[1] == owner then
    grant = math.max(0, math.min(share, limit - others))
  end
end
local held = math.max(grant, before)
if want == 0 and held == 0 then
  redis.call('HDEL', KEYS[1], owner)
  return 0
end
redis.call('HSET', KEYS[1], owner, string.format('%d %d %d', want, held, now + ARGV[5]))
redis.call('PEXPIRE', KEYS[1], math.max(tonumber(ARGV[5]), redis.call('PTTL', KEYS[1])))
return grant
