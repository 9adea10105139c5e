-- How proofs are remembered; and from now on otherwise, where it is still as it was thought to be.
--
-- KEYS  the mode; the three slots of the filter
-- ARGV  the mode that it is thought to be, the one that it is to become ('' where nobody wants another); how many bytes
--       of a slot to count
-- Gives {1 if it was turned, mode or nil, milliseconds since it was turned, bits set in the fullest slot's first bytes}.

if redis.replicate_commands then
    redis.replicate_commands() -- 6.2 lets nothing be written after TIME otherwise
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local turned = ARGV[2] ~= '' and (redis.call('HGET', KEYS[1], 'mode') or 'exact') == ARGV[1]
if turned then
    redis.call('HSET', KEYS[1], 'mode', ARGV[2], 'since', string.format('%.0f', now))
end
local most = 0
for at = 2, 4 do
    most = math.max(most, redis.call('BITCOUNT', KEYS[at], 0, ARGV[3] - 1))
end
local told = redis.call('HMGET', KEYS[1], 'mode', 'since')
return { turned and 1 or 0, told[1], told[2] and math.max(0, now - told[2]) or 0, most }
