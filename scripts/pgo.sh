#!/usr/bin/env bash
# Builds the daemon for what it spends its time with: once with counters, run under the load of benches/side-by-side, and again
# with what they counted. Takes three to four times a release build, and ends by itself.
#   scripts/pgo.sh        -> target/pgo/HOST/dist/suiro (suiro-sql comes from a release build)
# Needs llvm-profdata of the LLVM that rustc has (`rustc -vV`): rustup's component llvm-tools, or a package like llvm-22.
# LLVM_PROFDATA names it. MEGABYTES is the input of each training run.
set -euo pipefail
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
profdata=${LLVM_PROFDATA:-$(command -v "llvm-profdata-$llvm" || find "$(rustc --print sysroot)" -name llvm-profdata -print -quit)}
[ -x "$profdata" ] || { echo "no llvm-profdata of LLVM $llvm: set LLVM_PROFDATA" >&2; exit 2; }
build=$(realpath -m "${CARGO_TARGET_DIR:-target}")
profiles=$(mktemp -d)
trap 'rm -rf "$profiles"' EXIT

# With --target the flags are for suiro alone, not for what runs while it is built.
RUSTFLAGS="-Cprofile-generate=$profiles" \
    cargo build --release --locked --target "$host" --target-dir "$build/pgo-training" --no-default-features --bin suiro --example load
trained=$build/pgo-training/$host/release
benches/side-by-side/run.py --rivals suiro --runs 1 --megabytes "${MEGABYTES:-60}" \
    --suiro "$trained/suiro" --load "$trained/examples/load"
"$profdata" merge -o "$profiles/merged" "$profiles"/*.profraw
RUSTFLAGS="-Cprofile-use=$profiles/merged" \
    cargo build --profile dist --locked --target "$host" --target-dir "$build/pgo" --no-default-features --bin suiro
echo "$build/pgo/$host/dist/suiro"
