-- Returns (id, created) pairs of a list after a place in it, up to limit of
-- each lane. KEYS: list. ARGV: created or '+inf', id ('' with a time: all of
-- that time are passed over), limit, last lane (0: the list has no lanes, its
-- scores are times), width of a lane
local before, last, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local lanes, width = tonumber(ARGV[4]), tonumber(ARGV[5])

local function lane(base, out)
  local top, offset, n = '+inf', 0, 0
  if before ~= '+inf' then
    top = string.format('%.0f', base + tonumber(before))
  elseif lanes > 0 then
    top = '(' .. string.format('%.0f', base + width)
  end
  while true do
    local part = redis.call('ZREVRANGEBYSCORE', KEYS[1], top, base, 'WITHSCORES', 'LIMIT', offset, limit)
    for i = 1, #part, 2 do
      local created = string.format('%.0f', tonumber(part[i + 1]) - base)
      if created ~= before or part[i] < last then
        out[#out + 1] = part[i]
        out[#out + 1] = created
        n = n + 1
        if n == limit then
          return
        end
      end
    end
    if #part < 2 * limit then
      return
    end
    offset = offset + limit
  end
end

local out = {}
for i = math.min(1, lanes), lanes do
  lane(i * width, out)
end
return out
