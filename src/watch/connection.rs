//! How a connection comes about, and when to try again after one has ended.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use fastwebsockets::{Role, WebSocket};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use thiserror::Error;
use tickcast_feeds::dial::{self, DialError, Dialer, Stream};
use tokio::time::timeout;

use super::url::Url;
use crate::cli::Token;

const SUBPROTOCOL: &str = "tickcast.v1.json";

/// So much is read of why an upgrade was refused.
const REASON_BYTES: usize = 4096;
/// A connection is given up when it takes longer to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The server says something every second, if only a heartbeat: after this it is gone.
pub(super) const SILENCE: Duration = Duration::from_secs(10);
/// The first wait before a new connection, without a word from the server; it doubles up to the
/// second one.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(8));

/// A connection after its handshake.
pub(super) type Socket = WebSocket<TokioIo<Upgraded>>;

/// Why a connection did not come about.
#[derive(Debug, Error)]
pub(super) enum ConnectError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Dial(#[from] DialError),
    #[error("no answer for {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    #[error("no HTTP answer to the upgrade ({0})")]
    Http(#[from] hyper::Error),
    #[error("{}", super::wants_a_token())]
    NoToken,
    #[error("it does not take the token: {0}")]
    BadToken(String),
    #[error("{0}")]
    TokenFile(String),
    #[error("the upgrade was answered with {0}{1}")]
    Refused(StatusCode, String),
    #[error("not a request: {0}")]
    Request(#[from] hyper::http::Error),
}

/// Where to connect, and whom to trust there.
#[derive(Clone, Debug)]
pub(super) struct Server {
    url: Url,
    /// Where it is by TLS.
    dialer: Option<Dialer>,
    token: Token,
}

impl Server {
    /// `ca` is a file of certificates to trust besides the system's.
    ///
    /// # Errors
    /// One line for the user.
    pub(super) fn new(url: &str, ca: Option<&str>, token: Token) -> Result<Self, String> {
        let url: Url = url.parse().map_err(|error| format!("--url {url:?}: {error}"))?;
        let dialer = match (url.secure, ca) {
            (true, ca) => Some(Dialer::new(ca.map(Path::new)).map_err(|e| format!("--ca: {e}"))?),
            (false, None) => None,
            (false, Some(ca)) => {
                return Err(format!("--ca {ca:?}: expected --url wss://... with it"));
            }
        };
        Ok(Server { url, dialer, token })
    }
}

/// The time until the next connection: evenly spread over the server's range, or over the upper
/// half of a backoff that doubles, so that the clients of a server that fell do not come at once.
pub(super) fn wait(spread: Option<[u64; 2]>, failures: u32, random: u64) -> Duration {
    let [from, to] = spread.unwrap_or_else(|| {
        let most = BACKOFF.0.saturating_mul(1 << failures.min(16)).min(BACKOFF.1);
        let most = most.as_millis() as u64;
        [most / 2, most]
    });
    let width = to.saturating_sub(from).saturating_add(1);
    Duration::from_millis(from.saturating_add(random % width))
}

/// The first connection. When it fails, the user is told what to do: it is not tried again.
///
/// # Errors
/// One line for the user.
pub(super) async fn first(server: &Server) -> anyhow::Result<Socket> {
    connect(server).await.map_err(|error| {
        let advice = match error {
            ConnectError::NoToken | ConnectError::BadToken(_) | ConnectError::TokenFile(_) => "",
            _ => ": start `tickcast`, or name another server by --url",
        };
        anyhow::anyhow!("cannot connect to {}: {error}{advice}", server.url)
    })
}

/// What a close frame of the server says.
pub(super) fn closed(payload: &[u8]) -> String {
    let why = match payload.split_at_checked(2) {
        Some((code, reason)) => {
            let code = u16::from_be_bytes([code[0], code[1]]);
            format!("closed by the server: {code} {}", String::from_utf8_lossy(reason))
        }
        None => "closed by the server".to_owned(),
    };
    why.trim_end().to_owned()
}

/// A random number for [`wait`].
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Connects and upgrades.
///
/// # Errors
/// No connection, no answer in time, or another one than an upgrade.
pub(super) async fn connect(server: &Server) -> Result<Socket, ConnectError> {
    timeout(CONNECT_TIMEOUT, upgrade(server)).await.map_err(|_| ConnectError::Timeout)?
}

/// The opening handshake. Not that of fastwebsockets: it writes failures to stderr by itself.
async fn upgrade(server: &Server) -> Result<Socket, ConnectError> {
    let Server { url, dialer, token } = server;
    let authorization = token.header().map_err(ConnectError::TokenFile)?;
    let has_token = authorization.is_some();
    let stream = dial::reach(&url.host, url.port).await?;
    let stream: Box<dyn Stream> = match dialer {
        Some(dialer) => dialer.secure(&url.host, stream).await?,
        None => Box::new(stream),
    };
    let mut request = Request::builder()
        .uri(&url.target)
        .header(header::HOST, &url.authority)
        .header(header::UPGRADE, "websocket")
        .header(header::CONNECTION, "upgrade")
        .header(header::SEC_WEBSOCKET_KEY, fastwebsockets::handshake::generate_key())
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)
        .body(Empty::<Bytes>::new())?;
    request.headers_mut().extend(authorization.map(|token| (header::AUTHORIZATION, token)));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Its failures come out of the request too.
    tokio::spawn(async move { connection.with_upgrades().await.ok() });
    let response = sender.send_request(request).await?;
    match response.status() {
        StatusCode::SWITCHING_PROTOCOLS => {}
        StatusCode::UNAUTHORIZED if !has_token => return Err(ConnectError::NoToken),
        status => {
            let why = reason(response).await;
            return Err(match status {
                StatusCode::UNAUTHORIZED => {
                    ConnectError::BadToken(why.unwrap_or_else(|| status.to_string()))
                }
                _ => {
                    let why = why.map(|why| format!(": {why}"));
                    ConnectError::Refused(status, why.unwrap_or_default())
                }
            });
        }
    }
    let upgraded = TokioIo::new(hyper::upgrade::on(response).await?);
    Ok(WebSocket::after_handshake(upgraded, Role::Client))
}

/// Why an upgrade was refused, where a server of ours says so.
async fn reason(response: Response<Incoming>) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        error: Error,
    }
    #[derive(Deserialize)]
    struct Error {
        message: String,
    }
    let body = Limited::new(response.into_body(), REASON_BYTES).collect().await.ok()?.to_bytes();
    let answer: Answer = serde_json::from_slice(&body).ok()?;
    let message = answer.error.message;
    // It is shown as one line of a terminal.
    Some(message.chars().filter(|char| !char.is_control()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_keep_to_the_servers_range_and_otherwise_double_to_a_cap() {
        let ms = |spread, failures, random| wait(spread, failures, random).as_millis();
        for random in [0, 1, 7_500, u64::MAX] {
            assert!((500..=8000).contains(&ms(Some([500, 8000]), 9, random)));
            assert!((125..=250).contains(&ms(None, 0, random)));
            assert!((1000..=2000).contains(&ms(None, 3, random)));
            assert!((4000..=8000).contains(&ms(None, 40, random)));
        }
        assert_eq!(ms(Some([900, 100]), 0, 5), 900, "a range the wrong way round");
        assert_ne!(ms(Some([0, u64::MAX]), 0, 3), ms(Some([0, u64::MAX]), 0, 4));
    }
}
