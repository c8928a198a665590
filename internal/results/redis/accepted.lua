-- Notes an acceptance. KEYS: row, pend. ARGV: id
if redis.call('ZREM', KEYS[2], ARGV[1]) == 1 then
  redis.call('HDEL', KEYS[1], 'k')
end
return 1
