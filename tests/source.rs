//! Any source as a feed: lines of ticks from scripts, pipes, sockets and `/v1/publish`; what is
//! wrong is told and bounded, and nobody else notices.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::python::interpreter;
use common::{Client, PATIENCE, Received, Server, pause};
use serde_json::{Value, json};

const TOKEN: &str = "0123456789abcdef-test";

/// A folder of a test's own, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("tickcast-source-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A port that was free a moment ago.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("an address")
}

/// A server that takes lines on a port, with these keys.
fn listening(keys: &str) -> (Server, SocketAddr) {
    let address = free();
    (Server::start(&["--feed", &format!("tcp://{address}{keys}")]), address)
}

/// A server that takes lines at `/v1/publish`, with these keys.
fn publishing(folder: &Folder, keys: &str) -> Server {
    let file = folder.file("token");
    std::fs::write(&file, format!("{TOKEN}\n")).expect("a file");
    Server::start(&["--feed", &format!("publish:{keys}"), "--publish-token-file", &file])
}

/// A publisher over a socket.
struct Publisher<S: Read + Write> {
    stream: BufReader<S>,
}

impl Publisher<TcpStream> {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Publisher { stream: BufReader::new(stream) }
    }
}

impl<S: Read + Write> Publisher<S> {
    fn send(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).expect("writes");
    }

    /// The next that it is told; `None` at the end of the connection.
    fn told(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(len) if len > 0 => Some(serde_json::from_str(&line).expect("JSON")),
            _ => None,
        }
    }
}

fn trade(symbol: &str, price: u32) -> String {
    json!({"channel": "trade", "symbol": symbol, "price": price, "qty": "2", "side": "buy"})
        .to_string()
        + "\n"
}

fn snapshot(symbol: &str, seq: u32) -> String {
    let (bids, asks) = (json!([["1", "2"]]), json!([["3", "1"]]));
    json!({"channel": "book", "type": "snapshot", "symbol": symbol, "seq": seq, "bids": bids, "asks": asks})
        .to_string()
        + "\n"
}

/// A subscriber of everything on these channels.
fn watcher(server: &Server, channels: &[&str]) -> Client {
    let mut client = Client::native(server);
    for channel in channels {
        assert_eq!(client.subscribe(channel, &["*"])["success"], true);
    }
    client
}

/// The next state of a symbol.
fn state(client: &mut Client, symbol: &str) -> String {
    let status = client.until(|m| m["channel"] == "status" && m["symbol"] == symbol);
    status["state"].as_str().expect("a state").to_owned()
}

/// The next state of a symbol that is not `before`: a subscriber may get the one that there is twice, once
/// as what it begins with and once as it is told.
fn turned(client: &mut Client, symbol: &str, before: &str) -> String {
    loop {
        let state = state(client, symbol);
        if state != before {
            return state;
        }
    }
}

/// The next trade of a symbol: its price.
fn price(client: &mut Client, symbol: &str) -> String {
    let trade = client.until(|m| m["channel"] == "trade" && m["symbol"] == symbol);
    trade["price"].as_str().expect("a price").to_owned()
}

/// A child process, ended with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// tests/clients/publisher.py, and what it says.
fn script(python: &Path, args: &[&str]) -> (Process, BufReader<std::process::ChildStdout>) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/publisher.py");
    let mut child = Command::new(python)
        .arg(script)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    let said = BufReader::new(child.stdout.take().expect("a pipe"));
    (Process(child), said)
}

fn said(from: &mut impl BufRead) -> Value {
    let mut line = String::new();
    from.read_line(&mut line).expect("a line");
    serde_json::from_str(&line).expect("JSON")
}

