//! A signed token and the keys for it: understood, or what is wrong is told in a short line; nothing is granted beyond what
//! its issuer may grant.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    for message in tickcast::access::fuzz::token(text, 1_000_000) {
        assert!(!message.is_empty() && message.len() < 2_000, "{message:?}");
        assert!(!message.contains(|c: char| c.is_control()), "{message:?}");
    }
});
