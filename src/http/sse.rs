//! `/v1/sse`: the native protocol as server-sent events, for who has no WebSocket: `EventSource` in a
//! page, `curl -N` (docs/PROTOCOL.md).
//!
//! Here a request is read and judged; the socket then goes to a reactor, which sends the answer.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Map, Number, Value, json};

use super::addresses::Place;
use super::origins::Origins;
use super::rest::Error;
use super::rest::query::Query;
use super::socket::Takeover;
use super::{Body, Market, Plane, admit, least_busy, no_room, pass};
use crate::access::{Grant, Held};
use crate::limits;
use crate::reactor::{Adopt, Command, Link, Stream};
use crate::session::Dialect;
use crate::session::resume::{Loss, Start};
use crate::transport::{Peer, Transport};
use crate::wire::form::{Form, Framing};
use crate::wire::request::{self, Channel, Target};

/// Where it is.
pub(super) const PATH: &str = "/v1/sse";

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A stream that is to begin on a connection. Counts as a session from here on.
#[derive(Debug)]
pub(super) struct Opening {
    stream: Stream,
    grant: Held,
    peer: Peer,
    place: Place,
    seat: Seat,
}

/// A place among a reactor's sessions; free again when it is dropped.
#[derive(Debug)]
struct Seat(Option<Arc<Link>>);