/// Everything that the script published, as a subscriber gets it.
fn check_script(client: &mut Client) {
    let mut got = Vec::new();
    while got.len() < 4 {
        let message = client.next();
        if message["channel"] != "status" {
            assert_eq!(message["symbol"], "py:BTC-USD");
            got.push(message);
        }
    }
    let of = |channel: &str| -> Vec<&Value> {
        got.iter().filter(|message| message["channel"] == channel).collect()
    };
    let (trades, quotes, books) = (of("trade"), of("quote"), of("book"));
    let trade = trades[0];
    assert_eq!((&trade["price"], &trade["qty"]), (&json!("100.25"), &json!("0.125")));
    assert_eq!((&trade["side"], &trade["id"]), (&json!("sell"), &json!(77)));
    assert_eq!((&quotes[0]["bid"], &quotes[0]["ask"]), (&json!("100"), &json!("101")));
    assert_eq!(books[0]["bids"], json!([["100", "1"], ["99.5", "2"]]));
    assert_eq!(books[1]["bids"], json!([["99.5", "0"]]));
    assert_eq!((&books[1]["seq"], &books[1]["prev"]), (&json!(11), &json!(10)));
}

const ALL: &[&str] = &["trade", "quote", "book", "status"];

#[test]
fn a_python_script_is_a_feed_over_tcp() {
    let Some(python) = interpreter() else { return };
    let (server, address) = listening("");
    let mut client = watcher(&server, ALL);
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    let (process, mut told) = script(&python, &["tcp", &ip, &port]);
    check_script(&mut client);
    let told = said(&mut told);
    assert_eq!((&told["type"], &told["line"]), (&json!("rejected"), &json!(4)));
    assert_eq!(told["code"], "bad_value");
    assert!(told["message"].as_str().expect("text").contains("`price` is \"oops\""), "{told}");
    // Kept for whoever looks into it.
    let feeds: Value = serde_json::from_str(&server.get("/v1/feeds").1).expect("JSON");
    assert_eq!(feeds["feeds"][0]["rejects"][0]["kind"], "bad_value");
    // It dies: its symbol is stale.
    drop(process);
    client.until(|m| m["state"] == "stale" && m["symbol"] == "py:BTC-USD");
}

#[test]
fn a_python_script_is_a_feed_over_http_and_a_websocket() {
    let Some(python) = interpreter() else { return };
    let folder = Folder::new("python");
    for kind in ["http", "ws"] {
        let server = publishing(&folder, "");
        let mut client = watcher(&server, ALL);
        let (ip, port) = (server.address.ip().to_string(), server.address.port().to_string());
        let (process, mut told) = script(&python, &[kind, &ip, &port, TOKEN]);
        check_script(&mut client);
        let answer = said(&mut told);
        if kind == "http" {
            assert_eq!((&answer["accepted"], &answer["rejected_total"]), (&json!(4), &json!(1)));
            assert_eq!(answer["rejected"][0]["line"], 4);
            continue;
        }
        assert_eq!((&answer["type"], &answer["line"]), (&json!("rejected"), &json!(4)));
        assert_eq!(said(&mut told), json!({"type": "ack", "accepted": 4, "rejected": 1}));
        drop(process);
        client.until(|m| m["state"] == "stale" && m["symbol"] == "py:BTC-USD");
    }
}

/// A subscriber's view, once it is the same on both sides.
fn view(server: &Server, symbol: &str) -> (Value, Value) {
    let mut client = Client::native(server);
    client.subscribe("book", &[symbol]);
    let book = client.until(|m| m["type"] == "snapshot");
    client.subscribe("quote", &[symbol]);
    let quote = client.until(|m| m["channel"] == "quote" && m["type"] == "snapshot");
    (
        json!([book["seq"], book["bids"], book["asks"]]),
        json!([quote["seq"], quote["bid"], quote["ask_qty"]]),
    )
}

