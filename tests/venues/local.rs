//! A venue on the loopback, over real TLS: it speaks an exchange's protocol, tells its history to who
//! subscribes, and does whatever can go wrong when it is told to.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastwebsockets::{FragmentCollector, OpCode, Role, WebSocket, upgrade};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::world::{Step, World};

/// More than any test sends to a connection that does not read.
const OUTGOING: usize = 100_000;

/// Written at a time, give or take a message.
const WRITE_BYTES: usize = 64 << 10;

/// Steps of a history that has enough of them for [`LocalVenue::play_until`] on any machine.
pub const LONG: usize = 30_000;

/// What an exchange's protocol makes of a history. One for all connections.
pub trait Protocol: Send {
    /// What a client's text is answered with; the topics in `subscribed` are the connection's, to be
    /// changed. Snapshots that the venue sends on subscription are among the answers.
    fn received(
        &mut self,
        text: &str,
        subscribed: &mut BTreeSet<String>,
        world: &World,
    ) -> Vec<String>;

    /// A client's text in the parts that the venue deals with one after the other, each as
    /// `received` takes it; they are apart by what [`LocalVenue::delay_answers`] says.
    fn parts(&self, text: &str) -> Vec<String> {
        vec![text.to_owned()]
    }

    /// The same over a connection to this path, for a venue that has several.
    fn received_at(
        &mut self,
        _path: &str,
        text: &str,
        subscribed: &mut BTreeSet<String>,
        world: &World,
    ) -> Vec<String> {
        self.received(text, subscribed, world)
    }

    /// The answer to a REST request.
    fn get(&mut self, path: &str, world: &World) -> Answer;

    /// The messages of a step, with the topic of each; the step has happened in the world.
    fn messages(&mut self, step: &Step, world: &World) -> Vec<(String, String)>;

    /// What the venue sends when it is about to end a connection.
    fn shutdown(&self) -> Option<String> {
        None
    }

    /// What the venue sends by itself about every second, if anything.
    fn heartbeat(&mut self) -> Option<String> {
        None
    }

    /// The venue closes a connection that no text has come or gone over for so long, in this way.
    fn idle(&self) -> Option<(Duration, u16, &'static str)> {
        None
    }
}

/// The answer to a REST request.
pub struct Answer {
    pub status: u16,
    pub body: String,
    /// Seconds of a `Retry-After`.
    pub retry_after: Option<u64>,
}

impl Answer {
    pub fn ok(body: String) -> Self {
        Answer { status: 200, body, retry_after: None }
    }

    pub fn not_found() -> Self {
        Answer { status: 404, body: String::new(), retry_after: None }
    }
}

/// What goes wrong with a message, on its way to every connection (or to one: the first).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is lost.
    Drop,
    /// It comes twice.
    Repeat,
    /// It comes after the next one of its topic.
    Late,
    /// Its text is cut.
    Cut,
    /// A digit of it is another one: well-formed and wrong.
    Corrupt,
}

/// A message that was rendered before it is sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// When it is due, nanoseconds from the beginning.
    pub at_ns: u64,
    pub topic: String,
    pub text: String,
}

