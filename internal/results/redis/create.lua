-- Stores a row and claims its key, or returns the row that has the id or key.
-- KEYS: row, idempotency key (any when there is no digest)
-- ARGV: id, fingerprint, key's end, tag, digest or '',
--       project, endpoint, created, score if live, failed, expires, hidden,
--       AcceptBy, KeepTill (0: only say whose key it is), field, value … (the last one is u: what the row takes up)
local id, print, tag = ARGV[1], ARGV[2], ARGV[4]
local digest = ARGV[5]
if redis.call('EXISTS', KEYS[1]) == 1 then
  local present = redis.call('HMGET', KEYS[1], 'v', 'h', 's', 'f')
  return {id, present[1], present[2], present[3], present[4], 1, redis.call('ZSCORE', tag .. 'pend', id) or '0'}
end
if digest ~= '' then
  local owner = redis.call('GET', KEYS[2])
  if owner then
    local gap = string.find(owner, ' ', 1, true)
    local first = string.sub(owner, 1, gap - 1)
    local row = redis.call('HMGET', tag .. 't:' .. first, 'v', 'h', 's', 'f')
    if row[1] then
      local same = string.sub(owner, gap + 1) == print and 1 or 0
      return {first, row[1], row[2], row[3], row[4], same, redis.call('ZSCORE', tag .. 'pend', first) or '0'}
    end
  end
  if ARGV[14] == '0' then
    return 1
  end
  redis.call('SET', KEYS[2], id .. ' ' .. print, 'PXAT', ARGV[3])
end
local ix = {unpack(ARGV, 6, 12)}
if ARGV[13] == '0' then
  redis.call('HSET', KEYS[1], unpack(ARGV, 15))
else
  redis.call('HSET', KEYS[1], 'k', ix[2] .. ' ' .. digest .. ' ' .. ix[1], unpack(ARGV, 15))
  redis.call('ZADD', tag .. 'pend', ARGV[13], id)
end
redis.call('PEXPIREAT', KEYS[1], ARGV[14])
place(tag, id, ix)
charge(tag, ix[1], nil, ARGV[#ARGV])
return 1
