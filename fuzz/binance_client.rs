//! What clients of the Binance dialect send: a request over a WebSocket, and a path with its query. Whatever it is, it is
//! understood or refused in JSON, and a stream's name that is understood is the name that its messages carry.
use serde_json::Value;
use tickcast::wire::binance::query::{self, Fault};
use tickcast::wire::binance::request::{self, Call};
use tickcast::wire::binance::streams::Stream;
use tickcast::wire::binance::url;

/// The target. Understood is what is a request, or a path with its query.
pub fn binance_client(input: &[u8]) -> bool {
    let text = super::text(input);
    let asked = request(text);
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let queried = match query::parse(path, query) {
        Some(Err(fault)) => check(&fault),
        parsed => parsed.is_some(),
    };
    let opened = match url::opening(path, query) {
        Some(Ok(opening)) => opening.streams.iter().all(|name| stream(name)),
        Some(Err(fault)) => check(&fault),
        None => false,
    };
    asked || queried || opened
}

fn request(text: &str) -> bool {
    let mut answer = Vec::new();
    let parsed = request::parse(text.as_bytes());
    let understood = parsed.is_ok();
    match parsed {
        Ok(request) => {
            if let Call::Subscribe(names) | Call::Unsubscribe(names) = &request.call {
                names.iter().for_each(|name| _ = stream(name));
                request::list(&mut answer, &request.id, names.iter().map(String::as_str));
            } else {
                request::done(&mut answer, &request.id);
            }
        }
        Err(refusal) => refusal.write_to(&mut answer),
    }
    let answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
    assert!(answer.get("result").is_some() != answer.get("error").is_some());
    understood
}

fn stream(name: &str) -> bool {
    let Ok(stream) = Stream::parse(name) else { return false };
    let shown = stream.to_string();
    if name.is_ascii() {
        let again = Stream::parse(&shown).expect("the name of a stream is one");
        assert_eq!((again.kind, again.long), (stream.kind, stream.long), "{name:?}, {shown:?}");
        assert!(
            shown.eq_ignore_ascii_case(name) || name == "!bookTicker@arr",
            "{name:?}, {shown:?}"
        );
    }
    true
}

/// Checks what is told of a fault; never is that understood.
fn check(fault: &Fault) -> bool {
    let mut body = Vec::new();
    fault.write_to(&mut body);
    let body: Value = serde_json::from_slice(&body).expect("a body is JSON");
    assert!(body["code"].as_i64().is_some_and(|code| code < 0));
    assert!(
        body["msg"].as_str().is_some_and(|message| !message.is_empty() && message.len() < 2_000)
    );
    assert!((400..600).contains(&fault.status));
    false
}
