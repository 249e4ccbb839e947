//! The door of operators: `/v1/admin/*`, and what the server says of itself, on a listener of its own.
//!
//! It shares no limit with the clients: it is open while their connections are all in use, and while the
//! server drains. Whoever has the token is in; a browser's page is not, whatever it has.

mod acts;

use std::convert::Infallible;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::RwLock;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use super::connection::accept_failed;
use super::connection::spoken;
use super::rest::Error;
use super::socket::Socket as Shared;
use super::{Body, Plane, api};
use crate::config::{Admin, Secret, cut};
use crate::limits;
use crate::logging::Filter;
use crate::stats::SessionId;
use crate::transport::listener::Listener;
use crate::transport::{Peer, Socket, Transport};

/// See the module.
#[derive(Debug)]
pub(crate) struct Door {
    secret: RwLock<Secret>,
    token_file: PathBuf,
    filter: Filter,
    connections: Arc<Semaphore>,
    closing: watch::Sender<bool>,
    drain: Notify,
    /// New clients are sent away, those who are there stay.
    cordoned: AtomicBool,
    /// Requests with the token, and those without or from pages.
    pub(super) granted: AtomicU64,
    pub(super) refused: AtomicU64,
}

impl Door {
    /// For those with the token; they may set what `filter` lets through.
    pub(crate) fn new(admin: Admin, filter: Filter) -> Self {
        Door {
            secret: RwLock::new(admin.secret),
            token_file: admin.token_file,
            filter,
            connections: Arc::new(Semaphore::new(limits::ADMIN_CONNECTIONS)),
            closing: watch::Sender::new(false),
            drain: Notify::new(),
            cordoned: AtomicBool::new(false),
            granted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Whether new clients are sent away.
    pub(super) fn is_cordoned(&self) -> bool {
        self.cordoned.load(Ordering::Relaxed)
    }

    /// Waits until an operator wants the server to drain.
    pub(crate) async fn drain_wanted(&self) {
        self.drain.notified().await;
    }

    /// Ends the connections once they have their answers.
    pub(crate) async fn close(&self) {
        self.closing.send_replace(true);
        // One is the listener's, for whoever comes next.
        let all = self.connections.acquire_many(limits::ADMIN_CONNECTIONS as u32 - 1);
        let _ = tokio::time::timeout(limits::ADMIN_CLOSE, all).await;
    }

    /// Lets in who gives the token.
    fn check(&self, headers: &HeaderMap) -> Result<(), Error> {
        // A browser sends one of these with whatever a page may make it ask.
        if headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site") {
            let why = "this is not for pages: a browser asks";
            return Err(Error::new(StatusCode::FORBIDDEN, "browser", why.to_owned()));
        }
        let unauthorized =
            |why: &str| Err(Error::new(StatusCode::UNAUTHORIZED, "unauthorized", why.to_owned()));
        let mut all = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(given), None) = (all.next(), all.next()) else {
            return unauthorized("expected one header `Authorization: Bearer TOKEN`");
        };
        let (scheme, token) = given.as_bytes().split_at(given.len().min(7));
        if !scheme.eq_ignore_ascii_case(b"Bearer ") {
            return unauthorized("expected the header `Authorization: Bearer TOKEN`");
        }
        match self.secret.read().is(token.trim_ascii()) {
            true => Ok(()),
            false => unauthorized("not the token"),
        }
    }
}

/// Accepts operators until dropped. Must run in a `LocalSet`.
pub(crate) async fn accept(plane: Rc<Plane>, listener: Listener) {
    let Some(door) = &plane.admin else { return };
    loop {
        let Ok(permit) = door.connections.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((socket, peer)) => {
                let who = who(&socket, peer);
                let transport = Transport::plain(socket);
                tokio::task::spawn_local(connection(plane.clone(), transport, who, permit));
            }
            Err(error) => accept_failed(&plane, &error).await,
        }
    }
}

/// The operator, for the audit: an address, or whose program it is.
fn who(socket: &Socket, peer: Peer) -> String {
    match socket {
        Socket::Tcp(_) => peer.to_string(),
        Socket::Unix(stream) => match stream.peer_cred() {
            Ok(program) => format!("unix uid={} pid={}", program.uid(), program.pid().unwrap_or(0)),
            Err(_) => peer.to_string(),
        },
    }
}

