-- Removes an entry from a list if its row is still gone. KEYS: list, row.
-- ARGV: id
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return 1
