-- stranded: what retired workers still have in their lists; forgets workers that have had nothing for long.
--
-- KEYS[1] retired     zset  worker -> when it was retired, ms
-- KEYS[2...] processing  one list per worker
-- ARGV[1] limit       int   at most this many ids of each
-- ARGV[2] keep_ms     int   a retired worker is remembered this long: a frozen process may still take a job; 0: for ever
-- ARGV[3...] worker   str   the workers
-- REPLY   {{id, ...}, ...}  one per worker, newest first: what is recovered last stands foremost
-- COST    O(workers * limit)
-- BUILDS  no keys
local retired = KEYS[1]
local limit, keep_ms = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local found = {}
for a = 3, #ARGV do found[#found + 1] = redis.call('LRANGE', KEYS[a - 1], 0, limit - 1) end
for a = 3, #ARGV do
  local since = redis.call('ZSCORE', retired, ARGV[a])
  if keep_ms ~= 0 and #found[a - 2] == 0 and since and tonumber(since) < now_ms - keep_ms then
    redis.call('ZREM', retired, ARGV[a])
  end
end
return found
