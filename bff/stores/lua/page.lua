-- What a tenant's log has after a place, or where it ends; a log that is not there is begun.
--
-- KEYS  the tenant's log
-- ARGV  the tenant; now, in POSIX milliseconds; how long an idle log is kept, in milliseconds; how many entries to give
--       at most; the place's epoch and offset, '' where none is asked
-- Gives {epoch of the last entry, its offset, 1 if the place is there, entries after it}.

if redis.replicate_commands then
    redis.replicate_commands()
end

local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if not last then
    local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
    local epoch = string.sub(redis.sha1hex(history .. ARGV[1]), 1, 12)
    redis.call('XADD', KEYS[1], ARGV[2] .. '-0', 'e', epoch, 't', ARGV[2], 'u', '', 'p', '')
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    last = { ARGV[2] .. '-0', { 'e', epoch } }
end
local head = string.match(last[1], '^%d+')
if ARGV[5] == '' then
    return { last[2][2], head, 0, {} }
end
local place = redis.call('XRANGE', KEYS[1], ARGV[6] .. '-0', ARGV[6] .. '-0')[1]
if not place or place[2][2] ~= ARGV[5] then
    return { last[2][2], head, 0, {} }
end
return { last[2][2], head, 1, redis.call('XRANGE', KEYS[1], '(' .. ARGV[6] .. '-0', '+', 'COUNT', ARGV[4]) }