/// What a connection's writer does.
enum Out {
    Text(String),
    Ping,
    Close(u16, &'static str),
    /// Nothing more is written, also no pongs, for so long.
    Stall(Duration),
    /// The write side ends, the read side stays.
    HalfClose,
    /// Reset.
    Abort,
    Pong(Vec<u8>),
}

struct Connection {
    /// What was connected to, without its query.
    path: String,
    topics: BTreeSet<String>,
    out: mpsc::Sender<Out>,
    opened: Instant,
    has_spoken: bool,
}

struct State {
    protocol: Box<dyn Protocol>,
    world: World,
    connections: HashMap<u64, Connection>,
    next: u64,
    /// Messages that are held back until the next one of their topic.
    late: Vec<(String, String)>,
    /// Everything that clients sent.
    heard: Vec<Heard>,
    /// The payloads of pongs.
    pongs: Vec<Vec<u8>>,
    /// Paths at which nobody is let in.
    closed: BTreeSet<String>,
    /// How long after its opening each client first sent something.
    first_words: Vec<Duration>,
    /// REST requests.
    asked: Vec<(Instant, String)>,
    /// REST answers about books come so late.
    snapshot_delay: Duration,
    /// Each part of a client's text is dealt with so long after the one before it.
    answer_delay: Duration,
    /// So many REST requests are refused with 429 before one is answered.
    refusals: u32,
    /// The next snapshots are what they were when this was set.
    stale: Option<(World, u32)>,
    opened: usize,
}

/// A text of a client.
#[derive(Clone, Debug)]
pub struct Heard {
    pub at: Instant,
    /// The number of its connection; the first is 1.
    pub connection: u64,
    /// What that was connected to.
    pub path: String,
    pub text: String,
}

/// The venue; it ends with the test.
pub struct LocalVenue {
    state: Arc<Mutex<State>>,
    open: Arc<AtomicBool>,
    address: SocketAddr,
    certificate: tempfile::NamedTempFile,
    runtime: Option<tokio::runtime::Runtime>,
}

impl LocalVenue {
    pub fn start(protocol: impl Protocol + 'static, world: World) -> Self {
        let state = Arc::new(Mutex::new(State {
            protocol: Box::new(protocol),
            world,
            connections: HashMap::new(),
            next: 0,
            late: Vec::new(),
            heard: Vec::new(),
            pongs: Vec::new(),
            closed: BTreeSet::new(),
            first_words: Vec::new(),
            asked: Vec::new(),
            snapshot_delay: Duration::ZERO,
            answer_delay: Duration::ZERO,
            refusals: 0,
            stale: None,
            opened: 0,
        }));
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a key");
        let mut certificate = tempfile::NamedTempFile::new().expect("a file");
        certificate.write_all(signed.cert.pem().as_bytes()).expect("writes");
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![signed.cert.der().clone()],
                signed.signing_key.serialize_der().try_into().expect("a key"),
            )
            .expect("a certificate");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let open = Arc::new(AtomicBool::new(true));
        runtime.spawn(accept(listener, acceptor, state.clone(), open.clone()));
        runtime.spawn(beat(state.clone()));
        LocalVenue { state, open, address, certificate, runtime: Some(runtime) }
    }

    /// The spec of a feed of it: `name:symbols` and what follows.
    pub fn spec(&self, venue_and_symbols: &str, more: &str) -> String {
        let port = self.address.port();
        let ca = self.certificate.path().display();
        format!(
            "{venue_and_symbols},url=wss://localhost:{port},rest=https://localhost:{port},ca={ca}{more}"
        )
    }

    /// Has the steps happen from now on, `speed` times as fast as they did, each with the fault
    /// that `fault` names.
    pub fn play(
        &self,
        script: &[Step],
        speed: f64,
        mut fault: impl FnMut(usize, &Step) -> Option<Fault>,
    ) {
        let began = Instant::now();
        let from = script.first().map_or(0, |step| step.at_ns);
        for (index, step) in script.iter().enumerate() {
            let due = Duration::from_nanos(((step.at_ns - from) as f64 / speed) as u64);
            wait_until(began + due);
            let fault = fault(index, step);
            self.state.lock().happen(step, fault);
        }
    }

    /// The same at the speed at which they did, until there is enough of what the faults lead to: how many
    /// steps that takes is up to the machine. Some more without faults follow, which show whether it
    /// recovers from the last one. Says how many there were in all.
    pub fn play_until(
        &self,
        script: &[Step],
        mut enough: impl FnMut() -> bool,
        mut fault: impl FnMut(usize, &Step) -> Option<Fault>,
    ) -> usize {
        const PART: usize = 100;
        let mut more = 5;
        for (part, steps) in script.chunks(PART).enumerate() {
            let is_over = more < 5 || enough();
            if is_over && more == 0 {
                return part * PART;
            }
            more -= usize::from(is_over);
            let mut fault =
                |index, step: &Step| (!is_over).then(|| fault(part * PART + index, step)).flatten();
            self.play(steps, 1.0, &mut fault);
        }
        panic!("the history ended before there was enough of what was waited for");
    }

