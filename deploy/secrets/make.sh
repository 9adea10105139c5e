#!/bin/sh
# Make what compose.yaml needs to be kept secret, as files beside this script, once. Needs openssl.
#
# A container reads them as its own user, so they are readable; who may come here is decided by this folder's mode.
set -eu
cd "$(dirname "$0")"
chmod 700 .
umask 022
# keep NAME COMMAND…: what the command says, unless there is something already.
keep() {
    name=$1
    shift
    if [ ! -s "$name" ]; then "$@" >"$name"; fi
}
new() { openssl rand -hex 24; }
key() { openssl rand -base64 32 | tr '+/' '-_' | tr -d '='; }

for one in ops_token internal_token grafana_password postgres_password postgres_owner_password \
    postgres_server_password postgres_replica_password session_password cache_password; do
    keep "$one" new
done
# 32 bytes in base64url: what the audit trail's checkpoints are signed with. Keep it apart: who has it can forge them.
keep audit_key key

session=$(cat session_password)
cache=$(cat cache_password)
keep redis_session printf 'requirepass %s\nmasterauth %s\n' "$session" "$session"
keep redis_cache printf 'requirepass %s\n' "$cache"
keep redis_sentinel printf 'sentinel auth-pass session %s\n' "$session"
# `default`: redis-cli of 6.2 takes no URL without a user's name.
keep redis_session_url printf 'redis://default:%s@session:6379\n' "$session"
keep redis_cache_url printf 'redis://default:%s@redis-cache:6379\n' "$cache"

# Both nodes, and whichever takes writes: after a promotion the server finds the other one by itself (F-20).
nodes='postgres-1:5432,postgres-2:5432/bff?target_session_attrs=read-write'
keep postgres_url printf 'postgresql://bff_server:%s@%s\n' "$(cat postgres_server_password)" "$nodes"
keep postgres_admin_url printf 'postgresql://bff_owner:%s@%s\n' "$(cat postgres_owner_password)" "$nodes"
