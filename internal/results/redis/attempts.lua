-- Returns the latest attempts in order. KEYS: row. ARGV: how many
local numbers = {}
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local n = string.match(field, '^a(%d+)$')
  if n then
    numbers[#numbers + 1] = tonumber(n)
  end
end
table.sort(numbers)
local out = {}
for i = math.max(1, #numbers - tonumber(ARGV[1]) + 1), #numbers do
  out[#out + 1] = redis.call('HGET', KEYS[1], 'a' .. string.format('%d', numbers[i]))
end
return out
