//! `/v1/...`: the newest of everything, and what came before it, for whoever asks over plain HTTP
//! (docs/HTTP.md).
//!
//! All runs on the control plane's thread. What an answer needs is copied under an instrument's
//! lock and encoded outside; every request lets others have a turn first, and long answers are made
//! part by part as the client takes them ([`Body::parts`]).

pub(crate) mod cors;
pub(crate) mod encode;
pub(crate) mod market;
pub(crate) mod query;
pub(crate) mod symbols;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tickcast_feeds::{FeedState, Instrument};

use super::{Body, Plane, typed};
use crate::books::{Depth, Reader};
use crate::clock;
use crate::derive::Span;
use crate::limits;
use crate::wire::request::cut;
use cors::Cors;
use encode::Object;
use market::View;
use query::Query;
use symbols::Directory;

const JSON: &str = "application/json";

/// The description of these paths, and that of the WebSocket.
static OPENAPI: &[u8] = include_bytes!("../../../docs/openapi.json");
static ASYNCAPI: &[u8] = include_bytes!("../../../docs/asyncapi.json");

/// What the answers are made from. Of one thread, the control plane's.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) names: Directory,
    pub(crate) reader: RefCell<Reader>,
    pub(crate) cors: Cors,
    /// Whether trades and bars are kept (`--history`).
    has_history: bool,
    view: RefCell<View>,
    /// Large answers under way.
    large: Cell<usize>,
}

impl Rest {
    pub(crate) fn new(reader: Reader, cors_origins: Vec<String>, history: usize) -> Self {
        Rest {
            names: Directory::default(),
            reader: RefCell::new(reader),
            cors: Cors::new(cors_origins),
            has_history: history > 0,
            view: RefCell::default(),
            large: Cell::new(0),
        }
    }
}

/// Why a request gets no answer: a status, and what the body says.
#[derive(Debug, PartialEq)]
pub(crate) struct Error {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    /// Names the value and what was expected.
    pub(crate) message: String,
    /// What may have been meant.
    pub(crate) near: Vec<String>,
    /// The state of the symbol's feed, where that is the cause.
    pub(crate) state: Option<FeedState>,
}

