#!/usr/bin/env bash
# Exits 0 when Neo4j speaks Bolt: the client offers versions 5.x and 4.4 of the protocol and the server picks one of
# them. The listener opens after the databases are up, so this is readiness, not only liveness. It needs neither the
# password nor a JVM of its own, as cypher-shell would (a second of CPU at every check).
#
#     healthcheck.sh [PORT]       default: 7687
#
# Every wait is bounded, so that a hung server makes a failed check and not a hung one.
set -euo pipefail

exec 3<> "/dev/tcp/127.0.0.1/${1:-7687}"
# Magic, then four offers of four bytes: 5.4 to 5.0, 4.4, none, none.
printf '\x60\x60\xb0\x17\x00\x04\x04\x05\x00\x00\x04\x04\x00\x00\x00\x00\x00\x00\x00\x00' >&3
picked="$(timeout 3 head --bytes=4 <&3 | od --address-radix=n --format=x1 | tr -d ' \n')"
[[ "$picked" =~ ^0000[0-9a-f]{2}0[45]$ ]] || {
    echo "neo4j does not speak Bolt yet: it answered '${picked:-nothing}'" >&2
    exit 1
}
