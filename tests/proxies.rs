//! Behind proxies: whom the server takes a client for, and whom it believes.

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use common::{Client, PATIENCE, Server, pause, tls};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

/// 127.0.0.1 is the trusted proxy of all these.
const TRUSTED: [&str; 2] = ["--trusted-proxy", "127.0.0.1"];

fn serve(more: &[&str]) -> Server {
    Server::start(
        &[&["--feed", "synthetic:symbols=4", "--reactors", "1"][..], &TRUSTED, more].concat(),
    )
}

/// A connection of somebody who is no trusted proxy.
fn stranger(to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 9], 0)).into()).expect("an address");
    socket.connect(&to.into()).expect("connects");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn proxy(to: SocketAddr, first: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(to).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(first).expect("writes");
    stream
}

/// A header of version 2 for a client of IPv4, with a TLV behind.
fn v2(client: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x13".to_vec();
    header.extend(client);
    header.extend([10, 0, 0, 1, 0xc8, 0x22, 0x01, 0xbb]);
    header.extend([0x03, 0, 4, 1, 2, 3, 4]);
    header
}

const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

fn answer(stream: &mut TcpStream, head: &str) -> String {
    let text = format!("{head} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    // Who is refused may be so before that.
    let _ = stream.write_all(text.as_bytes());
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}

/// Who is connected, asked for over this connection.
fn peers(stream: &mut TcpStream) -> Vec<String> {
    let answer = answer(stream, "GET /v1/connections");
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    let shown: Value = serde_json::from_str(body).expect("JSON");
    let all = shown["connections"].as_array().expect("connections").iter();
    let mut peers: Vec<String> =
        all.map(|one| one["peer"].as_str().expect("text").to_owned()).collect();
    peers.sort();
    peers
}

#[test]
fn a_trusted_proxy_says_whom_it_speaks_for() {
    let server = serve(&["--proxy-protocol"]);
    let ask = |first: &[u8]| answer(&mut proxy(server.address, first), "GET /healthz");
    let one = Client::over(proxy(server.address, &v2([203, 0, 113, 7])), "/v1/ws");
    let line = b"PROXY TCP6 2001:db8::7 ::1 4711 443\r\n";
    let two = Client::over(proxy(server.address, line), "/v1/ws");
    let expected = ["203.0.113.7:51234", "[2001:db8::7]:4711"];
    assert_eq!(peers(&mut proxy(server.address, LOCAL)), expected);
    drop((one, two));
    // A check of health, and a proxy that does not know.
    assert!(ask(LOCAL).contains("200 OK"));
    assert!(ask(b"PROXY UNKNOWN\r\n").contains("200 OK"));
    // A header a byte at a time.
    let mut slow = proxy(server.address, b"");
    slow.set_nodelay(true).expect("set");
    for byte in v2([203, 0, 113, 8]) {
        slow.write_all(&[byte]).expect("writes");
    }
    assert!(answer(&mut slow, "GET /healthz").contains("200 OK"));
    // It has to say it.
    for none in [&b""[..], b"PROXY TCP4 x\r\nGET /", b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x00"] {
        let refused = ask(none);
        assert_eq!(refused, "", "{none:?}");
    }
    let shown = answer(&mut proxy(server.address, LOCAL), "GET /metrics");
    let of = |result: &str| format!("tickcast_proxy_headers_total{{result=\"{result}\"}} ");
    assert!(shown.contains(&format!("{}7\n", of("taken"))), "{shown}");
    assert!(shown.contains(&format!("{}3\n", of("refused"))), "{shown}");
}

#[test]
fn nobody_else_is_believed() {
    let server = serve(&["--proxy-protocol"]);
    // As themselves they are welcome.
    let client = Client::over(stranger(server.address), "/v1/ws");
    let said = "GET /healthz HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n";
    let mut other = stranger(server.address);
    other.write_all(said.as_bytes()).expect("writes");
    let shown = peers(&mut proxy(server.address, LOCAL));
    assert!(shown.len() == 1 && shown[0].starts_with("127.0.0.9:"), "{shown:?}");
    drop(client);
    // To HTTP a header is no request.
    for first in [v2([203, 0, 113, 7]), b"PROXY TCP4 203.0.113.7 10.0.0.1 1 2\r\n".to_vec()] {
        let mut stream = stranger(server.address);
        stream.write_all(&first).expect("writes");
        let refused = answer(&mut stream, "GET /healthz");
        assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
    }
}

#[test]
fn limits_are_those_of_the_client_behind_the_proxy() {
    let server = serve(&["--proxy-protocol", "--max-clients-per-address", "2"]);
    let come = |last| {
        let mut stream = proxy(server.address, &v2([203, 0, 113, last]));
        let upgrade = "GET /v1/ws HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        stream.write_all(upgrade.as_bytes()).expect("writes");
        let mut head = [0; 12];
        stream.read_exact(&mut head).expect("an answer");
        (String::from_utf8_lossy(&head).into_owned(), stream)
    };
    let held: Vec<_> = [7, 7, 7, 8].map(come).into();
    let statuses: Vec<&str> = held.iter().map(|(head, _)| &head[9..]).collect();
    assert_eq!(statuses, ["101", "101", "429", "101"]);
}

#[test]
fn requests_have_the_rate_of_the_client_behind_the_proxy() {
    let server = serve(&["--http-rate", "2"]);
    // All over one connection, which is the proxy's: nobody closes it.
    let ask = |forwarded: &str, times: usize| {
        let mut stream = proxy(server.address, b"");
        let request = format!("GET /nothing HTTP/1.1\r\nHost: t\r\n{forwarded}\r\n");
        stream.write_all(request.repeat(times - 1).as_bytes()).expect("writes");
        let end = answer(&mut stream, &format!("GET /nothing HTTP/1.1\r\n{forwarded}X:"));
        let count = |status: &str| end.matches(&format!("HTTP/1.1 {status} ")).count();
        (count("404"), count("429"))
    };
    let (answered, refused) = ask("X-Forwarded-For: 203.0.113.7\r\n", 400);
    assert!(answered >= 20 && refused > 0 && answered + refused == 400, "{answered} {refused}");
    assert_eq!(ask("X-Forwarded-For: 203.0.113.8\r\n", 5), (5, 0));
    // Nobody's: a check of health, or a proxy that does not say for whom.
    assert_eq!(ask("", 400), (400, 0));
}

#[test]
fn x_forwarded_for_is_whose_a_request_is() {
    let server = serve(&["--max-clients-per-address", "1"]);
    let open = |forwarded: &str, more: &str| {
        let mut stream = proxy(server.address, b"");
        let upgrade = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: inside:7070\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             X-Forwarded-For: {forwarded}\r\n{more}\r\n"
        );
        stream.write_all(upgrade.as_bytes()).expect("writes");
        let mut head = [0; 12];
        stream.read_exact(&mut head).expect("an answer");
        (String::from_utf8_lossy(&head[9..]).into_owned(), stream)
    };
    let (status, _one) = open("9.9.9.9, 203.0.113.7", "");
    assert_eq!(status, "101");
    // Another port, another story before it: the same client.
    assert_eq!(open("8.8.8.8, 203.0.113.7:99", "").0, "429");
    let (status, _two) = open("203.0.113.8", "");
    assert_eq!(status, "101");
    // A page of the proxy's own name, which the server does not know by itself.
    let origin = "Origin: https://feed.example\r\n";
    assert_eq!(open("203.0.113.9", origin).0, "403");
    let both = format!("{origin}X-Forwarded-Host: feed.example\r\n");
    let (status, _three) = open("203.0.113.9", &both);
    assert_eq!(status, "101");
    let shown = peers(&mut proxy(server.address, b""));
    assert_eq!(shown, ["203.0.113.7", "203.0.113.8", "203.0.113.9"]);
    // Streams of events are somebody's too.
    let mut stream = proxy(server.address, b"");
    let sse = "GET /v1/sse?subscribe=trade:* HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: 203.0.113.10\r\n\r\n";
    stream.write_all(sse.as_bytes()).expect("writes");
    stream.read_exact(&mut [0; 15]).expect("an answer");
    assert!(peers(&mut proxy(server.address, b"")).contains(&"203.0.113.10".to_owned()));
}

