//! `suiro::fuzzing::otlp` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| suiro::fuzzing::otlp(data));
