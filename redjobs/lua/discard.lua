-- discard: a job of this claim was cancelled while it ran: forget it.
--
-- KEYS[1] processing  list  ids that this worker has taken
-- KEYS[2] job         hash  the job
-- KEYS[3] unique      str   id of the job that holds this key; a key that nobody holds if it has none
-- KEYS[4] cancels     zset  id of a job that is to be stopped -> when that was asked, ms
-- KEYS[5] stats       hash  counters
-- ARGV[1] id          str   the job's id
-- ARGV[2] token       str   of the claim
-- REPLY   word        discarded lost
-- COST    O(log N)
-- BUILDS  no keys
local processing, job, unique, cancels, stats = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, token = ARGV[1], ARGV[2]

redis.call('LLEN', processing)
redis.call('ZCARD', cancels)
redis.call('HLEN', stats)
local frees = redis.call('GET', unique) == id
if redis.call('HGET', job, 'token') ~= token then return 'lost' end

redis.call('LREM', processing, 0, '')
redis.call('ZREM', cancels, '')
redis.call('HINCRBY', stats, 'cancelled', 1)
redis.call('DEL', job)
if frees then redis.call('DEL', unique) end
redis.call('LREM', processing, -1, id)
redis.call('ZREM', cancels, id)
return 'discarded'
