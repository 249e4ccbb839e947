//! permessage-deflate (RFC 7692) as a client sees it: what is negotiated, what comes compressed, what may be sent compressed,
//! and that everybody is told the same.

mod common;

use std::collections::HashMap;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;

use common::python::interpreter;
use common::{PATIENCE, Server, masked};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use serde_json::{Value, json};

const MARKET: &[&str] =
    &["--reactors", "1", "--feed", "synthetic:symbols=4,rate=100,names=numbered,seed=7"];
const OFFER: &str = "permessage-deflate; client_max_window_bits";
const RSV1: u8 = 0x40;

fn server(compress: bool) -> Server {
    let flags: &[&str] = if compress { &["--compress"] } else { &[] };
    Server::start(&[MARKET, flags].concat())
}

/// A client that knows of nothing but frames and DEFLATE.
struct Peer {
    stream: BufReader<TcpStream>,
    /// What was negotiated.
    extension: Option<String>,
}

impl Peer {
    fn open(server: &Server, path: &str, offer: &str) -> Self {
        let stream = TcpStream::connect(server.address).expect("connects");
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let offer = match offer {
            "" => String::new(),
            offer => format!("Sec-WebSocket-Extensions: {offer}\r\n"),
        };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{offer}\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        let mut stream = BufReader::new(stream);
        stream.get_mut().write_all(request.as_bytes()).expect("writes");
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).expect("a head");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("text").to_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        let line = head.lines().find_map(|line| line.strip_prefix("sec-websocket-extensions: "));
        Peer { stream, extension: line.map(str::to_owned) }
    }

    fn send(&mut self, first_byte: u8, payload: &[u8]) {
        self.stream.get_mut().write_all(&masked(first_byte, payload)).expect("writes");
    }

    /// The first byte and the payload of the next frame; `None` at the end.
    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).ok()?;
        let len = match head[1] {
            126 => {
                let mut len = [0; 2];
                self.stream.read_exact(&mut len).ok()?;
                usize::from(u16::from_be_bytes(len))
            }
            127 => {
                let mut len = [0; 8];
                self.stream.read_exact(&mut len).ok()?;
                u64::from_be_bytes(len) as usize
            }
            len => usize::from(len),
        };
        let mut payload = vec![0; len];
        self.stream.read_exact(&mut payload).ok()?;
        Some((head[0], payload))
    }

    /// The next text, and whether it came compressed. Each is inflated by itself: there is no context.
    fn text(&mut self) -> (String, bool) {
        loop {
            let (first, payload) = self.frame().expect("a message");
            match first {
                0x81 => return (String::from_utf8(payload).expect("UTF-8"), false),
                0xc1 => {
                    assert!(self.extension.is_some(), "compressed, but not negotiated");
                    let text = inflate(&payload);
                    let bytes = payload.len();
                    assert!(bytes < text.len(), "{bytes} bytes for {text:?}");
                    return (String::from_utf8(text).expect("UTF-8"), true);
                }
                0x89 => self.send(0x8a, &payload),
                other => panic!("first byte {other:#x}"),
            }
        }
    }

    fn subscribe(&mut self, params: &Value) {
        let request = json!({"method": "subscribe", "params": params}).to_string();
        self.send(0x81, request.as_bytes());
    }

    /// The next message of data; answers on the way are to say yes.
    fn data(&mut self) -> (Value, bool) {
        loop {
            let (text, deflated) = self.text();
            let message: Value = serde_json::from_str(&text).expect("JSON");
            if message.get("method").is_some() {
                assert_eq!(message["success"], true, "{text}");
                assert!(!deflated, "a short answer is not worth it");
            } else if message["channel"] != "heartbeat" {
                return (message, deflated);
            }
        }
    }

    /// The code of the close frame, and that nothing follows it.
    fn close(mut self) -> u16 {
        loop {
            match self.frame().expect("a close frame") {
                (0x88, payload) => {
                    assert_eq!(self.frame(), None, "something came after the close");
                    return u16::from_be_bytes([payload[0], payload[1]]);
                }
                _ => continue,
            }
        }
    }
}

/// Compresses with the largest window and highest level: what the server is sent need not be made as the server's is.
fn deflate(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 1000);
    Compress::new(Compression::best(), false)
        .compress_vec(message, &mut out, FlushCompress::Sync)
        .expect("deflates");
    assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
    out.truncate(out.len() - 4);
    out
}

fn inflate(payload: &[u8]) -> Vec<u8> {
    let input = [payload, &[0, 0, 0xff, 0xff]].concat();
    let mut out = Vec::with_capacity(4 << 20);
    let mut stream = Decompress::new(false);
    stream.decompress_vec(&input, &mut out, FlushDecompress::Sync).expect("inflates");
    assert_eq!(stream.total_in() as usize, input.len());
    out
}

