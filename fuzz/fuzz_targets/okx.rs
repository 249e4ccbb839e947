#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tickcast_fuzz::stream("okx", input));
