//! See [`tinyns_fuzz::admin_json`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tinyns_fuzz::admin_json::check(data));
