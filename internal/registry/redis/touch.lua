-- Notes last uses: the later time stays, 0 forgets.
-- KEYS: uses. ARGV: id, milliseconds …
for i = 1, #ARGV, 2 do
  if ARGV[i + 1] == '0' then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    local old = redis.call('HGET', KEYS[1], ARGV[i])
    if not old or tonumber(old) < tonumber(ARGV[i + 1]) then
      redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    end
  end
end
return 1
