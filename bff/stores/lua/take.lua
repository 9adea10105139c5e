-- A device's stream is somebody else's from now on: a token greater than any before, and the word for who had it.
--
-- KEYS  the device's token; the bus
-- ARGV  the tenant; the device; now, in POSIX milliseconds; how long the token is known, in milliseconds; how many
--       entries of the bus are kept
-- Gives the token.

local known = tonumber(redis.call('GET', KEYS[1]) or '0')
local token = string.format('%.0f', math.max(known + 1, tonumber(ARGV[3])))
redis.call('SET', KEYS[1], token, 'PX', ARGV[4])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], '*', 'k', 's', 'n', ARGV[1], 'd', ARGV[2], 'w', token)
return token
