#!/bin/sh
# Start a Redis or a Sentinel: `start.sh session|cache|sentinel [words for the first configuration]`.
#
# Sentinel writes who follows whom into the configurations, its own and the nodes', so each is copied into the volume
# once, and then it is the volume's. The password comes as a file and goes into that copy, never into an argument.
set -eu
umask 077
kind=$1
shift
kept=/data/$kind.conf
if [ ! -s "$kept" ]; then
    {
        cat "/etc/redis/$kind.conf" "/run/secrets/redis_$kind"
        for line in "$@"; do echo "$line"; done
    } >"$kept.new"
    mv "$kept.new" "$kept"
fi
if [ "$kind" = sentinel ]; then
    exec redis-sentinel "$kept"
fi
exec redis-server "$kept"
