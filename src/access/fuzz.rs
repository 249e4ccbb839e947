//! What of a signed token is read before and after its signature is checked, and a set of keys, for the fuzz target
//! `token`. Not for any other use.

use super::claims::Terms;
use super::grant::{Pattern, Rights};
use super::jws::Jws;
use super::keys::{Algorithm, KeySet};
use crate::wire::request::Channel;

/// Reads `text` as a token, as the payload of one whose signature is right, and as keys; of each reading what would be
/// told of it. Nothing that it grants is more than its issuer may grant.
pub fn token(text: &[u8], now_ms: u64) -> Vec<Result<(), String>> {
    let mut readings = Vec::new();
    if Jws::is_like(text) {
        let issuer = Jws::parse(text).and_then(|token| token.issuer().map(drop));
        readings.push(issuer.map_err(|bad| bad.to_string()));
    }
    let symbols = vec![Pattern::new("sim:*").unwrap_or(Pattern::ALL)];
    let channels = vec![Channel::Trade, Channel::Book];
    let rights =
        Rights { symbols, channels, depth: Some(10), max_hz: Some(5.0), ..Rights::nothing() };
    let terms = Terms { iss: None, aud: None, leeway_ms: 5_000, rights };
    let judged = terms.judge(text, now_ms).map(|(holder, rights)| {
        assert!(!holder.sub.is_empty() && rights.beyond(&terms.rights).is_none());
        assert!(rights.expires_ms.is_some_and(|at| at > now_ms) && !rights.operator);
    });
    readings.push(judged.map_err(|bad| bad.to_string()));
    let algorithms = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];
    readings.push(KeySet::jwks(text, &algorithms).map(drop));
    if let Ok(text) = std::str::from_utf8(text) {
        readings.push(KeySet::public(text, &algorithms).map(drop));
    }
    readings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(reading: &Result<(), String>) -> &str {
        reading.as_ref().expect_err("something is wrong")
    }

    #[test]
    fn what_is_wrong_is_told() {
        let readings = token(br#"{"sub":"a","exp":9,"tickcast":{"symbols":["*"]}}"#, 0);
        assert!(told(&readings[0]).contains("its `symbols` is more"), "{readings:?}");
        let readings = token(b"eyJ9.e30.e30", 0);
        assert!(told(&readings[0]).contains("is not the JSON"), "{readings:?}");
    }
}
