//! The head of an HTTP request: its path, query and fields are understood, or what is wrong is told in a short line.

/// The target. Understood is a head with which nothing is wrong.
pub fn head(input: &[u8]) -> bool {
    let Some(told) = tickcast::http::fuzz::head(super::text(input)) else { return false };
    for message in &told {
        assert!(!message.is_empty() && message.len() < 2_000, "{message:?}");
        assert_eq!(message.lines().count(), 1, "{message:?}");
    }
    told.is_empty()
}
