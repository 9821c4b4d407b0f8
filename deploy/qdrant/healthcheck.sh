#!/usr/bin/env bash
# Exits 0 when Qdrant says that it is ready to serve: GET /readyz answers 200, once every shard is loaded. /readyz
# asks for no API key. The image has bash but no HTTP client, so bash speaks the one line of HTTP itself.
#
#     healthcheck.sh [PORT]       default: 6333
#
# Every wait is bounded, so that a hung server makes a failed check and not a hung one.
set -euo pipefail

exec 3<> "/dev/tcp/127.0.0.1/${1:-6333}"
printf 'GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
read -r -t 3 _version status _reason <&3
[[ "$status" == 200 ]] || {
    echo "qdrant is not ready: HTTP status $status" >&2
    exit 1
}
