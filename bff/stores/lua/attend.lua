-- A process is here, and has sent so much more: how many are, and what all of them have sent today.
--
-- KEYS  the processes, by when they count as gone; what was sent on this day
-- ARGV  the process; for how long it counts as here, in milliseconds; bytes that it has sent since it last said so; for
--       how long a day's sum is kept, in milliseconds
-- Gives {processes, bytes}.

if redis.replicate_commands then
    redis.replicate_commands() -- 6.2 lets nothing be written after TIME otherwise
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local sum = redis.call('INCRBY', KEYS[2], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return { redis.call('ZCARD', KEYS[1]), sum }
