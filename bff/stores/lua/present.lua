-- A proof at the door, in one atomic step: remember it, and read how its session and its tenant stand.
--
-- KEYS  the proof; the session's blob; the session's revocation; the tenant's status ('' where there is none); the mode
--       in which proofs are remembered; the three slots of the filter
-- ARGV  the presentation's nonce; for how long to remember the proof, in milliseconds: in the mode exact, in the mode
--       trimmed, and its nonce in the mode bloom; the words that say where its bits are; bits of a slot; for how long a
--       slot is written into, in milliseconds
-- Gives {1 if the proof is fresh, 1 if the session is revoked, status or nil, blob or nil, mode or nil, 1 if the filter
-- alone says that the proof was used}.
--
-- A proof that is known by this very nonce is fresh: our own client asks again when a connection broke before the
-- answer came, and must not be told that somebody else was faster. The filter knows no nonces. It is looked into in
-- every mode, for as long as there is one: what was noted in it counts until it is gone.

local function read(key)
    return key ~= '' and redis.call('GET', key)
end

local function at_its_bits(slot, verb, command, ...)
    local words = { struct.unpack('>' .. string.rep('I4', #ARGV[5] / 4), ARGV[5]) }
    local call = { command, slot }
    for at = 1, #ARGV[5] / 4 do
        call[#call + 1] = verb
        call[#call + 1] = 'u1'
        call[#call + 1] = words[at] % ARGV[6]
        for _, value in ipairs({ ... }) do
            call[#call + 1] = value
        end
    end
    return redis.call(unpack(call))
end

local function in_filter()
    if redis.call('EXISTS', KEYS[6], KEYS[7], KEYS[8]) == 0 then
        return false
    end
    for at = 6, 8 do
        local all = redis.call('EXISTS', KEYS[at])
        if all == 1 then
            for _, bit in ipairs(at_its_bits(KEYS[at], 'GET', 'BITFIELD_RO')) do
                all = all * bit
            end
        end
        if all == 1 then
            return true
        end
    end
    return false
end

local function mark()
    if redis.replicate_commands then
        redis.replicate_commands() -- 6.2 lets nothing be written after TIME otherwise
    end
    local time = redis.call('TIME')
    local now, turns = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[7])
    local turn = math.floor(now / turns)
    local slot = KEYS[6 + turn % 3]
    local left = redis.call('PTTL', slot)
    if left == -2 then
        redis.call('SETBIT', slot, ARGV[6] - 1, 0) -- all of it at once: it will not grow
    end
    at_its_bits(slot, 'SET', 'BITFIELD', 1)
    if left < tonumber(ARGV[2]) then
        redis.call('PEXPIRE', slot, math.max((turn + 2) * turns - now, tonumber(ARGV[2])))
    end
end

local mode = redis.call('HGET', KEYS[5], 'mode')
local nonce = redis.call('GET', KEYS[1])
local filtered = not nonce and in_filter()
local fresh = nonce == ARGV[1]
if not nonce and not filtered then
    if mode == 'bloom' then
        mark()
    end
    local kept = mode == 'bloom' and ARGV[4] or mode == 'trimmed' and ARGV[3] or ARGV[2]
    redis.call('SET', KEYS[1], ARGV[1], 'PX', kept)
    fresh = true
end
return { fresh and 1 or 0, read(KEYS[3]) and 1 or 0, read(KEYS[4]), read(KEYS[2]), mode, filtered and 1 or 0 }
