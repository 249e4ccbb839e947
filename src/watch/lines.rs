//! Messages as lines on stdout, byte for byte as they came, so that they can be piped to other
//! programs.
//!
//! What concerns the connection itself (the answers to the subscriptions, heartbeats, lag and
//! drain) is acted upon, and told on stderr where it matters.

use std::io::{BufWriter, ErrorKind, StdoutLock, Write};
use std::pin::pin;

use anyhow::bail;
use fastwebsockets::{FragmentCollector, Frame, OpCode};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::Watch;
use super::answer::{Answer, Head, delayed};
use super::connection::{self, SILENCE, connect, first, random, wait};

/// Bytes gathered before they are written while more messages are at hand.
const STDOUT_BUFFER: usize = 64 * 1024;

type Socket = FragmentCollector<TokioIo<Upgraded>>;

/// How a connection came to its end.
enum End {
    /// Enough was printed, or nobody reads it any more.
    Done,
    /// Every subscription was refused; why is told already, and this is what may be done.
    Refused(String),
    /// Anything that a new connection may mend. The server may have named the range of the wait
    /// before it, in milliseconds.
    Lost { why: String, spread: Option<[u64; 2]> },
}

impl End {
    fn lost(why: &dyn std::fmt::Display) -> Self {
        End::Lost { why: why.to_string(), spread: None }
    }
}

/// Prints messages until the end of stdout's reader, or `--count` messages.
///
/// # Errors
/// A first connection or subscription that does not come about, or an stdout that fails.
pub(super) async fn run(watch: &Watch) -> anyhow::Result<()> {
    let first = first(&watch.server).await?;
    let mut output = Output::new(watch.count);
    let (mut connected, mut ever, mut failures) = (Some(first), false, 0);
    let mut delay_ms = 0;
    loop {
        let mut subscribed = 0;
        let end = match connected.take() {
            Some(socket) => {
                follow(socket, watch, &mut output, &mut subscribed, &mut delay_ms).await?
            }
            None => match connect(&watch.server).await {
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
            End::Refused(advice) if !ever => bail!("nothing to watch: {advice}"),
            // A server that has just started may not have listed them yet.
            End::Refused(_) => ("nothing to watch yet".to_owned(), None),
            End::Lost { why, spread } => (why, spread),
        };
        let wait = wait(spread, failures, random());
        failures += 1;
        say(&format!("{why}; connecting again in {:.1} s", wait.as_secs_f64()));
        tokio::time::sleep(wait).await;
    }
}

/// One line on stderr; when that is closed, nobody is left to tell.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "tickcast watch: {line}");
}

/// Subscribes and prints until the end of the connection.
///
/// # Errors
/// A stdout that fails in another way than by being closed.
async fn follow(
    socket: connection::Socket,
    watch: &Watch,
    output: &mut Output,
    subscribed: &mut usize,
    delay_ms: &mut u64,
) -> std::io::Result<End> {
    let mut socket = FragmentCollector::new(socket);
    for request in watch.requests() {
        let frame = Frame::text(request.into_bytes().into());
        if let Err(error) = socket.write_frame(frame).await {
            return Ok(End::lost(&error));
        }
    }
    let unanswered = watch.channels.len();
    let mut connection = Connection { output, subscribed, delay_ms, unanswered, spread: None };
    let end = match connection.read(&mut socket).await {
        Ok(end) => end,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => End::Done,
        Err(error) => return Err(error),
    };
    if matches!(end, End::Done | End::Refused(_)) {
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
    /// By how much it is delayed what is printed, as told last.
    delay_ms: &'a mut u64,
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
            (Some("status"), Some("token")) => say(super::TOKEN_ENDS),
            (Some("status"), Some("lag")) => say(&String::from_utf8_lossy(text)),
            (Some("status"), Some("drain")) => self.spread = head.reconnect_ms,
            (Some(_), _) => return Ok(self.output.print(text)?.then_some(End::Done)),
            (None, _) => {
                return Ok(self.answered(text));
            }
        }
        Ok(None)
    }

    /// Counts what an answer grants and tells what it does not; the end, where that is everything.
    fn answered(&mut self, text: &[u8]) -> Option<End> {
        let mut answer = serde_json::from_slice::<Answer>(text).ok()?;
        if answer.wants_a_token() {
            return Some(End::Refused(super::wants_a_token()));
        }
        self.unanswered = self.unanswered.saturating_sub(1);
        *self.subscribed += answer.result.len();
        let before = *self.delay_ms;
        *self.delay_ms = answer.delay_ms().unwrap_or(before);
        if *self.delay_ms != before {
            let mark = delayed(*self.delay_ms).unwrap_or_else(|| "not delayed".to_owned());
            say(&format!("what is printed is {mark} from here on"));
        }
        if let Some(refusals) = answer.refusals() {
            say(&refusals);
        }
        let advice = "'*' stands for every symbol";
        (self.unanswered == 0 && *self.subscribed == 0).then(|| End::Refused(advice.to_owned()))
    }

    fn closed(&self, payload: &[u8]) -> End {
        let why = match self.spread {
            Some(_) => "the server stops".to_owned(),
            None => connection::closed(payload),
        };
        End::Lost { why, spread: self.spread }
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