async fn connection(
    plane: Rc<Plane>,
    transport: Transport,
    who: String,
    _permit: OwnedSemaphorePermit,
) {
    let Some(door) = &plane.admin else { return };
    let mut closing = door.closing.subscribe();
    let service =
        service_fn(|request| async { Ok::<_, Infallible>(answer(&plane, request, &who).await) });
    let mut served = std::pin::pin!(
        spoken(&plane).serve_connection(TokioIo::new(Shared(Arc::new(transport))), service)
    );
    let result = tokio::select! {
        result = served.as_mut() => result,
        _ = closing.wait_for(|closing| *closing) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, who, "an operator's connection failed");
    }
}

async fn answer(plane: &Plane, request: Request<Incoming>, who: &str) -> Response<Body> {
    let Some(door) = &plane.admin else { return Response::new(Body::default()) };
    if let Err(error) = door.check(request.headers()) {
        door.refused.fetch_add(1, Ordering::Relaxed);
        let (method, path) = (request.method(), cut(request.uri().path()));
        tracing::info!(target: "audit", who, %method, path, why = error.message, "operator refused");
        return unauthorized(error);
    }
    door.granted.fetch_add(1, Ordering::Relaxed);
    let (method, path) = (request.method().clone(), cut(request.uri().path()));
    let response = match Act::of(&request) {
        Ok(None) => return api::answer(plane, &request).await,
        Ok(Some(act)) => {
            let result = acts::act(plane, door, act, request, who).await;
            result.unwrap_or_else(Error::into_response)
        }
        Err(response) => *response,
    };
    let status = response.status();
    if !status.is_success() {
        let status = status.as_u16();
        tracing::info!(target: "audit", who, %method, path, status, "operator's request failed");
    }
    response
}

fn unauthorized(error: Error) -> Response<Body> {
    let challenge = error.status == StatusCode::UNAUTHORIZED;
    let mut response = error.into_response();
    if challenge {
        let value = HeaderValue::from_static("Bearer realm=\"admin\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    response
}

/// What an operator may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Connections,
    Close(SessionId),
    Drain,
    Cordon(bool),
    ShowLevel,
    SetLevel,
    Reload,
}

/// What is asked here as on the clients' listeners.
const OF_CLIENTS: [&str; 6] =
    ["/healthz", "/readyz", "/metrics", "/v1/stats", "/v1/feeds", "/v1/connections"];

impl Act {
    /// What a request is for; nothing where it is one that clients' listeners have too.
    fn of<B>(request: &Request<B>) -> Result<Option<Self>, Box<Response<Body>>> {
        let path = request.uri().path();
        if OF_CLIENTS.contains(&path) {
            return Ok(None);
        }
        let Some(rest) = path.strip_prefix("/v1/admin/") else { return Err(unknown(path)) };
        let post = |act| vec![(Method::POST, act)];
        let acts = match rest {
            "connections" => vec![(Method::GET, Act::Connections)],
            "drain" => post(Act::Drain),
            "cordon" => {
                vec![(Method::POST, Act::Cordon(true)), (Method::DELETE, Act::Cordon(false))]
            }
            "log-level" => vec![(Method::GET, Act::ShowLevel), (Method::PUT, Act::SetLevel)],
            "reload" => post(Act::Reload),
            _ => {
                let one = rest.strip_prefix("connections/").and_then(|s| s.strip_suffix("/close"));
                let Some(id) = one else { return Err(unknown(path)) };
                post(Act::Close(id.parse().map_err(|()| acts::no_such(id).into_response())?))
            }
        };
        let method = request.method();
        if let Some((_, act)) = acts.iter().find(|(allowed, _)| allowed == method) {
            return Ok(Some(*act));
        }
        let allowed: Vec<&str> = acts.iter().map(|(method, _)| method.as_str()).collect();
        let allowed = allowed.join(", ");
        let why = format!("{method} is not allowed here, expected {allowed}");
        let error = Error::new(StatusCode::METHOD_NOT_ALLOWED, "not_allowed", why);
        let mut response = error.into_response();
        if let Ok(value) = HeaderValue::from_str(&allowed) {
            response.headers_mut().insert(header::ALLOW, value);
        }
        Err(response.into())
    }
}

fn unknown(path: &str) -> Box<Response<Body>> {
    let why = format!(
        "nothing at {:?}; there are GET /v1/admin/connections, POST /v1/admin/connections/ID/close, POST \
         /v1/admin/drain, POST and DELETE /v1/admin/cordon, GET and PUT /v1/admin/log-level, POST \
         /v1/admin/reload, and GET {}",
        cut(path),
        OF_CLIENTS.join(" ")
    );
    Box::new(Error::new(StatusCode::NOT_FOUND, "not_found", why).into_response())
}