#[test]
fn a_relay_through_a_pipe_gives_the_same_books_quotes_and_trades() {
    // Ends after so many events, so that both sides come to rest.
    let lines: Vec<String> = (0..400u32)
        .map(|n| match n % 4 {
            0 => trade("my:A-B", n),
            1 => json!({"channel": "quote", "symbol": "my:A-B", "seq": n, "bid": n, "bid_qty": 1, "ask": n + 1, "ask_qty": n}).to_string() + "\n",
            _ if n == 2 => snapshot("my:A-B", 1000),
            _ => json!({"channel": "book", "type": "update", "symbol": "my:A-B", "seq": 1000 + n,
                "bids": [[n % 2 + 1, n % 5]], "asks": [[n % 11 + 20, n % 3]]}).to_string() + "\n",
        })
        .collect();
    let (origin, address) = listening("");
    let mut publisher = Publisher::connect(address);
    publisher.send(&lines[..4].concat());
    origin.wait_metric("tickcast_feed_ticks_total", "", |ticks| ticks >= 6.0);
    let url = format!("ws://{}/v1/ws", origin.address);
    let mut watch = Command::new(env!("CARGO_BIN_EXE_tickcast"))
        .args(["watch", "--url", &url, "--channel", "trade", "--channel", "quote"])
        .args(["--channel", "book", "--channel", "status", "*"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let pipe = watch.stdout.take().expect("a pipe");
    let watch = Process(watch);
    let relay = Server::start_with(&["--feed", "stdin:venue=my"], pipe.into());
    let mut client = watcher(&relay, &["trade", "status"]);
    // The state that the origin gives its new subscriber.
    relay.wait_metric("tickcast_feed_ticks_total", "", |ticks| ticks >= 3.0);
    for chunk in lines[4..].chunks(40) {
        publisher.send(&chunk.concat());
    }
    let until = std::time::Instant::now() + PATIENCE;
    while view(&origin, "my:A-B") != view(&relay, "my:A-B") || view(&relay, "my:A-B").0[0] != 1399 {
        assert!(std::time::Instant::now() < until, "{:?}", view(&relay, "my:A-B"));
        pause();
    }
    let mut expected: Vec<u32> = (4..400).filter(|n| n % 4 == 0).collect();
    while !expected.is_empty() {
        assert_eq!(price(&mut client, "my:A-B"), expected.remove(0).to_string());
    }
    assert_eq!(relay.metric("tickcast_feed_rejected_total", ""), 0.0);
    // The pipe ends, and with it the feed; what was known is served on, as old.
    drop(watch);
    assert_eq!(state(&mut client, "my:A-B"), "stale");
    relay.wait_metric("tickcast_feed_up", "", |up| up == 0.0);
    assert_eq!(relay.get("/readyz").0, 200);
}

#[test]
fn rubbish_is_told_bounded_and_ends_its_publisher_alone() {
    let (server, address) = listening("");
    let mut client = watcher(&server, &["trade"]);
    let (mut good, mut bad) = (Publisher::connect(address), Publisher::connect(address));
    good.send(&trade("my:A-B", 1));
    assert_eq!(price(&mut client, "my:A-B"), "1");
    bad.send(&"\u{0}rubbish\n".repeat(10_000));
    let mut told = Vec::new();
    while let Some(one) = bad.told() {
        told.push(one);
    }
    assert!(told.len() <= 23, "{}", told.len());
    assert_eq!((&told[0]["line"], &told[0]["code"]), (&json!(1), &json!("bad_json")));
    let last = told.last().expect("a reason");
    assert_eq!((&last["type"], &last["code"]), (&json!("closing"), &json!("rubbish")));
    good.send(&trade("my:A-B", 2));
    assert_eq!(price(&mut client, "my:A-B"), "2");
    assert_eq!(server.metric("tickcast_feed_rejected_total", ""), 100.0);
}

#[test]
fn a_line_without_an_end_is_refused_without_being_kept() {
    let (server, address) = listening("");
    let mut client = watcher(&server, &["trade"]);
    let mut publisher = Publisher::connect(address);
    publisher.send(&trade("my:A-B", 1));
    assert_eq!(price(&mut client, "my:A-B"), "1");
    let before = server.rss();
    let piece = "x".repeat(1 << 20);
    (0..64).for_each(|_| publisher.send(&piece));
    assert_eq!(publisher.told().expect("told")["code"], "too_long");
    publisher.send(&format!("\n{}", trade("my:A-B", 2)));
    assert_eq!(price(&mut client, "my:A-B"), "2", "the next line is read");
    let grown = server.rss().saturating_sub(before);
    assert!(grown < 32 << 20, "grown by {grown} bytes");
}

#[test]
fn a_flood_is_held_back_told_and_not_lost() {
    let (server, address) = listening(",rate=1000");
    let mut client = watcher(&server, &["trade"]);
    let mut flood = Publisher::connect(address);
    let lines: String = (1..=2_000).map(|n| trade("my:A-B", n)).collect();
    flood.send(&lines);
    assert_eq!(flood.told().expect("told")["type"], "throttled");
    // Somebody else is not held back by it: it comes while the flood waits.
    let mut other = Publisher::connect(address);
    other.send(&trade("my:C-D", 7));
    let mut got = 0;
    let before = loop {
        let message = client.until(|m| m["channel"] == "trade");
        if message["symbol"] == "my:C-D" {
            break got;
        }
        got += 1;
    };
    assert!(before < 2_000, "the other one waited for the whole flood");
    while got < 2_000 {
        got += 1;
        assert_eq!(price(&mut client, "my:A-B"), got.to_string());
    }
}

#[test]
fn a_stalled_publisher_is_stale_and_lives_again() {
    let (server, address) = listening(",idle=1");
    let mut client = watcher(&server, &["trade", "status"]);
    let mut publisher = Publisher::connect(address);
    publisher.send(&snapshot("my:A-B", 1));
    assert_eq!(state(&mut client, "my:A-B"), "live");
    let line = trade("my:A-B", 5);
    publisher.send(&line[..20]);
    assert_eq!(turned(&mut client, "my:A-B", "live"), "stale");
    assert_eq!(publisher.told().expect("told")["type"], "stale");
    // The other half: nothing was lost, and the book goes on.
    publisher.send(&line[20..]);
    assert_eq!(price(&mut client, "my:A-B"), "5");
    assert_eq!(turned(&mut client, "my:A-B", "stale"), "live");
}

#[test]
fn a_symbol_has_one_publisher_and_the_next_begins_with_a_snapshot() {
    let (server, address) = listening("");
    let mut client = watcher(&server, &["trade", "status"]);
    let (mut first, mut second) = (Publisher::connect(address), Publisher::connect(address));
    first.send(&(snapshot("my:A-B", 50) + &trade("my:A-B", 1)));
    assert_eq!(state(&mut client, "my:A-B"), "live");
    second.send(&trade("my:A-B", 2));
    let told = second.told().expect("told");
    assert_eq!((&told["code"], &told["line"]), (&json!("taken"), &json!(1)));
    second.send(&trade("my:C-D", 3));
    assert_eq!(price(&mut client, "my:C-D"), "3", "other symbols are its to send");
    drop(first);
    assert_eq!(turned(&mut client, "my:A-B", "live"), "stale");
    let update = r#"{"channel":"book","type":"update","symbol":"my:A-B","bids":[["1","9"]]}"#;
    second.send(&format!("{update}\n"));
    assert_eq!(second.told().expect("told")["code"], "no_snapshot");
    assert_eq!(state(&mut client, "my:A-B"), "resync");
    second.send(&snapshot("my:A-B", 1));
    assert_eq!(state(&mut client, "my:A-B"), "live");
    assert_eq!(client.subscribe("book", &["my:A-B"])["success"], true);
    let book = client.until(|m| m["channel"] == "book");
    assert_eq!((&book["type"], &book["bids"]), (&json!("snapshot"), &json!([["1", "2"]])));
}

#[test]
fn publishers_symbols_and_venues_are_bounded() {
    let address = free();
    let spec = format!("tcp://{address},publishers=1,symbols=2");
    let server = Server::start(&["--feed", &spec, "--feed", "synthetic:symbols=1,rate=1"]);
    let mut publisher = Publisher::connect(address);
    publisher.send(&(trade("my:A-B", 1) + &trade("my:C-D", 1) + &trade("my:E-F", 1)));
    assert_eq!(publisher.told().expect("told")["code"], "too_many_symbols");
    publisher.send(&trade("sim:NEW-USD", 1));
    assert_eq!(publisher.told().expect("told")["code"], "venue");
    let mut one_more = Publisher::connect(address);
    assert_eq!(one_more.told().expect("told")["code"], "full");
    assert_eq!(one_more.told(), None);
    drop(server);
}

#[test]
fn a_socket_file_that_was_left_makes_room_and_is_removed_at_the_end() {
    let folder = Folder::new("unix");
    let path = folder.file("feed.sock");
    let feed = format!("unix:{path}");
    let mut killed = Server::start(&["--feed", &feed]);
    let refused = Command::new(env!("CARGO_BIN_EXE_tickcast"))
        .args(["--listen", "127.0.0.1:0", "--feed", &feed])
        .output()
        .expect("runs");
    assert_eq!(refused.status.code(), Some(1));
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(error.contains("another process does"), "{error}");
    killed.signal("KILL");
    killed.wait();
    assert!(Path::new(&path).exists());
    let mut server = Server::start(&["--feed", &feed]);
    let mut client = watcher(&server, &["trade"]);
    let stream = UnixStream::connect(&path).expect("connects");
    let mut publisher = Publisher { stream: BufReader::new(stream) };
    publisher.send(&trade("my:A-B", 4));
    assert_eq!(price(&mut client, "my:A-B"), "4");
    server.signal("TERM");
    assert_eq!(client.close().map(|(code, _)| code), Some(Some(1012)));
    server.wait();
    assert!(!Path::new(&path).exists(), "the socket is removed");
    std::fs::write(&path, "precious").expect("a file");
    let refused = Command::new(env!("CARGO_BIN_EXE_tickcast"))
        .args(["--listen", "127.0.0.1:0", "--feed", &feed])
        .output()
        .expect("runs");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no socket"));
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), "precious");
}

