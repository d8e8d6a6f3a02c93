-- holder: which job holds a unique key. Reads only.
--
-- KEYS[1] unique  str  id of the job that holds this key
-- REPLY   id      or '' where nobody does
-- COST    O(1)
-- BUILDS  no keys
local unique = KEYS[1]
return redis.call('GET', unique) or ''