/// A poll for this client, over a connection that stays.
fn poll(stream: &mut TcpStream, client: &str) -> String {
    let head = "GET /v1/poll?subscribe=status:* HTTP/1.1\r\nHost: t\r\n";
    let request = format!("{head}X-Forwarded-For: {client}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("writes");
    let (mut head, mut byte) = (String::new(), [0]);
    while !head.ends_with("\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0].into());
    }
    let length = head.to_lowercase();
    let length = length.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let length: usize = length.expect("a length").parse().expect("a number");
    stream.read_exact(&mut vec![0; length]).expect("a body");
    head[9..12].to_owned()
}

#[test]
fn a_connection_that_polls_is_the_client_s_that_polled_last() {
    let server = serve(&["--max-clients-per-address", "1", "--max-clients", "2"]);
    let names = ["203.0.113.1", "203.0.113.2", "203.0.113.3"];
    let [mut one, mut two, mut three] = [(); 3].map(|()| proxy(server.address, b""));
    assert_eq!(poll(&mut one, names[0]), "200");
    assert_eq!(poll(&mut one, names[0]), "200");
    assert_eq!(poll(&mut two, names[0]), "429");
    // Another client of the proxy's: the first has nothing any more, the second all that it may.
    assert_eq!(poll(&mut one, names[1]), "200");
    assert_eq!(poll(&mut two, names[1]), "429");
    assert_eq!(poll(&mut two, names[0]), "200");
    // Whoever comes next by it is asked for as anybody is, and who polls on is not.
    assert_eq!(poll(&mut one, names[0]), "429");
    assert_eq!(poll(&mut one, names[1]), "200");
    assert_eq!(poll(&mut three, names[2]), "503");
    assert_eq!(poll(&mut one, names[1]), "200");
}

/// A program of Debian's, which scripts/test gets; `None`, said loudly, where it is missing.
fn program(name: &str) -> Option<(PathBuf, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/proxies/usr");
    let program = folder.join("sbin").join(name);
    if program.exists() {
        return Some((program, folder.join("lib/x86_64-linux-gnu")));
    }
    assert!(std::env::var_os("CI").is_none(), "no {name}: scripts/test installs it");
    eprintln!("SKIPPED: no {name} (scripts/test installs it)");
    None
}

/// A proxy that runs, until the test is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The configuration of docs/OPERATING.md in this language, with addresses of a test's own.
fn documented(language: &str, replaced: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/OPERATING.md");
    let text = std::fs::read_to_string(path).expect("reads");
    let begin = format!("\n```{language}\n");
    let (_, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("no {language}"));
    let mut config = rest.split_once("\n```").expect("an end").0.to_owned();
    for (from, to) in replaced {
        assert!(config.contains(from), "{from} in {config}");
        config = config.replace(from, to);
    }
    config
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    listener.local_addr().expect("an address").port()
}

fn connect_when_up(address: SocketAddr) -> TcpStream {
    let until = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        pause();
    }
}

