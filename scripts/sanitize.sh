#!/usr/bin/env bash
# Runs the tests of the code that has `unsafe` under AddressSanitizer. Needs nothing but the stable toolchain: the switch
# is unlocked by RUSTC_BOOTSTRAP. Arguments are test names in place of the default ones.
set -euo pipefail
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/sanitize"
# Some tests leak an arena on purpose, to have it for ever.
export ASAN_OPTIONS=detect_leaks=0
[ $# -gt 0 ] || set -- event:: daemon::pages
cargo test --lib --target "$host" -- "$@"