#[test]
fn it_is_negotiated_where_it_is_offered_and_on() {
    let (off, on) = (server(false), server(true));
    let answer = Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover");
    let window = answer.map(|answer| format!("{answer}; server_max_window_bits=9"));
    for path in ["/v1/ws", "/v1/echo", "/ws", "/stream?streams=btcusdt@trade"] {
        let extension = |server, offer| Peer::open(server, path, offer).extension;
        assert_eq!(extension(&off, OFFER), None);
        assert_eq!(extension(&on, ""), None);
        assert_eq!(extension(&on, OFFER).as_deref(), answer, "{path}");
        assert_eq!(extension(&on, "permessage-deflate; server_max_window_bits=12"), window);
        let declined = "permessage-deflate; server_max_window_bits=8";
        assert_eq!(extension(&on, declined), None);
        assert_eq!(extension(&on, &format!("{declined}, x-other, {OFFER}")).as_deref(), answer);
    }
}

#[test]
fn what_is_sent_compressed_is_read_and_what_breaks_the_rules_is_refused() {
    let server = server(true);
    let open = || Peer::open(&server, "/v1/echo", OFFER);
    let hello = "Hello, hello, hello!".repeat(100);
    let payload = deflate(hello.as_bytes());

    let mut peer = open();
    // As it is, though it need not be compressed; a control frame; in fragments, of which the first alone is marked.
    peer.send(0x81, b"plain");
    assert_eq!(inflate(&peer.frame().expect("an echo").1), b"plain");
    peer.send(0x82 | RSV1, &payload);
    let (first, echo) = peer.frame().expect("an echo");
    assert_eq!((first, inflate(&echo)), (0x82 | RSV1, hello.clone().into_bytes()));
    for (fin_opcode, part) in [(0x01 | RSV1, &payload[..1]), (0x00, &[]), (0x00, &payload[1..9])] {
        peer.send(fin_opcode, part);
        peer.send(0x89, b"between");
        assert_eq!(peer.frame(), Some((0x8a, b"between".to_vec())));
    }
    peer.send(0x80, &payload[9..]);
    assert_eq!(peer.text(), (hello, true));

    let refused = |frames: &[(u8, &[u8])]| {
        let mut peer = open();
        frames.iter().for_each(|(first, payload)| peer.send(*first, payload));
        peer.close()
    };
    assert_eq!(refused(&[(0x89 | RSV1, b"")]), 1002, "a control frame");
    assert_eq!(refused(&[(0x01, b"a"), (0x80 | RSV1, b"b")]), 1002, "a continuation");
    assert_eq!(refused(&[(0x81 | 0x20, b"a")]), 1002, "RSV2");
    assert_eq!(refused(&[(0x81 | RSV1, b"\xff\xff\xff")]), 1007, "no DEFLATE");
    assert_eq!(refused(&[(0x81 | RSV1, &payload[..payload.len() - 3])]), 1007, "cut off");
    assert_eq!(refused(&[(0x81 | RSV1, &deflate(b"\xff"))]), 1007, "not UTF-8");
    let mut plain = Peer::open(&server, "/v1/echo", "");
    plain.send(0x81 | RSV1, &payload);
    assert_eq!(plain.close(), 1002, "not negotiated");

    // The limit is 64 KiB: that much is read, a byte more is not, nor 60 MB in 60 KB.
    let limit = deflate(&vec![b'x'; 64 << 10]);
    let mut peer = open();
    peer.send(0x82 | RSV1, &limit);
    assert_eq!(inflate(&peer.frame().expect("an echo").1).len(), 64 << 10);
    assert_eq!(refused(&[(0x82 | RSV1, &deflate(&vec![b'x'; (64 << 10) + 1]))]), 1009);
    let before = server.rss();
    let bomb = deflate(&vec![0; 60 << 20]);
    assert!(bomb.len() < 64 << 10, "{} bytes", bomb.len());
    for _ in 0..5 {
        assert_eq!(refused(&[(0x82 | RSV1, &bomb)]), 1009);
    }
    let grown = server.rss().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more after bombs");
}

/// So many data messages, by what they are about, of two clients in turn, each of which is found to be told everything: its text
/// but for `prev`, and whether it was compressed. (`prev` is of what was told to those of the same form, who may have come later.)
fn follow(peers: &mut [Peer; 2], count: usize) -> [HashMap<String, (String, bool)>; 2] {
    let mut texts = [HashMap::new(), HashMap::new()];
    let mut last = [HashMap::new(), HashMap::new()];
    for _ in 0..count {
        for (i, peer) in peers.iter_mut().enumerate() {
            let (mut message, deflated) = peer.data();
            let about = ["channel", "symbol", "depth"].map(|name| message[name].to_string());
            let prev = message.as_object_mut().expect("an object").remove("prev");
            let before = last[i].insert(about.clone(), message["seq"].clone());
            if message["type"] == "update" && before.is_some() {
                assert_eq!(prev, before, "{message}");
            }
            let [channel, symbol, depth] = about;
            let key = format!("{channel} {} {symbol} {depth} {}", message["type"], message["seq"]);
            texts[i].insert(key, (message.to_string(), deflated));
        }
    }
    texts
}

