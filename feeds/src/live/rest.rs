//! One REST request: a connection, an answer, the end.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Empty, Limited};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::time::timeout;

use crate::dial::{DialError, Dialer, Endpoint};

/// A request may take so long: Binance's list of instruments is some 15 MB.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The largest answer that is read.
const MAX_ANSWER: usize = 64 << 20;

/// Who asks: Coinbase Exchange refuses requests that do not say.
pub(super) const USER_AGENT: &str = concat!("tickcast/", env!("CARGO_PKG_VERSION"));

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum RestError {
    #[error("{0}")]
    Dial(#[from] DialError),
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    #[error("no HTTP answer: {0}")]
    Http(#[from] hyper::Error),
    #[error("not a request: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("the answer broke off: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("answered with {status}: {text}")]
    Status {
        status: StatusCode,
        /// The `Retry-After` that came with it.
        after: Option<Duration>,
        /// The beginning of the answer.
        text: String,
    },
}

impl RestError {
    /// How long the venue wants to be left alone: 429, and Binance's 418 for who goes on after it.
    pub(super) fn wait(&self) -> Option<Duration> {
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

/// Gets what `path` (with its query) names below the endpoint.
pub(super) async fn get(
    dialer: &Dialer,
    endpoint: &Endpoint,
    path: &str,
) -> Result<Bytes, RestError> {
    timeout(TIMEOUT, ask(dialer, endpoint, path)).await.map_err(|_| RestError::Timeout)?
}

async fn ask(dialer: &Dialer, endpoint: &Endpoint, path: &str) -> Result<Bytes, RestError> {
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
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    let body = body.map(Collected::to_bytes).map_err(RestError::Body);
    if !status.is_success() {
        // The status counts, also when what explains it breaks off.
        let body = body.unwrap_or_default();
        let text = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        return Err(RestError::Status { status, after, text });
    }
    body
}
