-- take: promote what is due, then move up to `count` ids, best priority first, to the worker's list.
--
-- KEYS[1] processing  list  ids that this worker has taken
-- KEYS[2] workers     zset  worker -> lease expiry ms
-- KEYS[3] scheduled   zset  id -> run_at ms
-- KEYS[4] ready       list  ids that are due, priority 0
-- KEYS[5] levels      zset  priorities whose list holds jobs
-- KEYS[6...] list     the lists of the priorities named in ARGV
-- ARGV[1] worker      str   whose list; must hold a lease when count > 0
-- ARGV[2] count       int   take at most this many; 0 promotes only
-- ARGV[3] limit       int   promote at most this many; call again while next_us is 0
-- ARGV[4] bell        str   wakes one blocked worker, is no id
-- ARGV[5] lowest      int   take no priority below this; '' for no limit
-- ARGV[6] highest     int   take no priority above this; '' for no limit
-- ARGV[7...] priority int   other than 0, one per list
-- REPLY   {word, next_us, more, {missing priority, ...}, {id, ...}, promoted}  words: taken lapsed; next_us: to the next due job, -1: nothing scheduled
-- COST    O(count + limit log N)
-- BUILDS  no keys: a list that is not declared is answered as missing, and its jobs stay where they are
local processing, workers, scheduled, ready, levels = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local worker, count, limit, bell = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local lowest, highest = tonumber(ARGV[5]) or -math.huge, tonumber(ARGV[6]) or math.huge
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now_ms = math.floor(now_us / 1000)

redis.call('LLEN', processing)
redis.call('LRANGE', ready, 0, 0)
redis.call('ZRANGE', levels, 0, 0)
local list_of = {['0'] = ready}
for a = 7, #ARGV do
  list_of[ARGV[a]] = KEYS[a - 1]
  redis.call('LLEN', KEYS[a - 1])
end
local due = redis.call('ZRANGEBYSCORE', scheduled, '-inf', now_ms, 'LIMIT', 0, limit)
if count > 0 and not redis.call('ZSCORE', workers, worker) then
  return {'lapsed', -1, 0, {}, {}, 0}
end

-- A removal passes where memory is full, and everything after it: so a full server drains.
-- Whoever may not remove is refused here, and not when the jobs stand in two places.
redis.call('LREM', processing, 0, bell)
redis.call('ZREM', scheduled, '')
redis.call('LTRIM', ready, 0, -1)

-- Promote. An id tells its priority: `<id>.<priority>`, or `<id>` alone for 0.
local missing, unknown, promoted, pushed = {}, {}, {}, {}
for _, id in ipairs(due) do
  local priority = string.match(id, '%.(-?%d+)$') or '0'
  if list_of[priority] then
    pushed[priority] = pushed[priority] or {}
    table.insert(pushed[priority], id)
    promoted[#promoted + 1] = id
  elseif not unknown[priority] then
    unknown[priority] = true
    missing[#missing + 1] = priority
  end
end
for priority, ids in pairs(pushed) do
  if priority ~= '0' then redis.call('ZADD', levels, priority, priority) end
  redis.call('LPUSH', list_of[priority], unpack(ids))
end
if #promoted > 0 then redis.call('ZREM', scheduled, unpack(promoted)) end

-- Take.
local order, placed = {}, false
for _, priority in ipairs(redis.call('ZRANGE', levels, 0, -1)) do
  if not placed and tonumber(priority) > 0 then
    order[#order + 1] = '0'
    placed = true
  end
  order[#order + 1] = priority
end
if not placed then order[#order + 1] = '0' end
-- A better list that was not declared: nothing is taken before its jobs, the worker asks again.
local blocked = #missing > 0
local taken, more = {}, 0
for _, priority in ipairs(order) do
  local list = list_of[priority]
  if tonumber(priority) < lowest or tonumber(priority) > highest then
    -- Not for this worker.
  elseif not list then
    if not unknown[priority] then missing[#missing + 1] = priority end
    blocked = true
  else
    -- One more than is wanted, for one may be the bell, which takes no job's place.
    local want, bells = blocked and 0 or count - #taken, 0
    local ids, moved = redis.call('LRANGE', list, -want - 1, -1), {}
    for i = #ids, 1, -1 do
      if ids[i] == bell then
        bells = 1
      elseif #moved < want then
        moved[#moved + 1] = ids[i]
        taken[#taken + 1] = ids[i]
      end
    end
    if #moved > 0 then redis.call('LPUSH', processing, unpack(moved)) end
    -- Who only promotes leaves the bell to somebody that takes.
    if count > 0 and #moved + bells > 0 then
      redis.call('LTRIM', list, 0, -#moved - bells - 1)
      bells = 0
    end
    local left = redis.call('LLEN', list) - bells
    more = more + left
    if left == 0 and priority ~= '0' then redis.call('ZREM', levels, priority) end
  end
end

local head = redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')
local next_us = -1
if head[2] then next_us = math.max(0, tonumber(head[2]) * 1000 - now_us) end
-- Whoever was woken and is busy now passes the bell on, if there is or soon will be more to do;
-- so does who promotes for others.
local soon = more > 0 or #missing > 0 or (next_us >= 0 and next_us < 1000000)
local busy = #taken > 0 or (count == 0 and #promoted > 0)
if busy and soon and redis.call('LLEN', ready) == 0 then redis.call('LPUSH', ready, bell) end
return {'taken', next_us, more, missing, taken, #promoted}
