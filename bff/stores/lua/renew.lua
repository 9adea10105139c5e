-- Whose a device's stream is: renewed where no greater token is known, and put back where none is.
--
-- KEYS  the devices' tokens
-- ARGV  how long they are known, in milliseconds; then a token for each key
-- Gives a list: 1 where it is still held, else 0.

local kept = {}
for at, key in ipairs(KEYS) do
    local mine = ARGV[at + 1]
    local held = tonumber(redis.call('GET', key) or '0') <= tonumber(mine)
    if held then
        redis.call('SET', key, mine, 'PX', ARGV[1])
    end
    kept[at] = held and 1 or 0
end
return kept
