-- peek: one job as it stands, and where. Reads only.
--
-- KEYS[1] job        hash  the job
-- KEYS[2] scheduled  zset  id -> run_at ms
-- KEYS[3] dead       zset  id -> when it died, ms
-- KEYS[4] completed  zset  id -> when its result expires, ms
-- ARGV[1] id         str   the job's id
-- REPLY   {word, score, {field, value, ...}}  words: scheduled ready processing dead completed missing; score ms or 0
-- COST    O(log N)
-- BUILDS  no keys
local job, scheduled, dead, completed = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id = ARGV[1]

local fields = redis.call('HGETALL', job)
if #fields == 0 then return {'missing', 0, {}} end
local places = {{'scheduled', scheduled}, {'dead', dead}, {'completed', completed}}
for _, place in ipairs(places) do
  local score = redis.call('ZSCORE', place[2], id)
  if score then return {place[1], tonumber(score), fields} end
end
if redis.call('HEXISTS', job, 'token') == 1 then return {'processing', 0, fields} end
return {'ready', 0, fields}
