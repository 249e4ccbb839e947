//! The control plane: accepts every connection, answers plain HTTP, and hands upgraded ones to
//! the reactors. It runs on a thread of its own: whatever is asked here lengthens no turn.

pub(crate) mod addresses;
pub(crate) mod admin;
mod api;
pub mod assets;
mod body;
mod connection;
pub(crate) mod cuts;
pub(crate) mod exchange;
#[doc(hidden)]
pub mod fuzz;
mod market;
mod metrics;
mod origins;
mod pass;
pub(crate) mod poll;
pub(crate) mod proxies;
mod publish;
pub(crate) mod rest;
mod socket;
mod sse;
mod upgrade;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;

use crate::access::{Grant, Held};
use crate::clock;
use crate::ingest::FeedStats;
use crate::reactor::{Adopt, Command, Link, least_busy};
use crate::session::Dialect;
use crate::stats::{IngestReport, Times};
use crate::transport::certificates::Certificates;
use crate::transport::{Established, HandshakeError, Peer};
use crate::wire::binance;
use crate::wire::form::{Form, Framing};

use addresses::{Addresses, Place};
pub(crate) use body::Body;
pub(crate) use connection::accept;
pub(crate) use market::{Market, Spooled};
use pass::Pass;
use proxies::Proxies;
pub(crate) use publish::Door;
use rest::{Route, Why};
use socket::{Socket, Takeover};

/// What the control plane shows and hands on.
#[derive(Debug)]
pub(crate) struct Plane {
    /// What those are served from whom nothing delays.
    pub(crate) live: Rc<Market>,
    /// What those are served from whom something does, each for one delay.
    pub(crate) delayed: Vec<Rc<Market>>,
    /// What they are played from, where there are any.
    pub(crate) spool: Option<Spooled>,
    pub(crate) feeds: Vec<Arc<FeedStats>>,
    pub(crate) ingest: Arc<Mutex<IngestReport>>,
    /// From the receipt of a batch's first tick to the ring.
    pub(crate) to_ring: Arc<Times>,
    /// The recording that is made, if one is.
    pub(crate) recording: Option<Arc<tickcast_feeds::record::Stats>>,
    pub(crate) started: Instant,
    pub(crate) max_clients: usize,
    /// What each address may have.
    pub(crate) addresses: Addresses,
    /// Who is believed whom it speaks for.
    pub(crate) proxies: Proxies,
    pub(crate) handshake_timeout: Duration,
    pub(crate) max_handshakes: usize,
    /// Whether `/v1/echo` is there.
    pub(crate) echoes: bool,
    pub(crate) draining: AtomicBool,
    pub(crate) counters: Counters,
    pub(crate) rates: Mutex<api::Rates>,
    /// Where operators come in, if anywhere.
    pub(crate) admin: Option<admin::Door>,
    /// Where ticks are published, if anybody may.
    pub(crate) publish: Option<Door>,
    /// What TLS is spoken with, where it is.
    pub(crate) certificates: Option<Arc<Certificates>>,
}

impl Plane {
    /// All markets.
    fn markets(&self) -> impl Iterator<Item = &Rc<Market>> {
        std::iter::once(&self.live).chain(&self.delayed)
    }

    /// What the holder of a grant is served from, and from nothing else.
    fn market(&self, grant: &Grant) -> Option<&Rc<Market>> {
        self.markets().find(|market| market.hub.delay_ms == grant.delay_ms())
    }

    /// The reactors of all markets.
    fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.markets().flat_map(|market| &market.hub.links)
    }
}

/// What the control plane counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicU64,
    pub(crate) accept_errors: AtomicU64,
    /// Times that accepting waited for a handshake to end.
    pub(crate) accept_paced: AtomicU64,
    /// Handshakes and plain requests under way.
    pub(crate) handshakes: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) upgrades: AtomicU64,
    pub(crate) upgrades_refused: AtomicU64,
    /// Upgrades that pages of other origins asked for.
    pub(crate) foreign: AtomicU64,
    pub(crate) full: AtomicU64,
    pub(crate) tls: TlsCounters,
}

/// What becomes of TLS handshakes.
#[derive(Debug, Default)]
pub(crate) struct TlsCounters {
    /// TLS 1.2 and 1.3, each anew and resumed.
    pub(crate) established: [[AtomicU64; 2]; 2],
    /// The client broke off, was too late, or spoke no TLS that is accepted.
    pub(crate) failed: [AtomicU64; 3],
}

impl TlsCounters {
    fn established(&self, how: Established) {
        let of_version = &self.established[usize::from(how.is_13)];
        of_version[usize::from(how.resumed)].fetch_add(1, Ordering::Relaxed);
    }

