-- cancel: forget a job that has not begun; ask that one which is running be stopped, if that is wanted.
--
-- KEYS[1] job        hash  the job
-- KEYS[2] scheduled  zset  id -> run_at ms
-- KEYS[3] list       list  the ready list of its priority
-- KEYS[4] unique     str   id of the job that holds this key; a key that nobody holds if it has none
-- KEYS[5] dead       zset  id -> when it died, ms
-- KEYS[6] completed  zset  id -> when its result expires, ms
-- KEYS[7] stats      hash  counters
-- KEYS[8] cancels    zset  id of a job that is to be stopped -> when that was asked, ms
-- ARGV[1] id         str   the job's id
-- ARGV[2] key        str   the unique key that is declared, '' for none
-- ARGV[3] stop       int   1: ask that a running job be stopped; 0: leave it alone
-- REPLY   {word, key}  words: cancelled processing dead completed missing; keyed: call again with this key declared
-- COST    O(log N) where scheduled, O(N) where ready
-- BUILDS  no keys
local job, scheduled, list, unique = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local dead, completed, stats, cancels = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local id, key, stop = ARGV[1], ARGV[2], ARGV[3]

redis.call('HLEN', stats)
local held = redis.call('HMGET', job, 'name', 'token', 'key')
local waits = redis.call('ZSCORE', scheduled, id)
redis.call('LLEN', list)
if not held[1] then return {'missing', ''} end
redis.call('ZCARD', cancels)
local is_over = not held[2] and (redis.call('ZSCORE', dead, id) and 'dead' or redis.call('ZSCORE', completed, id) and 'completed')
if is_over then return {is_over, ''} end
if not held[2] and held[3] and held[3] ~= key then return {'keyed', held[3]} end
-- Where it has a hash and stands nowhere else, a worker has just taken it.
if held[2] or not (waits or redis.call('LPOS', list, id)) then
  if stop == '1' then
    local time = redis.call('TIME')
    redis.call('ZADD', cancels, time[1] * 1000 + math.floor(time[2] / 1000), id)
  end
  return {'processing', ''}
end
local frees = redis.call('GET', unique) == id

-- The hash goes first: an id without one is dropped wherever it stands, a hash without a place stays.
redis.call('ZREM', scheduled, '')
redis.call('HINCRBY', stats, 'cancelled', 1)
redis.call('DEL', job)
redis.call('ZREM', cancels, id)
if frees then redis.call('DEL', unique) end
if waits then
  redis.call('ZREM', scheduled, id)
else
  redis.call('LREM', list, 1, id)
end
return {'cancelled', ''}
