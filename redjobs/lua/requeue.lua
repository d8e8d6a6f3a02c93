-- requeue: an operator gives a dead job another life: ready now, with its attempts and crashes at zero.
--
-- KEYS[1] job      hash  the job
-- KEYS[2] dead     zset  id -> when it died, ms
-- KEYS[3] list     list  the ready list of its priority
-- KEYS[4] ready    list  ids that are due, priority 0
-- KEYS[5] levels   zset  priorities whose list holds jobs
-- KEYS[6] unique   str   id of the job that holds this key; a key that nobody holds if it has none
-- KEYS[7] stats    hash  counters
-- ARGV[1] id       str   the job's id
-- ARGV[2] key      str   the unique key that is declared, '' for none
-- ARGV[3] priority int   of the job
-- ARGV[4] bell     str   wakes one blocked worker, is no id
-- REPLY   {word, text}  words: ready notdead missing; duplicate: text is the job that holds the key now; keyed: call again with this key declared
-- COST    O(log N)
-- BUILDS  no keys
local job, dead, list, ready = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local levels, unique, stats = KEYS[5], KEYS[6], KEYS[7]
local id, key, priority, bell = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

redis.call('LLEN', list)
redis.call('LLEN', ready)
redis.call('ZCARD', levels)
redis.call('HLEN', stats)
local held = redis.call('HMGET', job, 'name', 'key')
local since = redis.call('ZSCORE', dead, id)
if not held[1] then return {'missing', ''} end
if not since then return {'notdead', ''} end
if held[2] and held[2] ~= key then return {'keyed', held[2]} end
local holder = redis.call('GET', unique)
if held[2] and holder and holder ~= id then return {'duplicate', holder} end

redis.call('HDEL', job, 'attempt', 'crashes')
redis.call('HSET', job, 'run_at', now_ms)
redis.call('HINCRBY', stats, 'requeued', 1)
if held[2] then redis.call('SET', unique, id) end
if priority ~= '0' then redis.call('ZADD', levels, priority, priority) end
redis.call('LPUSH', list, id)
redis.call('ZREM', dead, id)
if priority ~= '0' and redis.call('LLEN', ready) == 0 then redis.call('LPUSH', ready, bell) end
return {'ready', ''}