/// A stranger comes by a proxy, over TLS, from a page of the proxy's name.
fn comes_by(to: SocketAddr, pair: &tls::Pair) -> Client<tls::Stream> {
    drop(connect_when_up(to));
    let config = tls::trusting(&[pair], rustls::ALL_VERSIONS);
    let mut stream = tls::over(stranger(to), "localhost", &config).expect("a handshake");
    let upgrade = "GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nOrigin: https://localhost\r\n\
        Upgrade: websocket\r\nConnection: Upgrade\r\nX-Forwarded-For: 6.6.6.6\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).expect("writes");
    let mut client = Client::answered(stream);
    let answer = client.subscribe("trade", &["*"]);
    assert_eq!(answer["success"], true, "{answer}");
    client.until(|message| message["channel"] == "trade" && message["type"] == "update");
    client
}

/// A certificate as HAProxy wants it: chain and key in one file.
fn pem(pair: &tls::Pair, folder: &Path) -> PathBuf {
    let both = [pair.chain(), pair.key()].map(|file| std::fs::read(file).expect("reads"));
    let path = folder.join("both.pem");
    std::fs::write(&path, both.concat()).expect("writes");
    path
}

fn run(program: &Path, libraries: &Path, args: &[&str]) -> Running {
    let mut command = Command::new(program);
    command.args(args).env("LD_LIBRARY_PATH", libraries).stdin(Stdio::null());
    Running(command.spawn().expect("the proxy starts"))
}

