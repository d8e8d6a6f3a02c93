-- reschedule: a job that has not begun gets another run_at.
--
-- KEYS[1] job        hash  the job
-- KEYS[2] scheduled  zset  id -> run_at ms
-- KEYS[3] list       list  the ready list of its priority
-- KEYS[4] ready      list  ids that are due, priority 0
-- KEYS[5] dead       zset  id -> when it died, ms
-- KEYS[6] completed  zset  id -> when its result expires, ms
-- ARGV[1] id         str   the job's id
-- ARGV[2] run_at     str   '' now, '+N' in N ms, 'N' at N ms
-- ARGV[3] bell       str   wakes one blocked worker, is no id
-- REPLY   {word, run_at_ms}  words: rescheduled processing dead completed missing
-- COST    O(log N) where scheduled, O(N) where ready
-- BUILDS  no keys
local job, scheduled, list, ready, dead, completed = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id, run_at, bell = ARGV[1], ARGV[2], ARGV[3]
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local held = redis.call('HMGET', job, 'name', 'token')
local waits = redis.call('ZSCORE', scheduled, id)
local head = redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')
redis.call('LLEN', ready)
redis.call('LLEN', list)
if not held[1] then return {'missing', 0} end
if held[2] then return {'processing', 0} end
if redis.call('ZSCORE', dead, id) then return {'dead', 0} end
if redis.call('ZSCORE', completed, id) then return {'completed', 0} end
local stands = not waits and redis.call('LPOS', list, id)
if not waits and not stands then return {'processing', 0} end
local at_ms = now_ms
if string.sub(run_at, 1, 1) == '+' then
  at_ms = now_ms + tonumber(string.sub(run_at, 2))
elseif run_at ~= '' then
  at_ms = math.max(now_ms, tonumber(run_at))
end

redis.call('HSET', job, 'run_at', at_ms)
redis.call('ZADD', scheduled, at_ms, id)
if stands then redis.call('LREM', list, 1, id) end
local earliest = head[2] and tonumber(head[2]) or math.huge
if at_ms < earliest and redis.call('LLEN', ready) == 0 then redis.call('LPUSH', ready, bell) end
return {'rescheduled', at_ms}
