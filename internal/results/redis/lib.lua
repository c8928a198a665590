-- The lists of a shard, as ix says: {project, endpoint, created, score in the
-- live list or 0, failed, expires (0: not now, -1: never), hidden}.

-- live lists a row under its endpoint; a row that comes back to life is known
-- by that, and its endpoint may have left the set meanwhile (see forget.lua).
local function live(tag, id, ix)
  local new = redis.call('ZADD', tag .. 'lx:' .. ix[2], ix[4], id) == 1
  if new then
    redis.call('SADD', tag .. 'ep:' .. ix[1], ix[2])
  end
  return new
end

-- charge changes a project's sums from what a row added before to what it adds
-- now; see usage.go.
local function charge(tag, project, old, new)
  if (old or '') == new then
    return
  end
  local sums = tag .. 'u:' .. project
  if old and old ~= '' then
    local sum, n = string.match(old, '^(%S+) (%d+)$')
    if redis.call('HINCRBY', sums, sum, '-' .. n) == 0 then
      redis.call('HDEL', sums, sum)
    end
  end
  if new ~= '' then
    local sum, n = string.match(new, '^(%S+) (%d+)$')
    redis.call('HINCRBY', sums, sum, n)
  end
end

-- place lists a row that was not there.
local function place(tag, id, ix)
  if ix[7] == '0' then
    redis.call('ZADD', tag .. 'ix:' .. ix[1], ix[3], id)
    if ix[5] == '1' then
      redis.call('ZADD', tag .. 'fx:' .. ix[1], ix[3], id)
    end
  end
  if ix[4] ~= '0' then
    live(tag, id, ix)
  end
  if ix[6] ~= '0' and ix[6] ~= '-1' then
    redis.call('ZADD', tag .. 'x', ix[6], id)
  end
end

-- unplace takes a row out of the lists of those that change.
local function unplace(tag, id, ix)
  redis.call('ZREM', tag .. 'fx:' .. ix[1], id)
  redis.call('ZREM', tag .. 'lx:' .. ix[2], id)
  redis.call('ZREM', tag .. 'x', id)
end

-- move changes the place of a row that was there. Only what can have changed is
-- touched: a live row is no dead letter, and most rows never expire.
local function move(tag, id, ix)
  local dead
  if ix[4] ~= '0' then
    dead = live(tag, id, ix)
  else
    dead = redis.call('ZREM', tag .. 'lx:' .. ix[2], id) == 0
  end
  if ix[5] == '1' and ix[7] == '0' then
    redis.call('ZADD', tag .. 'fx:' .. ix[1], ix[3], id)
  elseif dead then
    redis.call('ZREM', tag .. 'fx:' .. ix[1], id)
  end
  if ix[6] == '0' then
    redis.call('ZREM', tag .. 'x', id)
  elseif ix[6] ~= '-1' then
    redis.call('ZADD', tag .. 'x', ix[6], id)
  end
end
