-- cancels: which running jobs somebody wants stopped; forgets wishes that are older than a day.
--
-- KEYS[1] cancels     zset  id of a job that is to be stopped -> when that was asked, ms
-- ARGV[1] keep_ms     int   how long a wish is remembered
-- ARGV[2] limit       int   at most this many
-- REPLY   {id, ...}   the newest ones
-- COST    O(log N + limit)
-- BUILDS  no keys
local cancels = KEYS[1]
local keep_ms, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local ids = redis.call('ZREVRANGE', cancels, 0, limit - 1)
if #ids > 0 then redis.call('ZREMRANGEBYSCORE', cancels, '-inf', now_ms - keep_ms) end
return ids
