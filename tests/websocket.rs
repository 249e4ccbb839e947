//! RFC 6455 as a client sees it: the handshake, the frames, the end, and clients that do not behave.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use common::{Client, PATIENCE, Received, Server, masked, pause};
use serde_json::json;

/// A server with next to nothing to say.
fn quiet(args: &[&str]) -> Server {
    let mut all = vec!["--reactors", "1", "--feed", "synthetic:symbols=4,rate=1,names=numbered"];
    all.extend(args);
    Server::start(&all)
}

/// A client that expects this close code, the reason containing a text.
fn expect_close(mut client: Client, code: u16, reason: &str) {
    let close = client.close().unwrap_or_else(|| panic!("no close frame, expected {code}"));
    assert_eq!(close.0, Some(code), "{close:?}");
    assert!(close.1.contains(reason), "{close:?} does not mention {reason:?}");
}

/// Whether the server still answers others.
fn answers(server: &Server) {
    let mut other = Client::native(server);
    assert_eq!(other.ask(&json!({"method": "ping", "req_id": 9}))["req_id"], 9);
}

fn request(head: &str) -> String {
    format!("{head}\r\n\r\n")
}

const UPGRADE: &str = "GET /v1/ws HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13";

/// What a handshake is answered: the head, lower case.
fn handshake(server: &Server, text: &str) -> String {
    let mut stream = TcpStream::connect(server.address).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(text.as_bytes()).expect("writes");
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).to_lowercase()
}

/// A connection on which a handshake has been sent whose answer is not read yet.
fn raw(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address).expect("connects");
    stream.set_nodelay(true).expect("nodelay");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Reads until the end of the connection; a reset is an end too.
fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut some = [0; 4096];
    loop {
        match stream.read(&mut some) {
            Ok(0) => return bytes,
            Ok(n) => bytes.extend_from_slice(&some[..n]),
            Err(e) => {
                assert_ne!(e.kind(), std::io::ErrorKind::WouldBlock, "the server does not close");
                return bytes;
            }
        }
    }
}

#[test]
fn what_breaks_the_rfc_is_answered_with_its_close_code() {
    let server = quiet(&["--max-message-bytes", "1KiB"]);
    type Case<'a> = (&'a str, Vec<u8>, u16, &'a str);
    let unmasked = {
        let mut frame = vec![0x81, 2];
        frame.extend_from_slice(b"{}");
        frame
    };
    let mut long_length = vec![0x81, 0x80 | 126, 0, 2];
    long_length.extend_from_slice(&[0, 0, 0, 0]);
    long_length.extend_from_slice(b"{}");
    let claim = |len: u64| {
        let mut head = vec![0x81, 0x80 | 127];
        head.extend_from_slice(&len.to_be_bytes());
        head
    };
    let fragmented = |parts: &[(u8, &[u8])]| -> Vec<u8> {
        parts.iter().flat_map(|(first, payload)| masked(*first, payload)).collect()
    };
    let cases: Vec<Case<'_>> = vec![
        ("unmasked", unmasked, 1002, "not masked"),
        ("RSV1", masked(0xc1, b"{}"), 1002, "reserved bits"),
        ("RSV2", masked(0xa1, b"{}"), 1002, "reserved bits"),
        ("RSV3", masked(0x91, b"{}"), 1002, "reserved bits"),
        ("opcode 3", masked(0x83, b"{}"), 1002, "opcode 0x3"),
        ("opcode 11", masked(0x8b, b""), 1002, "opcode 0xb"),
        ("continuation of nothing", masked(0x80, b"x"), 1002, "continuation"),
        ("text inside a text", fragmented(&[(0x01, b"{"), (0x81, b"}")]), 1002, "continuation"),
        ("fragmented ping", masked(0x09, b"x"), 1002, "fragmented"),
        ("long ping", masked(0x89, &[b'x'; 126]), 1002, "125"),
        ("long close", masked(0x88, &[3; 126]), 1002, "125"),
        ("close of one byte", masked(0x88, &[3]), 1002, "half a code"),
        ("close code 1005", masked(0x88, &1005u16.to_be_bytes()), 1002, "1005"),
        ("close code 999", masked(0x88, &999u16.to_be_bytes()), 1002, "999"),
        ("close reason not UTF-8", masked(0x88, &[3, 232, 0xff]), 1007, "UTF-8"),
        ("length too long a form", long_length, 1002, "shortest"),
        ("length with its top bit", claim(1 << 63), 1002, "top bit"),
        ("length of 2^62, nothing sent", claim(1 << 62), 1009, "at most 1024"),
        ("oversize", masked(0x81, &[b'x'; 1025]), 1009, "at most 1024"),
        (
            "oversize in fragments",
            fragmented(&[(0x01, &[b'x'; 1000]), (0x80, &[b'x'; 25])]),
            1009,
            "at most 1024",
        ),
        ("not UTF-8", masked(0x81, b"{\"method\":\"\xff\"}"), 1007, "UTF-8"),
        ("a cut character", masked(0x81, b"\xe2\x82"), 1007, "UTF-8"),
        (
            "not UTF-8 in a fragment",
            fragmented(&[(0x01, b"\xe2\x82"), (0x80, b"x")]),
            1007,
            "UTF-8",
        ),
        ("binary", masked(0x82, b"{}"), 1003, "expected text"),
        ("empty binary", masked(0x82, b""), 1003, "expected text"),
    ];
    let count = cases.len();
    for (name, bytes, code, reason) in cases {
        eprintln!("{name}");
        let mut client = Client::native(&server);
        client.stream.write_all(&bytes).expect("writes");
        expect_close(client, code, reason);
    }
    answers(&server);
    server.wait_metric("tickcast_protocol_violations_total", "", |n| n as usize == count);
    server.wait_metric("tickcast_sessions_ended_total", "reason=\"protocol\"", |n| {
        n as usize == count
    });
}

