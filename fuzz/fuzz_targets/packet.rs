//! See [`tinyns_fuzz::packet`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tinyns_fuzz::packet::check(data));
