//! The head of an HTTP request: its path, query and fields are understood, or what is wrong is told in a short line.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for message in tickcast::http::fuzz::head(text).unwrap_or_default() {
        assert!(!message.is_empty() && message.len() < 2_000, "{message:?}");
        assert_eq!(message.lines().count(), 1, "{message:?}");
    }
});