#[test]
fn nothing_that_follows_a_violation_is_carried_out() {
    let server = quiet(&[]);
    let mut client = Client::native(&server);
    let mut bytes = masked(0x81, br#"{"method":"ping","req_id":1}"#);
    bytes.extend(masked(0x83, b""));
    bytes.extend(masked(0x81, br#"{"method":"ping","req_id":2}"#));
    client.stream.write_all(&bytes).expect("writes");
    assert_eq!(client.next()["req_id"], 1);
    expect_close(client, 1002, "opcode");
}

#[test]
fn messages_may_come_in_any_pieces() {
    let server = quiet(&[]);
    let ping = |id: u64| json!({"method": "ping", "req_id": id}).to_string();

    // Byte by byte.
    let mut client = Client::native(&server);
    for byte in masked(0x81, ping(1).as_bytes()) {
        client.stream.write_all(&[byte]).expect("writes");
    }
    assert_eq!(client.next()["req_id"], 1);

    // In fragments over several writes, with a ping and an empty fragment between them.
    let text = ping(2);
    let (head, tail) = text.as_bytes().split_at(7);
    client.frame(0x01, head);
    client.frame(0x89, b"between");
    assert_eq!(client.frame_in(), Received::Pong(b"between".to_vec()));
    client.frame(0x00, b"");
    client.frame(0x80, tail);
    assert_eq!(client.next()["req_id"], 2);

    // Several requests in one segment, the last of them cut.
    let mut bytes: Vec<u8> = (3..6).flat_map(|id| masked(0x81, ping(id).as_bytes())).collect();
    let rest = bytes.split_off(bytes.len() - 5);
    client.stream.write_all(&bytes).expect("writes");
    assert_eq!(client.next()["req_id"], 3);
    assert_eq!(client.next()["req_id"], 4);
    client.stream.write_all(&rest).expect("writes");
    assert_eq!(client.next()["req_id"], 5);

    // A character cut by a fragment's end is whole again.
    let text = r#"{"method":"ping","req_id":"€"}"#;
    let cut = text.find('€').expect("there") + 1;
    client.frame(0x01, &text.as_bytes()[..cut]);
    client.frame(0x80, &text.as_bytes()[cut..]);
    assert_eq!(client.next()["req_id"], "€");
}

#[test]
fn requests_may_come_with_the_handshake() {
    let server = quiet(&[]);
    let mut bytes = request(UPGRADE).into_bytes();
    bytes.extend(masked(0x81, br#"{"method":"ping","req_id":"early"}"#));
    let late = masked(0x81, br#"{"method":"ping","req_id":"late"}"#);
    bytes.extend_from_slice(&late[..9]);
    let mut stream = raw(&server);
    stream.write_all(&bytes).expect("writes");
    let mut client = Client::answered(stream);
    assert_eq!(client.next()["req_id"], "early");
    client.stream.write_all(&late[9..]).expect("writes");
    assert_eq!(client.next()["req_id"], "late");
}

#[test]
fn pings_are_answered_with_their_payload() {
    let server = quiet(&[]);
    for path in ["/v1/ws", "/v1/echo"] {
        let mut client = Client::open(&server, path);
        for payload in [&b""[..], b"hello", &[0xff; 125]] {
            client.frame(0x89, payload);
            assert_eq!(client.frame_in(), Received::Pong(payload.to_vec()));
        }
        // Pongs that nobody asked for are fine (RFC 6455 section 5.5.3).
        client.frame(0x8a, b"unasked");
        client.frame(0x89, b"still there");
        assert_eq!(client.frame_in(), Received::Pong(b"still there".to_vec()));
    }
}

#[test]
fn a_close_is_answered_with_its_code_and_ends_the_connection() {
    let server = quiet(&[]);
    for code in [1000u16, 1001, 1011, 3000, 4999] {
        let mut client = Client::native(&server);
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(b"bye");
        client.frame(0x88, &payload);
        // What comes after a close frame is not looked at.
        client.text(r#"{"method":"ping"}"#);
        assert_eq!(client.close(), Some((Some(code), String::new())));
    }
    let mut client = Client::native(&server);
    client.frame(0x88, b"");
    assert_eq!(client.close(), Some((None, String::new())));
    let closed = "reason=\"closed_by_peer\"";
    server.wait_metric("tickcast_sessions_ended_total", closed, |n| n == 6.0);
    server.wait_metric("tickcast_sessions", "", |n| n == 0.0);
}

#[test]
fn what_came_before_a_close_or_an_end_is_answered() {
    let server = quiet(&[]);
    let mut client = Client::native(&server);
    let mut bytes = masked(0x81, br#"{"method":"ping","req_id":1}"#);
    bytes.extend(masked(0x88, &1000u16.to_be_bytes()));
    client.stream.write_all(&bytes).expect("writes");
    assert_eq!(client.next()["req_id"], 1);
    expect_close(client, 1000, "");

    // A client that only shuts its sending side still reads.
    let mut client = Client::native(&server);
    client.text(r#"{"method":"ping","req_id":2}"#);
    client.stream.shutdown(Shutdown::Write).expect("shuts");
    assert_eq!(client.next()["req_id"], 2);
    assert_eq!(client.frame_in(), Received::End);
    server.wait_metric("tickcast_sessions", "", |n| n == 0.0);
}

#[test]
fn a_client_that_vanishes_leaves_nothing_behind() {
    let server = quiet(&[]);
    for _ in 0..20 {
        let mut client = Client::native(&server);
        client.subscribe("trade", &["*"]);
        client.subscribe("book", &["*"]);
        client.frame(0x01, b"unfinis");
    }
    server.wait_metric("tickcast_sessions_ended_total", "reason=\"lost\"", |n| n == 20.0);
    server.wait_metric("tickcast_sessions", "", |n| n == 0.0);
    server.wait_metric("tickcast_subscriptions", "", |n| n == 0.0);
    answers(&server);
}

#[test]
fn echo_sends_text_and_binary_back() {
    let server = quiet(&["--max-message-bytes", "1MiB", "--outbox-bytes", "4MiB"]);
    let mut client = Client::open(&server, "/v1/echo");
    for len in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
        let payload = vec![b'x'; len];
        client.frame(0x82, &payload);
        assert_eq!(client.frame_in(), Received::Binary(payload.clone()), "{len}");
        client.frame(0x81, &payload);
        assert_eq!(client.frame_in(), Received::Text(String::from_utf8(payload).expect("ASCII")));
    }
    client.frame(0x82, &vec![0; (1 << 20) + 1]);
    expect_close(client, 1009, "at most");
}

#[test]
fn a_bad_handshake_is_told_what_is_wrong() {
    let server = quiet(&[]);
    let without = |name: &str| {
        let kept: Vec<_> = UPGRADE.split("\r\n").filter(|line| !line.starts_with(name)).collect();
        request(&kept.join("\r\n"))
    };
    let with = |from: &str, to: &str| {
        assert!(UPGRADE.contains(from));
        request(&UPGRADE.replace(from, to))
    };
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let cases = [
        (with("GET ", "POST "), 405, "POST", "allow: get"),
        (with("HTTP/1.1", "HTTP/1.0"), 400, "HTTP/1.1", ""),
        (without("Upgrade"), 426, "Upgrade: websocket", "upgrade: websocket"),
        (with("Upgrade: websocket", "Upgrade: h2c"), 426, "websocket", "upgrade: websocket"),
        (without("Connection"), 400, "Connection: Upgrade", ""),
        (without("Sec-WebSocket-Version"), 426, "13", "sec-websocket-version: 13"),
        (with("Version: 13", "Version: 8"), 426, "13", "sec-websocket-version: 13"),
        (with("Version: 13", "Version: 13, 8"), 426, "13", "sec-websocket-version: 13"),
        (without("Sec-WebSocket-Key"), 400, "Sec-WebSocket-Key", ""),
        (with(key, "c2hvcnQ="), 400, "16 bytes", ""),
        (with(key, "dGhlIHNhbXBsZSBub25jZQ"), 400, "16 bytes", ""),
        (
            with(key, "dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
            400,
            "one Sec-WebSocket-Key",
            "",
        ),
    ];
    let count = cases.len();
    for (text, status, words, header) in cases {
        let close = text.replacen("Host: test", "Host: test\r\nX-Test: 1", 1);
        let mut stream = raw(&server);
        stream.write_all(close.as_bytes()).expect("writes");
        stream.shutdown(Shutdown::Write).expect("shuts");
        let answer = String::from_utf8_lossy(&read_to_end(&mut stream)).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        assert!(
            head.starts_with("HTTP/1.") && head.split(' ').nth(1) == Some(&status.to_string()),
            "{text}\n{answer}"
        );
        assert!(body.contains(words), "{text}\n{answer}");
        assert!(head.to_lowercase().contains(header), "{text}\n{answer}");
    }
    // A request that has no such header at all: somebody opened the address in a browser.
    let (status, head, _) =
        server.request("GET /v1/ws HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert_eq!(status, 426, "{head}");
    server.wait_metric("tickcast_upgrades_refused_total", "", |n| n as usize == count + 1);
    assert_eq!(server.metric("tickcast_upgrades_total", ""), 0.0);
}

#[test]
fn names_and_tokens_of_the_handshake_are_in_any_case() {
    let server = quiet(&[]);
    let text = request(UPGRADE)
        .replace("Upgrade: websocket", "uPgRaDe: h2c, WebSocket")
        .replace("Connection: Upgrade", "CONNECTION: keep-alive, UPGRADE");
    let head = handshake(&server, &text);
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    // No extension is negotiated, whatever is offered.
    let head = handshake(
        &server,
        &request(&format!("{UPGRADE}\r\nSec-WebSocket-Extensions: permessage-deflate")),
    );
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(!head.contains("extensions"), "{head}");
}

#[test]
fn the_subprotocol_is_chosen_where_it_is_offered() {
    let server = quiet(&[]);
    let chosen = |lines: &str, path: &str| {
        let text = request(&format!("{UPGRADE}{lines}")).replace("/v1/ws", path);
        let head = handshake(&server, &text);
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        let line = head.lines().find(|line| line.starts_with("sec-websocket-protocol:"));
        line.map(|line| line.split(": ").nth(1).expect("a value").to_owned())
    };
    let ours = Some("tickcast.v1.json".to_owned());
    assert_eq!(chosen("", "/v1/ws"), None);
    assert_eq!(chosen("\r\nSec-WebSocket-Protocol: tickcast.v1.json", "/v1/ws"), ours);
    assert_eq!(chosen("\r\nSec-WebSocket-Protocol: v9, tickcast.v1.json, x", "/v1/ws"), ours);
    assert_eq!(
        chosen(
            "\r\nSec-WebSocket-Protocol: v9\r\nSec-WebSocket-Protocol: tickcast.v1.json",
            "/v1/ws"
        ),
        ours
    );
    assert_eq!(chosen("\r\nSec-WebSocket-Protocol: v9, tickcast.v2", "/v1/ws"), None);
    assert_eq!(chosen("\r\nSec-WebSocket-Protocol: TickCast.v1.json", "/v1/ws"), None);
    assert_eq!(chosen("\r\nSec-WebSocket-Protocol: tickcast.v1.json", "/v1/echo"), None);
}

#[test]
fn a_handshake_that_does_not_come_is_cut_off() {
    let server = quiet(&["--handshake-timeout", "500ms"]);
    let half = &UPGRADE[..60];
    for beginning in ["", "G", half] {
        let mut stream = raw(&server);
        stream.write_all(beginning.as_bytes()).expect("writes");
        let answer = String::from_utf8_lossy(&read_to_end(&mut stream)).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    // One that drips is no better: its time runs from the first byte to the last.
    let mut stream = raw(&server);
    for byte in half.bytes().cycle() {
        if stream.write_all(&[byte]).is_err() {
            break;
        }
        pause();
    }
    answers(&server);
}

#[test]
fn handshakes_that_hang_hold_nobody_up_for_ever() {
    let server = quiet(&["--max-handshakes", "2", "--handshake-timeout", "500ms"]);
    let hanging: Vec<TcpStream> = (0..12).map(|_| raw(&server)).collect();
    // Behind six rounds of hanging ones, in the kernel's queue.
    answers(&server);
    drop(hanging);
    // Neither what is upgraded nor what is answered counts.
    let clients: Vec<Client> = (0..8).map(|_| Client::native(&server)).collect();
    answers(&server);
    assert_eq!(server.get("/healthz").0, 200);
    drop(clients);
}

#[test]
fn answers_that_are_not_read_hold_nobody_up_for_ever() {
    let server = quiet(&["--max-handshakes", "2", "--handshake-timeout", "500ms"]);
    // Far more answers than the sockets' buffers take, and none is read.
    let requests = "GET / HTTP/1.1\r\nHost: test\r\n\r\n".repeat(3_000);
    let greedy: Vec<TcpStream> = (0..2)
        .map(|_| {
            let mut stream = raw(&server);
            stream.set_write_timeout(Some(std::time::Duration::from_millis(500))).expect("set");
            let _ = stream.write_all(requests.as_bytes());
            stream
        })
        .collect();
    answers(&server);
    drop(greedy);
}

#[test]
fn an_oversize_head_is_refused() {
    let server = quiet(&[]);
    let mut stream = raw(&server);
    let text = format!("{UPGRADE}\r\nCookie: {}\r\n\r\n", "x".repeat(64 << 10));
    let _ = stream.write_all(text.as_bytes());
    let answer = String::from_utf8_lossy(&read_to_end(&mut stream)).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let many: String = (0..500).map(|i| format!("\r\nX-{i}: 1")).collect();
    let head = handshake(&server, &request(&format!("{UPGRADE}{many}")));
    assert!(head.starts_with("http/1.1 431 "), "{head}");
    answers(&server);
}

#[test]
fn a_silent_peer_is_closed_and_one_that_pongs_is_not() {
    let server = quiet(&["--ping-interval", "200ms", "--ping-timeout", "300ms"]);
    let mut alive = Client::native(&server);
    let mut silent = Client::native(&server);
    let mut pings = 0;
    while pings < 10 {
        if let Received::Ping(payload) = alive.frame_in() {
            alive.frame(0x8a, &payload);
            pings += 1;
        }
    }
    // Ten intervals later than the first ping: long over for the other one.
    let close = silent.close().expect("a close frame");
    assert_eq!(close.0, Some(1008), "{close:?}");
    assert!(close.1.contains("pong"), "{close:?}");
    assert_eq!(alive.ask(&json!({"method": "ping", "req_id": 5}))["req_id"], 5);
    server.wait_metric("tickcast_sessions_ended_total", "reason=\"ping_timeout\"", |n| n == 1.0);
}

#[test]
fn a_full_server_says_so_and_has_room_again_later() {
    let server = quiet(&["--max-clients", "3"]);
    let mut clients: Vec<Client> = (0..3).map(|_| Client::native(&server)).collect();
    let head = handshake(&server, &request(UPGRADE));
    assert!(head.starts_with("http/1.1 503 "), "{head}");
    assert!(head.contains("retry-after: "), "{head}");
    // The control plane is not for clients only.
    assert_eq!(server.get("/healthz").0, 200);
    assert_eq!(server.metric("tickcast_upgrades_full_total", ""), 1.0);
    for client in &mut clients {
        assert_eq!(client.ask(&json!({"method": "ping", "req_id": 1}))["req_id"], 1);
    }
    clients.pop();
    server.wait_metric("tickcast_sessions", "", |n| n == 2.0);
    answers(&server);
}

#[test]
fn a_client_that_is_gone_without_reading_leaves_no_descriptor() {
    let server = Server::start(&[
        "--reactors",
        "1",
        "--feed",
        "synthetic:rate=50000,only=trade",
        "--outbox-bytes",
        "256MiB",
    ]);
    // All its threads are there once the reactors answer.
    assert_eq!(server.get("/healthz").0, 200);
    let before = descriptors(&server);
    let mut stalled: Vec<Client> = (0..4)
        .map(|_| {
            let mut client = Client::native(&server);
            client.subscribe("trade", &["*"]);
            client
        })
        .collect();
    server.wait_metric("tickcast_sends_blocked_total", "", |n| n >= 4.0);
    // They ask for the end and then read nothing of what is still to come.
    for client in &mut stalled {
        client.frame(0x88, &1000u16.to_be_bytes());
    }
    server.wait_metric("tickcast_sessions", "", |n| n == 0.0);
    wait_descriptors(&server, before);
    drop(stalled);
}

/// Sockets and files that the server holds.
fn descriptors(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("proc").count()
}

/// Waits until the server holds no more than `most`.
fn wait_descriptors(server: &Server, most: usize) {
    let until = std::time::Instant::now() + PATIENCE;
    while descriptors(server) > most {
        let now = descriptors(server);
        assert!(std::time::Instant::now() < until, "{now} descriptors, {most} before");
        pause();
    }
}
