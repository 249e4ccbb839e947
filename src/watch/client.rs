//! The connection behind the screen: reads, writes what the model asks for, and finds back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use fastwebsockets::{
    FragmentCollectorRead, Frame, OpCode, Payload, WebSocketError, WebSocketWrite,
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, timeout};

use super::Watch;
use super::connection::{SILENCE, Socket, closed, connect, first, random, wait};
use super::model::{Heard, Model};
use super::terminal::{self, Screen};

/// Pongs that may wait to be sent. The server pings some times a minute.
const PONGS: usize = 16;

/// Between two pings, and two counts of messages.
const SECOND: Duration = Duration::from_secs(1);

/// What the connection and the screen share. The screen holds the lock while it lays out a picture,
/// never while it writes to the terminal.
pub(super) struct Shared {
    pub(super) model: Mutex<Model>,
    /// There may be requests to send.
    pub(super) requests: Notify,
    /// The server has agreed to something: there is something to show.
    granted: Notify,
}

/// How a connection came to its end.
enum End {
    /// The user has seen enough.
    Quit,
    /// Every subscription was refused, and why.
    Refused(String),
    /// Anything that a new connection may mend.
    Lost(String),
}

impl End {
    fn lost(why: impl std::fmt::Display) -> Self {
        End::Lost(why.to_string())
    }
}

/// Watches on a screen until the user quits.
///
/// # Errors
/// A first connection or subscription that does not come about, or a terminal that fails.
pub(super) async fn run(watch: &Watch) -> anyhow::Result<()> {
    let mut connected = Some(first(&watch.server).await?);
    let mut model = Model::new(&watch.symbols, Instant::now());
    if let Ok((_, rows)) = ratatui::crossterm::terminal::size() {
        model.resized(rows);
    }
    let shared = Arc::new(Shared {
        model: Mutex::new(model),
        requests: Notify::new(),
        granted: Notify::new(),
    });
    let mut user = User { shared: Arc::clone(&shared), screen: None, hangup: hangup()? };
    let (mut ever, mut tries) = (false, 0);
    loop {
        let mut spread = None;
        let end = match connected.take() {
            Some(socket) => follow(socket, &shared, &mut user, &mut spread).await?,
            None => tokio::select! {
                connecting = connect(&watch.server) => match connecting {
                    Ok(socket) => {
                        connected = Some(socket);
                        continue;
                    }
                    Err(error) => End::Lost(format!("cannot connect: {error}")),
                },
                quit = user.quits() => return quit,
            },
        };
        if shared.model.lock().is_subscribed() {
            (ever, tries) = (true, 0);
        }
        let why = match end {
            End::Quit => return Ok(()),
            End::Refused(why) if !ever => bail!("nothing to watch: {why}"),
            // A server that has just started may not have listed them yet.
            End::Refused(why) => why,
            End::Lost(why) => why,
        };
        let wait = wait(spread, tries, random());
        tries += 1;
        shared.model.lock().lost(&why, Instant::now() + wait, tries);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            quit = user.quits() => return quit,
        }
    }
}

fn hangup() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// The screen, which is there from the first subscription on, and who sits before it.
struct User {
    shared: Arc<Shared>,
    screen: Option<Screen>,
    /// The terminal's window was closed.
    hangup: Signal,
}

impl User {
    /// Waits until the user wants no more. May be dropped and called again.
    async fn quits(&mut self) -> anyhow::Result<()> {
        let screen = match &mut self.screen {
            Some(screen) => screen,
            None => {
                self.shared.granted.notified().await;
                let shown = Arc::clone(&self.shared);
                self.screen.insert(Screen::start(move |quit| terminal::show(&shown, quit)))
            }
        };
        tokio::select! {
            ended = screen.ended() => ended,
            _ = self.hangup.recv() => Ok(()),
        }
    }
}

type Reader = FragmentCollectorRead<ReadHalf<TokioIo<Upgraded>>>;
type Writer = WebSocketWrite<WriteHalf<TokioIo<Upgraded>>>;

/// Keeps one connection to its end. Reading and writing are two loops: a read must not be given up
/// half-way, and a write must not hold it up.
async fn follow(
    socket: Socket,
    shared: &Shared,
    user: &mut User,
    spread: &mut Option<[u64; 2]>,
) -> anyhow::Result<End> {
    let (mut reader, mut writer) = socket.split(tokio::io::split);
    // fastwebsockets would hold a pong back until the next message.
    reader.set_auto_pong(false);
    reader.set_auto_close(false);
    let mut reader = FragmentCollectorRead::new(reader);
    shared.model.lock().connected();
    let (pongs, mut owed) = mpsc::channel(PONGS);
    let end = tokio::select! {
        end = read(&mut reader, shared, &pongs, spread) => end,
        error = write(&mut writer, shared, &mut owed) => End::lost(error),
        quit = user.quits() => quit.map(|()| End::Quit)?,
    };
    if let End::Quit | End::Refused(_) = end {
        // A courtesy: the server's count of lost clients stays what it says.
        let goodbye = writer.write_frame(Frame::close(1000, b""));
        let _ = timeout(SECOND, goodbye).await;
    }
    Ok(end)
}

/// Takes what comes, until nothing does.
async fn read(
    reader: &mut Reader,
    shared: &Shared,
    pongs: &mpsc::Sender<Vec<u8>>,
    spread: &mut Option<[u64; 2]>,
) -> End {
    loop {
        let never = &mut |_| std::future::ready(Ok::<(), std::convert::Infallible>(()));
        let frame = match timeout(SILENCE, reader.read_frame(never)).await {
            Ok(Ok(frame)) => frame,
            Ok(Err(error)) => return End::Lost(format!("connection lost: {error}")),
            Err(_) => return End::Lost(format!("silence for {} s", SILENCE.as_secs())),
        };
        match frame.opcode {
            OpCode::Text => match hear(shared, &frame.payload) {
                Heard::Nothing => {}
                Heard::Refused(why) => return End::Refused(why),
                Heard::Drain(told) => *spread = told,
            },
            OpCode::Ping => drop(pongs.try_send(frame.payload.to_vec())),
            OpCode::Close if spread.is_some() => return End::lost("the server stops"),
            OpCode::Close => return End::lost(closed(&frame.payload)),
            _ => {}
        }
    }
}

/// Gives a message to the model.
fn hear(shared: &Shared, text: &[u8]) -> Heard {
    let mut model = shared.model.lock();
    let heard = model.apply(text, Instant::now());
    if model.has_requests() {
        shared.requests.notify_one();
    }
    if model.is_subscribed() {
        shared.granted.notify_one();
    }
    heard
}

/// Sends requests, pings and pongs until the connection fails.
async fn write(writer: &mut Writer, shared: &Shared, owed: &mut mpsc::Receiver<Vec<u8>>) -> String {
    let mut second = tokio::time::interval(SECOND);
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let sent = async {
        loop {
            let requests = shared.model.lock().take_requests();
            for request in requests {
                writer.write_frame(Frame::text(Payload::Owned(request.into_bytes()))).await?;
            }
            tokio::select! {
                () = shared.requests.notified() => {}
                _ = second.tick() => shared.model.lock().second(Instant::now()),
                Some(ping) = owed.recv() => {
                    writer.write_frame(Frame::pong(Payload::Owned(ping))).await?;
                }
            }
        }
    };
    let failed: Result<std::convert::Infallible, WebSocketError> = sent.await;
    match failed {
        Ok(never) => match never {},
        Err(error) => format!("connection lost: {error}"),
    }
}
