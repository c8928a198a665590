-- Returns up to limit documents of a group as name, version, data …, names
-- descending; names of those that are gone are removed on the way.
-- KEYS: the group's names. ARGV: '+' or '(' and a name, limit, document prefix
local out, limit, from = {}, tonumber(ARGV[2]), ARGV[1]
while true do
  local names = redis.call('ZREVRANGEBYLEX', KEYS[1], from, '-', 'LIMIT', 0, limit)
  for _, name in ipairs(names) do
    local doc = redis.call('HMGET', ARGV[3] .. name, 'v', 'd')
    if doc[1] then
      out[#out + 1] = name
      out[#out + 1] = doc[1]
      out[#out + 1] = doc[2]
      if #out == 3 * limit then
        return out
      end
    else
      redis.call('ZREM', KEYS[1], name)
    end
    from = '(' .. name
  end
  if #names < limit then
    return out
  end
end
