-- Removes rows whose AcceptBy passed without a note. KEYS: pend.
-- ARGV: now, limit, tag. Returns how many rows went and whether more entries
-- may be due.
local tag, limit, gone = ARGV[3], tonumber(ARGV[2]), 0
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[1], 'LIMIT', 0, limit)
for _, id in ipairs(due) do
  local row = tag .. 't:' .. id
  local where = redis.call('HGET', row, 'k')
  if where then
    local endpoint, digest, project = string.match(where, '^(%S*) (%S*) (.*)$')
    if digest ~= '' then
      local key = tag .. 'i:' .. digest
      local owner = redis.call('GET', key)
      if owner and string.sub(owner, 1, #id + 1) == id .. ' ' then
        redis.call('DEL', key)
      end
    end
    redis.call('ZREM', tag .. 'ix:' .. project, id)
    unplace(tag, id, {project, endpoint})
    charge(tag, project, redis.call('HGET', row, 'u'), '')
    redis.call('DEL', row)
    gone = gone + 1
  end
  redis.call('ZREM', KEYS[1], id)
end
return {gone, #due == limit and 1 or 0}
