#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| witgate_fuzz::patch(data));
