-- complete: jobs of one claim are done: forget them, or keep a result for a while.
--
-- KEYS[1] processing  list  ids that this worker has taken
-- KEYS[2] completed   zset  id -> when its result expires, ms
-- KEYS[3] stats       hash  counters
-- KEYS[4...] job      one hash per id, then one unique key per id that holds one
-- ARGV[1] token       str   of the claim
-- ARGV[2] count       int   how many ids
-- ARGV[3...] id       str   the ids; then per extra: position of its id, position of its unique key (0: none), result_ttl_ms (0: keep none), result
-- REPLY   {lost id, ...}  ids that another claim has by now; nothing of them was changed
-- COST    O(ids): the oldest stand last in processing, where LREM looks first
-- BUILDS  no keys
local processing, completed, stats = KEYS[1], KEYS[2], KEYS[3]
local token, count = ARGV[1], tonumber(ARGV[2])
if count == 0 then return {} end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local oldest = redis.call('LRANGE', processing, -count, -1)
redis.call('ZCARD', completed)
redis.call('HLEN', stats)
local lost, held = {}, {}
for i = 1, count do
  held[i] = redis.call('HGET', KEYS[i + 3], 'token') == token
  if not held[i] then lost[#lost + 1] = ARGV[i + 2] end
end
local extras = {}
for a = count + 3, #ARGV, 4 do
  local i, unique = tonumber(ARGV[a]), tonumber(ARGV[a + 1])
  if held[i] then
    local frees = unique > 0 and redis.call('GET', KEYS[count + 3 + unique]) == ARGV[i + 2]
    extras[i] = {unique = frees and KEYS[count + 3 + unique], ttl_ms = tonumber(ARGV[a + 2]), result = ARGV[a + 3]}
  end
end
-- Most have run in their order, and nothing is kept of them: they go in one piece.
local in_order = #lost == 0 and #ARGV == count + 2
for i = 1, count do in_order = in_order and oldest[count + 1 - i] == ARGV[i + 2] end

redis.call('LREM', processing, 0, '')
redis.call('LTRIM', processing, 0, -1)
if count > #lost then redis.call('HINCRBY', stats, 'completed', count - #lost) end
if in_order then
  redis.call('DEL', unpack(KEYS, 4, count + 3))
  redis.call('LTRIM', processing, 0, -count - 1)
  return lost
end
for i = 1, count do
  if held[i] then
    local id, job, extra = ARGV[i + 2], KEYS[i + 3], extras[i]
    if extra and extra.ttl_ms > 0 then
      redis.call('HDEL', job, '')
      redis.call('HSET', job, 'result', extra.result, 'completed_at', now_ms)
      redis.call('ZADD', completed, now_ms + extra.ttl_ms, id)
      if extra.unique then redis.call('DEL', extra.unique) end
      redis.call('LREM', processing, -1, id)
      redis.call('HDEL', job, 'token', 'worker', 'args')
    else
      redis.call('DEL', job)
      if extra and extra.unique then redis.call('DEL', extra.unique) end
      redis.call('LREM', processing, -1, id)
    end
  end
end
return lost
