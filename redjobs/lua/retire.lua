-- retire: a worker takes no more: it left, or is known to be dead.
--
-- KEYS[1] workers     zset  worker -> lease expiry ms
-- KEYS[2] retired     zset  worker -> when it was retired, ms
-- KEYS[3] processing  list  ids that this worker has taken
-- ARGV[1] worker      str   the worker
-- ARGV[2] clean       int   1: it says so itself and has no blocking call under way
-- ARGV[3] bell        str   wakes one blocked worker, is no id
-- REPLY   word        left (forgotten) stranded (its list is left to be recovered)
-- COST    O(log N)
-- BUILDS  no keys
local workers, retired, processing = KEYS[1], KEYS[2], KEYS[3]
local worker, clean, bell = ARGV[1], ARGV[2], ARGV[3]
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

redis.call('ZCARD', workers)
redis.call('ZCARD', retired)
redis.call('LLEN', processing)
redis.call('LREM', processing, 0, bell)
redis.call('ZREM', workers, '')
if clean == '1' and redis.call('LLEN', processing) == 0 then
  redis.call('ZREM', workers, worker)
  return 'left'
end
redis.call('ZADD', retired, now_ms, worker)
redis.call('ZREM', workers, worker)
return 'stranded'
