#!/bin/bash
# Start a node: the primary where FOLLOWS is empty, else a standby of the node that FOLLOWS names (F-20).
#
# What decides is the folder: once it has data it is what it is, and `pg_promote` makes a standby a primary for good.
# A primary that was replaced must not come back as one: its volume is thrown away first (README).
set -euo pipefail
if [ -n "${FOLLOWS:-}" ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    umask 077
    mkdir -p "$PGDATA"
    pass=$(dirname "$PGDATA")/.pgpass
    echo "*:*:*:replica:$(cat /run/secrets/postgres_replica_password)" >"$pass"
    # A slot of its own keeps what this node has not read yet; --checkpoint=fast because somebody waits for it.
    pg_basebackup --dbname="host=$FOLLOWS user=replica passfile=$pass application_name=$(hostname)" \
        --pgdata="$PGDATA" --wal-method=stream --write-recovery-conf --slot=standby --checkpoint=fast
fi
exec docker-entrypoint.sh postgres