    fn failed(&self, error: &HandshakeError) {
        let why = match error {
            HandshakeError::Ended | HandshakeError::Io(_) => 0,
            HandshakeError::Late => 1,
            HandshakeError::Tls(_) => 2,
        };
        self.failed[why].fetch_add(1, Ordering::Relaxed);
    }
}

async fn answer(
    plane: &Rc<Plane>,
    request: Request<Incoming>,
    peer: Peer,
    door: &Takeover,
) -> Response<Body> {
    plane.counters.requests.fetch_add(1, Ordering::Relaxed);
    let host = plane.proxies.host(peer, request.headers()).map(str::to_owned);
    let peer = plane.proxies.client(peer, request.headers());
    let pass = match pass::rate(plane, &request, peer) {
        Ok(()) => pass::pass(plane, &request, peer).await,
        Err(response) => Err(response),
    };
    let pass = match pass {
        Ok(pass) => pass,
        Err(mut response) => {
            let origins = &plane.live.rest.origins;
            origins.apply(request.headers(), response.headers_mut(), false);
            return *response;
        }
    };
    // There is one, or the token would have been refused: but nobody sees another instead.
    let Some(market) = plane.market(&pass.grant) else { return no_room(plane) };
    let asked = pass.noted.then(|| pass::Asked::of(&request, peer, pass.grant.shared()));
    let caller = Caller { pass, peer, host };
    let mut response = answer_from(market, plane, request, caller, door).await;
    if let Some(asked) = asked {
        pass::note(&plane.live.hub.access, &asked, &response);
    }
    market.mark(response.headers_mut());
    response
}

/// Who asks.
struct Caller {
    pass: Pass,
    peer: Peer,
    /// What it calls this server.
    host: Option<String>,
}

/// Answers what somebody asks who is served from this market.
async fn answer_from(
    market: &Rc<Market>,
    plane: &Rc<Plane>,
    mut request: Request<Incoming>,
    caller: Caller,
    door: &Takeover,
) -> Response<Body> {
    let Caller { pass, peer, host } = caller;
    if request.uri().path() == sse::PATH {
        return sse::answer(plane, market, &request, peer, pass.grant, door).await;
    }
    if request.uri().path() == poll::PATH {
        return poll::answer(plane, market, &request, peer, &pass.grant, door).await;
    }
    let mut opening = match Opening::of(request.uri(), plane.echoes) {
        Some(Ok(opening)) => opening,
        Some(Err(response)) => return *response,
        None => return plain_answer(plane, market, request, peer, &pass.grant).await,
    };
    if let Some(response) = foreign(plane, &request, host.as_deref()) {
        return response;
    }
    let place = match admit(plane, peer) {
        Ok(place) => place,
        Err(response) => return *response,
    };
    let choices = upgrade::Choices {
        subprotocol: opening.dialect == Dialect::Native,
        deflate: market.hub.settings.compress,
    };
    match upgrade::answer(&mut request, choices) {
        Ok(upgrade::Answer { response, upgraded, deflate }) => {
            let Some(link) = least_busy(&market.hub.links) else { return no_room(plane) };
            plane.counters.upgrades.fetch_add(1, Ordering::Relaxed);
            link.sessions.fetch_add(1, Ordering::Relaxed);
            if deflate {
                opening.form = opening.form.framed(Framing::Deflated);
            }
            tokio::task::spawn_local(hand_over(link, upgraded, peer, place, pass, opening));
            response
        }
        Err(response) => {
            plane.counters.upgrades_refused.fetch_add(1, Ordering::Relaxed);
            *response
        }
    }
}

/// What a page of an origin is answered that may not open WebSockets here.
fn foreign(
    plane: &Plane,
    request: &Request<Incoming>,
    host: Option<&str>,
) -> Option<Response<Body>> {
    let origin = plane.live.rest.origins.may_open(request.headers(), host).err()?;
    plane.counters.foreign.fetch_add(1, Ordering::Relaxed);
    let text = format!(
        "pages of {} may not open WebSockets here: --cors-origin lists those that may\n",
        String::from_utf8_lossy(origin.as_bytes())
    );
    let mut response = plain(StatusCode::FORBIDDEN, &text);
    response.extensions_mut().insert(Why(text));
    Some(response)
}

/// Takes a client in.
///
/// # Errors
/// What it is answered where there is no room for it, or for its address, or no time.
fn admit(plane: &Plane, peer: Peer) -> Result<Place, Box<Response<Body>>> {
    if let Some(response) = full(plane).or_else(|| out_of_memory(plane)) {
        return Err(response.into());
    }
    let now_ms = clock::now().ms;
    // What comes over connections of a proxy's is a connection of its client's here.
    let come = match peer {
        Peer::Forwarded(_) => plane.addresses.arrive(peer, now_ms).map(drop),
        _ => Ok(()),
    };
    come.and_then(|()| plane.addresses.seat(peer, now_ms))
        .map_err(|refusal| pass::too_many(peer, refusal, "10").into())
}

