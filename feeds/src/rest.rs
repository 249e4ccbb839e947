//! One REST request: a connection, an answer, the end.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Empty, Limited};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::time::timeout;

use crate::dial::{DialError, Dialer, Endpoint};

/// How long a request may take, and how large its answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// From the first packet of the connection to the end of the answer.
    pub time: Duration,
    /// Of the body.
    pub bytes: usize,
}

impl Bounds {
    /// For a venue: Binance's list of instruments is some 15 MB.
    pub(crate) const VENUE: Bounds = Bounds { time: Duration::from_secs(30), bytes: 64 << 20 };
}

/// Who asks: Coinbase Exchange refuses requests that do not say.
pub(crate) const USER_AGENT: &str = concat!("tickcast/", env!("CARGO_PKG_VERSION"));

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum RestError {
    /// There is no connection.
    #[error("{0}")]
    Dial(#[from] DialError),
    /// Too slow.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// What came is not HTTP, or broke off.
    #[error("no HTTP answer: {0}")]
    Http(#[from] hyper::Error),
    /// The path cannot be asked for.
    #[error("not a request: {0}")]
    Request(#[from] hyper::http::Error),
    /// The answer has no end, or is larger than it may be.
    #[error("the answer broke off: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    /// An answer that says no.
    #[error("answered with {status}: {text}")]
    Status {
        /// Which.
        status: StatusCode,
        /// The `Retry-After` that came with it.
        after: Option<Duration>,
        /// The beginning of the answer.
        text: String,
    },
}

impl RestError {
    /// How long the venue wants to be left alone: 429, and Binance's 418 for who goes on after it.
    pub(crate) fn wait(&self) -> Option<Duration> {
        match self {
            RestError::Status { status, after, .. }
                if *status == StatusCode::TOO_MANY_REQUESTS
                    || *status == StatusCode::IM_A_TEAPOT =>
            {
                Some(after.unwrap_or(Duration::from_secs(60)))
            }
            _ => None,
        }
    }
}

/// Gets what `path` (with its query) names below the endpoint. Redirections are not followed.
///
/// # Errors
/// Why there is no answer.
pub async fn get(
    dialer: &Dialer,
    endpoint: &Endpoint,
    path: &str,
    bounds: Bounds,
) -> Result<Bytes, RestError> {
    let Bounds { time, bytes } = bounds;
    timeout(time, ask(dialer, endpoint, path, bytes)).await.map_err(|_| RestError::Timeout(time))?
}

async fn ask(
    dialer: &Dialer,
    endpoint: &Endpoint,
    path: &str,
    max_bytes: usize,
) -> Result<Bytes, RestError> {
    let stream = dialer.dial(endpoint).await?;
    let request = Request::builder()
        .uri(endpoint.target(path))
        .header(header::HOST, &endpoint.authority)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Its failures come out of the request too.
    tokio::spawn(async move { connection.await.ok() });
    let response = sender.send_request(request).await?;
    let status = response.status();
    let after = response.headers().get(header::RETRY_AFTER);
    let after = after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let after = after.map(Duration::from_secs);
    let body = Limited::new(response.into_body(), max_bytes).collect().await;
    let body = body.map(Collected::to_bytes).map_err(RestError::Body);
    if !status.is_success() {
        // The status counts, also when what explains it breaks off.
        let body = body.unwrap_or_default();
        let text = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        return Err(RestError::Status { status, after, text });
    }
    body
}
