-- An event into its tenant's log and onto the bus, in one step, unless it was said already.
--
-- KEYS  the tenant's log; what remembers the event's uid; the bus
-- ARGV  the tenant; uid; payload; when it was posted, in POSIX milliseconds; how long to remember the uid, in
--       milliseconds; how long an idle log is kept, in milliseconds; how many events are kept; for how many
--       milliseconds; how many entries of the bus are kept
-- Gives {epoch, offset}.
--
-- The epoch is of this server's history, which gets another id when a server starts and when it is promoted, and of the
-- tenant. A log that is not there begins at the time, so that no offset comes twice in it, whatever was lost.

if redis.replicate_commands then
    redis.replicate_commands() -- 6.2 lets nothing be written after INFO otherwise
end

local said = redis.call('GET', KEYS[2])
if said then
    return cjson.decode(said)
end

local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local epoch = string.sub(redis.sha1hex(history .. ARGV[1]), 1, 12)
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if not last then
    redis.call('XADD', KEYS[1], ARGV[4] .. '-0', 'e', epoch, 't', ARGV[4], 'u', '', 'p', '')
    last = { ARGV[4] .. '-0' }
end
local offset = string.format('%.0f', tonumber(string.match(last[1], '^%d+')) + 1)

redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[7] + 1, offset .. '-0', 'e', epoch, 't', ARGV[4], 'u', ARGV[2], 'p', ARGV[3])
local eldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 4)
for at = 1, #eldest - 1 do -- what the next one's age makes needless as a place to read on from
    if tonumber(eldest[at + 1][2][4]) >= ARGV[4] - ARGV[8] then
        break
    end
    redis.call('XDEL', KEYS[1], eldest[at][1])
end
redis.call('PEXPIRE', KEYS[1], ARGV[6])
redis.call('SET', KEYS[2], cjson.encode({ epoch, offset }), 'PX', ARGV[5])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[9], '*',
    'k', 'h', 'n', ARGV[1], 'o', offset, 'e', epoch, 't', ARGV[4], 'u', ARGV[2], 'p', ARGV[3])
return { epoch, offset }
