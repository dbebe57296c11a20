#!/usr/bin/env bash
# Kills suiro with SIGKILL again and again under load, for each kind of input and for two hops, and prints what became of
# what was acknowledged. Fails if anything was lost or doubled.
#   scripts/kills.sh [KILLS]      200 where nothing is said; about one second for each
# SUIRO_SEED repeats the moments of an earlier run.
set -euo pipefail
cd "$(dirname "$0")/.."
export SUIRO_KILLS=${1:-200}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
cargo test --quiet --test integration faults::kills:: -- --nocapture --test-threads=2 >"$log" 2>&1 || status=$?
echo "| input | kills | acknowledged or written | lost | doubled | chunks sent again |"
echo "|---|---|---|---|---|---|"
# A dot of the test runner may stand before a line.
sed -n 's/^\.*| /| /p' "$log"
[ $status -eq 0 ] || { echo "kills.sh: failed; the whole output:" >&2; cat "$log" >&2; }
exit $status
