//! What a Rust user would write first: fastwebsockets, a task per client, a tokio broadcast channel per
//! symbol. Ticks are made by a thread named `gen`.
//!
//! `fastws --listen ADDRESS:PORT --symbols N --rate N`. A client subscribes once.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use fastwebsockets::{
    FragmentCollectorRead, Frame, OpCode, Payload, WebSocketError, WebSocketWrite, upgrade,
};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustix::thread::{ClockId, clock_nanosleep_absolute, set_current_timer_slack};
use rustix::time::Timespec;
use tickcast_peers::args::Args;
use tickcast_peers::feed::{Feed, now_ns};
use tickcast_peers::requests::reply;
use tokio::io::WriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::{self, Receiver, error::RecvError};
use tokio::sync::mpsc;

type Channels = Arc<Vec<broadcast::Sender<Bytes>>>;
type Writer = WebSocketWrite<WriteHalf<TokioIo<Upgraded>>>;

/// Ticks that a channel holds for receivers that are behind.
const CHANNEL: usize = 4_096;
/// Ticks of all its symbols that may wait for one client.
const QUEUE: usize = 1_024;

fn main() -> anyhow::Result<()> {
    let args = Args::read()?;
    let channels: Channels =
        Arc::new((0..args.symbols).map(|_| broadcast::channel(CHANNEL).0).collect());
    let feed = Feed::new(args.symbols, args.rate, now_ns());
    let to = Arc::clone(&channels);
    std::thread::Builder::new().name("gen".into()).spawn(move || generate(feed, &to))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(args.listen).await?;
        println!("listening on http://{}", listener.local_addr()?);
        // On a worker, not on the thread that waits here.
        runtime.spawn(accept(listener, channels)).await?
    })
}

/// Sends every tick when it is due.
fn generate(mut feed: Feed, channels: &Channels) {
    // To the nanosecond; the default of 50 us would be a latency of its own.
    let _ = set_current_timer_slack(std::num::NonZeroU64::new(1));
    loop {
        let due = feed.due_ns();
        if now_ns() < due {
            let at = Timespec {
                tv_sec: (due / 1_000_000_000) as i64,
                tv_nsec: (due % 1_000_000_000) as i64,
            };
            let _ = clock_nanosleep_absolute(ClockId::Realtime, &at);
            continue;
        }
        let tick = feed.next_tick();
        let mut message = Vec::new();
        feed.encode(&tick, now_ns(), &mut message);
        // Fails when nobody has subscribed to it.
        let _ = channels[tick.symbol as usize].send(message.into());
    }
}

async fn accept(listener: TcpListener, channels: Channels) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve(stream, Arc::clone(&channels)));
    }
}

async fn serve(stream: TcpStream, channels: Channels) {
    let upgrade = service_fn(move |request| {
        let channels = Arc::clone(&channels);
        async move { Ok::<_, Infallible>(answer(request, channels)) }
    });
    let io = TokioIo::new(stream);
    // A client that goes away ends its connection; there is nothing else to do about it.
    let _ = http1::Builder::new().serve_connection(io, upgrade).with_upgrades().await;
}

fn answer(mut request: Request<Incoming>, channels: Channels) -> Response<Empty<Bytes>> {
    match upgrade::upgrade(&mut request) {
        Ok((response, upgraded)) => {
            tokio::spawn(async move {
                let _ = client(upgraded, channels).await;
            });
            response
        }
        Err(_) => {
            let mut response = Response::new(Empty::new());
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response
        }
    }
}

async fn client(upgraded: upgrade::UpgradeFut, channels: Channels) -> Result<(), WebSocketError> {
    let mut socket = upgraded.await?;
    let symbols = channels.len() as u32;
    let subscribed = loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Text => {}
            OpCode::Close => return Ok(()),
            _ => continue,
        }
        // Without sequences: ticks go on between subscribing to a channel and looking at its newest.
        let reply = reply(&frame.payload, symbols, |_| None);
        // Before the answer, so that nothing is missed behind it.
        let receivers: Vec<_> =
            reply.subscribed.iter().map(|&symbol| channels[symbol as usize].subscribe()).collect();
        let answer = Frame::text(Payload::Owned(reply.answer.into_bytes()));
        socket.write_frame(answer).await?;
        if !receivers.is_empty() {
            break receivers;
        }
    };
    let (reader, writer) = socket.split(tokio::io::split);
    let mut reader = FragmentCollectorRead::new(reader);
    let writing = tokio::spawn(write(writer, subscribed));
    loop {
        let frame = reader
            .read_frame::<_, WebSocketError>(&mut |_| async { Ok(()) })
            .await
            .map(|frame| frame.opcode);
        if matches!(frame, Ok(OpCode::Close) | Err(_)) {
            writing.abort();
            return Ok(());
        }
    }
}

/// Writes what comes: straight from the channel of one symbol, or from a queue that a task per symbol fills.
async fn write(mut writer: Writer, mut from: Vec<Receiver<Bytes>>) -> Result<(), WebSocketError> {
    if let [only] = from.as_mut_slice() {
        while let Some(message) = receive(only).await {
            writer.write_frame(Frame::text(Payload::Borrowed(&message))).await?;
        }
        return Ok(());
    }
    let (queue, mut messages) = mpsc::channel(QUEUE);
    for mut receiver in from {
        let queue = queue.clone();
        tokio::spawn(async move {
            while let Some(message) = receive(&mut receiver).await {
                if queue.send(message).await.is_err() {
                    break;
                }
            }
        });
    }
    drop(queue);
    while let Some(message) = messages.recv().await {
        writer.write_frame(Frame::text(Payload::Borrowed(&message))).await?;
    }
    Ok(())
}

/// The next message of a channel; what a client that is too slow has missed shows in its sequences.
async fn receive(from: &mut Receiver<Bytes>) -> Option<Bytes> {
    loop {
        match from.recv().await {
            Ok(message) => return Some(message),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}
