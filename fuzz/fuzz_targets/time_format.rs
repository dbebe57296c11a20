//! `suiro::fuzzing::time_format` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| suiro::fuzzing::time_format(data));
