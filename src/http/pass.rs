//! Who is asking, and whether what is asked is theirs to ask: what [`access`](crate::access) says, for each
//! path.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::addresses::Refusal;
use super::rest::{Error, Why};
use super::{Body, Plane, exchange, plain, sse, typed};
use crate::access::{Access, Grant, Held, Refused};
use crate::clock;
use crate::transport::Peer;

/// What a request may see.
pub(super) struct Pass {
    pub(super) grant: Held,
    /// It has yet to say who it is, and has so many milliseconds to do so.
    pub(super) anonymous_ms: Option<u64>,
    /// What came of it is to be noted, where there is a file of access.
    pub(super) noted: bool,
}

/// What a path is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Of no market and no client: the page, health, descriptions, and what has a token of its own.
    Open,
    /// Of the server: who is connected, and what it does.
    Operators,
    /// A WebSocket whose client may say later who it is.
    Native,
    /// Binance's.
    Exchange,
    Market,
}

fn kind(path: &str) -> Kind {
    match path {
        "/v1/ws" => Kind::Native,
        "/metrics" | "/v1/stats" | "/v1/feeds" | "/v1/connections" => Kind::Operators,
        // Not there: operators have a listener of their own.
        _ if path.starts_with("/v1/admin") => Kind::Open,
        "/v1/openapi.json" | "/v1/asyncapi.json" | "/v1/publish" => Kind::Open,
        _ if path.starts_with("/api/") => Kind::Exchange,
        // Whatever may come to be there is not open by being forgotten here.
        _ if path.starts_with("/v1/") || path.starts_with("/ws") || path.starts_with("/stream") => {
            Kind::Market
        }
        _ => Kind::Open,
    }
}

/// Whether one may ask now, by its address. A proxy that does not say for whom it asks is not held to what one client
/// may: it would be one address for all of them.
///
/// # Errors
/// The answer to who asks too fast.
pub(super) fn rate<B>(
    plane: &Plane,
    request: &Request<B>,
    peer: Peer,
) -> Result<(), Box<Response<Body>>> {
    if plane.proxies.is_trusted(peer) {
        return Ok(());
    }
    let (path, now_ms) = (request.uri().path(), clock::now().ms);
    let asked = match path {
        "/healthz" | "/readyz" => plane.addresses.probe(peer, now_ms),
        _ => plane.addresses.ask(peer, now_ms),
    };
    asked.map_err(|refusal| {
        let mut response = too_many(peer, refusal, "1");
        if kind(path) == Kind::Exchange {
            let body = exchange::too_many_requests();
            *response.body_mut() = Body::from(body);
            let json = HeaderValue::from_static(exchange::JSON);
            response.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        // What is refused costs little, but not nothing: `--connect-rate` bounds it then. A proxy's connection is not
        // its client's to lose.
        if !matches!(peer, Peer::Forwarded(_)) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Box::new(response)
    })
}

/// What is answered to an address that has or asks too much; again after so many seconds.
pub(super) fn too_many(peer: Peer, refusal: Refusal, seconds: &'static str) -> Response<Body> {
    let mut response = plain(StatusCode::TOO_MANY_REQUESTS, &format!("{peer}: {refusal}\n"));
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
    response
}

/// Looks at who is asking.
///
/// # Errors
/// The answer to who may not ask that.
pub(super) async fn pass<B>(
    plane: &Plane,
    request: &Request<B>,
    peer: Peer,
) -> Result<Pass, Box<Response<Body>>> {
    let access = &plane.live.hub.access;
    let kind = kind(request.uri().path());
    // A browser's question beforehand comes without a token.
    if kind == Kind::Open || *request.method() == Method::OPTIONS {
        return Ok(Pass { grant: Held::nothing(), anonymous_ms: None, noted: false });
    }
    let now_ms = clock::real_ns() / 1_000_000;
    let refused = match access.of_request(request.headers(), now_ms).await {
        Ok(grant) if kind == Kind::Operators && !grant.is_operator() => {
            let message = format!("{} is not an operator, who alone may see this", grant.name);
            let error = Error::new(StatusCode::FORBIDDEN, "forbidden", message);
            let response = error.into_response();
            note(access, &Asked::of(request, peer, grant.shared()), &response);
            return Err(response.into());
        }
        Ok(grant) => return Ok(Pass { grant, anonymous_ms: None, noted: access.is_kept() }),
        Err(Refused::NoToken) if kind == Kind::Native => {
            let ms = plane.handshake_timeout.as_millis() as u64;
            return Ok(Pass { grant: Held::nothing(), anonymous_ms: Some(ms), noted: false });
        }
        Err(refused) => refused,
    };
    if access.is_kept() {
        access.refused.fetch_add(1, Ordering::Relaxed);
        let (who, token, why) = (refused.who(), refused.token(), &refused);
        tracing::info!(target: "audit", %peer, who, token, %why, "refused");
    }
    Err(Box::new(match kind {
        _ if refused == Refused::Full => connections_in_use(kind, &refused),
        Kind::Exchange => typed(StatusCode::UNAUTHORIZED, exchange::JSON, exchange::unauthorized()),
        _ => unauthorized(&refused),
    }))
}

/// Whose request it was, and what for.
pub(super) struct Asked {
    peer: Peer,
    grant: Arc<Grant>,
    path: String,
    /// A session is told of whatever the level of the log is; single requests are many.
    is_session: bool,
}

impl Asked {
    pub(super) fn of<B>(request: &Request<B>, peer: Peer, grant: Arc<Grant>) -> Self {
        let path = request.uri().path().to_owned();
        let is_session = request.headers().contains_key(header::UPGRADE) || path == sse::PATH;
        Asked { peer, grant, path, is_session }
    }
}

/// Notes what came of a request: nothing, where it failed for another reason than whose it was.
pub(super) fn note(access: &Access, asked: &Asked, response: &Response<Body>) {
    match response.status() {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            access.refused.fetch_add(1, Ordering::Relaxed);
            let Asked { peer, grant, path, .. } = asked;
            let (who, token) = (&grant.name, grant.token.as_deref());
            let why = response.extensions().get::<Why>().map(|why| why.0.trim_end());
            tracing::info!(target: "audit", %peer, who, token, path, why, "refused");
        }
        StatusCode::SWITCHING_PROTOCOLS | StatusCode::NOT_MODIFIED => granted(access, asked),
        status if status.is_success() => granted(access, asked),
        _ => {}
    }
}

