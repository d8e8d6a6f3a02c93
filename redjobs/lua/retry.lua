-- retry: a job of this claim runs again later, or is forgotten where somebody wanted it stopped; also snooze.
--
-- KEYS[1] processing  list  ids that this worker has taken
-- KEYS[2] job         hash  the job
-- KEYS[3] scheduled   zset  id -> run_at ms
-- KEYS[4] ready       list  ids that are due, priority 0
-- KEYS[5] stats       hash  counters
-- KEYS[6] unique      str   id of the job that holds this key; a key that nobody holds if it has none
-- KEYS[7] cancels     zset  id of a job that is to be stopped -> when that was asked, ms
-- ARGV[1] id          str   the job's id
-- ARGV[2] token       str   of the claim
-- ARGV[3] delay_ms    int   from now; 0 is due at once
-- ARGV[4] errors      str   msgpack, the job's error history; '' leaves it
-- ARGV[5] refund      int   1 gives the attempt back
-- ARGV[6] bell        str   wakes one blocked worker, is no id
-- ARGV[7] ended       int   1: its handler came to a good end, so its crashes are forgotten
-- REPLY   {word, run_at_ms}  words: scheduled discarded lost
-- COST    O(log N)
-- BUILDS  no keys
local processing, job, scheduled, ready, stats = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local unique, cancels = KEYS[6], KEYS[7]
local id, token, delay_ms, errors = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local refund, bell, ended = ARGV[5], ARGV[6], ARGV[7]
local time = redis.call('TIME')
local run_at = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(delay_ms)

redis.call('LLEN', processing)
redis.call('LLEN', ready)
redis.call('HLEN', stats)
local head = redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')
local held = redis.call('HMGET', job, 'token', 'attempt')
if held[1] ~= token then return {'lost', 0} end
local wanted = not redis.call('ZSCORE', cancels, id)
local frees = redis.call('GET', unique) == id

redis.call('LREM', processing, 0, bell)
redis.call('HDEL', job, '')
if not wanted then
  redis.call('ZREM', cancels, '')
  redis.call('HINCRBY', stats, 'cancelled', 1)
  redis.call('DEL', job)
  if frees then redis.call('DEL', unique) end
  redis.call('LREM', processing, -1, id)
  redis.call('ZREM', cancels, id)
  return {'discarded', 0}
end
redis.call('HINCRBY', stats, refund == '1' and 'snoozed' or 'retried', 1)
redis.call('ZADD', scheduled, run_at, id)
redis.call('HSET', job, 'run_at', run_at)
if errors ~= '' then redis.call('HSET', job, 'errors', errors) end
if refund == '1' then redis.call('HSET', job, 'attempt', tonumber(held[2]) - 1) end
redis.call('LREM', processing, -1, id)
-- It came to a good end: what it was beside before was not its doing.
redis.call('HDEL', job, 'worker', 'token', 'started_at', ended == '1' and 'crashes' or '')
local earliest = head[2] and tonumber(head[2]) or math.huge
if run_at < earliest and redis.call('LLEN', ready) == 0 then redis.call('LPUSH', ready, bell) end
return {'scheduled', run_at}
