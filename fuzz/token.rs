//! A signed token and the keys for it: understood, or what is wrong is told in a short line; nothing is granted beyond what
//! its issuer may grant.

/// The target. Understood is what is one of what it is read as.
pub fn token(input: &[u8]) -> bool {
    let readings = tickcast::access::fuzz::token(input, 1_000_000);
    for message in readings.iter().filter_map(|reading| reading.as_ref().err()) {
        assert!(!message.is_empty() && message.len() < 2_000, "{message:?}");
        assert!(!message.contains(|c: char| c.is_control()), "{message:?}");
    }
    readings.iter().any(Result::is_ok)
}
