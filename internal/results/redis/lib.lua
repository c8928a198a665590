-- place puts a row into the lists of its shard, as ix says:
-- {project, endpoint, created, score in the live list or 0, failed, expires,
-- hidden}.
local function place(tag, id, ix)
  local project, endpoint, created = ix[1], ix[2], ix[3]
  if ix[7] == '0' then
    redis.call('ZADD', tag .. 'ix:' .. project, created, id)
  end
  if ix[4] ~= '0' then
    redis.call('ZADD', tag .. 'lx:' .. endpoint, ix[4], id)
    redis.call('SADD', tag .. 'ep:' .. project, endpoint)
  else
    redis.call('ZREM', tag .. 'lx:' .. endpoint, id)
  end
  if ix[5] == '1' and ix[7] == '0' then
    redis.call('ZADD', tag .. 'fx:' .. project, created, id)
  else
    redis.call('ZREM', tag .. 'fx:' .. project, id)
  end
  if ix[6] ~= '0' then
    redis.call('ZADD', tag .. 'x', ix[6], id)
  else
    redis.call('ZREM', tag .. 'x', id)
  end
end
