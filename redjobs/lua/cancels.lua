-- cancels: which of these running jobs somebody wants stopped; forgets wishes that are older than a day.
--
-- KEYS[1] cancels     zset  id of a job that is to be stopped -> when that was asked, ms
-- ARGV[1] keep_ms     int   how long a wish is remembered
-- ARGV[2...] id       str   the ids
-- REPLY   {id, ...}   those that are to be stopped
-- COST    O(ids)
-- BUILDS  no keys
local cancels = KEYS[1]
local keep_ms = tonumber(ARGV[1])
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

if redis.call('ZCARD', cancels) == 0 then return {} end
local wished = {}
for a = 2, #ARGV do
  local since = redis.call('ZSCORE', cancels, ARGV[a])
  if since and tonumber(since) > now_ms - keep_ms then wished[#wished + 1] = ARGV[a] end
end
redis.call('ZREMRANGEBYSCORE', cancels, '-inf', now_ms - keep_ms)
return wished
