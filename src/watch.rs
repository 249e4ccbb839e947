//! `tickcast watch`: a small client that prints what a server sends, one JSON message per line.
//!
//! Only messages of the subscriptions go to stdout, byte for byte as they came, so that they can
//! be piped to other programs. What concerns the connection itself (the answers to the
//! subscriptions, heartbeats, lag and drain) is acted upon, and told on stderr where it matters.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufWriter, ErrorKind, StdoutLock, Write};
use std::pin::pin;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{anyhow, bail};
use bytes::Bytes;
use fastwebsockets::{FragmentCollector, Frame, OpCode, Role, WebSocket};
use http_body_util::Empty;
use hyper::upgrade::Upgraded;
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use crate::cli::WatchArgs;
use crate::derive::Span;
use crate::limits;

/// Where `watch` looks when it is told nothing: a server with its default address.
pub const DEFAULT_URL: &str = "ws://127.0.0.1:7070/v1/ws";

const PATH: &str = "/v1/ws";
const SUBPROTOCOL: &str = "tickcast.v1.json";
/// Bytes gathered before they are written while more messages are at hand.
const STDOUT_BUFFER: usize = 64 * 1024;

/// A connection is given up when it takes longer to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The server says something every second, if only a heartbeat: after this it is gone.
const SILENCE: Duration = Duration::from_secs(10);
/// The first wait before a new connection, without a word from the server; it doubles up to the
/// second one.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(8));

/// What to watch, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    url: Url,
    channels: Vec<String>,
    depth: Option<Value>,
    interval: Option<&'static str>,
    symbols: Vec<String>,
    count: Option<u64>,
}

impl Watch {
    /// Checks what the command line gave.
    ///
    /// # Errors
    /// The flag, its value and what was expected.
    pub fn new(args: WatchArgs) -> Result<Self, String> {
        let url = args.url.parse().map_err(|error| format!("--url {:?}: {error}", args.url))?;
        let depth = args.depth.as_deref().map(depth).transpose()?;
        if depth.is_some() && args.channel.iter().all(|channel| channel != "book") {
            return Err("--depth: only books have one, add --channel book".to_owned());
        }
        let interval = args.interval.as_deref().map(interval).transpose()?;
        if interval.is_some() && args.channel.iter().all(|channel| channel != "bar") {
            return Err("--interval: only bars have one, add --channel bar".to_owned());
        }
        let mut channels: Vec<String> = Vec::new();
        for channel in args.channel {
            if !channels.contains(&channel) {
                channels.push(channel);
            }
        }
        let count = args.count.as_deref().map(count).transpose()?;
        Ok(Watch { url, channels, depth, interval, symbols: args.symbols, count })
    }

    /// The subscriptions, numbered by their channel's place.
    fn requests(&self) -> impl Iterator<Item = String> {
        self.channels.iter().enumerate().map(|(id, channel)| {
            let mut params = json!({ "channel": channel, "symbol": self.symbols });
            if let (Some(depth), "book") = (&self.depth, channel.as_str()) {
                params["depth"] = depth.clone();
            }
            if let (Some(interval), "bar") = (self.interval, channel.as_str()) {
                params["interval"] = json!(interval);
            }
            json!({ "method": "subscribe", "req_id": id, "params": params }).to_string()
        })
    }
}

fn depth(text: &str) -> Result<Value, String> {
    match text.parse::<usize>() {
        _ if text == "full" => Ok(json!(text)),
        Ok(levels @ 1..=limits::BOOK_DEPTH_MAX) => Ok(json!(levels)),
        _ => Err(format!(
            "--depth {text:?}: expected 1 to {} levels or \"full\"",
            limits::BOOK_DEPTH_MAX
        )),
    }
}

fn interval(text: &str) -> Result<&'static str, String> {
    let names = Span::BARS.map(Span::as_str);
    let error = || format!("--interval {text:?}: expected one of {}", names.join(", "));
    Span::interval(text).map(Span::as_str).ok_or_else(error)
}

fn count(text: &str) -> Result<u64, String> {
    let count = text.parse().ok().filter(|&count| count > 0);
    count.ok_or_else(|| format!("--count {text:?}: expected a whole number from 1"))
}

