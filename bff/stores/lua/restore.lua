-- Put back what a server has lost of a tenant's log, as it was, where nothing else stands in its place.
--
-- KEYS  the tenant's log; what remembers the uid of each entry
-- ARGV  how long an idle log, and a uid, is kept, in milliseconds; then for each entry, the oldest first: offset, epoch,
--       time in POSIX milliseconds, uid, payload
-- Gives 1 where the log has all of them now, 0 where it has gone on otherwise.

local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local from = nil
if last then
    local head = string.match(last[1], '^%d+')
    for at = 2, #ARGV, 5 do
        if ARGV[at] == head and ARGV[at + 1] == last[2][2] then
            from = at + 5
        end
    end
end
if not from then
    local begun = not last or (redis.call('XLEN', KEYS[1]) == 1 and last[2][8] == '')
    if not begun then
        return 0
    end
    redis.call('DEL', KEYS[1]) -- a beginning that nothing followed: its offsets are later ones
    from = 2
end
for at = from, #ARGV, 5 do
    local offset, epoch, when, uid, payload = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
    redis.call('XADD', KEYS[1], offset .. '-0', 'e', epoch, 't', when, 'u', uid, 'p', payload)
    if uid ~= '' then
        redis.call('SET', KEYS[(at - 2) / 5 + 2], cjson.encode({ epoch, offset }), 'PX', ARGV[1])
    end
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
