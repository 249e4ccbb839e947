//! A WebSocket to a venue: the opening handshake, and the two halves of the connection.
//!
//! fastwebsockets reads and writes the frames. Its own answers to pings and closes are off: it would
//! hold a pong back until the next message of data, which a quiet symbol may not send for hours. Its
//! own handshake is not used, for it writes failures to stderr.

use bytes::Bytes;
use fastwebsockets::{
    FragmentCollectorRead, Frame, Role, WebSocket, WebSocketError, WebSocketWrite,
};
use http_body_util::Empty;
use hyper::upgrade::Upgraded;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{ReadHalf, WriteHalf};

use crate::dial::{DialError, Dialer, Endpoint};
use crate::rest::USER_AGENT;

/// The largest message that is read: a full book of Coinbase has some megabytes.
const MAX_MESSAGE: usize = 64 << 20;

/// Why a connection did not come about.
#[derive(Debug, Error)]
pub(super) enum ConnectError {
    #[error("{0}")]
    Dial(#[from] DialError),
    #[error("no HTTP answer to the upgrade: {0}")]
    Http(#[from] hyper::Error),
    #[error("not a request: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("the upgrade was answered with {0}")]
    Refused(StatusCode),
}

/// The half that reads.
pub(super) struct Reader(FragmentCollectorRead<ReadHalf<TokioIo<Upgraded>>>);

/// The half that writes.
pub(super) struct Writer(WebSocketWrite<WriteHalf<TokioIo<Upgraded>>>);

impl Reader {
    /// The next message or control frame. Not to be dropped before it is done.
    pub(super) async fn next(&mut self) -> Result<Frame<'static>, WebSocketError> {
        let never = &mut |_| std::future::ready(Ok::<(), std::convert::Infallible>(()));
        self.0.read_frame(never).await
    }
}

impl Writer {
    /// Writes a frame to the end.
    pub(super) async fn send(&mut self, frame: Frame<'_>) -> Result<(), WebSocketError> {
        self.0.write_frame(frame).await?;
        self.0.flush().await
    }
}

/// Connects and upgrades at `path`.
pub(super) async fn connect(
    dialer: &Dialer,
    endpoint: &Endpoint,
    path: &str,
) -> Result<(Reader, Writer), ConnectError> {
    let stream = dialer.dial(endpoint).await?;
    let request = Request::builder()
        .uri(endpoint.target(path))
        .header(header::HOST, &endpoint.authority)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::UPGRADE, "websocket")
        .header(header::CONNECTION, "upgrade")
        .header(header::SEC_WEBSOCKET_KEY, fastwebsockets::handshake::generate_key())
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .body(Empty::<Bytes>::new())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Its failures come out of the request too.
    tokio::spawn(async move { connection.with_upgrades().await.ok() });
    let response = sender.send_request(request).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(ConnectError::Refused(response.status()));
    }
    let upgraded = TokioIo::new(hyper::upgrade::on(response).await?);
    let socket = WebSocket::after_handshake(upgraded, Role::Client);
    let (mut reader, writer) = socket.split(tokio::io::split);
    reader.set_auto_pong(false);
    reader.set_auto_close(false);
    reader.set_max_message_size(MAX_MESSAGE);
    Ok((Reader(FragmentCollectorRead::new(reader)), Writer(writer)))
}
