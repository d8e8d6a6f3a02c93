-- heartbeat: extend the leases of workers of one process, or register them.
--
-- KEYS[1] workers   zset  worker -> lease expiry ms
-- ARGV[1] lease_ms  int   from now
-- ARGV[2] register  int   1 enters workers that are not there yet
-- ARGV[3...] worker str   the workers
-- REPLY   {now_ms, {word, ...}}  words: alive lapsed (retired by a sweep, its jobs are given to others)
-- COST    O(workers log N)
-- BUILDS  no keys
local workers = KEYS[1]
local lease_ms, register = tonumber(ARGV[1]), ARGV[2]
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local words = {}
redis.call('ZREM', workers, '')
for a = 3, #ARGV do
  if register == '1' or redis.call('ZSCORE', workers, ARGV[a]) then
    -- A lease that ran out but was not swept yet may be taken up again: nobody has its jobs.
    redis.call('ZADD', workers, now_ms + lease_ms, ARGV[a])
    words[#words + 1] = 'alive'
  else
    words[#words + 1] = 'lapsed'
  end
end
return {now_ms, words}
