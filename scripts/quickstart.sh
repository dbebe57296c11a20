#!/usr/bin/env bash
# Builds suiro, sends a few events through it on three ways, shows what arrived, and stops it in order.
# Needs Rust, a C/C++ compiler and cmake. Everything is written below target/quickstart.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly HTTP_PORT=9880 SYSLOG_PORT=5140
readonly WAIT_SECONDS=30

target="${CARGO_TARGET_DIR:-target}"
work="$PWD/target/quickstart"
pid=""

heading() { printf '\n== %s\n' "$*"; }

die() {
    echo "quickstart: $*" >&2
    if [ -f "$work/suiro.log" ]; then tail -n 20 "$work/suiro.log" >&2; fi
    exit 1
}

# Whatever happens, the process that was started here does not stay behind.
cleanup() {
    if [ -n "$pid" ]; then kill -TERM "$pid" 2>/dev/null || true; fi
}
trap cleanup EXIT

# wait_for WHAT COMMAND...: until the command succeeds, suiro ends or the time is up.
wait_for() {
    local what="$1" deadline=$((SECONDS + WAIT_SECONDS))
    shift
    until "$@"; do
        kill -0 "$pid" 2>/dev/null || die "suiro has ended; no sign of $what"
        [ "$SECONDS" -lt "$deadline" ] || die "no sign of $what after $WAIT_SECONDS s"
        sleep 0.1
    done
}

is_running() { grep -q 'worker is now running' "$work/suiro.log"; }

# count_in PATTERN: events in the output files that hold the pattern.
count_in() { cat "$work"/out/*.log 2>/dev/null | grep -c -- "$1" || true; }

all_arrived() {
    [ "$(count_in '"source_tag":"web.access"')" -ge "$lines" ] \
        && [ "$(count_in '"source_tag":"app.login"')" -ge 2 ] \
        && [ "$(count_in 'hello from syslog')" -ge 1 ]
}

# post PATH JSON: with curl where it is there, else with bash alone.
post() {
    if command -v curl >/dev/null 2>&1; then
        curl -sS -f --max-time 10 -H 'Content-Type: application/json' -d "$2" "http://127.0.0.1:$HTTP_PORT$1" \
            || die "the HTTP input refused an event"
    else
        exec 3<>"/dev/tcp/127.0.0.1/$HTTP_PORT"
        printf 'POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' \
            "$1" "${#2}" "$2" >&3
        local status
        read -r status <&3
        exec 3>&-
        [[ "$status" == *" 200 "* ]] || die "the HTTP input answered: $status"
    fi
    echo "POST $1 $2"
}

heading "Building"
command -v cargo >/dev/null || die "cargo is missing; install Rust 1.95 or newer (https://rustup.rs)"
# The daemon alone: the engine of 'suiro sql' takes longer to build than all the rest.
cargo build --release --locked --no-default-features

heading "Starting suiro -c conf/quickstart.conf"
rm -rf "$work"
mkdir -p "$work"
cp conf/samples/access.log "$work/access.log"
lines=$(wc -l <"$work/access.log")
export SUIRO_WORK="$work"
: >"$work/suiro.log"
"$target/release/suiro" -c conf/quickstart.conf >"$work/stdout.log" 2>"$work/suiro.log" &
pid=$!
wait_for "its start" is_running
echo "running as pid $pid; files are below target/quickstart"

heading "Sending"
echo "tail    $lines lines of conf/samples/access.log"
post /app.login '{"user":"alice","result":"ok"}'
post /app.login '{"user":"bob","result":"refused"}'
printf '<14>Mar 14 09:30:00 host.example.com demo[42]: hello from syslog' >"/dev/udp/127.0.0.1/$SYSLOG_PORT"
echo "syslog  hello from syslog"

wait_for "all events in the output files" all_arrived

heading "Events on standard output (the first 3 of $(wc -l <"$work/stdout.log"))"
head -n 3 "$work/stdout.log"

heading "Output files"
for file in "$work"/out/*.log; do
    echo "-- ${file#"$PWD/"} ($(wc -l <"$file") events, the first 3)"
    head -n 3 "$file"
done

heading "Stopping with SIGTERM"
kill -TERM "$pid"
status=0
wait "$pid" || status=$?
pid=""
[ "$status" -eq 0 ] || die "suiro ended with status $status"
echo "suiro ended with status 0"
