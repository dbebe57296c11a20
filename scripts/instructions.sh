#!/usr/bin/env bash
# Counts the instructions of the road's work, each for 1,000 events, and compares them with what is recorded in
# scripts/instructions.tsv. Exit status 1 where one takes over TOLERANCE percent more. Needs valgrind.
#   scripts/instructions.sh                    all work
#   scripts/instructions.sh nginx "routing"    this work alone
#   RECORD=1 scripts/instructions.sh           writes the file anew
# The counts are those of one compiler. Valgrind shows a program the same processor on every machine with AVX2, so they hardly
# depend on where they are taken. PROFILE=release counts what is shipped: that build takes longer.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly TOLERANCE=5
profile=${PROFILE:-counted}
recorded=scripts/instructions.tsv
command -v valgrind >/dev/null || { echo "valgrind is not installed" >&2; exit 2; }
cargo build --locked --profile "$profile" --no-default-features --example instructions
binary=${CARGO_TARGET_DIR:-target}/$profile/examples/instructions

# Instructions of so many times the work, with what comes before and behind it.
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$binary" "$1" "$2" 2>&1 |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

[ $# -gt 0 ] || mapfile -t names < <("$binary")
[ $# -eq 0 ] || names=("$@")
worse=0
[ -z "${RECORD:-}" ] || : >"$recorded"
[ -f "$recorded" ] || { echo "nothing is recorded yet: RECORD=1 scripts/instructions.sh" >&2; exit 2; }
printf '%-30s %12s %12s %8s\n' "1,000 events" recorded now change
for name in "${names[@]}"; do
    few=$(count "$name" 2) many=$(count "$name" 12)
    now=$(((many - few) / 10))
    [ "$now" -gt 0 ] || { echo "nothing was counted of $name" >&2; exit 2; }
    [ -z "${RECORD:-}" ] || printf '%s\t%s\n' "$name" "$now" >>"$recorded"
    before=$(awk -F '\t' -v name="$name" '$1 == name { print $2 }' "$recorded")
    awk -v name="$name" -v before="${before:-0}" -v now="$now" -v most=$((100 + TOLERANCE)) 'BEGIN {
        change = before ? sprintf("%+.1f %%", (now - before) * 100 / before) : "new"
        printf "%-30s %12d %12d %8s\n", name, before, now, change
        exit !before || now > before * most / 100 }' || worse=1
done
exit $worse
