-- Says that an instance lives, on the server's clock, and counts those that do.
--   KEYS[1]  where the instances are kept, each with the time it was last heard of, in seconds
--   ARGV[1]  the instance
--   ARGV[2]  after how many seconds one that is not heard of is no longer counted
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