impl Error {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: String) -> Self {
        Error { status, code, message, near: Vec::new(), state: None }
    }

    pub(crate) fn bad(code: &'static str, message: String) -> Self {
        Error::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(crate) fn bad_value(name: &str, value: &str, expected: &str) -> Self {
        let value = cut(value);
        Error::bad("bad_value", format!("bad value {value:?} for `{name}`, expected {expected}"))
    }

    /// Adds the fields that every error has.
    fn fields(&self, object: &mut Object<'_>) {
        object.text("code", self.code).text("message", &self.message);
        if !self.near.is_empty() {
            encode::array(object.field("did_you_mean"), &self.near, |out, near| {
                encode::push_text(out, near);
            });
        }
        if let Some(state) = self.state {
            object.text("state", state.as_str());
        }
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let mut body = Vec::new();
        let mut object = Object::open(&mut body);
        let mut error = Object::open(object.field("error"));
        self.fields(&mut error);
        error.close();
        object.close();
        let mut response = typed(self.status, JSON, body);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// What a path asks for; symbols as they stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    Symbols,
    Snapshot,
    Book(&'a str),
    Trades(&'a str),
    Bars(&'a str),
    Ticker(&'a str),
    OpenApi,
    AsyncApi,
}

impl<'a> Route<'a> {
    /// All paths that are served here.
    pub(crate) fn of(path: &'a str) -> Option<Self> {
        match path {
            "/v1/symbols" => return Some(Route::Symbols),
            "/v1/snapshot" => return Some(Route::Snapshot),
            "/v1/openapi.json" => return Some(Route::OpenApi),
            "/v1/asyncapi.json" => return Some(Route::AsyncApi),
            _ => {}
        }
        // What follows may hold a `/`: some proxies undo `%2F`.
        let (name, symbol) = match path.strip_prefix("/v1/")?.split_once('/') {
            Some(parts) => parts,
            None => (path.strip_prefix("/v1/")?, ""),
        };
        match name {
            "book" => Some(Route::Book(symbol)),
            "trades" => Some(Route::Trades(symbol)),
            "bars" => Some(Route::Bars(symbol)),
            "ticker" => Some(Route::Ticker(symbol)),
            _ => None,
        }
    }
}

/// Answers a request for one of these paths, whatever its method.
pub(super) async fn answer<B>(
    plane: &Rc<Plane>,
    request: &Request<B>,
    route: Route<'_>,
) -> Response<Body> {
    // A client that sends many requests at once waits for those of others in between.
    tokio::task::yield_now().await;
    let preflight = *request.method() == Method::OPTIONS && Cors::is_preflight(request.headers());
    let mut response = match *request.method() {
        Method::GET | Method::HEAD => {
            let query = Query::parse(request.uri().query());
            match query {
                Ok(query) => carry_out(plane, route, query).await,
                Err(error) => Err(error),
            }
            .unwrap_or_else(Error::into_response)
        }
        Method::OPTIONS => {
            let mut response = Response::new(Body::default());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        _ => {
            let message = format!("{} is not allowed here, expected GET", request.method());
            let code = "method_not_allowed";
            Error::new(StatusCode::METHOD_NOT_ALLOWED, code, message).into_response()
        }
    };
    if matches!(response.status(), StatusCode::METHOD_NOT_ALLOWED | StatusCode::NO_CONTENT) {
        let allow = HeaderValue::from_static("GET, HEAD, OPTIONS");
        response.headers_mut().insert(header::ALLOW, allow);
    }
    plane.rest.cors.apply(request.headers(), response.headers_mut(), preflight);
    response
}

async fn carry_out(
    plane: &Rc<Plane>,
    route: Route<'_>,
    query: Query,
) -> Result<Response<Body>, Error> {
    plane.rest.names.catch_up(&plane.hub.instruments).await;
    match route {
        Route::Symbols => list(plane, query),
        Route::Snapshot => snapshot(plane, query),
        Route::Book(symbol) => book(plane, symbol, query),
        Route::Trades(symbol) => trades(plane, symbol, query),
        Route::Bars(symbol) => bars(plane, symbol, query),
        Route::Ticker(symbol) => ticker(plane, symbol, query),
        Route::OpenApi => query.finish(&[]).map(|()| typed(StatusCode::OK, JSON, OPENAPI)),
        Route::AsyncApi => query.finish(&[]).map(|()| typed(StatusCode::OK, JSON, ASYNCAPI)),
    }
}

/// The instrument that a path names.
fn of_path(plane: &Plane, symbol: &str) -> Result<Arc<Instrument>, Error> {
    if symbol.is_empty() {
        let message =
            "missing symbol, expected one such as /binance:BTC-USDT at the end of the path";
        return Err(Error::bad("missing_field", message.to_owned()));
    }
    plane.rest.names.resolve(&query::decode(symbol)?, true)
}

/// An answer of one object, which begins with the server's epoch.
fn object(plane: &Plane, fill: impl FnOnce(&mut Object<'_>)) -> Vec<u8> {
    let mut body = Vec::new();
    let mut object = Object::open(&mut body);
    object.text("epoch", &plane.hub.epoch);
    fill(&mut object);
    object.close();
    body
}

/// What `depth=` says.
fn depth(query: &mut Query, default: u64, full: bool) -> Result<Depth, Error> {
    let Some(text) = query.take("depth") else {
        return Depth::top(default).map_err(|error| Error::bad("bad_value", error.to_string()));
    };
    if text == "full" && full {
        return Ok(Depth::FULL);
    }
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let levels = text.parse().ok().filter(|_| plain);
    levels.and_then(|levels| Depth::top(levels).ok()).ok_or_else(|| {
        let most = limits::BOOK_DEPTH_MAX;
        let expected =
            format!("a whole number from 1 to {most}{}", if full { ", or full" } else { "" });
        Error::bad_value("depth", &text, &expected)
    })
}

fn list(plane: &Rc<Plane>, mut query: Query) -> Result<Response<Body>, Error> {
    let venue = query.take("venue");
    query.finish(&["venue"])?;
    let names = &plane.rest.names;
    let venue = venue.map(|venue| names.venue(&venue)).transpose()?;
    let (mut at, end) = (0, names.len());
    let (mut begun, mut first) = (false, true);
    let plane = plane.clone();
    let next = move || {
        let mut out = Vec::new();
        if !std::mem::replace(&mut begun, true) {
            Object::open(&mut out).text("epoch", &plane.hub.epoch).field("symbols").push(b'[');
        } else if at >= end {
            return None;
        }
        let count = limits::REST_SYMBOLS_PER_PART.min(end - at);
        for info in plane.rest.names.range(at, count) {
            if venue.as_ref().is_none_or(|venue| *venue == info.venue) {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                encode::instrument(&mut out, &info);
            }
        }
        at += count;
        if at >= end {
            out.extend_from_slice(b"]}");
        }
        // An empty part would be the end; white space may stand between any two values.
        if out.is_empty() {
            out.push(b'\n');
        }
        Some(Bytes::from(out))
    };
    Ok(streamed(None, next))
}

fn streamed(len: Option<u64>, next: impl FnMut() -> Option<Bytes> + 'static) -> Response<Body> {
    let mut response = typed(StatusCode::OK, JSON, Bytes::new());
    *response.body_mut() = Body::parts(len, next);
    response
}

fn snapshot(plane: &Rc<Plane>, mut query: Query) -> Result<Response<Body>, Error> {
    let symbols = query.take("symbols").unwrap_or_default();
    let depth = depth(&mut query, limits::REST_SNAPSHOT_DEPTH, false)?;
    query.finish(&["symbols", "depth"])?;
    let names: Vec<&str> = symbols.split(',').filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        let message = "missing parameter `symbols`, expected one or several with commas between";
        return Err(Error::bad("missing_field", message.to_owned()));
    }
    if names.len() > limits::REST_SNAPSHOT_SYMBOLS {
        let most = limits::REST_SNAPSHOT_SYMBOLS;
        let message = format!("{} symbols in one request, expected at most {most}", names.len());
        return Err(Error::bad("bad_value", message));
    }
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for name in names {
        // A hundred typos in one request get a few suggestions.
        match plane.rest.names.resolve(name, errors.len() < limits::SUGGESTIONS_PER_REQUEST) {
            Ok(info) => found.push(info),
            Err(error) => errors.push((name.to_owned(), error)),
        }
    }
    if found.is_empty() {
        return Err(errors.swap_remove(0).1);
    }
    Ok(streamed(None, snapshots(plane.clone(), found, errors, depth)))
}

/// The parts of an answer with the newest of several symbols: each is taken when its part is due.
fn snapshots(
    plane: Rc<Plane>,
    found: Vec<Arc<Instrument>>,
    errors: Vec<(String, Error)>,
    depth: Depth,
) -> impl FnMut() -> Option<Bytes> + 'static {
    let mut found = found.into_iter().enumerate();
    let mut errors = Some(errors);
    move || {
        let mut out = Vec::new();
        if let Some((at, info)) = found.next() {
            if at == 0 {
                let time = clock::real_ns() / 1000;
                let mut object = Object::open(&mut out);
                object
                    .text("epoch", &plane.hub.epoch)
                    .int("time", time)
                    .field("symbols")
                    .push(b'[');
            } else {
                out.push(b',');
            }
            let mut view = plane.rest.view.borrow_mut();
            view.take(&mut plane.rest.reader.borrow_mut(), info.id, depth);
            let mut object = Object::open(&mut out);
            object.text("symbol", &info.symbol);
            view.all(&mut object, depth);
            object.close();
            return Some(Bytes::from(out));
        }
        let errors = errors.take()?;
        out.push(b']');
        if !errors.is_empty() {
            out.extend_from_slice(b",\"errors\":");
            encode::array(&mut out, &errors, |out, (name, error)| {
                let mut object = Object::open(out);
                object.text("symbol", &cut(name));
                error.fields(&mut object);
                object.close();
            });
        }
        out.push(b'}');
        Some(Bytes::from(out))
    }
}

fn book(plane: &Rc<Plane>, symbol: &str, mut query: Query) -> Result<Response<Body>, Error> {
    let depth = depth(&mut query, limits::REST_BOOK_DEPTH, true)?;
    query.finish(&["depth"])?;
    let info = of_path(plane, symbol)?;
    let rest = &plane.rest;
    let mut view = rest.view.borrow_mut();
    view.take(&mut rest.reader.borrow_mut(), info.id, depth);
    if !view.has_book {
        let message = format!("the book of {} is not known now, try again", info.symbol);
        let mut error = Error::new(StatusCode::SERVICE_UNAVAILABLE, "book_not_known", message);
        error.state = Some(view.feed);
        return Err(error);
    }
    let is_large = view.levels() > 2 * limits::BOOK_DEPTH_MAX;
    if is_large && rest.large.get() >= limits::REST_LARGE {
        let message = format!("{} full books are being sent, try again", limits::REST_LARGE);
        return Err(Error::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message));
    }
    let body = object(plane, |object| {
        object.text("symbol", &info.symbol).text("state", view.feed.as_str());
        view.book(object, depth);
    });
    if !is_large {
        return Ok(typed(StatusCode::OK, JSON, body));
    }
    let mut body = Bytes::from(body);
    let one = Large::new(plane);
    Ok(streamed(Some(body.len() as u64), move || {
        let _counted = &one;
        let part = body.split_to(body.len().min(limits::REST_PART_BYTES));
        (!part.is_empty()).then_some(part)
    }))
}

/// One more large answer, as long as it lives.
struct Large(Rc<Plane>);

impl Large {
    fn new(plane: &Rc<Plane>) -> Self {
        plane.rest.large.set(plane.rest.large.get() + 1);
        Large(plane.clone())
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        self.0.rest.large.set(self.0.rest.large.get() - 1);
    }
}

/// What `limit=` says.
fn limit(query: &mut Query) -> Result<usize, Error> {
    let limit = query.number("limit", 1..=limits::REST_ITEMS_MAX as u64)?;
    Ok(limit.map_or(limits::REST_ITEMS, |limit| limit as usize))
}

fn with_history(plane: &Plane) -> Result<(), Error> {
    if plane.rest.has_history {
        return Ok(());
    }
    let message = "this server keeps no history (--history 0)".to_owned();
    Err(Error::new(StatusCode::NOT_FOUND, "no_history", message))
}

fn trades(plane: &Rc<Plane>, symbol: &str, mut query: Query) -> Result<Response<Body>, Error> {
    let limit = limit(&mut query)?;
    let before = query.number("before", 0..=limits::REST_BEFORE_MAX)?;
    query.finish(&["limit", "before"])?;
    with_history(plane)?;
    let info = of_path(plane, symbol)?;
    let (ticks, mut prev) =
        market::trades(&mut plane.rest.reader.borrow_mut(), info.id, before, limit);
    let body = object(plane, |object| {
        object.text("symbol", &info.symbol);
        encode::array(object.field("trades"), &ticks, |out, tick| {
            let mut object = Object::open(out);
            encode::trade(&mut object, tick, Some(std::mem::replace(&mut prev, tick.seq)));
            object.close();
        });
    });
    Ok(typed(StatusCode::OK, JSON, body))
}

fn bars(plane: &Rc<Plane>, symbol: &str, mut query: Query) -> Result<Response<Body>, Error> {
    let span = match query.take("interval") {
        None => Span::Minute,
        Some(name) => Span::interval(&name).ok_or_else(|| {
            let names = Span::BARS.map(Span::as_str).join(", ");
            Error::bad_value("interval", &name, &format!("one of {names}"))
        })?,
    };
    let limit = limit(&mut query)?;
    let before = query.number("before", 0..=limits::REST_BEFORE_MAX)?;
    query.finish(&["interval", "limit", "before"])?;
    with_history(plane)?;
    let info = of_path(plane, symbol)?;
    let before_s = before.map(|micros| micros.div_ceil(1_000_000));
    let reader = &mut plane.rest.reader.borrow_mut();
    let (bars, open) = market::bars(reader, info.id, span, before_s, limit);
    let body = object(plane, |object| {
        object.text("symbol", &info.symbol).text("interval", span.as_str());
        encode::array(object.field("bars"), &bars, |out, bar| {
            let mut object = Object::open(out);
            encode::bar(&mut object, bar);
            object.close();
        });
        // Apart from the others, so that nobody takes it for one that is over.
        if let Some(open) = open.filter(|_| before.is_none()) {
            let mut current = Object::open(object.field("current"));
            encode::bar(&mut current, &open);
            current.close();
        }
    });
    Ok(typed(StatusCode::OK, JSON, body))
}

fn ticker(plane: &Rc<Plane>, symbol: &str, query: Query) -> Result<Response<Body>, Error> {
    query.finish(&[])?;
    let info = of_path(plane, symbol)?;
    let mut view = plane.rest.view.borrow_mut();
    let depth = Depth::top(1).map_err(|error| Error::bad("bad_value", error.to_string()))?;
    view.take(&mut plane.rest.reader.borrow_mut(), info.id, depth);
    let mut known = false;
    let body = object(plane, |object| {
        object.text("symbol", &info.symbol);
        known = view.ticker(object);
    });
    if known {
        return Ok(typed(StatusCode::OK, JSON, body));
    }
    let message = format!("no trade of {} has come in the last 24 hours", info.symbol);
    Err(Error::new(StatusCode::NOT_FOUND, "no_trades", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_what_they_ask_for() {
        assert_eq!(Route::of("/v1/symbols"), Some(Route::Symbols));
        assert_eq!(Route::of("/v1/book/a:B-C"), Some(Route::Book("a:B-C")));
        assert_eq!(Route::of("/v1/trades/a:B%2FC"), Some(Route::Trades("a:B%2FC")));
        assert_eq!(Route::of("/v1/bars/a:B/C"), Some(Route::Bars("a:B/C")));
        assert_eq!(Route::of("/v1/ticker"), Some(Route::Ticker("")));
        for other in ["/", "/v1", "/v1/", "/v1/symbols/", "/v1/books/x", "/v1/ws", "/book/x", ""] {
            assert_eq!(Route::of(other), None, "{other}");
        }
    }
}
