-- Everything that changes something: keys, the audit trail, the outbox, mirrors, switches.

-- Idempotency keys. A fence grows by one with each owner of a key; `lease_until` is when an owner loses it.
CREATE TABLE idempotency_keys (
    tenant_id text NOT NULL,
    operator_id text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    aggregates text[] NOT NULL,
    request bytea NOT NULL,
    state text NOT NULL CHECK (state IN ('in-flight', 'open', 'uncertain', 'recorded')),
    fence integer NOT NULL,
    first_claimed_at timestamptz NOT NULL,
    claimed_at timestamptz NOT NULL,
    lease_until timestamptz NOT NULL,
    status smallint,
    body bytea,
    content_type text,
    headers text,
    PRIMARY KEY (tenant_id, operator_id, key),
    CHECK ((state = 'recorded') = (body IS NOT NULL))
);
-- One for both who ask, the claim of an operator's key and the reconciler: there are never many of them at a time.
CREATE INDEX keys_unsettled ON idempotency_keys (tenant_id, operator_id) WHERE state IN ('in-flight', 'uncertain');
CREATE INDEX keys_by_age ON idempotency_keys (first_claimed_at);
CREATE INDEX keys_of_locks ON idempotency_keys (first_claimed_at) WHERE aggregates[1] LIKE 'lock:%';

-- Each row dies once, when its claim is recorded; what is dead in the index of those unsettled is looked at by every claim.
ALTER TABLE idempotency_keys SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

-- Second factors, each spent on one key (F-29).
CREATE TABLE attestations (
    attestation text PRIMARY KEY,
    tenant_id text NOT NULL,
    operator_id text NOT NULL,
    key text NOT NULL,
    spent_at timestamptz NOT NULL
);
CREATE INDEX attestations_by_age ON attestations (spent_at);

-- A member of an entry. JSON may have escapes that no text of ours can hold, a NUL or half of a pair, and a row with one
-- must be written all the same: they are passed over here. A backslash that is itself escaped begins none.
CREATE FUNCTION said(entry text, member text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT regexp_replace(
        entry,
        '(\\\\|\\u[dD][89abAB][[:xdigit:]]{2}\\u[dD][c-fC-F][[:xdigit:]]{2})|\\u0000|\\u[dD][89a-fA-F][[:xdigit:]]{2}',
        '\1', 'g'
    )::jsonb ->> member
$$;

-- The audit trail (F-27). What a row says is its entry alone; the columns beside it follow from that.
CREATE TABLE audit_trail (
    tenant_id text NOT NULL,
    seq bigint NOT NULL,
    entry text NOT NULL,
    previous bytea NOT NULL,
    hash bytea NOT NULL,
    at timestamptz NOT NULL,
    kind text GENERATED ALWAYS AS (said(entry, 'kind')) STORED,
    operator_id text GENERATED ALWAYS AS (said(entry, 'operator')) STORED,
    key text GENERATED ALWAYS AS (said(entry, 'key')) STORED,
    PRIMARY KEY (tenant_id, seq)
);
CREATE INDEX trail_of_actions ON audit_trail (tenant_id, operator_id, key, seq) WHERE kind IN ('intent', 'outcome');
CREATE INDEX trail_by_time ON audit_trail (at);

CREATE TABLE audit_checkpoints (
    tenant_id text NOT NULL,
    seq bigint NOT NULL,
    hash bytea NOT NULL,
    at double precision NOT NULL,
    signature bytea NOT NULL,
    PRIMARY KEY (tenant_id, seq)
);

-- A text as it is hashed: its length before it, so that two texts never run into one another.
CREATE FUNCTION told(words text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT int8send(octet_length(convert_to(words, 'UTF8'))) || convert_to(words, 'UTF8')
$$;

-- Whoever inserts says the tenant and the entry: the number and the hashes are not his to say. The lock lasts to the
-- end of the transaction, so that a trail has no two rows of one number, and no gaps.
CREATE FUNCTION chain_trail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('trail ' || NEW.tenant_id, 0));
    SELECT seq, hash INTO NEW.seq, NEW.previous FROM audit_trail
        WHERE tenant_id = NEW.tenant_id ORDER BY seq DESC LIMIT 1;
    NEW.seq := coalesce(NEW.seq, 0) + 1;
    NEW.previous := coalesce(NEW.previous, decode(repeat('00', 32), 'hex'));
    NEW.hash := sha256(NEW.previous || int8send(NEW.seq) || told(NEW.tenant_id) || told(NEW.entry));
    NEW.at := clock_timestamp();
    RETURN NEW;
END $$;
CREATE TRIGGER chained BEFORE INSERT ON audit_trail FOR EACH ROW EXECUTE FUNCTION chain_trail();
ALTER TABLE audit_trail ENABLE ALWAYS TRIGGER chained;

-- Whoever is the owner of a table is refused as well, and a superuser too, until he disables the trigger by its name.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is only ever added to', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_trail
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE audit_trail ENABLE ALWAYS TRIGGER only_added_to;
ALTER TABLE audit_checkpoints ENABLE ALWAYS TRIGGER only_added_to;

-- The outbox (F-21). `xid` is the transaction that wrote the row: it is handed out when none that began before that one
-- can still be under way.
CREATE TABLE outbox (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    topic text NOT NULL,
    ordering_key text NOT NULL,
    kind text NOT NULL,
    payload bytea NOT NULL,
    message_id text NOT NULL UNIQUE,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX outbox_in_order ON outbox (xid, number);

CREATE TABLE dead_letters (
    number bigint PRIMARY KEY,
    topic text NOT NULL,
    ordering_key text NOT NULL,
    kind text NOT NULL,
    payload bytea NOT NULL,
    message_id text NOT NULL,
    reason text NOT NULL,
    died_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX dead_letters_by_age ON dead_letters (died_at);

-- Who does what only one may do at a time: the fence grows with each that takes the lock.
CREATE TABLE leaders (
    job text PRIMARY KEY,
    fence bigint NOT NULL
);

-- Places are compared byte by byte, so that pages follow the index and the order is the same everywhere.
CREATE TABLE operator_preferences (
    tenant_id text COLLATE "C" NOT NULL,
    operator_id text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    content bytea NOT NULL,
    as_of double precision NOT NULL,
    PRIMARY KEY (tenant_id, operator_id)
);

-- F-35: what the reconciler found out. When it was so is a time of the authority's, in POSIX seconds as it was given.
ALTER TABLE device_sync_status
    ADD COLUMN diverged boolean NOT NULL DEFAULT false,
    ALTER COLUMN tenant_id TYPE text COLLATE "C",
    ALTER COLUMN device_id TYPE text COLLATE "C",
    ALTER COLUMN synced_at DROP DEFAULT,
    ALTER COLUMN synced_at TYPE double precision USING extract(epoch FROM synced_at),
    ALTER COLUMN synced_at SET DEFAULT extract(epoch FROM now());

CREATE TABLE switches (
    name text PRIMARY KEY,
    value text NOT NULL,
    since double precision NOT NULL,
    turned_by text NOT NULL,
    why text NOT NULL,
    mark integer NOT NULL DEFAULT 0
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bff_server') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys, outbox, dead_letters TO bff_server;
        GRANT SELECT, INSERT, DELETE ON attestations TO bff_server;
        GRANT SELECT, INSERT ON audit_trail, audit_checkpoints TO bff_server;
        GRANT SELECT, INSERT, UPDATE ON leaders, operator_preferences, switches TO bff_server;
    END IF;
END $$;
