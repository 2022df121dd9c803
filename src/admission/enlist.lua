-- Registers an instance with the time of the server, and returns the number of live instances.
--   KEYS[1]  the instances, each with the time of its last heartbeat, in seconds
--   ARGV[1]  the id of the instance
--   ARGV[2]  the number of seconds after which an instance without a heartbeat is removed
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