/// The address of a server's WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Url {
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    /// Path and query.
    target: String,
    /// As the `Host` header has it.
    authority: String,
}

/// Why a text is not an address to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
enum UrlError {
    #[error("this version has no TLS, expected ws:// (or a TLS proxy's plain side)")]
    Tls,
    #[error("expected ws://HOST:PORT{PATH}, such as {DEFAULT_URL}")]
    Form,
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.parse().map_err(|_| UrlError::Form)?;
        match uri.scheme_str() {
            Some("ws") => {}
            Some("wss") => return Err(UrlError::Tls),
            _ => return Err(UrlError::Form),
        }
        let authority = uri.authority().ok_or(UrlError::Form)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        // A colon with no number, or one too large, after it would pass as no port at all.
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => 80,
            Some(_) => authority.port_u16().ok_or(UrlError::Form)?,
            None => return Err(UrlError::Form),
        };
        if host.is_empty() {
            return Err(UrlError::Form);
        }
        let target = match uri.path_and_query().map(|target| target.as_str()) {
            None | Some("/") => PATH,
            Some(target) => target,
        };
        let (host, authority) = (host.to_owned(), authority.to_string());
        Ok(Url { host, port, target: target.to_owned(), authority })
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ws://{}{}", self.authority, self.target)
    }
}

/// Why a connection did not come about.
#[derive(Debug, Error)]
enum ConnectError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("no answer for {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    #[error("no HTTP answer to the upgrade ({0})")]
    Http(#[from] hyper::Error),
    #[error("the upgrade was answered with {0}")]
    Refused(StatusCode),
    #[error("not a request: {0}")]
    Request(#[from] hyper::http::Error),
}

/// Prints messages until SIGINT or SIGTERM, the end of stdout's reader, or `--count` messages.
///
/// # Errors
/// A first connection or subscription that does not come about, or an stdout that fails.
pub fn run(watch: &Watch) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        let mut signals = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
        let [interrupt, terminate] = &mut signals;
        tokio::select! {
            ended = watch_on(watch) => ended,
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
        }
    })
}

type Socket = FragmentCollector<TokioIo<Upgraded>>;

/// How a connection came to its end.
enum End {
    /// Enough was printed, or nobody reads it any more.
    Done,
    /// Every subscription was refused; why is told already.
    Refused,
    /// Anything that a new connection may mend. The server may have named the range of the wait
    /// before it, in milliseconds.
    Lost { why: String, spread: Option<[u64; 2]> },
}

impl End {
    fn lost(why: &dyn std::fmt::Display) -> Self {
        End::Lost { why: why.to_string(), spread: None }
    }
}

/// Connects again and again.
async fn watch_on(watch: &Watch) -> anyhow::Result<()> {
    let first = connect(&watch.url).await.map_err(|error| {
        let url = &watch.url;
        anyhow!(
            "cannot connect to {url}: {error}: start `tickcast`, or name another server by --url"
        )
    })?;
    let mut output = Output::new(watch.count);
    let (mut connected, mut ever, mut failures) = (Some(first), false, 0);
    loop {
        let mut subscribed = 0;
        let end = match connected.take() {
            Some(socket) => follow(socket, watch, &mut output, &mut subscribed).await?,
            None => match connect(&watch.url).await {
                Ok(socket) => {
                    connected = Some(socket);
                    continue;
                }
                Err(error) => End::lost(&error),
            },
        };
        if subscribed > 0 {
            (ever, failures) = (true, 0);
        }
        let (why, spread) = match end {
            End::Done => return Ok(()),
            End::Refused if !ever => bail!("nothing to watch: '*' stands for every symbol"),
            // A server that has just started may not have listed them yet.
            End::Refused => ("nothing to watch yet".to_owned(), None),
            End::Lost { why, spread } => (why, spread),
        };
        let wait = wait(spread, failures, RandomState::new().build_hasher().finish());
        failures += 1;
        say(&format!("{why}; connecting again in {:.1} s", wait.as_secs_f64()));
        tokio::time::sleep(wait).await;
    }
}

