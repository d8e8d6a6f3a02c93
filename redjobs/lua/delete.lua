-- delete: forget jobs that are over: dead ones, or completed ones with their results.
--
-- KEYS[1] place    zset  dead or completed
-- KEYS[2...] job   one hash per id
-- ARGV[1...] id    str   the ids, in the order of the hashes
-- REPLY   int      how many stood there and are gone
-- COST    O(ids log N)
-- BUILDS  no keys
local place = KEYS[1]

local found = {}
for a = 1, #ARGV do
  if redis.call('ZSCORE', place, ARGV[a]) then found[#found + 1] = a end
end
for _, a in ipairs(found) do
  redis.call('ZREM', place, ARGV[a])
  redis.call('DEL', KEYS[a + 1])
end
return #found
