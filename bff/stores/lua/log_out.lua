-- End every session kept of a tenant that all ids given match, in one step.
--
-- KEYS  the tenant's sessions, by when they end
-- ARGV  for how long an end is known, in milliseconds; what the keys of a session and of its end begin with, up to the
--       session's own part; operator, device and property, '' where any will do
-- Gives the sessions' ids.

local function matches(blob)
    local operator, device, wanted = ARGV[4], ARGV[5], ARGV[6]
    local scope = wanted == ''
    for _, property in ipairs(blob.properties or {}) do
        scope = scope or property == wanted
    end
    return scope and (operator == '' or blob.operator == operator) and (device == '' or blob.device == device)
end

local ended = {}
for _, session in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    local _, length = string.gsub(session, '[^\128-\191]', '') -- in characters, as keys have it
    local named = length .. ':' .. session
    local blob = redis.call('GET', ARGV[2] .. named)
    if blob and matches(cjson.decode(blob)) then
        redis.call('SET', ARGV[3] .. named, '1', 'PX', ARGV[1])
        redis.call('DEL', ARGV[2] .. named)
        redis.call('ZREM', KEYS[1], session)
        ended[#ended + 1] = session
    end
end
return ended
