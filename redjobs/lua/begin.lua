-- begin: start jobs that the worker has taken: each gets worker, token and attempt, and comes back whole.
--
-- KEYS[1] processing  list  ids that this worker has taken
-- KEYS[2] workers     zset  worker -> lease expiry ms
-- KEYS[3...] job      one hash per id
-- ARGV[1] worker      str   must hold a lease
-- ARGV[2] token       str   random, new for each call: fences this claim
-- ARGV[3] solo        int   crashes from which on a job waits, for it is to be begun alone; 0: it is alone
-- ARGV[4...] id       str   the ids, in the order of the hashes
-- REPLY   {word, now_ms, {entry, ...}}  words: begun lapsed; entry: {field, value, ...} or missing strange wait
-- COST    O(ids), if they were taken last; else O(ids + length of processing)
-- BUILDS  no keys
local processing, workers = KEYS[1], KEYS[2]
local worker, token, solo = ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

if not redis.call('ZSCORE', workers, worker) then return {'lapsed', now_ms, {}} end
local mine = {}
local function know(last)
  for _, id in ipairs(redis.call('LRANGE', processing, 0, last)) do mine[id] = true end
end
-- What was taken last stands first, and nearly always it is just what is to be begun.
know(#ARGV - 4)
for a = 4, #ARGV do
  if not mine[ARGV[a]] then
    know(-1)
    break
  end
end
local entries, begun = {}, {}
for a = 4, #ARGV do
  local id, entry = ARGV[a], 'strange'
  if mine[id] then
    entry = redis.call('HGETALL', KEYS[a - 1])
    local attempt, crashes, claimed = 0, 0, false
    for f = 1, #entry, 2 do
      if entry[f] == 'attempt' then attempt = tonumber(entry[f + 1]) or 0 end
      if entry[f] == 'crashes' then crashes = tonumber(entry[f + 1]) or 0 end
      if entry[f] == 'token' then claimed = true end
    end
    if #entry == 0 then
      entry = 'missing'
    elseif claimed then
      -- Another call of this worker has begun it, and one of the two comes late: it may have been
      -- given up and sent again. To begin it anew would end a claim that is being worked on.
      entry = 'strange'
    elseif solo > 0 and crashes >= solo then
      -- One crash more is one too many: it has its worker to itself, so that whoever it is that
      -- crashes this one is known, and no other.
      entry = 'wait'
    else
      mine[id] = nil
      local next_attempt = tostring(attempt + 1)
      begun[#begun + 1] = {KEYS[a - 1], next_attempt}
      entry[#entry + 1] = 'attempt'
      entry[#entry + 1] = next_attempt
    end
  end
  entries[#entries + 1] = entry
end

redis.call('LREM', processing, 0, '')
for a = 4, #ARGV do
  if entries[a - 3] == 'missing' then redis.call('LREM', processing, -1, ARGV[a]) end
end
-- Texts: the server makes them of numbers slowly, and anew for each job.
local started_at = string.format('%d', now_ms)
for _, job in ipairs(begun) do
  redis.call('HSET', job[1], 'worker', worker, 'token', token, 'started_at', started_at, 'attempt', job[2])
end
return {'begun', now_ms, entries}
