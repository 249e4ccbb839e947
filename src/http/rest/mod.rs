//! `/v1/...`: the newest of everything, and what came before it, for whoever asks over plain HTTP
//! (docs/HTTP.md).
//!
//! All runs on the control market's thread. What an answer needs is copied under an instrument's
//! lock and encoded outside; every request lets others have a turn first, and long answers are made
//! part by part as the client takes them ([`Body::parts`]).

mod answers;
pub(crate) mod encode;
pub(crate) mod market;
pub(crate) mod query;
pub(crate) mod symbols;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tickcast_feeds::FeedState;

use super::origins::Origins;
use super::{Body, Market, typed};
use crate::access::{Denied, Held};
use crate::books::Reader;
use crate::wire::request::cut;
use encode::Object;
use market::View;
use query::Query;
use symbols::Directory;

const JSON: &str = "application/json";

/// The description of these paths, and that of the WebSocket.
static OPENAPI: &[u8] = include_bytes!("../../../docs/openapi.json");
static ASYNCAPI: &[u8] = include_bytes!("../../../docs/asyncapi.json");

/// What the answers are made from. Of one thread, the control market's.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) names: Directory,
    pub(crate) reader: RefCell<Reader>,
    pub(crate) origins: Origins,
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
            origins: Origins::new(cors_origins),
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

/// Why something is forbidden, beside the answer that says so: for the log.
#[derive(Clone)]
pub(crate) struct Why(pub(crate) String);

impl Error {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: String) -> Self {
        Error { status, code, message, near: Vec::new(), state: None }
    }

    /// What is not granted to the one who asks.
    pub(crate) fn denied(denied: &Denied) -> Self {
        Error::new(StatusCode::FORBIDDEN, "forbidden", denied.to_string())
    }

    /// What a token was for that has ended meanwhile.
    pub(crate) fn over() -> Self {
        Error::new(StatusCode::UNAUTHORIZED, "unauthorized", "the token is over".to_owned())
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
        if self.status == StatusCode::FORBIDDEN {
            response.extensions_mut().insert(Why(self.message));
        }
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
    market: &Rc<Market>,
    request: &Request<B>,
    route: Route<'_>,
    grant: &Held,
) -> Response<Body> {
    // A client that sends many requests at once waits for those of others in between.
    tokio::task::yield_now().await;
    let preflight =
        *request.method() == Method::OPTIONS && Origins::is_preflight(request.headers());
    let mut response = match *request.method() {
        Method::GET | Method::HEAD => {
            let query = Query::parse(request.uri().query());
            match query {
                Ok(query) => carry_out(market, route, query, grant).await,
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
    market.rest.origins.apply(request.headers(), response.headers_mut(), preflight);
    response
}

async fn carry_out(
    market: &Rc<Market>,
    route: Route<'_>,
    query: Query,
    grant: &Held,
) -> Result<Response<Body>, Error> {
    market.rest.names.catch_up(&market.hub.instruments).await;
    match route {
        Route::Symbols => answers::list(market, query, grant),
        Route::Snapshot => answers::snapshot(market, query, grant),
        Route::Book(symbol) => answers::book(market, symbol, query, grant),
        Route::Trades(symbol) => answers::trades(market, symbol, query, grant),
        Route::Bars(symbol) => answers::bars(market, symbol, query, grant),
        Route::Ticker(symbol) => answers::ticker(market, symbol, query, grant),
        Route::OpenApi => query.finish(&[]).map(|()| typed(StatusCode::OK, JSON, OPENAPI)),
        Route::AsyncApi => query.finish(&[]).map(|()| typed(StatusCode::OK, JSON, ASYNCAPI)),
    }
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