#[test]
fn haproxy_as_documented_says_whom_it_speaks_for() {
    let Some((haproxy, libraries)) = program("haproxy") else { return };
    let server = serve(&["--proxy-protocol"]);
    let (pair, folder) = (tls::Pair::new(&["localhost"]), tempfile::tempdir().expect("a folder"));
    let (to, pem) = (SocketAddr::from(([127, 0, 0, 1], free_port())), pem(&pair, folder.path()));
    let config = documented(
        "haproxy",
        &[
            ("*:443", &to.to_string()),
            ("/etc/haproxy/feed.pem", &pem.display().to_string()),
            ("127.0.0.1:7070", &server.address.to_string()),
        ],
    );
    let file = folder.path().join("haproxy.cfg");
    std::fs::write(&file, config + "\n").expect("writes");
    let _haproxy = run(&haproxy, &libraries, &["-db", "-f", &file.display().to_string()]);
    let mut client = comes_by(to, &pair);
    let at = client.stream.sock.local_addr().expect("an address").to_string();
    assert_eq!(peers(&mut proxy(server.address, LOCAL)), [at]);
    assert!(client.stream.sock.local_addr().is_ok_and(|at| at.ip().to_string() == "127.0.0.9"));
    client.text(r#"{"method":"ping"}"#);
    client.until(|message| message["method"] == "pong");
}

#[test]
fn nginx_as_documented_says_whom_it_speaks_for() {
    let Some((nginx, libraries)) = program("nginx") else { return };
    let server = serve(&[]);
    let (pair, folder) = (tls::Pair::new(&["localhost"]), tempfile::tempdir().expect("a folder"));
    let to = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let site = documented(
        "nginx",
        &[
            ("listen 443 ssl;", &format!("listen {to} ssl;")),
            ("/etc/ssl/feed.pem", &pair.chain().display().to_string()),
            ("/etc/ssl/feed.key", &pair.key().display().to_string()),
            ("127.0.0.1:7070", &server.address.to_string()),
        ],
    );
    let here = folder.path().display().to_string();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|what| format!("{what}_temp_path {here}/{what};\n"))
        .collect();
    let config = format!(
        "daemon off; master_process off; pid {here}/pid; error_log stderr;\n\
         events {{}}\nhttp {{\naccess_log off;\n{temporary}{site}\n}}\n"
    );
    let file = folder.path().join("nginx.conf");
    std::fs::write(&file, config).expect("writes");
    let _nginx = run(&nginx, &libraries, &["-p", &here, "-c", &file.display().to_string()]);
    let client = comes_by(to, &pair);
    // What the client has said of itself is not what counts.
    assert_eq!(peers(&mut proxy(server.address, b"")), ["127.0.0.9"]);
    drop(client);
}
