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
  redis.call('HLEN', KEYS[a + 1])
  if redis.call('ZSCORE', place, ARGV[a]) then found[#found + 1] = a end
end

redis.call('ZREM', place, '')
for _, a in ipairs(found) do
  redis.call('DEL', KEYS[a + 1])
  redis.call('ZREM', place, ARGV[a])
end
return #found
