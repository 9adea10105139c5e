-- Forget the devices' tokens that are still these.
--
-- KEYS  the devices' tokens
-- ARGV  a token for each key

for at, key in ipairs(KEYS) do
    if redis.call('GET', key) == ARGV[at] then
        redis.call('DEL', key)
    end
end
