-- enqueue: store jobs and put each where it belongs, now or later; sent twice, it is one job.
--
-- KEYS[1] scheduled  zset  id -> run_at ms
-- KEYS[2] ready      list  ids that are due, priority 0
-- KEYS[3] levels     zset  priorities whose list holds jobs
-- KEYS[4] stats      hash  counters
-- KEYS[5...] job     per job: its hash; its unique key if `key` is not ''; its list if priority is not 0
-- ARGV[1] bell       str   wakes one blocked worker, is no id
-- ARGV[2] stale      str   id of a job that is known to be gone but still holds its unique key, or ''
-- ARGV[3...] fields  str   per job: id, run_at ('' now, '+N' in N ms, 'N' at N ms), priority, key, name, args, options
-- REPLY   {now_ms, {word, ...}, {position, holder, ...}}  words: ready scheduled exists duplicate
-- COST    O(jobs), and O(log N) per scheduled one
-- BUILDS  no keys
local scheduled, ready, levels, stats = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local bell, stale = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

-- Everything is read before anything is written: a key of a wrong type fails here, changing nothing.
redis.call('LLEN', ready)
redis.call('ZCARD', levels)
redis.call('HLEN', stats)
local head = redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')
local jobs, words, holders, claimed = {}, {}, {}, {}
local k = 5
for a = 3, #ARGV, 7 do
  local job = {key = KEYS[k], id = ARGV[a], priority = ARGV[a + 2], unique = false, list = ready, at = a}
  k = k + 1
  if ARGV[a + 3] ~= '' then
    job.unique = KEYS[k]
    k = k + 1
  end
  if job.priority ~= '0' then
    job.list = KEYS[k]
    redis.call('LLEN', job.list)
    k = k + 1
  end
  local holder = job.unique and (claimed[job.unique] or redis.call('GET', job.unique))
  if redis.call('HLEN', job.key) > 0 then
    words[#words + 1] = 'exists'
  elseif holder and holder ~= stale and holder ~= job.id then
    words[#words + 1] = 'duplicate'
    holders[#holders + 1] = #words
    holders[#holders + 1] = holder
  else
    local run_at = ARGV[a + 1]
    job.run_at = now_ms
    if string.sub(run_at, 1, 1) == '+' then
      job.run_at = now_ms + tonumber(string.sub(run_at, 2))
    elseif run_at ~= '' then
      job.run_at = tonumber(run_at)
    end
    words[#words + 1] = job.run_at > now_ms and 'scheduled' or 'ready'
    if job.unique then claimed[job.unique] = job.id end
    jobs[#jobs + 1] = job
  end
end
if #jobs == 0 then return {now_ms, words, holders} end

-- The first write: where memory is full the server refuses it, and with it the whole call.
redis.call('HINCRBY', stats, 'enqueued', #jobs)
-- Places come before hashes: an id without a hash is dropped when it is taken, and the key that
-- it holds is free for the next; a hash without a place would stay, and answer 'exists'.
local due, later, rings = {}, {}, false
for _, job in ipairs(jobs) do
  if job.unique then redis.call('SET', job.unique, job.id) end
  if job.run_at > now_ms then
    later[#later + 1] = job.run_at
    later[#later + 1] = job.id
  elseif job.priority == '0' then
    due[#due + 1] = job.id
  else
    redis.call('ZADD', levels, job.priority, job.priority)
    redis.call('LPUSH', job.list, job.id)
    rings = true
  end
end
if #due > 0 then redis.call('LPUSH', ready, unpack(due)) end
if #later > 0 then
  local earliest = head[2] and tonumber(head[2]) or math.huge
  redis.call('ZADD', scheduled, unpack(later))
  for i = 1, #later, 2 do
    if later[i] < earliest then rings = true end
  end
end
for _, job in ipairs(jobs) do
  local a = job.at
  local fields = {'name', ARGV[a + 4], 'enqueued_at', now_ms}
  if ARGV[a + 5] ~= '' then
    fields[#fields + 1] = 'args'
    fields[#fields + 1] = ARGV[a + 5]
  end
  if ARGV[a + 6] ~= '' then
    fields[#fields + 1] = 'options'
    fields[#fields + 1] = ARGV[a + 6]
  end
  if job.unique then
    fields[#fields + 1] = 'key'
    fields[#fields + 1] = ARGV[a + 3]
  end
  if job.run_at > now_ms then
    fields[#fields + 1] = 'run_at'
    fields[#fields + 1] = job.run_at
  end
  redis.call('HSET', job.key, unpack(fields))
end
-- Nobody blocks on other priorities or on the schedule: without a bell a sleeping worker would not know.
-- Whom our own ids wake may be busy with them then; the bell behind them is for the next.
if rings and redis.call('LLEN', ready) == #due then redis.call('LPUSH', ready, bell) end
return {now_ms, words, holders}
