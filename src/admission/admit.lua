-- Counts one request of a key, on the server's clock. All times are in microseconds.
--   KEYS[1]  where the key's theoretical arrival time is kept
--   KEYS[2]  for attempts: the number of those that are charged and not yet settled
--   ARGV[1]  the interval of the limit
--   ARGV[2]  how many requests may come at once
--   ARGV[3]  how far ahead the caller knows the arrival time to be at least
--   ARGV[4]  after how many seconds without a new attempt that number is forgotten
-- Returns whether the request is admitted (1 or 0), how far ahead the arrival time is then,
-- and how many attempts are undecided.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval = tonumber(ARGV[1])
local arrival = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now + ARGV[3])
local admitted = 0
if arrival + interval - now <= ARGV[2] * interval then
    arrival = arrival + interval
    admitted = 1
end
-- An arrival time that is past says no more than none at all.
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
