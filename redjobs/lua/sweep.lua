-- sweep: retire workers whose lease has run out, and name what needs maintenance.
--
-- KEYS[1] workers     zset  worker -> lease expiry ms
-- KEYS[2] retired     zset  worker -> when it was retired, ms
-- KEYS[3] completed   zset  id -> when its result expires, ms
-- KEYS[4] dead        zset  id -> when it died, ms
-- ARGV[1] limit       int   at most this many of each kind; call again while one is full
-- ARGV[2] dead_age_ms int   dead jobs older than this are trimmed
-- ARGV[3] dead_max    int   and the oldest above this count
-- ARGV[4] asked_ms    int   when it was asked for, as this server said; 0 retires nobody
-- ARGV[5] prompt_ms   int   how old such a call may be
-- REPLY   {now_ms, expired, late, {retired worker, ...}, {expired completed id, ...}, {dead id to trim, ...}}
-- COST    O(limit log N)
-- BUILDS  no keys
local workers, retired, completed, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local limit, dead_age_ms, dead_max = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local asked_ms, prompt_ms = tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

-- Who was retired just now has jobs, mostly; of the others hardly one, for a frozen process may still take a job. So
-- of those the newest are named, and where there are more a page of them that the clock chooses.
local newest = redis.call('ZREVRANGE', retired, 0, limit - 1)
local pages, others = math.ceil(redis.call('ZCARD', retired) / limit), {}
if pages > 1 then
  local page = 1 + math.floor(now_ms / 100) % (pages - 1)
  others = redis.call('ZREVRANGE', retired, page * limit, page * limit + limit - 1)
end
local results = redis.call('ZRANGEBYSCORE', completed, '-inf', now_ms, 'LIMIT', 0, limit)
local trim = redis.call('ZRANGEBYSCORE', dead, '-inf', now_ms - dead_age_ms, 'LIMIT', 0, limit)
local excess = math.min(limit, redis.call('ZCARD', dead) - dead_max)
if excess > #trim then trim = redis.call('ZRANGE', dead, 0, excess - 1) end

-- A call that was asked for longer ago has lain here while the server stood still, and so have heartbeats:
-- it only says how many are late.
local expired, late = redis.call('ZRANGEBYSCORE', workers, '-inf', now_ms, 'LIMIT', 0, limit), {}
if now_ms - asked_ms > prompt_ms then expired, late = {}, expired end
redis.call('ZREM', workers, '')
for _, worker in ipairs(expired) do
  redis.call('ZADD', retired, now_ms, worker)
  redis.call('ZREM', workers, worker)
end
local named, seen = {}, {}
for _, workers_of in ipairs({expired, newest, others}) do
  for _, worker in ipairs(workers_of) do
    if not seen[worker] then named[#named + 1] = worker end
    seen[worker] = true
  end
end
return {now_ms, #expired, #late, named, results, trim}
