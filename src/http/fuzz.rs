//! What the control plane reads of a request before it looks at any data, for the fuzz target `head`. Not for any
//! other use.

use hyper::Request;

use super::rest::query::Query;
use super::rest::{Error, Route};
use super::{Opening, sse, upgrade};
use crate::limits;

/// Reads a request's head, `GET /path?query` and lines of fields, as the server does; what it would tell whoever
/// sent it is wrong. `None` where this is no head.
pub fn head(text: &str) -> Option<Vec<String>> {
    let request = request(text)?;
    let opening = Opening::of(request.uri(), true);
    if matches!(opening, Some(Ok(_))) && upgrade::check(&request).is_ok() {
        upgrade::offers(request.headers(), upgrade::SUBPROTOCOL);
        upgrade::deflate::accept(request.headers());
    }
    let _ = Route::of(request.uri().path());
    let mut told: Vec<Error> = Vec::new();
    if let Some(id) = request.headers().get("last-event-id") {
        told.extend(sse::position("epoch", "Last-Event-ID", id.to_str().unwrap_or("?")).err());
    }
    match Query::parse(request.uri().query()) {
        Ok(query) => parameters(query, &mut told),
        Err(error) => told.push(error),
    }
    Some(told.into_iter().map(|error| error.message).collect())
}

/// Reads the parameters of streams, polls and market data, each as what it is.
fn parameters(mut query: Query, told: &mut Vec<Error>) {
    let subscribe = query.take("subscribe").unwrap_or_default();
    match sse::Manner::take(&mut query) {
        Ok(manner) => told.extend(sse::parse(&subscribe, &manner).err()),
        Err(error) => told.push(error),
    }
    for name in ["cursor", "last_event_id"] {
        let text = query.take(name).unwrap_or_default();
        told.extend(sse::position("epoch", name, &text).err());
    }
    told.extend(query.number("timeout", 0..=limits::POLL_SECONDS_MAX).err());
    told.extend(query.finish(&["subscribe"]).err());
}

fn request(text: &str) -> Option<Request<()>> {
    let (first, fields) = text.split_once('\n').unwrap_or((text, ""));
    let (method, target) = first.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(target);
    for line in fields.lines() {
        let (name, value) = line.split_once(':')?;
        request = request.header(name, value.trim());
    }
    request.body(()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_and_what_is_right_is_not() {
        let good = "GET /v1/sse?subscribe=trade:*&history=1\nLast-Event-ID: epoch-17";
        assert_eq!(head(good), Some(vec![]));
        let bad = "GET /v1/poll?subscribe=trades:*&timeout=x&cursor=7&z=1\nlast-event-id: q";
        let told = head(bad).unwrap();
        for part in ["Last-Event-ID", "trades", "`timeout`", "`cursor`", "`z`"] {
            assert!(told.iter().any(|message| message.contains(part)), "{part}: {told:?}");
        }
        assert_eq!(head("GET /\nno field"), None);
    }
}
