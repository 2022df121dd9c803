-- Counts a request of a key, or several at once, on the server's clock. All times are in microseconds.
--   KEYS[1]  the theoretical arrival time of the key
--   KEYS[2]  for attempts: the number of attempts that are charged and not yet settled
--   ARGV[1]  the interval of the limit
--   ARGV[2]  the maximum number of requests at once
--   ARGV[3]  how far ahead of now the arrival time is at least, as far as the caller knows
--   ARGV[4]  the number of seconds without a new attempt after which KEYS[2] expires
--   ARGV[5]  the number of requests
-- Returns whether the request is admitted (1 or 0), how far ahead of now the arrival time is afterwards,
-- and the number of undecided attempts.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval = tonumber(ARGV[1])
local needed = interval * ARGV[5]
local arrival = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now + ARGV[3])
local admitted = 0
if arrival + needed - now <= ARGV[2] * interval then
    arrival = arrival + needed
    admitted = 1
end
-- An arrival time in the past is equivalent to none.
local ahead = arrival - now
if ahead > 0 then
    redis.call('SET', KEYS[1], string.format('%.0f', arrival), 'PX', math.ceil(ahead / 1000))
end
local undecided = 0
if KEYS[2] then
    if admitted == 1 then
        redis.call('INCR', KEYS[2])
        redis.call('EXPIRE', KEYS[2], ARGV[4])
    end
    undecided = tonumber(redis.call('GET', KEYS[2]) or 0)
end
return {admitted, ahead, undecided}
