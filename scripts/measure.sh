#!/usr/bin/env bash
# Runs one configuration of benches/configurations over one input file and prints what it took. Ends by itself.
#   cargo build --release && scripts/measure.sh INPUT_FILE benches/configurations/raw.conf
# SUIRO names the binary, PIN a command in front of it (PIN="taskset -c 0").
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -eq 2 ] || { echo "usage: scripts/measure.sh INPUT_FILE CONFIGURATION" >&2; exit 2; }
suiro=${SUIRO:-${CARGO_TARGET_DIR:-target}/release/suiro}
SUIRO_INPUT=$(realpath "$1")
SUIRO_WORK=$(mktemp -d)
export SUIRO_INPUT SUIRO_WORK
trap 'rm -rf "$SUIRO_WORK"' EXIT
out=$SUIRO_WORK/out.log

start=$(date +%s%N)
# shellcheck disable=SC2086 # PIN is a command with words
${PIN:-} "$suiro" -q -c "$2" 2>"$SUIRO_WORK/log" &
pid=$!
size() { stat -c %s "$out" 2>/dev/null || echo 0; }
last=-1 still=0 end=$start
# Done when the output has not grown for a second; at most two minutes.
for _ in $(seq 2400); do
    sleep 0.05
    now=$(size)
    if [ "$now" -gt 0 ] && [ "$now" = "$last" ]; then
        still=$((still + 1))
        [ $still -lt 20 ] || break
    else
        still=0 end=$(date +%s%N)
    fi
    last=$now
done
read -r _ _ _ _ _ _ _ _ _ _ _ _ _ user system _ <"/proc/$pid/stat"
peak=$(awk '/VmHWM/ { print $2 }' "/proc/$pid/status")
kill "$pid" && wait "$pid"
bytes=$(stat -c %s "$SUIRO_INPUT")
awk -v b="$bytes" -v ns=$((end - start)) -v ticks=$((user + system)) -v hz="$(getconf CLK_TCK)" -v kb="$peak" \
    -v lines="$(wc -l <"$out")" 'BEGIN {
    printf "%.0f MB in %.2f s: %.0f MB/s, %.2f CPU s, peak %.0f MB, %d lines out\n",
        b / 1e6, ns / 1e9, b / 1e6 / (ns / 1e9), ticks / hz, kb / 1024, lines }'