    /// Has the steps happen now, all at once, and keeps what is to be said of them.
    pub fn render(&self, script: &[Step]) -> Vec<Sent> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let mut all = Vec::with_capacity(script.len());
        for step in script {
            state.world.happen(step);
            let messages = state.protocol.messages(step, &state.world);
            let sent = |(topic, text)| Sent { at_ns: step.at_ns, topic, text };
            all.extend(messages.into_iter().map(sent));
        }
        all
    }

    /// Says what was rendered; how much of it somebody is subscribed to.
    pub fn send_all(&self, messages: impl IntoIterator<Item = Sent>) -> usize {
        let state = self.state.lock();
        messages.into_iter().map(|Sent { topic, text, .. }| state.send(&topic, &text)).sum()
    }

    /// How many messages wait to be written.
    pub fn waiting(&self) -> usize {
        let state = self.state.lock();
        let waiting = |c: &Connection| c.out.max_capacity() - c.out.capacity();
        state.connections.values().map(waiting).max().unwrap_or(0)
    }

    /// Looks at the world.
    pub fn world<R>(&self, look: impl FnOnce(&World) -> R) -> R {
        look(&self.state.lock().world)
    }

    /// Has something said to all connections, whatever they are subscribed to.
    pub fn say(&self, text: &str) {
        self.all(|| Out::Text(text.to_owned()));
    }

    /// Has something said to those who are subscribed to this.
    pub fn tell(&self, topic: &str, text: &str) {
        self.state.lock().send(topic, text);
    }

    /// Announces the end of all connections, as the venue does.
    pub fn announce_shutdown(&self) {
        let text = self.state.lock().protocol.shutdown().expect("this venue announces it");
        self.say(&text);
    }

    pub fn ping_all(&self) {
        self.all(|| Out::Ping);
    }

    pub fn close_all(&self, code: u16, reason: &'static str) {
        self.all(|| Out::Close(code, reason));
    }

    pub fn stall_all(&self, time: Duration) {
        self.all(|| Out::Stall(time));
    }

    pub fn half_close_all(&self) {
        self.all(|| Out::HalfClose);
    }

    pub fn abort_all(&self) {
        self.all(|| Out::Abort);
    }

    /// Resets the oldest connection only.
    pub fn abort_first(&self) {
        self.abort(self.open_connections()[0]);
    }

    /// Holds up what the oldest connection sends; it comes in order afterwards.
    pub fn stall_first(&self, time: Duration) {
        let state = self.state.lock();
        if let Some((_, first)) = state.connections.iter().min_by_key(|(number, _)| **number) {
            let _ = first.out.try_send(Out::Stall(time));
        }
    }

    /// Resets one connection, if it is open.
    pub fn abort(&self, number: u64) {
        if let Some(connection) = self.state.lock().connections.get(&number) {
            let _ = connection.out.try_send(Out::Abort);
        }
    }

    /// The open connections, oldest first, each with a number of its own.
    pub fn open_connections(&self) -> Vec<u64> {
        let mut numbers: Vec<u64> = self.state.lock().connections.keys().copied().collect();
        numbers.sort_unstable();
        numbers
    }

    /// Resets the oldest connection to this path only.
    pub fn abort_first_of(&self, path: &str) {
        let state = self.state.lock();
        let of_path = state.connections.iter().filter(|(_, connection)| connection.path == path);
        if let Some((_, first)) = of_path.min_by_key(|(number, _)| **number) {
            let _ = first.out.try_send(Out::Abort);
        }
    }

    /// Resets the connections to this path.
    pub fn abort_route(&self, path: &str) {
        for connection in self.state.lock().connections.values().filter(|c| c.path == path) {
            let _ = connection.out.try_send(Out::Abort);
        }
    }

    /// Upgrades at this path are refused from here on.
    pub fn close_route(&self, path: &str) {
        self.state.lock().closed.insert(path.to_owned());
    }

    pub fn open_route(&self, path: &str) {
        self.state.lock().closed.remove(path);
    }

    /// Resets the newest connection only.
    pub fn abort_newest(&self) {
        let state = self.state.lock();
        if let Some((_, newest)) = state.connections.iter().max_by_key(|(number, _)| **number) {
            let _ = newest.out.try_send(Out::Abort);
        }
    }

    fn all(&self, out: impl Fn() -> Out) {
        for connection in self.state.lock().connections.values() {
            let _ = connection.out.try_send(out());
        }
    }

    /// The machine is gone: connections are reset, new ones too, until it is back.
    pub fn die(&self) {
        self.open.store(false, Ordering::SeqCst);
        self.abort_all();
    }

    pub fn come_back(&self) {
        self.open.store(true, Ordering::SeqCst);
    }

    /// Answers about books come so late.
    pub fn delay_snapshots(&self, time: Duration) {
        self.state.lock().snapshot_delay = time;
    }

    /// Clients' requests are dealt with part by part, so far apart.
    pub fn delay_answers(&self, time: Duration) {
        self.state.lock().answer_delay = time;
    }

    /// The next REST requests are refused with 429 and a `Retry-After` of a second.
    pub fn refuse(&self, count: u32) {
        self.state.lock().refusals = count;
    }

    /// The next `count` snapshots over REST are of now.
    pub fn freeze_snapshots(&self, count: u32) {
        let mut state = self.state.lock();
        let mut world = World { depth: state.world.depth, ..World::default() };
        for (native, truth) in &state.world.truths {
            let frozen = super::world::Truth::new(truth.book.clone(), truth.last, world.depth);
            world.truths.insert(native.clone(), frozen);
        }
        state.stale = Some((world, count));
    }

    /// What clients have sent so far, and when.
    pub fn heard(&self) -> Vec<(Instant, String)> {
        self.state.lock().heard.iter().map(|heard| (heard.at, heard.text.clone())).collect()
    }

    /// The same, with the connection that each came over.
    pub fn heard_from(&self) -> Vec<Heard> {
        self.state.lock().heard.clone()
    }

    /// The payloads of the pongs so far.
    pub fn pongs(&self) -> Vec<Vec<u8>> {
        self.state.lock().pongs.clone()
    }

    /// How long after its opening each client first sent something.
    pub fn first_words(&self) -> Vec<Duration> {
        self.state.lock().first_words.clone()
    }

    /// REST requests so far, and when.
    pub fn asked(&self) -> Vec<(Instant, String)> {
        self.state.lock().asked.clone()
    }

    /// Connections that were ever opened, and that are open.
    pub fn connections(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.opened, state.connections.len())
    }

    /// Waits until so many topics are subscribed to, over all connections.
    pub fn wait_subscribed(&self, topics: usize) {
        wait_for(|| {
            let state = self.state.lock();
            let count: usize = state.connections.values().map(|c| c.topics.len()).sum();
            (count >= topics).then_some(())
        });
    }
}

