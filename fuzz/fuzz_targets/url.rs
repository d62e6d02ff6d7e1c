//! See [`tinyns_fuzz::url`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tinyns_fuzz::url::check(data));
