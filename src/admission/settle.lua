-- Settles one attempt of a key.
--   KEYS[1]  the theoretical arrival time of the key, in microseconds
--   KEYS[2]  the number of attempts that are charged and not yet settled
--   ARGV[1]  the refund in microseconds: one interval, or 0 after a failure
local arrival = redis.call('GET', KEYS[1])
if arrival then
    redis.call('SET', KEYS[1], string.format('%.0f', arrival - ARGV[1]), 'KEEPTTL')
end
-- The number may have expired.
if KEYS[2] and tonumber(redis.call('GET', KEYS[2]) or 0) > 0 then
    redis.call('DECR', KEYS[2])
end