impl Drop for LocalVenue {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Waits until a look has a result.
pub fn wait_for<R>(mut look: impl FnMut() -> Option<R>) -> R {
    let until = Instant::now() + super::common::PATIENCE;
    loop {
        if let Some(result) = look() {
            return result;
        }
        assert!(Instant::now() < until, "waited in vain");
        super::common::pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "a test paces what it sends")]
fn wait_until(at: Instant) {
    if let Some(left) = at.checked_duration_since(Instant::now()) {
        std::thread::sleep(left);
    }
}

impl State {
    fn happen(&mut self, step: &Step, fault: Option<Fault>) {
        self.world.happen(step);
        for (topic, text) in self.protocol.messages(step, &self.world) {
            let cut = &text[..text.len() / 2];
            match fault {
                None => _ = self.send(&topic, &text),
                Some(Fault::Drop) => {}
                Some(Fault::Repeat) => {
                    self.send(&topic, &text);
                    self.send(&topic, &text);
                }
                Some(Fault::Late) => {
                    self.late.push((topic, text));
                    continue;
                }
                Some(Fault::Cut) => _ = self.send(&topic, cut),
                Some(Fault::Corrupt) => _ = self.send(&topic, &corrupted(&text)),
            }
            let (due, later) =
                std::mem::take(&mut self.late).into_iter().partition(|(late, _)| *late == topic);
            self.late = later;
            let due: Vec<(String, String)> = due;
            for (topic, text) in &due {
                self.send(topic, text);
            }
        }
    }

