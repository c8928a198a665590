-- Returns a shard's sums of a project as field, sum …; those whose time is over
-- are removed: the rows that they were for are gone. KEYS: sums.
-- ARGV: this day, this hour
local out, all = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local kind, till = string.match(all[i], '^(%a)(%d+)$')
  if tonumber(till) < tonumber(kind == 'w' and ARGV[1] or ARGV[2]) then
    redis.call('HDEL', KEYS[1], all[i])
  else
    out[#out + 1] = all[i]
    out[#out + 1] = all[i + 1]
  end
end
return out
