-- recover: jobs of one priority go from a retired worker's list back to the front of theirs.
--
-- KEYS[1] processing  list  ids that the retired worker had taken
-- KEYS[2] retired     zset  worker -> when it was retired, ms
-- KEYS[3] list        list  where they go: the ready list of their priority
-- KEYS[4] ready       list  ids that are due, priority 0
-- KEYS[5] levels      zset  priorities whose list holds jobs
-- KEYS[6] stats       hash  counters
-- KEYS[7...] job      one hash per id
-- ARGV[1] worker      str   the retired worker
-- ARGV[2] priority    int   of all these ids
-- ARGV[3] bell        str   wakes one blocked worker, is no id
-- ARGV[4...] fields   str   per id, oldest first: id, charge (1: if it was begun it counts as a crash), errors ('' leaves them)
-- REPLY   {recovered, crashed}  how many went back, and how many of them were charged
-- COST    O(ids * length of processing)
-- BUILDS  no keys
local processing, retired, list, ready, levels, stats = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local worker, priority, bell = ARGV[1], ARGV[2], ARGV[3]

redis.call('LLEN', list)
redis.call('LLEN', ready)
redis.call('ZCARD', levels)
redis.call('HLEN', stats)
-- A worker that is not retired still owns its list: whoever asks came too early or is wrong.
if not redis.call('ZSCORE', retired, worker) then return {0, 0} end
local theirs = {}
for _, id in ipairs(redis.call('LRANGE', processing, 0, -1)) do theirs[id] = true end
local back, recovered, crashed = {}, 0, 0
-- From the newest to the oldest: the oldest then stands foremost again.
for a = #ARGV - 2, 4, -3 do
  local id, job = ARGV[a], KEYS[(a - 4) / 3 + 7]
  if theirs[id] then
    local kind = redis.call('TYPE', job).ok
    -- What is no job stays where it is: the others do not wait until somebody has looked at it.
    if kind == 'hash' or kind == 'none' then
      local held = redis.call('HMGET', job, 'token', 'attempt', 'crashes', 'name')
      back[#back + 1] = {
        id = id, job = job, begun = held[1], attempt = tonumber(held[2] or '') or 1, crashes = tonumber(held[3] or '') or 0,
        exists = held[4], charge = ARGV[a + 1] == '1', errors = ARGV[a + 2],
      }
      if held[4] then recovered = recovered + 1 end
      if held[1] and ARGV[a + 1] == '1' then crashed = crashed + 1 end
    end
  end
end

redis.call('LREM', processing, 0, bell)
if recovered > 0 then
  redis.call('HINCRBY', stats, 'recovered', recovered)
  if priority ~= '0' then redis.call('ZADD', levels, priority, priority) end
end
for _, found in ipairs(back) do
  if found.begun then
    redis.call('HDEL', found.job, '')
    redis.call('HSET', found.job, 'attempt', found.attempt - 1)
    if found.charge then
      redis.call('HSET', found.job, 'crashes', found.crashes + 1)
      if found.errors ~= '' then redis.call('HSET', found.job, 'errors', found.errors) end
    end
    -- The old claim ends before the job can be taken again.
    redis.call('HDEL', found.job, 'worker', 'token', 'started_at')
  end
  if found.exists then redis.call('RPUSH', list, found.id) end
  redis.call('LREM', processing, 1, found.id)
end
if recovered > 0 and priority ~= '0' and redis.call('LLEN', ready) == 0 then redis.call('LPUSH', ready, bell) end
return {recovered, crashed}
