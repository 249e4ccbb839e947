//! What the end-to-end tests share: the real program on a free port, and plain blocking clients.
// Each test file uses its part.
#![allow(dead_code)]
#![allow(missing_docs, unreachable_pub)]

pub mod kept;
pub mod python;
pub mod stream;
pub mod terminal;
pub mod tls;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Nothing that a test waits for takes longer on the slowest machine: a test that needs it hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The REST endpoints of the Binance dialect, below /api/v3/, of the symbol sim:S0001-USD.
pub const EXCHANGE_PATHS: [&str; 9] = [
    "ping",
    "exchangeInfo",
    "depth?symbol=S0001USD",
    "trades?symbol=S0001USD",
    "aggTrades?symbol=S0001USD",
    "klines?symbol=S0001USD&interval=1m",
    "ticker/24hr?symbol=S0001USD",
    "ticker/price?symbol=S0001USD",
    "ticker/bookTicker?symbol=S0001USD",
];

/// A running `tickcast`, ended with the test.
pub struct Server {
    pub address: SocketAddr,
    /// Where it speaks TLS, if it does.
    pub tls: Option<SocketAddr>,
    /// Where operators come in, if they do by TCP.
    pub admin: Option<SocketAddr>,
    child: Child,
}

impl Server {
    /// Starts it on a free port of the loopback.
    pub fn start(args: &[&str]) -> Self {
        Self::start_with(args, Stdio::null())
    }

    /// The same with this standard input.
    pub fn start_with(args: &[&str], stdin: Stdio) -> Self {
        Self::spawn(Command::new(env!("CARGO_BIN_EXE_tickcast")), args, stdin)
    }