/// What a client is answered that there is no room for, or no time.
fn full(plane: &Plane) -> Option<Response<Body>> {
    let sessions: usize = plane.links().map(|l| l.sessions.load(Ordering::Relaxed)).sum();
    let polls: usize = plane.markets().map(|market| market.polls.clients()).sum();
    let clients = sessions + polls;
    let cordoned = plane.admin.as_ref().is_some_and(admin::Door::is_cordoned);
    if clients < plane.max_clients && !cordoned && !plane.draining.load(Ordering::Relaxed) {
        return None;
    }
    Some(no_room(plane))
}

/// What a client is answered while those who are there hold nearly all that they may together.
fn out_of_memory(plane: &Plane) -> Option<Response<Body>> {
    let budget = &plane.live.hub.budget;
    if !budget.is_tight() {
        return None;
    }
    budget.refused.fetch_add(1, Ordering::Relaxed);
    let text = "the memory budget of all clients is nearly used up, try again\n";
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, text);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    Some(response)
}

fn no_room(plane: &Plane) -> Response<Body> {
    plane.counters.full.fetch_add(1, Ordering::Relaxed);
    let mut response =
        plain(StatusCode::SERVICE_UNAVAILABLE, "the server is full or restarts, try again\n");
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

/// Answers what is no WebSocket for ticks.
async fn plain_answer(
    plane: &Rc<Plane>,
    market: &Rc<Market>,
    request: Request<Incoming>,
    peer: Peer,
    grant: &Held,
) -> Response<Body> {
    if request.uri().path() == "/v1/publish" {
        return publish::answer(plane, request, peer).await;
    }
    if let Some(route) = Route::of(request.uri().path()) {
        return rest::answer(market, &request, route, grant).await;
    }
    match market.exchange.answer(&request, grant).await {
        Some(response) => response,
        None => api::answer(plane, &request).await,
    }
}

/// What a connection that is to be upgraded begins with.
struct Opening {
    dialect: Dialect,
    form: Form,
    streams: Vec<String>,
}

impl Opening {
    /// What a URL says; `None` where it is not a WebSocket's.
    fn of(uri: &hyper::Uri, echoes: bool) -> Option<Result<Self, Box<Response<Body>>>> {
        let native = |dialect| Opening { dialect, form: Form::NATIVE, streams: Vec::new() };
        match uri.path() {
            "/v1/ws" => return Some(Ok(native(Dialect::Native))),
            "/v1/echo" if echoes => return Some(Ok(native(Dialect::Echo))),
            _ => {}
        }
        let opening = match binance::url::opening(uri.path(), uri.query().unwrap_or(""))? {
            Ok(opening) => opening,
            Err(fault) => {
                let mut body = Vec::new();
                fault.write_to(&mut body);
                let status = StatusCode::from_u16(fault.status).unwrap_or(StatusCode::BAD_REQUEST);
                return Some(Err(typed(status, "application/json", body).into()));
            }
        };
        let form = binance::form::of_connection(opening.combined, opening.unit);
        Some(Ok(Opening { dialect: Dialect::Binance, form, streams: opening.streams }))
    }
}

/// Gives the socket to a reactor once the answer is sent; all that HTTP needed is freed here.
async fn hand_over(
    link: Arc<Link>,
    upgraded: fastwebsockets::upgrade::UpgradeFut,
    peer: Peer,
    place: Place,
    pass: Pass,
    opening: Opening,
) {
    let adopt = async {
        let (socket, early) = socket_of(upgraded).await?;
        let Opening { dialect, form, streams } = opening;
        let stream = Arc::into_inner(socket.0)?.detach().ok()?;
        let Pass { grant, anonymous_ms, .. } = pass;
        Some(Adopt {
            stream,
            peer,
            place,
            grant,
            anonymous_ms,
            dialect,
            form,
            streams,
            early,
            greeting: Vec::new(),
            tokens: None,
            events: None,
        })
    };
    match adopt.await {
        Some(adopt) => link.send(Command::Adopt(Box::new(adopt))),
        None => {
            link.sessions.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The socket of an upgrade whose answer is sent, and what the client has sent since.
async fn socket_of(upgraded: fastwebsockets::upgrade::UpgradeFut) -> Option<(Socket, Vec<u8>)> {
    let upgraded = upgraded.await.ok()?.into_inner().into_inner();
    let parts = upgraded.downcast::<TokioIo<Socket>>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf.to_vec()))
}

/// A plain text answer.
pub(crate) fn plain(status: StatusCode, text: &str) -> Response<Body> {
    typed(status, "text/plain; charset=utf-8", text.to_owned())
}

/// An answer of this type, which is not to be cached.
pub(crate) fn typed(
    status: StatusCode,
    mime: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(mime));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