    /// Sends to who is subscribed; to how many.
    fn send(&self, topic: &str, text: &str) -> usize {
        let subscribed = self.connections.values().filter(|one| one.topics.contains(topic));
        subscribed.filter(|one| one.out.try_send(Out::Text(text.to_owned())).is_ok()).count()
    }
}

/// The text with the last digit of its last quoted or bare decimal fraction changed.
fn corrupted(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let point = bytes.iter().rposition(|&byte| byte == b'.').expect("a fraction");
    let digit = &mut bytes[point + 1];
    *digit = if *digit == b'9' { b'1' } else { *digit + 1 };
    String::from_utf8(bytes).expect("text")
}

async fn beat(state: Arc<Mutex<State>>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut state = state.lock();
        if let Some(text) = state.protocol.heartbeat() {
            for connection in state.connections.values() {
                let _ = connection.out.try_send(Out::Text(text.clone()));
            }
        }
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    state: Arc<Mutex<State>>,
    open: Arc<AtomicBool>,
) {
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let Ok(socket) = socket.into_std() else { continue };
        let Ok(raw) = socket.try_clone().map(Arc::new) else { continue };
        let Ok(socket) = TcpStream::from_std(socket) else { continue };
        if !open.load(Ordering::SeqCst) {
            reset(&raw);
            continue;
        }
        let (acceptor, state) = (acceptor.clone(), state.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(socket).await else { return };
            let service = service_fn(move |request| answer(request, state.clone(), raw.clone()));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        });
    }
}