impl Seat {
    /// `None` where no reactor is left.
    fn take(links: &[Arc<Link>]) -> Option<Self> {
        let link = least_busy(links)?;
        link.sessions.fetch_add(1, Ordering::Relaxed);
        Some(Seat(Some(link)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(link) = &self.0 {
            link.sessions.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Answers a request that begins no stream, and never returns for one that does.
pub(super) async fn answer(
    plane: &Plane,
    market: &Rc<Market>,
    request: &Request<Incoming>,
    peer: Peer,
    grant: Held,
    door: &Takeover,
) -> Response<Body> {
    let origins = &market.rest.origins;
    if *request.method() == Method::OPTIONS {
        return preflight(request, origins);
    }
    let mut response = match *request.method() {
        Method::GET | Method::HEAD => match wanted(market, request, &grant).await {
            Err(error) => error.into_response(),
            Ok(stream) => match admit(plane, peer) {
                Err(response) => *response,
                Ok(_) if *request.method() == Method::HEAD => Response::new(Body::default()),
                Ok(place) => {
                    let Some(seat) = Seat::take(&market.hub.links) else { return no_room(plane) };
                    plane.counters.upgrades.fetch_add(1, Ordering::Relaxed);
                    let mut headers = HeaderMap::new();
                    origins.apply(request.headers(), &mut headers, false);
                    market.mark(&mut headers);
                    let stream = Stream { head: head(&headers), ..stream };
                    // It does not come back for what follows an answer.
                    let access = &market.hub.access;
                    if access.is_kept() {
                        pass::granted(access, &pass::Asked::of(request, peer, grant.shared()));
                    }
                    match door.take(Opening { stream, grant, peer, place, seat }).await {}
                }
            },
        },
        _ => not_allowed(request.method()),
    };
    if response.status() == StatusCode::OK {
        response.headers_mut().extend(fields());
    }
    origins.apply(request.headers(), response.headers_mut(), false);
    response
}

/// The answer to a browser's question beforehand.
pub(super) fn preflight<B>(request: &Request<B>, origins: &Origins) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    allow(response.headers_mut());
    let preflight = Origins::is_preflight(request.headers());
    origins.apply(request.headers(), response.headers_mut(), preflight);
    response
}

/// The answer to a method that means nothing here.
pub(super) fn not_allowed(method: &Method) -> Response<Body> {
    let message = format!("{method} is not allowed here, expected GET");
    let code = "method_not_allowed";
    let error = Error::new(StatusCode::METHOD_NOT_ALLOWED, code, message);
    let mut response = error.into_response();
    allow(response.headers_mut());
    response
}

fn allow(headers: &mut HeaderMap) {
    headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
}

/// The fields of every stream's head.
fn fields() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // nginx would keep events back until it has a buffer full of them.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    headers
}

/// The head of the response: its body ends with the connection (RFC 9112 section 6.3).
fn head(more: &HeaderMap) -> Vec<u8> {
    let mut out = b"HTTP/1.1 200 OK\r\nconnection: close\r\n".to_vec();
    for (name, value) in fields().iter().chain(more) {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// Gives the socket to a reactor; hyper is gone by now.
pub(super) fn hand_over(opening: Opening, stream: Arc<Transport>) {
    let Opening { stream: events, grant, peer, place, mut seat } = opening;
    let Some(stream) = Arc::into_inner(stream).and_then(|stream| stream.detach().ok()) else {
        return;
    };
    let adopt = Adopt {
        stream,
        peer,
        place,
        grant,
        anonymous_ms: None,
        dialect: Dialect::Native,
        form: Form::NATIVE.framed(Framing::Sse),
        streams: Vec::new(),
        early: Vec::new(),
        greeting: Vec::new(),
        tokens: None,
        events: Some(Box::new(events)),
    };
    // The reactor counts it out.
    if let Some(link) = seat.0.take() {
        link.send(Command::Adopt(Box::new(adopt)));
    }
}

/// What a request asks for.
async fn wanted(
    market: &Rc<Market>,
    request: &Request<Incoming>,
    grant: &Grant,
) -> Result<Stream, Error> {
    let mut query = Query::parse(request.uri().query())?;
    let manner = Manner::take(&mut query)?;
    let targets = targets(market, &mut query, &manner, grant).await?;
    let named = query.take("last_event_id");
    query.finish(&["subscribe", "mode", "max_hz", "batch_ms", "history", "last_event_id"])?;
    // The browser's own, of a connection that broke, is newer than what the page's address says.
    let start = match request.headers().get(LAST_EVENT_ID) {
        Some(value) => position(&market.hub.epoch, "Last-Event-ID", value.to_str().unwrap_or("?"))?,
        None => named
            .map(|text| position(&market.hub.epoch, "last_event_id", &text))
            .transpose()?
            .flatten(),
    };
    let start = match start {
        // A browser says where it was whatever it follows, and would not come back after an error.
        Some(Start::At(_)) if !targets.iter().all(Target::is_told_every_tick) => {
            Start::Lost(Loss::Mode)
        }
        start => start.unwrap_or_default(),
    };
    Ok(Stream { head: Vec::new(), targets, start })
}

/// What all subscriptions of an address have in common: fields of a request, by name.
#[derive(Debug, Default)]
pub(super) struct Manner {
    all: Map<String, Value>,
    /// Of those alone that have a past.
    history: Option<u64>,
}

impl Manner {
    /// Takes them off the parameters.
    pub(super) fn take(query: &mut Query) -> Result<Self, Error> {
        let history = query.number("history", 0..=limits::REQUEST_HISTORY.into())?;
        let mut all = Map::new();
        if let Some(mode) = query.take("mode") {
            all.insert("mode".to_owned(), json!(mode));
        }
        for name in ["max_hz", "batch_ms"] {
            if let Some(text) = query.take(name) {
                // What is no number is refused as it was written.
                let number = serde_json::from_str::<Number>(&text).map(Value::Number);
                all.insert(name.to_owned(), number.unwrap_or_else(|_| json!(text)));
            }
        }
        Ok(Manner { all, history })
    }
}

/// Where somebody was who has this id.
///
/// # Errors
/// It is none.
pub(super) fn position(epoch: &str, name: &str, text: &str) -> Result<Option<Start>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let parts = text.rsplit_once('-').and_then(|(of, at)| Some((of, at.parse().ok()?)));
    match parts {
        Some((of, at)) if of == epoch => Ok(Some(Start::At(at))),
        Some(_) => Ok(Some(Start::Lost(Loss::Epoch))),
        None => Err(Error::bad_value(name, text, "an id that this server has sent")),
    }
}

/// What `subscribe` says, in this manner.
///
/// # Errors
/// What is wrong with them, a symbol or venue that there is not, or more than one client may have.
pub(super) async fn targets(
    market: &Market,
    query: &mut Query,
    manner: &Manner,
    grant: &Grant,
) -> Result<Vec<Target>, Error> {
    market.rest.names.catch_up(&market.hub.instruments).await;
    let text = query.take("subscribe").unwrap_or_default();
    let targets = distinct(parse(&text, manner)?);
    let mut names = targets.iter().flat_map(|target| &target.symbols);
    let at_most = |most: usize, have: usize, of: &str| {
        if have <= most {
            return Ok(());
        }
        let message = format!("more than {most} {of} (a wildcard counts as one subscription)");
        Err(Error::bad("too_many_subscriptions", message))
    };
    let most = grant.max_subscriptions(market.hub.settings.max_subscriptions);
    at_most(most, names.clone().count(), "subscriptions")?;
    let wild = names.clone().filter(|name| name.ends_with('*')).count();
    at_most(limits::WILDCARDS, wild, "wildcards")?;
    names.try_for_each(|name| {
        let known = &market.rest.names;
        match name.strip_suffix(":*") {
            Some(venue) => known.venue(venue, grant).map(|_| ()),
            None if name == "*" => Ok(()),
            None => known.resolve(name, true, grant).map(|_| ()),
        }
    })?;
    Ok(targets)
}

/// Reads `channel:symbol[:depth or interval]`, several with commas between; neighbours that differ in
/// their symbols only are one request.
pub(super) fn parse(text: &str, manner: &Manner) -> Result<Vec<Target>, Error> {
    let mut requests: Vec<(Map<String, Value>, Vec<Value>)> = Vec::new();
    for item in text.split(',').filter(|item| !item.is_empty()) {
        let (channel, rest) =
            item.split_once(':').filter(|(_, rest)| !rest.is_empty()).ok_or_else(|| {
                Error::bad_value(
                    "subscribe",
                    item,
                    "channel:symbol, such as trade:binance:BTC-USDT",
                )
            })?;
        let mut params = manner.all.clone();
        params.insert("channel".to_owned(), json!(channel));
        let mut symbol = rest;
        if let Some((front, last)) = rest.rsplit_once(':')
            && let Some((field, value)) = variant(channel, last)
        {
            symbol = front;
            params.insert(field.to_owned(), value);
        }
        let past = matches!(channel, "trade" | "bar") && !symbol.ends_with('*');
        if let Some(history) = manner.history.filter(|_| past) {
            params.insert("history".to_owned(), json!(history));
        }
        match requests.last_mut() {
            Some((before, symbols)) if *before == params => symbols.push(json!(symbol)),
            _ => requests.push((params, vec![json!(symbol)])),
        }
    }
    if requests.is_empty() {
        let message = "missing parameter `subscribe`, expected one or several channel:symbol with commas between";
        return Err(Error::bad("missing_field", message.to_owned()));
    }
    requests
        .into_iter()
        .map(|(mut params, symbols)| {
            params.insert("symbol".to_owned(), Value::Array(symbols));
            request::target(params).map_err(|(code, message)| Error::bad(code, message))
        })
        .collect()
}

/// The same without what is there already, in whatever case it was written.
fn distinct(mut targets: Vec<Target>) -> Vec<Target> {
    let mut seen = HashSet::new();
    for target in &mut targets {
        let what = (target.channel, target.variant());
        target.symbols.retain(|name| seen.insert((what, name.to_lowercase())));
    }
    targets.retain(|target| !target.symbols.is_empty());
    targets
}

/// What the last part of an item is, where it is not the symbol's: a field of a request. Symbols have at
/// most one colon, and no venue's pair is a number, or a number and a letter.
fn variant(channel: &str, text: &str) -> Option<(&'static str, Value)> {
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse::<u64>().ok().filter(|_| is_number(text));
    if channel == Channel::Book.as_str() {
        let full = (text == "full").then(|| json!(text));
        return number.map(|levels| json!(levels)).or(full).map(|depth| ("depth", depth));
    }
    // `2m` is refused as an interval; `1INCH-USDT` is a pair.
    let count = text.strip_suffix(|unit: char| unit.is_ascii_alphabetic());
    let is_interval = count.is_some_and(|count| !count.is_empty() && is_number(count));
    (channel == Channel::Bar.as_str() && is_interval).then(|| ("interval", json!(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::request::Mode;

    #[test]
    fn subscriptions_are_read_from_the_address() {
        let text = "book:binance:BTC-USDT:25,book:ETH-USDT:25,trade:*,bar:a:B-C:5m,bar:a:B-C,quote:a:*,book:x:Y-Z:full,bar:x:1INCH-Z,bar:x:1INCHZ:1h";
        let manner = Manner { history: Some(3), ..Manner::default() };
        let all = parse(text, &manner).unwrap();
        let shown: Vec<_> =
            all.iter().map(|t| (t.channel, t.symbols.join(" "), t.depth, t.history)).collect();
        let expected = [
            (Channel::Book, "binance:BTC-USDT ETH-USDT", Some(25), 0),
            (Channel::Trade, "*", None, 0),
            (Channel::Bar, "a:B-C", Some(2), 3),
            (Channel::Bar, "a:B-C", None, 3),
            (Channel::Quote, "a:*", None, 0),
            (Channel::Book, "x:Y-Z", Some(0), 0),
            (Channel::Bar, "x:1INCH-Z", None, 3),
            (Channel::Bar, "x:1INCHZ", Some(3), 3),
        ]
        .map(|(channel, symbols, depth, history)| (channel, symbols.to_owned(), depth, history));
        assert_eq!(shown, expected);
        for (bad, named) in [
            ("", "`subscribe`"),
            (",", "`subscribe`"),
            ("trade", "\"trade\""),
            ("trade:", "\"trade:\""),
            ("trades:a:B-C", "\"trades\""),
            ("book:a:B-C:0", "0 for `depth`"),
            ("book:a:B-C:1001", "1001 for `depth`"),
            ("bar:a:B-C:2m", "\"2m\" for `interval`"),
        ] {
            let error = parse(bad, &Manner::default()).unwrap_err();
            assert_eq!(error.status, StatusCode::BAD_REQUEST);
            assert!(error.message.contains(named), "{bad}: {}", error.message);
        }
    }

    #[test]
    fn what_is_asked_for_twice_is_one_subscription() {
        let text = "quote:*,quote:a:*,quote:A:*,quote:*,bar:a:B-C,bar:A:b-c:1m,bar:a:B-C:5m,book:a:B-C,book:a:B-C:5,quote:*";
        let targets = distinct(parse(text, &Manner::default()).unwrap());
        let shown: Vec<_> = targets
            .iter()
            .map(|target| format!("{} {}", target.channel.as_str(), target.symbols.join(" ")))
            .collect();
        assert_eq!(shown, ["quote * a:*", "bar a:B-C", "bar a:B-C", "book a:B-C", "book a:B-C"]);
    }

    #[test]
    fn the_manner_is_that_of_all_subscriptions_and_judged_as_in_requests() {
        let read = |query: &str, subscribe: &str| {
            let mut query = Query::parse(Some(query)).unwrap();
            parse(subscribe, &Manner::take(&mut query)?)
        };
        let two = "quote:a:*,book:a:B-C:5";
        for (query, mode, period_ms) in [
            ("", None, None),
            ("mode=auto", Some(Mode::Auto), None),
            ("max_hz=2.5", Some(Mode::Conflate), Some(400)),
            ("mode=conflate&max_hz=100", Some(Mode::Conflate), Some(10)),
            ("mode=batch&batch_ms=50", Some(Mode::Batch), Some(50)),
        ] {
            for target in read(query, two).unwrap() {
                assert_eq!((target.mode, target.period_ms), (mode, period_ms), "{query}");
                let every = matches!(mode, None | Some(Mode::Auto));
                assert_eq!(target.is_told_every_tick(), every);
            }
        }
        for (query, subscribe, named) in [
            ("mode=some", two, "\"some\" for `mode`"),
            ("mode=conflate", "bar:a:B-C", "\"conflate\" for `mode`"),
            ("max_hz=0.01", two, "0.01 for `max_hz`"),
            ("max_hz=x", two, "\"x\" for `max_hz`"),
            ("max_hz=5&mode=all", two, "mode conflate only"),
            ("batch_ms=50", two, "mode batch only"),
            ("mode=batch&batch_ms=1", two, "1 for `batch_ms`"),
        ] {
            let error = read(query, subscribe).unwrap_err();
            assert!(error.message.contains(named), "{query}: {}", error.message);
        }
    }

    #[test]
    fn ids_are_an_epoch_and_a_position() {
        assert_eq!(position("k-3", "id", "k-3-17").unwrap(), Some(Start::At(17)));
        assert_eq!(position("k3", "id", "k2-17").unwrap(), Some(Start::Lost(Loss::Epoch)));
        assert_eq!(position("k3", "id", "").unwrap(), None);
        for bad in ["17", "k3-", "k3-x", "k3-1-x"] {
            assert!(position("k3", "id", bad).is_err(), "{bad}");
        }
    }
}
