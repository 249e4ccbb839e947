//! A client's text: whatever it is, it is understood or refused with a code and a short message, and what is to be echoed is JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tickcast::wire::request::parse;

fuzz_target!(|text: &str| {
    let req_id = match parse(text) {
        Ok(request) => request.req_id,
        Err(refusal) => {
            assert!(!refusal.code.is_empty() && refusal.message.len() < 2_000, "{refusal:?}");
            refusal.req_id
        }
    };
    if let Some(req_id) = req_id {
        serde_json::from_str::<serde_json::Value>(&req_id).expect("an id is JSON");
    }
});