/// The connection is to end with a reset, not with a goodbye.
fn reset(socket: &std::net::TcpStream) {
    let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

type Reply = Response<Full<Bytes>>;

async fn answer(
    mut request: Request<Incoming>,
    state: Arc<Mutex<State>>,
    raw: Arc<std::net::TcpStream>,
) -> Result<Reply, Infallible> {
    if upgrade::is_upgrade_request(&request) {
        let path = request.uri().path().to_owned();
        if state.lock().closed.contains(&path) {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return Ok(response);
        }
        let (response, socket) = upgrade::upgrade(&mut request).expect("an upgrade");
        tokio::spawn(async move {
            if let Ok(socket) = socket.await {
                serve(socket, path, state, &raw).await;
            }
        });
        return Ok(response.map(|_| Full::default()));
    }
    let path = request.uri().path_and_query().expect("a path").to_string();
    let (answer, delay) = {
        let mut state = state.lock();
        let state = &mut *state;
        state.asked.push((Instant::now(), path.clone()));
        if state.refusals > 0 {
            state.refusals -= 1;
            let body = r#"{"code":-1003,"msg":"Too many requests"}"#.to_owned();
            (Answer { status: 429, body, retry_after: Some(1) }, Duration::ZERO)
        } else if let Some((world, left)) = state.stale.as_mut().filter(|(_, left)| *left > 0) {
            *left -= 1;
            (state.protocol.get(&path, world), state.snapshot_delay)
        } else {
            (state.protocol.get(&path, &state.world), state.snapshot_delay)
        }
    };
    tokio::time::sleep(delay).await;
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = StatusCode::from_u16(answer.status).expect("a status");
    if let Some(seconds) = answer.retry_after {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    Ok(response)
}

type Socket = WebSocket<TokioIo<hyper::upgrade::Upgraded>>;

async fn serve(socket: Socket, path: String, state: Arc<Mutex<State>>, raw: &std::net::TcpStream) {
    // The write side is used as it is: it has to do what no library would.
    let (reading, mut writer) = tokio::io::split(socket.into_inner());
    let reading = tokio::io::join(reading, tokio::io::sink());
    let mut reader = WebSocket::after_handshake(reading, Role::Server);
    reader.set_auto_pong(false);
    reader.set_auto_close(false);
    let mut reader = FragmentCollector::new(reader);
    let (out, mut outgoing) = mpsc::channel(OUTGOING);
    let number = {
        let mut state = state.lock();
        state.next += 1;
        state.opened += 1;
        let number = state.next;
        let connection = Connection {
            path,
            topics: BTreeSet::new(),
            out: out.clone(),
            opened: Instant::now(),
            has_spoken: false,
        };
        state.connections.insert(number, connection);
        number
    };
    // When a text last came or went.
    let busy = Mutex::new(Instant::now());
    let idle = state.lock().protocol.idle();
    let reading = async {
        while let Ok(frame) = reader.read_frame().await {
            match frame.opcode {
                OpCode::Text => {
                    *busy.lock() = Instant::now();
                    received(&state, number, &String::from_utf8_lossy(&frame.payload)).await;
                }
                OpCode::Ping => {
                    let _ = out.try_send(Out::Pong(frame.payload.to_vec()));
                }
                OpCode::Pong => state.lock().pongs.push(frame.payload.to_vec()),
                OpCode::Close => break,
                _ => {}
            }
        }
    };
    let writing = async {
        // What is at hand goes out in one write.
        let mut buffer = Vec::new();
        loop {
            let next = match outgoing.try_recv() {
                Ok(out) if buffer.len() < WRITE_BYTES => Some(out),
                more => {
                    if !buffer.is_empty() {
                        let written = writer.write_all(&buffer).await;
                        if written.is_err() || writer.flush().await.is_err() {
                            return;
                        }
                        buffer.clear();
                    }
                    match more {
                        Ok(out) => Some(out),
                        Err(_) => outgoing.recv().await,
                    }
                }
            };
            let Some(out) = next else { return };
            match &out {
                Out::Text(text) => {
                    *busy.lock() = Instant::now();
                    frame(0x1, text.as_bytes(), &mut buffer);
                }
                Out::Ping => frame(0x9, b"7", &mut buffer),
                Out::Pong(payload) => frame(0xa, payload, &mut buffer),
                Out::Close(code, reason) => {
                    let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
                    frame(0x8, &payload, &mut buffer);
                }
                Out::Stall(_) | Out::HalfClose | Out::Abort => {
                    // What came before it has gone out when the machine fails.
                    if writer.write_all(&buffer).await.is_err() || writer.flush().await.is_err() {
                        return;
                    }
                    buffer.clear();
                }
            }
            match out {
                Out::Stall(time) => tokio::time::sleep(time).await,
                Out::HalfClose => {
                    let _ = writer.shutdown().await;
                    // What it sends is still read; nothing is ever written again.
                    return std::future::pending().await;
                }
                Out::Abort => return reset(raw),
                _ => {}
            }
        }
    };
    let watching = async {
        let Some((time, code, reason)) = idle else { return std::future::pending().await };
        loop {
            let left = time.saturating_sub(busy.lock().elapsed());
            if left.is_zero() {
                let _ = out.try_send(Out::Close(code, reason));
                return std::future::pending().await;
            }
            tokio::time::sleep(left).await;
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
        () = watching => {}
    }
    state.lock().connections.remove(&number);
}

/// Appends a server's frame of this kind.
fn frame(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match payload.len() {
        short @ ..126 => out.push(short as u8),
        middle @ ..65_536 => {
            out.push(126);
            out.extend((middle as u16).to_be_bytes());
        }
        long => {
            out.push(127);
            out.extend((long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// A client's text: the answers, and the snapshots among them, are in line before anything that
/// happens later.
async fn received(state: &Mutex<State>, number: u64, text: &str) {
    let (path, parts) = {
        let mut state = state.lock();
        let state = &mut *state;
        let Some(connection) = state.connections.get_mut(&number) else { return };
        if !std::mem::replace(&mut connection.has_spoken, true) {
            state.first_words.push(connection.opened.elapsed());
        }
        let path = connection.path.clone();
        let heard = Heard {
            at: Instant::now(),
            connection: number,
            path: path.clone(),
            text: text.to_owned(),
        };
        state.heard.push(heard);
        (path, state.protocol.parts(text))
    };
    for part in parts {
        let delay = state.lock().answer_delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let mut state = state.lock();
        let state = &mut *state;
        let Some(connection) = state.connections.get_mut(&number) else { return };
        let topics = &mut connection.topics;
        for answer in state.protocol.received_at(&path, &part, topics, &state.world) {
            let _ = connection.out.try_send(Out::Text(answer));
        }
    }
}
