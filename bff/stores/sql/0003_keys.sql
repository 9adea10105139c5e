-- Claiming a key and recording what became of it: one statement each, and so one round trip and one commit.

CREATE FUNCTION claim_key(
    of_tenant text,
    of_operator text,
    of_key text,
    of_fingerprint bytea,
    of_aggregates text[],
    of_request bytea,
    lease double precision,
    by_attestation text,
    intent text,
    abandoned text,
    OUT verdict text,
    OUT fence integer,
    OUT before text,
    OUT seconds double precision,
    OUT status smallint,
    OUT body bytea,
    OUT content_type text,
    OUT headers text
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    known idempotency_keys;
    aggregate text;
    moment timestamptz;
BEGIN
    -- In one order everywhere: two that change the same two things must not wait for each other.
    FOR aggregate IN SELECT a FROM unnest(of_aggregates) AS a ORDER BY a COLLATE "C" LOOP
        PERFORM pg_advisory_xact_lock(hashtextextended(concat_ws(chr(31), of_tenant, of_operator, aggregate), 1));
    END LOOP;
    -- Of two who bring the same key to different things the second waits here until the first has committed.
    PERFORM pg_advisory_xact_lock(hashtextextended(concat_ws(chr(31), of_tenant, of_operator, of_key), 2));
    moment := clock_timestamp();
    SELECT * INTO known FROM idempotency_keys AS k
        WHERE k.tenant_id = of_tenant AND k.operator_id = of_operator AND k.key = of_key FOR UPDATE;
    IF known.key IS NOT NULL THEN
        IF known.fingerprint <> of_fingerprint THEN
            verdict := 'reused';
            RETURN;
        ELSIF known.state = 'recorded' THEN
            verdict := 'recorded';
            status := known.status;
            body := known.body;
            content_type := known.content_type;
            headers := known.headers;
            RETURN;
        ELSIF known.state = 'in-flight' AND known.lease_until > moment THEN
            verdict := 'in-flight';
            seconds := extract(epoch FROM known.lease_until - moment);
            RETURN;
        END IF;
    END IF;
    SELECT extract(epoch FROM max(k.lease_until) - moment) INTO seconds FROM idempotency_keys AS k
        WHERE k.tenant_id = of_tenant AND k.operator_id = of_operator AND k.state = 'in-flight'
        AND k.lease_until > moment AND k.key <> of_key AND k.aggregates && of_aggregates;
    IF seconds IS NOT NULL THEN
        verdict := 'busy';
        RETURN;
    END IF;
    IF known.key IS NULL AND by_attestation IS NOT NULL THEN
        INSERT INTO attestations AS a (attestation, tenant_id, operator_id, key, spent_at)
            VALUES (by_attestation, of_tenant, of_operator, of_key, moment) ON CONFLICT DO NOTHING;
        IF NOT FOUND AND NOT EXISTS (
            SELECT FROM attestations AS a WHERE a.attestation = by_attestation
            AND (a.tenant_id, a.operator_id, a.key) = (of_tenant, of_operator, of_key)
        ) THEN
            verdict := 'spent';
            RETURN;
        END IF;
    END IF;
    verdict := 'claimed';
    fence := coalesce(known.fence, 0) + 1;
    before := CASE WHEN known.key IS NULL THEN 'new' WHEN known.state = 'in-flight' THEN 'abandoned' ELSE known.state END;
    IF before = 'new' THEN
        INSERT INTO idempotency_keys (
            tenant_id, operator_id, key, fingerprint, aggregates, request, state, fence,
            first_claimed_at, claimed_at, lease_until
        ) VALUES (
            of_tenant, of_operator, of_key, of_fingerprint, of_aggregates, of_request, 'in-flight', fence,
            moment, moment, moment + make_interval(secs => lease)
        );
    ELSE
        UPDATE idempotency_keys AS k
            SET state = 'in-flight', fence = claim_key.fence, claimed_at = moment,
                lease_until = moment + make_interval(secs => lease)
            WHERE k.tenant_id = of_tenant AND k.operator_id = of_operator AND k.key = of_key;
    END IF;
    IF before = 'abandoned' AND abandoned IS NOT NULL THEN
        INSERT INTO audit_trail (tenant_id, entry) VALUES (of_tenant, abandoned);
    END IF;
    IF intent IS NOT NULL THEN
        INSERT INTO audit_trail (tenant_id, entry) VALUES (of_tenant, intent);
    END IF;
END $$;

-- True where it is recorded now, also if it was already: who did not hear so asks again. What belongs to the record is
-- written once.
CREATE FUNCTION record_key(
    of_tenant text,
    of_operator text,
    of_key text,
    of_fence integer,
    as_state text,
    with_status smallint,
    with_body bytea,
    with_content_type text,
    with_headers text,
    entries text[],
    topics text[],
    ordering_keys text[],
    kinds text[],
    payloads bytea[],
    message_ids text[],
    mirror_tenant text,
    mirror_operator text,
    mirror_version bigint,
    mirror_content bytea,
    mirror_as_of double precision
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE idempotency_keys AS k
        SET state = as_state, status = with_status, body = with_body, content_type = with_content_type,
            headers = with_headers
        WHERE k.tenant_id = of_tenant AND k.operator_id = of_operator AND k.key = of_key
        AND k.fence = of_fence AND k.state = 'in-flight';
    IF NOT FOUND THEN
        RETURN EXISTS (
            SELECT FROM idempotency_keys AS k
            WHERE k.tenant_id = of_tenant AND k.operator_id = of_operator AND k.key = of_key
            AND k.fence = of_fence AND k.state = as_state
            AND (k.status, k.body, k.content_type, k.headers)
                IS NOT DISTINCT FROM (with_status, with_body, with_content_type, with_headers)
        );
    END IF;
    INSERT INTO audit_trail (tenant_id, entry) SELECT of_tenant, e FROM unnest(entries) WITH ORDINALITY AS t(e, n) ORDER BY n;
    INSERT INTO outbox (topic, ordering_key, kind, payload, message_id)
        SELECT t, o, k, p, m FROM unnest(topics, ordering_keys, kinds, payloads, message_ids)
            WITH ORDINALITY AS letters(t, o, k, p, m, n) ORDER BY n
        ON CONFLICT (message_id) DO NOTHING;
    IF mirror_version IS NOT NULL THEN
        INSERT INTO operator_preferences AS p (tenant_id, operator_id, version, content, as_of)
            VALUES (mirror_tenant, mirror_operator, mirror_version, mirror_content, mirror_as_of)
            ON CONFLICT (tenant_id, operator_id) DO UPDATE
            SET version = excluded.version, content = excluded.content, as_of = excluded.as_of
            WHERE p.version <= excluded.version;
    END IF;
    RETURN true;
END $$;
