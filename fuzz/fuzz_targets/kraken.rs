#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    _ = tickcast_fuzz::kraken(input);
});
