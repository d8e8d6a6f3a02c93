-- release: give jobs of one priority back unrun, to the front of their list, the attempt refunded.
--
-- KEYS[1] processing  list  ids that this worker has taken
-- KEYS[2] list        list  where they go: the ready list of their priority
-- KEYS[3] ready       list  ids that are due, priority 0
-- KEYS[4] levels      zset  priorities whose list holds jobs
-- KEYS[5] stats       hash  counters
-- KEYS[6...] job      one hash per id
-- ARGV[1] token       str   of the claim; '' for ids that were taken and not begun
-- ARGV[2] priority    int   of all these ids
-- ARGV[3] bell        str   wakes one blocked worker, is no id
-- ARGV[4...] id       str   the ids, oldest first
-- REPLY   int         how many were given back; the others another claim has, or nobody, or they have no hash
-- COST    O(ids * length of processing)
-- BUILDS  no keys
local processing, list, ready, levels, stats = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local token, priority, bell = ARGV[1], ARGV[2], ARGV[3]

redis.call('LLEN', list)
redis.call('LLEN', ready)
redis.call('ZCARD', levels)
redis.call('HLEN', stats)
local mine = {}
for _, id in ipairs(redis.call('LRANGE', processing, 0, -1)) do mine[id] = true end
local back, released = {}, 0
-- From the newest to the oldest: the oldest then stands foremost again.
for a = #ARGV, 4, -1 do
  local id, job = ARGV[a], KEYS[a + 2]
  local held = redis.call('HMGET', job, 'token', 'attempt', 'name')
  if mine[id] and (held[1] or '') == token then
    back[#back + 1] = {id = id, job = job, attempt = held[2], exists = held[3]}
    if held[3] then released = released + 1 end
  end
end

redis.call('LREM', processing, 0, bell)
if released > 0 then
  redis.call('HINCRBY', stats, 'released', released)
  if priority ~= '0' then redis.call('ZADD', levels, priority, priority) end
end
for _, given in ipairs(back) do
  if token ~= '' then
    redis.call('HDEL', given.job, '')
    redis.call('HSET', given.job, 'attempt', tonumber(given.attempt) - 1)
    -- The old claim ends before the job can be taken again.
    redis.call('HDEL', given.job, 'worker', 'token', 'started_at')
  end
  if given.exists then redis.call('RPUSH', list, given.id) end
  redis.call('LREM', processing, 1, given.id)
end
if released > 0 and priority ~= '0' and redis.call('LLEN', ready) == 0 then redis.call('LPUSH', ready, bell) end
return released