/// The time until the next connection: evenly spread over the server's range, or over the upper
/// half of a backoff that doubles, so that the clients of a server that fell do not come at once.
fn wait(spread: Option<[u64; 2]>, failures: u32, random: u64) -> Duration {
    let [from, to] = spread.unwrap_or_else(|| {
        let most = BACKOFF.0.saturating_mul(1 << failures.min(16)).min(BACKOFF.1);
        let most = most.as_millis() as u64;
        [most / 2, most]
    });
    let width = to.saturating_sub(from).saturating_add(1);
    Duration::from_millis(from.saturating_add(random % width))
}

/// One line on stderr; when that is closed, nobody is left to tell.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "tickcast watch: {line}");
}

async fn connect(url: &Url) -> Result<Socket, ConnectError> {
    timeout(CONNECT_TIMEOUT, upgrade(url)).await.map_err(|_| ConnectError::Timeout)?
}

/// The opening handshake. Not that of fastwebsockets: it writes failures to stderr by itself.
async fn upgrade(url: &Url) -> Result<Socket, ConnectError> {
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
    stream.set_nodelay(true)?;
    let request = Request::builder()
        .uri(&url.target)
        .header(header::HOST, &url.authority)
        .header(header::UPGRADE, "websocket")
        .header(header::CONNECTION, "upgrade")
        .header(header::SEC_WEBSOCKET_KEY, fastwebsockets::handshake::generate_key())
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)
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
    Ok(FragmentCollector::new(WebSocket::after_handshake(upgraded, Role::Client)))
}

/// Subscribes and prints until the end of the connection.
///
/// # Errors
/// A stdout that fails in another way than by being closed.
async fn follow(
    mut socket: Socket,
    watch: &Watch,
    output: &mut Output,
    subscribed: &mut usize,
) -> std::io::Result<End> {
    for request in watch.requests() {
        let frame = Frame::text(request.into_bytes().into());
        if let Err(error) = socket.write_frame(frame).await {
            return Ok(End::lost(&error));
        }
    }
    let mut connection =
        Connection { output, subscribed, unanswered: watch.channels.len(), spread: None };
    let end = match connection.read(&mut socket).await {
        Ok(end) => end,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => End::Done,
        Err(error) => return Err(error),
    };
    if matches!(end, End::Done | End::Refused) {
        // A courtesy: the server's count of lost clients stays what it says.
        let _ = socket.write_frame(Frame::close(1000, b"")).await;
    }
    Ok(end)
}

/// What is known of the connection of the moment.
struct Connection<'a> {
    output: &'a mut Output,
    /// Symbols and wildcards that the server agreed to.
    subscribed: &'a mut usize,
    /// Requests without an answer so far.
    unanswered: usize,
    /// When to come back, if the server has told that it stops.
    spread: Option<[u64; 2]>,
}

