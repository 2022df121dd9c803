-- Takes back one request of a key.
--   KEYS[1]  where the key's theoretical arrival time is kept, in microseconds
--   ARGV[1]  the interval of the limit, in microseconds
local arrival = redis.call('GET', KEYS[1])
if arrival then
    redis.call('SET', KEYS[1], string.format('%.0f', arrival - ARGV[1]), 'KEEPTTL')
end