    /// The same with what it logs.
    pub fn start_logged(args: &[&str]) -> (Self, std::process::ChildStderr) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tickcast"));
        command.stderr(Stdio::piped());
        let mut server = Self::spawn(command, args, Stdio::null());
        let log = server.child.stderr.take().expect("a pipe");
        (server, log)
    }

    /// The same for a test that looks at its memory. A reactor that is up to date allocates nothing, so the
    /// allocator would keep what was freed after a burst until it is asked for something again; like this
    /// it gives it back at once.
    pub fn start_frugal(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tickcast"));
        command.env("MIMALLOC_PURGE_DELAY", "0");
        Self::spawn(command, args, Stdio::null())
    }

    /// The same with a variable of the environment.
    pub fn start_with_variable(name: &str, value: &str, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tickcast"));
        command.env(name, value);
        Self::spawn(command, args, Stdio::null())
    }

    /// The same on one core: for measurements.
    pub fn start_on(core: usize, args: &[&str]) -> Self {
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string(), env!("CARGO_BIN_EXE_tickcast")]);
        Self::spawn(command, args, Stdio::null())
    }

    /// The same in this environment.
    pub fn start_in(variables: &[(&str, &str)], args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tickcast"));
        command.envs(variables.iter().copied());
        Self::spawn(command, args, Stdio::null())
    }

    fn spawn(mut command: Command, args: &[&str], stdin: Stdio) -> Self {
        let quiet: &[&str] =
            if args.contains(&"--log-level") { &[] } else { &["--log-level", "warn"] };
        let mut child = command
            .args(["--listen", "127.0.0.1:0", "--echo"])
            .args(quiet)
            .args(args)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let first = lines.next().expect("a first line").expect("text");
        let address =
            first.strip_prefix("listening on http://").expect("the contract's first line");
        let second = lines.next().expect("a second line").expect("text");
        let tls = second.strip_prefix("listening on https://");
        let tls = tls.map(|address| address.parse().expect("an address"));
        let is_admin = |line: &String| line.starts_with("operators at ");
        let admin = args.contains(&"--admin-listen").then(|| {
            let mut lines = std::iter::once(second).chain(lines.by_ref().map_while(Result::ok));
            lines.find(is_admin).expect("a line of operators")
        });
        let admin = admin.and_then(|line| line.strip_prefix("operators at http://")?.parse().ok());
        // The rest of the lines must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Server { admin, address: address.parse().expect("an address"), tls, child }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < until, "the server does not end");
            pause();
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// The status and body of a plain HTTP GET.
    pub fn get(&self, path: &str) -> (u16, String) {
        let (status, _, body) = self
            .request(&format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"));
        (status, body)
    }

    /// The status, head and body of what answers these bytes.
    pub fn request(&self, text: &str) -> (u16, String, String) {
        let stream = TcpStream::connect(self.address).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        exchange(stream, text)
    }

    /// The sum of a metric over its labels that contain `label`.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200);
        text.lines()
            .filter(|line| !line.starts_with('#') && line.contains(label))
            .filter(|line| line.split(['{', ' ']).next() == Some(name))
            .map(|line| line.rsplit(' ').next().expect("a value").parse::<f64>().expect("a number"))
            .sum()
    }

    /// Waits until a metric satisfies `wanted`.
    pub fn wait_metric(&self, name: &str, label: &str, wanted: impl Fn(f64) -> bool) -> f64 {
        let until = Instant::now() + PATIENCE;
        loop {
            let value = self.metric(name, label);
            if wanted(value) {
                return value;
            }
            assert!(Instant::now() < until, "{name} {label} stays at {value}");
            pause();
        }
    }

    /// Resident memory, bytes.
    pub fn rss(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("proc");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("kB") * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The status, head and body of what answers these bytes on a connection.
pub fn exchange(mut stream: impl Read + Write, text: &str) -> (u16, String, String) {
    stream.write_all(text.as_bytes()).expect("writes");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    (status, head.to_owned(), body.to_owned())
}

/// A short rest for a test that polls.
#[expect(clippy::disallowed_methods, reason = "a test waits for another process")]
pub fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

/// What a client receives.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    /// The end of the connection without a close frame.
    End,
}

/// A blocking WebSocket client that does what it is told, also what a good one would not.
pub struct Client<S = TcpStream> {
    pub stream: S,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects and upgrades at this path.
    pub fn open(server: &Server, path: &str) -> Self {
        Self::over(TcpStream::connect(server.address).expect("connects"), path)
    }

    /// A client of the native protocol.
    pub fn native(server: &Server) -> Self {
        Self::open(server, "/v1/ws")
    }

    /// Upgrades a connection.
    pub fn over(stream: TcpStream, path: &str) -> Self {
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self::upgrade(stream, path)
    }
}

impl<S: Read + Write> Client<S> {
    /// Upgrades what is connected.
    pub fn upgrade(mut stream: S, path: &str) -> Self {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("writes");
        Self::answered(stream)
    }

    /// A connection that is upgraded, and of which nothing was read since.
    pub fn upgraded(stream: S) -> Self {
        Client { stream, buffer: Vec::new() }
    }

    /// Reads the answer to an upgrade that was sent with the key of RFC 6455 section 1.3.
    pub fn answered(stream: S) -> Self {
        let mut client = Client { stream, buffer: Vec::new() };
        loop {
            if let Some(end) = client.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&client.buffer[..end]).into_owned();
                assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
                assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
                client.buffer.drain(..end + 4);
                return client;
            }
            assert!(client.fill(), "the connection ended in the handshake");
        }
    }

    /// Reads more; false at the end of the connection.
    fn fill(&mut self) -> bool {
        let mut bytes = [0; 65_536];
        match self.stream.read(&mut bytes) {
            Ok(0) => false,
            Ok(n) => {
                self.buffer.extend_from_slice(&bytes[..n]);
                true
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came for {PATIENCE:?}")
            }
            Err(_) => false,
        }
    }

    /// Bytes that were read and are no whole frame.
    pub fn unread(&self) -> &[u8] {
        &self.buffer
    }

    /// Puts bytes before everything else that is read, as if they had not been.
    pub fn put_back(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Sends a masked frame, whatever it is.
    pub fn frame(&mut self, first_byte: u8, payload: &[u8]) {
        self.stream.write_all(&masked(first_byte, payload)).expect("writes");
    }

    pub fn text(&mut self, text: &str) {
        self.frame(0x81, text.as_bytes());
    }

    pub fn send(&mut self, message: &Value) {
        self.text(&message.to_string());
    }

    /// The next frame of the server.
    pub fn frame_in(&mut self) -> Received {
        loop {
            if let Some((received, len)) = parse(&self.buffer) {
                self.buffer.drain(..len);
                return received;
            }
            if !self.fill() {
                return Received::End;
            }
        }
    }

    /// The next text as JSON; answers pings on the way. Anything else is a failure.
    pub fn message(&mut self) -> Value {
        loop {
            match self.frame_in() {
                Received::Text(text) => return serde_json::from_str(&text).expect("JSON"),
                Received::Ping(payload) => self.frame(0x8a, &payload),
                other => panic!("expected a message, got {other:?}"),
            }
        }
    }

    /// The next message that is not a heartbeat.
    pub fn next(&mut self) -> Value {
        loop {
            let message = self.message();
            if message["channel"] != "heartbeat" {
                return message;
            }
        }
    }

    /// The next message that satisfies `wanted`; those before it are dropped.
    pub fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.message();
            if wanted(&message) {
                return message;
            }
        }
    }

    /// Sends a request and waits for its answer; messages before it are dropped.
    pub fn ask(&mut self, request: &Value) -> Value {
        self.send(request);
        self.until(|message| message.get("method").is_some())
    }

    /// Subscribes and gives the answer.
    pub fn subscribe(&mut self, channel: &str, symbols: &[&str]) -> Value {
        self.ask(&json!({"method": "subscribe", "params": {"channel": channel, "symbol": symbols}}))
    }

    /// Reads to the end: the close frame, if one came, and that nothing came after it.
    pub fn close(&mut self) -> Option<(Option<u16>, String)> {
        loop {
            match self.frame_in() {
                Received::Close(code, reason) => {
                    assert_eq!(self.frame_in(), Received::End, "something came after the close");
                    return Some((code, reason));
                }
                Received::End => return None,
                _ => {}
            }
        }
    }
}