impl Connection<'_> {
    async fn read(&mut self, socket: &mut Socket) -> std::io::Result<End> {
        loop {
            let frame = match self.next(socket).await? {
                Ok(frame) => frame,
                Err(why) => return Ok(End::Lost { why, spread: self.spread }),
            };
            let end = match frame.opcode {
                OpCode::Text => self.message(&frame.payload)?,
                OpCode::Close => Some(self.closed(&frame.payload)),
                // Pings are answered below this; nothing else is said by the server.
                _ => None,
            };
            if let Some(end) = end {
                self.output.flush()?;
                return Ok(end);
            }
        }
    }

    /// The next frame; what was printed leaves when there is none at hand.
    async fn next<'f>(
        &mut self,
        socket: &mut Socket,
    ) -> std::io::Result<Result<Frame<'f>, String>> {
        let mut next = pin!(socket.read_frame());
        let frame = tokio::select! {
            biased;
            frame = &mut next => Ok(frame),
            () = std::future::ready(()) => {
                self.output.flush()?;
                timeout(SILENCE, next).await
            }
        };
        Ok(match frame {
            Ok(frame) => frame.map_err(|error| format!("connection lost: {error}")),
            Err(_) => Err(format!("connection lost: silence for {} s", SILENCE.as_secs())),
        })
    }

    /// Acts upon a message, or prints it.
    fn message(&mut self, text: &[u8]) -> std::io::Result<Option<End>> {
        let Ok(head) = serde_json::from_slice::<Head<'_>>(text) else {
            say(&format!("not a message of this protocol: {}", String::from_utf8_lossy(text)));
            return Ok(None);
        };
        match (head.channel.as_deref(), head.kind.as_deref()) {
            (Some("heartbeat"), _) => {}
            (Some("status"), Some("lag")) => say(&String::from_utf8_lossy(text)),
            (Some("status"), Some("drain")) => self.spread = head.reconnect_ms,
            (Some(_), _) => return Ok(self.output.print(text)?.then_some(End::Done)),
            (None, _) => {
                self.answered(text);
                let refused = self.unanswered == 0 && *self.subscribed == 0;
                return Ok(refused.then_some(End::Refused));
            }
        }
        Ok(None)
    }

    /// Counts what an answer grants and tells what it does not.
    fn answered(&mut self, text: &[u8]) {
        let Ok(answer) = serde_json::from_slice::<Answer>(text) else { return };
        self.unanswered = self.unanswered.saturating_sub(1);
        *self.subscribed += answer.result.len();
        let refusals: Vec<String> =
            answer.errors.into_iter().chain(answer.error).map(Refusal::sentence).collect();
        if !refusals.is_empty() {
            say(&refusals.join("; "));
        }
    }

    fn closed(&self, payload: &[u8]) -> End {
        let why = match payload.split_at_checked(2) {
            _ if self.spread.is_some() => "the server stops".to_owned(),
            Some((code, reason)) => {
                let code = u16::from_be_bytes([code[0], code[1]]);
                format!("closed by the server: {code} {}", String::from_utf8_lossy(reason))
            }
            None => "closed by the server".to_owned(),
        };
        End::Lost { why: why.trim_end().to_owned(), spread: self.spread }
    }
}

/// What tells the messages apart.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    reconnect_ms: Option<[u64; 2]>,
}

/// The answer to a request.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    result: Vec<IgnoredAny>,
    #[serde(default)]
    errors: Vec<Refusal>,
    error: Option<Refusal>,
}

/// Why a request or one of its symbols was not granted.
#[derive(Deserialize)]
struct Refusal {
    message: String,
    #[serde(default)]
    did_you_mean: Vec<String>,
}

impl Refusal {
    fn sentence(self) -> String {
        match self.did_you_mean.as_slice() {
            [] => self.message,
            near => format!("{}, did you mean {}?", self.message, near.join(" or ")),
        }
    }
}

/// Lines on stdout, up to a number of them.
struct Output {
    out: BufWriter<StdoutLock<'static>>,
    left: Option<u64>,
}

impl Output {
    fn new(count: Option<u64>) -> Self {
        let out = BufWriter::with_capacity(STDOUT_BUFFER, std::io::stdout().lock());
        Output { out, left: count }
    }

    /// Prints a line; true when it was the last one.
    fn print(&mut self, line: &[u8]) -> std::io::Result<bool> {
        self.out.write_all(line)?;
        self.out.write_all(b"\n")?;
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        Ok(self.left == Some(0))
    }

    /// Passes on what has gathered.
    fn flush(&mut self) -> std::io::Result<()> {
        if self.out.buffer().is_empty() { Ok(()) } else { self.out.flush() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let url = |text: &str| text.parse::<Url>().map(|url| (url.host, url.port, url.target));
        let is = |host: &str, port, target: &str| Ok((host.to_owned(), port, target.to_owned()));
        assert_eq!(url(DEFAULT_URL), is("127.0.0.1", 7070, PATH));
        assert_eq!(url("ws://localhost:1"), is("localhost", 1, PATH));
        assert_eq!(url("ws://[::1]:7070/"), is("::1", 7070, PATH));
        assert_eq!(url("ws://feed.example/ws?a=b"), is("feed.example", 80, "/ws?a=b"));
        assert_eq!(url("wss://feed.example/v1/ws"), Err(UrlError::Tls));
        for text in ["", "localhost:7070", "http://localhost:7070/v1/ws", "ws://", "ws://:1", "/v1"]
        {
            assert_eq!(url(text), Err(UrlError::Form), "{text}");
        }
        assert_eq!(url("ws://localhost:65536/"), Err(UrlError::Form));
        assert_eq!(url("ws://localhost:/"), Err(UrlError::Form));
    }

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
