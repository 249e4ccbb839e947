//! A client's text: whatever it is, it is understood or refused with a code and a short message, and what is to be echoed is JSON.
use tickcast::wire::request::parse;

/// The target. Understood is what is a request.
pub fn request(input: &[u8]) -> bool {
    let parsed = parse(super::text(input));
    let understood = parsed.is_ok();
    let req_id = match parsed {
        Ok(request) => request.req_id,
        Err(refusal) => {
            assert!(!refusal.code.is_empty() && refusal.message.len() < 2_000, "{refusal:?}");
            refusal.req_id
        }
    };
    if let Some(req_id) = req_id {
        serde_json::from_str::<serde_json::Value>(&req_id).expect("an id is JSON");
    }
    understood
}
