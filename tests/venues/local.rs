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

mod faults;
mod socket;

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
        runtime.spawn(socket::accept(listener, acceptor, state.clone(), open.clone()));
        runtime.spawn(socket::beat(state.clone()));
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
