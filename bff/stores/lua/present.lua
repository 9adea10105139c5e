-- A proof at the door, in one atomic step: remember it, and read how its session and its tenant stand.
--
-- KEYS  the proof; the session's blob; the session's revocation; the tenant's status ('' where there is none)
-- ARGV  the presentation's nonce; how long to remember the proof, in milliseconds
-- Gives {1 if the proof is fresh, 1 if the session is revoked, status or nil, blob or nil}.
--
-- A proof that is known by this very nonce is fresh: our own client asks again when a connection broke before the
-- answer came, and must not be told that somebody else was faster.

local function read(key)
    return key ~= '' and redis.call('GET', key)
end

local fresh = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) or redis.call('GET', KEYS[1]) == ARGV[1]
return { fresh and 1 or 0, read(KEYS[3]) and 1 or 0, read(KEYS[4]), read(KEYS[2]) }
