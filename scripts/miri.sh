#!/usr/bin/env bash
# Runs the tests of the one file of `unsafe` that computes with pointers under Miri, in a crate of its own: Miri can't run the
# C of the dependencies. Needs a nightly toolchain with Miri (`rustup component add --toolchain nightly miri`).
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
printf '[package]\nname = "room"\nversion = "0.0.0"\nedition = "2024"\n' >"$work/Cargo.toml"
printf '#![allow(dead_code)]\nmod event {\n    #[path = "%s"]\n    mod room;\n}\n' "$PWD/src/event/room.rs" >"$work/src/lib.rs"
cargo +nightly miri test --manifest-path "$work/Cargo.toml" --target-dir "$work/target"
