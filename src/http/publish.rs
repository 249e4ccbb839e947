//! `/v1/publish`: ticks from whoever has the token, as a request's body or over a WebSocket.
//!
//! The control plane checks the token, bounds what it holds, and hands bytes to the feed `publish`;
//! the feed's thread parses them.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tickcast_feeds::lines::{Inbox, Outcome, Post, Source, Told};
use tokio::sync::{Notify, oneshot};

use super::{Body, Plane, plain, socket_of, typed, upgrade};
use crate::config::Token;
use crate::limits;
use crate::transport::Peer;

mod socket;

/// What is behind `/v1/publish`. Of one thread, the control plane's.
#[derive(Debug)]
pub(crate) struct Door {
    token: Token,
    inbox: Inbox,
    /// WebSockets at a time.
    most: usize,
    ping_interval: Duration,
    ping_timeout: Duration,
    requests: Cell<usize>,
    connections: Cell<usize>,
    next: Cell<u64>,
    closing: Notify,
    counters: Counters,
}

/// What is counted of it.
#[derive(Debug, Default)]
struct Counters {
    messages: AtomicU64,
    refused: AtomicU64,
}

impl Door {
    /// For those with the token, at most `most` WebSockets at a time; `pings` are the interval of
    /// the pings and how long an answer may take.
    pub(crate) fn new(token: Token, inbox: Inbox, most: usize, pings: [Duration; 2]) -> Self {
        let [ping_interval, ping_timeout] = pings;
        Door {
            token,
            inbox,
            most,
            ping_interval,
            ping_timeout,
            requests: Cell::new(0),
            connections: Cell::new(0),
            next: Cell::new(0),
            closing: Notify::new(),
            counters: Counters::default(),
        }
    }

    /// Tells the publishers that the server stops, and waits a moment for them to take it.
    pub(crate) async fn close(&self) {
        let until = Instant::now() + limits::PUBLISH_DRAIN;
        while self.connections.get() > 0 && Instant::now() < until {
            self.closing.notify_waiters();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// WebSockets now, messages taken, and requests refused before they were read.
    pub(super) fn counts(&self) -> (u64, u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let connections = self.connections.get() as u64;
        (connections, load(&self.counters.messages), load(&self.counters.refused))
    }

    /// Hands lines in and waits for what becomes of them; `None` where the feed cannot take them.
    async fn post(&self, source: Source, lines: Vec<u8>) -> Option<Outcome> {
        self.counters.messages.fetch_add(1, Ordering::Relaxed);
        let (tell, outcome) = oneshot::channel();
        // Whoever asked may have gone by then.
        let done = Box::new(move |outcome| drop(tell.send(outcome)));
        self.inbox.post(Post { source, lines: Some(lines), done }).ok()?;
        outcome.await.ok()
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        let mut all = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(given), None) = (all.next(), all.next()) else {
            return Err("expected one header `Authorization: Bearer TOKEN`\n");
        };
        let (scheme, token) = given.as_bytes().split_at(given.len().min(7));
        if !scheme.eq_ignore_ascii_case(b"Bearer ") {
            return Err("expected the header `Authorization: Bearer TOKEN`\n");
        }
        if self.token.is(token.trim_ascii()) { Ok(()) } else { Err("not the token\n") }
    }
}

/// One more of something, as long as it lives.
struct Counted<'a>(&'a Cell<usize>);