/// Notes that a request got what it was for.
pub(super) fn granted(access: &Access, asked: &Asked) {
    access.granted.fetch_add(1, Ordering::Relaxed);
    let Asked { peer, grant, path, is_session } = asked;
    let (who, token) = (&grant.name, grant.token.as_deref());
    if *is_session {
        tracing::info!(target: "audit", %peer, who, token, path, "granted");
    } else {
        tracing::debug!(target: "audit", %peer, who, token, path, "granted");
    }
}

/// What is answered to a token that is good, while others have all that it may have at a time.
fn connections_in_use(kind: Kind, refused: &Refused) -> Response<Body> {
    const STATUS: StatusCode = StatusCode::TOO_MANY_REQUESTS;
    let mut response = match kind {
        Kind::Exchange => typed(STATUS, exchange::JSON, exchange::too_many_requests()),
        _ => Error::new(STATUS, "too_many_connections", refused.to_string()).into_response(),
    };
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn unauthorized(refused: &Refused) -> Response<Body> {
    let error = Error::new(StatusCode::UNAUTHORIZED, "unauthorized", refused.to_string());
    let mut response = error.into_response();
    let challenge = HeaderValue::from_static("Bearer realm=\"tickcast\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_of_a_kind() {
        for path in [
            "/",
            "/main.js",
            "/v1/admin/drain",
            "/healthz",
            "/readyz",
            "/v1/openapi.json",
            "/v1/publish",
        ] {
            assert_eq!(kind(path), Kind::Open, "{path}");
        }
        for path in [
            "/v1/symbols",
            "/v1/book/x",
            "/v1/sse",
            "/v1/poll",
            "/v1/echo",
            "/v1/anything",
            "/ws",
            "/ws/btcusdt@trade",
            "/stream",
        ] {
            assert_eq!(kind(path), Kind::Market, "{path}");
        }
        assert_eq!(kind("/api/v3/depth"), Kind::Exchange);
        assert_eq!(kind("/v1/ws"), Kind::Native);
        assert_eq!(kind("/metrics"), Kind::Operators);
    }
}
