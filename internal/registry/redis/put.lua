-- Writes one item if its present revision is as expected.
-- KEYS: meta, items. ARGV: item, expected revision, epoch, deleted, value, channel
-- Returns the new version, 0 on a mismatch.
local present, deleted = 0, false
local old = redis.call('HGET', KEYS[2], ARGV[1])
if old then
  local revision, dead = string.match(old, '^(%d+) ([01]) ')
  present, deleted = tonumber(revision), dead == '1'
end
local expect = tonumber(ARGV[2])
if expect ~= -1 and expect ~= present and not (expect == 0 and deleted) then
  return 0
end
redis.call('HSETNX', KEYS[1], 'e', ARGV[3])
local version = redis.call('HINCRBY', KEYS[1], 'v', 1)
redis.call('HSET', KEYS[2], ARGV[1], string.format('%d', version) .. ' ' .. ARGV[4] .. ' ' .. ARGV[5])
redis.call('PUBLISH', ARGV[6], version)
return version