#[test]
fn an_address_that_others_can_reach_is_meant() {
    let spec = "tcp://0.0.0.0:0";
    let output = Command::new(env!("CARGO_BIN_EXE_tickcast"))
        .args(["--listen", "127.0.0.1:0", "--feed", spec])
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("public=true"), "{error}");
}

#[test]
fn it_connects_out_and_finds_back() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("an address");
    let server = Server::start(&["--feed", &format!("tcp://{address},connect=true")]);
    let mut client = watcher(&server, &["trade", "status"]);
    for round in 1..=2 {
        let (stream, _) = listener.accept().expect("accepts");
        let mut publisher = Publisher { stream: BufReader::new(stream) };
        publisher.send(&trade("my:A-B", round));
        assert_eq!(price(&mut client, "my:A-B"), round.to_string());
        assert_eq!(state(&mut client, "my:A-B"), "live");
        drop(publisher);
        assert_eq!(turned(&mut client, "my:A-B", "live"), "stale");
    }
}

/// The status, head and body of a POST with these headers.
fn post(server: &Server, headers: &str, body: &str) -> (u16, String, String) {
    let len = body.len();
    server.request(&format!(
        "POST /v1/publish HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {len}\r\n{headers}\r\n{body}"
    ))
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

#[test]
fn without_the_token_nothing_is_read() {
    let folder = Folder::new("token");
    let server = publishing(&folder, "");
    let line = trade("my:A-B", 1);
    for headers in [
        String::new(),
        bearer("wrong"),
        bearer(&TOKEN[1..]),
        bearer(""),
        "Authorization: Basic eDp5\r\n".into(),
    ] {
        let (status, head, body) = post(&server, &headers, &line);
        assert_eq!(status, 401, "{headers}");
        assert!(head.to_lowercase().contains("www-authenticate: bearer"), "{head}");
        assert!(!body.contains(TOKEN), "{body}");
    }
    assert_eq!(server.get("/v1/publish").0, 401);
    assert_eq!(server.metric("tickcast_feed_ticks_total", "publish"), 0.0);
    let (status, _, body) = post(&server, &bearer(TOKEN), &line);
    assert_eq!(status, 200);
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(answer, json!({"accepted": 1, "rejected": [], "rejected_total": 0}));
    let off = Server::start(&["--feed", "synthetic:symbols=1"]);
    assert_eq!(post(&off, &bearer(TOKEN), &line).0, 404);
}

#[test]
fn bodies_are_bounded_and_told() {
    let folder = Folder::new("bodies");
    let server = publishing(&folder, "rate=100");
    let token = bearer(TOKEN);
    let (status, _, body) = post(&server, &token, &"rubbish\n".repeat(5_000));
    assert_eq!(status, 400, "none was good");
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(answer["rejected_total"], 100);
    assert_eq!(answer["rejected"].as_array().map(Vec::len), Some(20));
    assert_eq!(answer["stopped"]["line"], 100);
    let gzip = format!("{token}Content-Encoding: gzip\r\n");
    assert_eq!(post(&server, &gzip, "x").0, 415);
    let huge = format!("{token}Transfer-Encoding: chunked\r\n");
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
    let head =
        format!("POST /v1/publish HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{huge}\r\n");
    assert_eq!(server.request(&format!("{head}{}0\r\n\r\n", chunk.repeat(5))).0, 413);
    let long = format!("Content-Length: 99999999\r\n{token}");
    let request = format!("POST /v1/publish HTTP/1.1\r\nHost: test\r\n{long}\r\n");
    assert_eq!(server.request(&request).0, 413, "before any of it has come");
    let (status, head, _) = server.request(&format!(
        "PUT /v1/publish HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{token}\r\n"
    ));
    assert_eq!((status, head.to_lowercase().contains("allow: get, post")), (405, true));
    let flood: String = (0..5_000).map(|n| trade("my:A-B", n)).collect();
    let mut statuses = Vec::new();
    while statuses.last() != Some(&200) {
        statuses.push(post(&server, &token, &flood).0);
        assert!(statuses.len() < 1_000, "never taken");
        pause();
    }
    let (status, head, _) = post(&server, &token, &trade("my:A-B", 1));
    assert_eq!(status, 429);
    assert!(head.to_lowercase().contains("retry-after: "), "{head}");
}

/// A WebSocket at `/v1/publish`.
fn open_publisher(server: &Server, query: &str) -> Client {
    let mut stream = TcpStream::connect(server.address).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = format!(
        "GET /v1/publish{query} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{}\r\n",
        bearer(TOKEN)
    );
    stream.write_all(request.as_bytes()).expect("writes");
    Client::answered(stream)
}

#[test]
fn a_websocket_is_a_publisher_of_its_own() {
    let folder = Folder::new("websocket");
    let mut server = publishing(&folder, "publishers=2,idle=2");
    let mut client = watcher(&server, &["trade", "status"]);
    let (mut a, mut b) = (open_publisher(&server, "?ack=true"), open_publisher(&server, ""));
    a.text(&(trade("my:A-B", 1) + &trade("my:A-B", 2)));
    assert_eq!(a.message(), json!({"type": "ack", "accepted": 2, "rejected": 0}));
    a.frame(0x82, trade("my:A-B", 3).trim().as_bytes());
    assert_eq!(a.message()["accepted"], 1);
    for n in 1..=3 {
        assert_eq!(price(&mut client, "my:A-B"), n.to_string());
    }
    b.text(&trade("my:A-B", 4));
    assert_eq!(b.message()["code"], "taken");
    let third = server.request(&format!(
        "GET /v1/publish HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{}\r\n",
        bearer(TOKEN)
    ));
    assert_eq!(third.0, 503);
    a.frame(0x89, b"ping");
    assert_eq!(a.frame_in(), Received::Pong(b"ping".to_vec()));
    // Silent for too long; the symbol is another's to take. (The state that it began with may come
    // behind its first trades.)
    assert_eq!(turned(&mut client, "my:A-B", "live"), "stale");
    b.text(&trade("my:A-B", 5));
    assert_eq!(price(&mut client, "my:A-B"), "5");
    b.text(&"x\n".repeat(500));
    let close = b.close().expect("a close frame");
    assert_eq!(close.0, Some(1008));
    assert!(close.1.contains("no messages"), "{}", close.1);
    server.signal("TERM");
    assert_eq!(a.close().and_then(|(code, _)| code), Some(1012));
    server.wait();
}