#[test]
fn everybody_is_told_the_same() {
    let server = server(true);
    let mut peers = [Peer::open(&server, "/v1/ws", ""), Peer::open(&server, "/v1/ws", OFFER)];
    for peer in &mut peers {
        for params in [
            json!({"channel": "trade", "symbol": "*"}),
            json!({"channel": "quote", "symbol": "*"}),
            json!({"channel": "book", "symbol": "*"}),
            json!({"channel": "book", "symbol": "*", "depth": 5}),
        ] {
            peer.subscribe(&params);
        }
    }
    let [plain, packed] = follow(&mut peers, 1_500);
    assert!(plain.values().all(|(_, deflated)| !deflated));
    let both: Vec<_> =
        plain.iter().filter_map(|(key, (text, _))| Some((text, packed.get(key)?))).collect();
    assert!(both.len() > 500, "{} messages in common", both.len());
    for (text, (other, _)) in &both {
        assert_eq!(text, &other);
    }
    let deflated = |channel: &str, kind: &str| {
        let of = |key: &&String| key.starts_with(&format!("\"{channel}\" \"{kind}\""));
        let all: Vec<_> = packed.iter().filter(|(key, _)| of(key)).map(|(_, of)| of).collect();
        assert!(!all.is_empty(), "no {channel} {kind}");
        all.iter().filter(|(_, deflated)| *deflated).count() as f64 / all.len() as f64
    };
    for channel in ["trade", "quote", "book"] {
        assert!(deflated(channel, "update") > 0.9, "{channel}");
    }
    // A snapshot is one client's own.
    assert_eq!(deflated("quote", "snapshot"), 0.0);
    let (long, short): (Vec<_>, Vec<_>) = packed
        .iter()
        .filter(|(key, _)| key.starts_with(r#""book" "snapshot""#))
        .partition(|(_, (text, _))| text.len() >= 1024);
    assert!(!long.is_empty() && !short.is_empty());
    assert!(long.iter().all(|(_, (_, deflated))| *deflated));
    assert!(short.iter().all(|(_, (_, deflated))| !*deflated));
}

#[test]
fn a_message_is_compressed_once_for_all() {
    let server = server(true);
    let mut peers: Vec<Peer> = (0..20).map(|_| Peer::open(&server, "/v1/ws", OFFER)).collect();
    for peer in &mut peers {
        peer.subscribe(&json!({"channel": "trade", "symbol": "*"}));
    }
    server.wait_metric("tickcast_deflate_messages_total", "", |n| n > 100.0);
    drop(peers);
    server.wait_metric("tickcast_sessions", "", |n| n == 0.0);
    let metric = |name: &str| server.metric(&format!("tickcast_{name}_total"), "");
    // The report is of one moment once nothing happens any more.
    server.wait_metric("tickcast_subscriptions", "", |n| n == 0.0);
    let (deflated, encoded) = (metric("deflate_messages"), metric("encoded"));
    assert!(deflated <= encoded, "{deflated} of {encoded}");
    assert!(metric("deliveries") > 5.0 * deflated);
    let (plain, packed) = (metric("deflate_plain_bytes"), metric("deflate_bytes"));
    assert!(packed < 0.9 * plain && packed > 0.1 * plain, "{packed} of {plain}");
}

#[test]
fn the_binance_dialect_is_compressed_too() {
    let server = server(true);
    let path = "/stream?streams=s0000usd@trade/s0000usd@depth";
    let mut peers = [Peer::open(&server, path, ""), Peer::open(&server, path, OFFER)];
    // Requests may come compressed.
    peers[1].send(0x81 | RSV1, &deflate(br#"{"method":"LIST_SUBSCRIPTIONS","id":3}"#));
    let mut texts = [HashMap::new(), HashMap::new()];
    let mut answered = false;
    while texts[0].len() < 200 || texts[1].len() < 200 {
        for (peer, texts) in peers.iter_mut().zip(&mut texts) {
            let (text, deflated) = peer.text();
            let message: Value = serde_json::from_str(&text).expect("JSON");
            match message["stream"].as_str() {
                None => {
                    assert_eq!(message["id"], 3, "{text}");
                    assert!(text.contains("s0000usd@trade"), "{text}");
                    answered = true;
                }
                Some(stream) => {
                    let data = &message["data"];
                    let key = format!("{stream} {} {} {}", data["t"], data["U"], data["u"]);
                    texts.insert(key, (text, deflated));
                }
            }
        }
    }
    assert!(answered);
    let [plain, packed] = texts;
    let both: Vec<_> =
        plain.iter().filter_map(|(key, (text, _))| Some((text, packed.get(key)?))).collect();
    assert!(both.len() > 50, "{} messages in common", both.len());
    for (text, (other, deflated)) in both {
        assert_eq!((text, *deflated), (other, true));
    }
}

#[test]
fn the_python_package_websockets_gets_the_same_with_and_without() {
    let Some(python) = interpreter() else { return };
    let server = server(true);
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let output = std::process::Command::new(python)
        .arg(folder.join("deflate.py"))
        .args([format!("ws://{}", server.address), "2000".to_owned()])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{wrong}");
    println!("{said}");
    assert!(server.metric("tickcast_deflate_messages_total", "") > 100.0);
}
