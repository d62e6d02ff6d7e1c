//! See [`tinyns_fuzz::zone_text`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tinyns_fuzz::zone_text::check(data));
