-- bury: a job of this claim is given up and kept in dead, or forgotten where somebody wanted it stopped.
--
-- KEYS[1] processing  list  ids that this worker has taken
-- KEYS[2] job         hash  the job
-- KEYS[3] dead        zset  id -> when it died, ms
-- KEYS[4] unique      str   id of the job that holds this key; a key that nobody holds if it has none
-- KEYS[5] stats       hash  counters
-- KEYS[6] cancels     zset  id of a job that is to be stopped -> when that was asked, ms
-- ARGV[1] id          str   the job's id
-- ARGV[2] token       str   of the claim
-- ARGV[3] errors      str   msgpack, the job's error history
-- REPLY   word        dead discarded lost
-- COST    O(log N)
-- BUILDS  no keys
local processing, job, dead, unique, stats, cancels = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id, token, errors = ARGV[1], ARGV[2], ARGV[3]
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

redis.call('LLEN', processing)
redis.call('ZCARD', dead)
redis.call('HLEN', stats)
local frees = redis.call('GET', unique) == id
local wanted = not redis.call('ZSCORE', cancels, id)
if redis.call('HGET', job, 'token') ~= token then return 'lost' end

redis.call('LREM', processing, 0, '')
redis.call('HDEL', job, '')
if not wanted then
  redis.call('ZREM', cancels, '')
  redis.call('HINCRBY', stats, 'cancelled', 1)
  redis.call('DEL', job)
  if frees then redis.call('DEL', unique) end
  redis.call('LREM', processing, -1, id)
  redis.call('ZREM', cancels, id)
  return 'discarded'
end
redis.call('HINCRBY', stats, 'dead', 1)
redis.call('HSET', job, 'errors', errors)
redis.call('ZADD', dead, now_ms, id)
if frees then redis.call('DEL', unique) end
redis.call('LREM', processing, -1, id)
redis.call('HDEL', job, 'worker', 'token', 'started_at')
return 'dead'
