-- Moves AcceptBy from old to next. KEYS: row, pend. ARGV: id, old, next
if redis.call('ZSCORE', KEYS[2], ARGV[1]) ~= ARGV[2] or redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
redis.call('ZADD', KEYS[2], 'XX', ARGV[3], ARGV[1])
return 1