/// A masked frame.
pub fn masked(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
    let mut out = vec![first_byte];
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ MASK[i % 4]));
    out
}

/// One server frame, which must be final and unmasked, and its length.
fn parse(bytes: &[u8]) -> Option<(Received, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert_eq!(first & 0xf0, 0x80, "a server frame is final and has no reserved bits");
    assert_eq!(second & 0x80, 0, "a server frame is not masked");
    let (head, len) = match second {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        len => (2, usize::from(len)),
    };
    let payload = bytes.get(head..head + len)?.to_vec();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let received = match first & 0x0f {
        1 => Received::Text(text(&payload)),
        2 => Received::Binary(payload),
        8 => match payload.split_at_checked(2) {
            Some((code, reason)) => {
                Received::Close(Some(u16::from_be_bytes([code[0], code[1]])), text(reason))
            }
            None => Received::Close(None, String::new()),
        },
        9 => Received::Ping(payload),
        10 => Received::Pong(payload),
        other => panic!("opcode {other}"),
    };
    Some((received, head + len))
}

/// The folder of real captures; `None`, said loudly, where it is missing.
pub fn captures() -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("TICKCAST_DATA").map_or_else(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "no captures in {}", folder.display());
    eprintln!("SKIPPED: no captures in {} (set TICKCAST_DATA)", folder.display());
    None
}

/// A capture of a test's own, removed with it.
pub struct Capture {
    folder: PathBuf,
    file: PathBuf,
}

impl Capture {
    pub fn new(name: &str, text: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("tickcast-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("capture.jsonl");
        std::fs::write(&file, text).expect("a file");
        Capture { folder, file }
    }

    /// The feed spec of its replay, with these keys.
    pub fn spec(&self, keys: &str) -> String {
        format!("replay:{}{keys}", self.file.display())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A program that is not ours, as scripts/test installs it; `None`, said loudly, where it is missing.
pub fn tool(name: &str) -> Option<PathBuf> {
    let ours = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin").join(name);
    let found = [ours, PathBuf::from(name)]
        .into_iter()
        .find(|path| Command::new(path).arg("--version").output().is_ok());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "no {name}: scripts/test installs it");
        eprintln!("SKIPPED: no {name} (scripts/test installs it)");
    }
    found
}
