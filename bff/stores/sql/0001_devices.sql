-- The server's role, and what the server knows of each device's sync.
--
-- Whoever made the database may have made the role, with a password; where there is one role for everything, it owns
-- the tables and needs no grant.

DO $$
BEGIN
    CREATE ROLE bff_server LOGIN;
EXCEPTION
    WHEN duplicate_object OR unique_violation OR insufficient_privilege THEN NULL;
END $$;

-- F-35: compared with sync-service, which is the authority.
CREATE TABLE device_sync_status (
    tenant_id text NOT NULL,
    device_id text NOT NULL,
    cursor_version text NOT NULL,
    synced_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, device_id)
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bff_server') THEN
        GRANT SELECT ON schema_version TO bff_server;
        GRANT SELECT, INSERT, UPDATE ON device_sync_status TO bff_server;
    END IF;
END $$;
