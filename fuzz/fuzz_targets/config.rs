//! See [`tinyns_fuzz::config`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tinyns_fuzz::config::check(data));
