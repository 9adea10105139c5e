#!/bin/bash
# Once, when the primary's folder is made: the roles, what a standby needs, and who may come from the network.
#
# `bff_owner` migrates and owns the tables, `bff_server` serves: it cannot change or take away a row of the audit trail
# (bff/stores/sql/0002_changes.sql). Passwords are read by psql itself, so that they are in no argument.
set -euo pipefail
psql --quiet --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" <<'SQL'
\set owner `cat /run/secrets/postgres_owner_password`
\set server `cat /run/secrets/postgres_server_password`
\set replica `cat /run/secrets/postgres_replica_password`
CREATE ROLE bff_owner LOGIN PASSWORD :'owner';
CREATE ROLE bff_server LOGIN PASSWORD :'server';
CREATE ROLE replica REPLICATION LOGIN PASSWORD :'replica';
ALTER DATABASE bff OWNER TO bff_owner;
ALTER SCHEMA public OWNER TO bff_owner;
SELECT pg_create_physical_replication_slot('standby', true);
SQL
cat >>"$PGDATA/postgresql.conf" <<'CONF'
# In the file and not in arguments, which a promoted node could not change.
wal_level = replica
wal_log_hints = on
hot_standby = on
max_wal_senders = 5
# A standby that is away for longer than this is made anew; without a bound its slot would fill the disk.
max_slot_wal_keep_size = 2GB
max_connections = 100
# Not synchronous: a change is acknowledged without the standby, which may miss what the last moment brought. What that
# costs is bounded by the key, which travels to the service and is known there. A standby that is down stops nobody.
synchronous_standby_names = ''
CONF
# The image lets in whoever has a password; a standby must be said by name.
echo 'host replication replica all scram-sha-256' >>"$PGDATA/pg_hba.conf"