impl<'a> Counted<'a> {
    /// `None` where there are as many as there may be.
    fn one(count: &'a Cell<usize>, most: usize) -> Option<Self> {
        (count.get() < most).then(|| {
            count.set(count.get() + 1);
            Counted(count)
        })
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Answers whatever comes for `/v1/publish`.
pub(super) async fn answer(
    plane: &Rc<Plane>,
    request: Request<Incoming>,
    peer: Peer,
) -> Response<Body> {
    let Some(door) = &plane.publish else {
        let text = "publishing is off: the server was given no token (--publish-token-file)\n";
        return plain(StatusCode::NOT_FOUND, text);
    };
    let response = match door.check(request.headers()) {
        Err(why) => unauthorized(why),
        Ok(()) if plane.draining.load(Ordering::Relaxed) => {
            later(StatusCode::SERVICE_UNAVAILABLE, 5, "the server restarts, try again\n")
        }
        Ok(()) => match *request.method() {
            Method::POST => match post(plane, door, request).await {
                Ok(outcome) => return outcome,
                Err(response) => *response,
            },
            Method::GET => match open(plane, door, request, peer) {
                Ok(response) => return response,
                Err(response) => *response,
            },
            _ => {
                let text = "expected POST with lines, or a WebSocket's GET\n";
                let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, text);
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, POST"));
                response
            }
        },
    };
    door.counters.refused.fetch_add(1, Ordering::Relaxed);
    response
}

/// RFC 6750 section 3.
fn unauthorized(why: &str) -> Response<Body> {
    let mut response = plain(StatusCode::UNAUTHORIZED, why);
    let challenge = HeaderValue::from_static("Bearer realm=\"publish\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn later(status: StatusCode, seconds: u64, text: &str) -> Response<Body> {
    let mut response = plain(status, text);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// Takes the lines of a body.
async fn post(
    plane: &Plane,
    door: &Door,
    request: Request<Incoming>,
) -> Result<Response<Body>, Box<Response<Body>>> {
    let encoded = request.headers().get(header::CONTENT_ENCODING);
    if encoded.is_some_and(|encoding| encoding != "identity") {
        let text = "the body is compressed, expected lines as they are\n";
        return Err(plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into());
    }
    let too_large = || {
        let text = format!("the body is over {} bytes\n", limits::PUBLISH_BODY_BYTES);
        Box::new(plain(StatusCode::PAYLOAD_TOO_LARGE, &text))
    };
    if request.body().size_hint().lower() > limits::PUBLISH_BODY_BYTES as u64 {
        return Err(too_large());
    }
    let Some(_one) = Counted::one(&door.requests, limits::PUBLISH_REQUESTS) else {
        let text = format!("{} requests are under way, try again\n", limits::PUBLISH_REQUESTS);
        return Err(later(StatusCode::TOO_MANY_REQUESTS, 1, &text).into());
    };
    let body = Limited::new(request.into_body(), limits::PUBLISH_BODY_BYTES).collect();
    let body = match tokio::time::timeout(plane.handshake_timeout, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(_)) => return Err(plain(StatusCode::BAD_REQUEST, "the body broke off\n").into()),
        Err(_) => {
            let text = "the body did not come in time\n";
            return Err(plain(StatusCode::REQUEST_TIMEOUT, text).into());
        }
    };
    let Some(outcome) = door.post(Source::Requests, body.to_vec()).await else {
        let text = "the feed `publish` is busy or has ended, try again\n";
        return Err(later(StatusCode::SERVICE_UNAVAILABLE, 1, text).into());
    };
    if outcome.wait_ns > 0 && outcome.accepted + outcome.rejected == 0 {
        let seconds = outcome.wait_ns.div_ceil(1_000_000_000);
        let text = "over the rate of ticks (key `rate` of the feed `publish`); nothing was read\n";
        return Err(later(StatusCode::TOO_MANY_REQUESTS, seconds, text).into());
    }
    Ok(told(&outcome))
}

/// The answer to a body that was read: 200, or 400 where none of its lines was good.
fn told(outcome: &Outcome) -> Response<Body> {
    let of = |kind: &'static str| outcome.told.iter().filter(move |told| told.kind == kind);
    let rejected: Vec<Value> = of("rejected")
        .map(|told| json!({"line": told.line, "code": told.code, "message": told.message}))
        .collect();
    let mut answer = json!({
        "accepted": outcome.accepted,
        "rejected": rejected,
        "rejected_total": outcome.rejected,
    });
    if let Some(closing) = of("closing").next() {
        answer["stopped"] = json!({"line": closing.line, "message": closing.message});
    }
    let none = outcome.accepted == 0 && outcome.rejected > 0;
    let status = if none { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    typed(status, "application/json", answer.to_string())
}

/// Opens a WebSocket.
fn open(
    plane: &Rc<Plane>,
    door: &Door,
    mut request: Request<Incoming>,
    peer: Peer,
) -> Result<Response<Body>, Box<Response<Body>>> {
    if door.connections.get() >= door.most {
        let text = format!("{} publishers are connected, that is all there may be\n", door.most);
        return Err(later(StatusCode::SERVICE_UNAVAILABLE, 5, &text).into());
    }
    let acks = request.uri().query().is_some_and(|query| query.split('&').any(|q| q == "ack=true"));
    let upgrade::Answer { response, upgraded, .. } =
        upgrade::answer(&mut request, upgrade::Choices::default())?;
    let plane = plane.clone();
    tokio::task::spawn_local(async move {
        let Some(door) = &plane.publish else { return };
        let Some(_one) = Counted::one(&door.connections, door.most) else { return };
        let source = Source::Connection(door.next.replace(door.next.get() + 1));
        if let Some((stream, early)) = socket_of(upgraded).await {
            tracing::info!(%peer, "publisher connected");
            socket::Connection::new(&plane, door, stream, source, acks).run(early).await;
            tracing::info!(%peer, "publisher left");
            // Its symbols are stale from here on. Where the feed takes no more it has ended, and
            // they are anyway.
            let gone = Post { source, lines: None, done: Box::new(|_| {}) };
            let _ = door.inbox.post(gone);
        }
    });
    Ok(response)
}

/// What a publisher is told, as the text of a message.
fn text_of(told: &Told) -> Vec<u8> {
    let mut text = Vec::new();
    told.write_json(&mut text);
    text
}
