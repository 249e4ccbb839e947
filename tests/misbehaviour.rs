//! Clients that do what none should: what they are told, and that nobody else notices.

mod common;
mod neighbours;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use common::{Client, PATIENCE, Received, Server, masked};
use neighbours::{
    Memory, Neighbours, connect_small, descriptors, small, subscribe, symbol, wait_descriptors,
};
use serde_json::{Value, json};

const SYMBOLS: usize = 1000;
const GOOD: usize = 6;

/// A server with small bounds, good clients, and what it holds before the bad ones come.
fn start(more: &[&str]) -> (Server, Neighbours, Memory) {
    let feed = "synthetic:symbols=1000,rate=3000,names=numbered,zipf=1,seed=1";
    let mut args = vec!["--feed", feed, "--reactors", "2", "--slow-grace", "2s"];
    // Large enough that no reactor is lapped, which is not what is tested.
    args.extend(["--ring-slots", "262144"]);
    if !more.contains(&"--outbox-bytes") {
        args.extend(["--outbox-bytes", "128KiB"]);
    }
    args.extend(more);
    let server = Server::start_frugal(&args);
    // The first ones are the busy ones.
    let good = Neighbours::start(&server, GOOD, 40);
    let memory = Memory::watch(&server);
    (server, good, memory)
}

/// Asserts that the bad ones are gone, that the good ones missed nothing, and that the memory is
/// what it was.
fn end(server: &Server, good: Neighbours, memory: &Memory) {
    server.wait_metric("tickcast_sessions", "", |n| n == GOOD as f64);
    good.get_more();
    good.finish(server);
    memory.is_back(server);
}

/// A reproducible stream of bytes (xorshift64).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 32) as u8).collect()
    }
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

#[test]
fn random_bytes_are_a_breach_of_the_protocol() {
    let (server, good, memory) = start(&[]);
    let mut noise = Noise(1);
    let mut closed = 0.0;
    for round in 0..100 {
        let mut client = Client::native(&server);
        let mut bytes = noise.bytes(4096);
        if round == 0 {
            // A text frame that claims to be larger than any message.
            bytes[..10].copy_from_slice(&[0x81, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        }
        client.stream.write_all(&bytes).expect("writes");
        // What may look like a beginning of something is not continued. The server may have closed before.
        let _ = client.stream.shutdown(Shutdown::Write);
        match client.close() {
            Some((Some(code), _)) => {
                assert!([1002, 1003, 1007, 1009].contains(&code), "{code}");
                closed += 1.0;
                assert!(round != 0 || code == 1009, "{code}");
            }
            Some((None, _)) => panic!("a close without a code"),
            None => {}
        }
    }
    assert!(closed > 50.0, "{closed} of 100 were told what was wrong");
    server.wait_metric("tickcast_protocol_violations_total", "", |n| n >= closed);
    end(&server, good, &memory);
}

#[test]
fn random_bytes_in_place_of_a_handshake_end_the_connection() {
    let (server, good, memory) = start(&[]);
    let before = descriptors(&server);
    let mut noise = Noise(2);
    for _ in 0..100 {
        let mut stream = connect(&server);
        // It may have ended the connection before all is written.
        let _ = stream.write_all(&noise.bytes(20_000)).and_then(|()| stream.write_all(b"\r\n\r\n"));
        let mut answer = Vec::new();
        if stream.read_to_end(&mut answer).is_ok() && !answer.is_empty() {
            assert!(answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
        }
    }
    wait_descriptors(&server, before);
    end(&server, good, &memory);
}

#[test]
fn garbage_in_good_frames_is_refused_then_limited_then_closed() {
    let (server, good, memory) = start(&["--request-rate", "50"]);
    let mut client = Client::native(&server);
    let mut noise = Noise(3);
    let mut frames = Vec::new();
    for i in 0..1000 {
        let garbage: String =
            noise.bytes(50).iter().map(|byte| char::from(b' ' + byte % 90)).collect();
        frames.extend(masked(0x81, if i % 2 == 0 { garbage.as_bytes() } else { b"[[[[{{{{" }));
    }
    client.stream.write_all(&frames).expect("writes");
    let mut codes = Vec::new();
    let code = loop {
        match client.frame_in() {
            Received::Text(text) => {
                let answer: Value = serde_json::from_str(&text).expect("JSON");
                if answer.get("method").is_some() {
                    assert_eq!(answer["success"], false, "{answer}");
                    codes.push(answer["error"]["code"].as_str().expect("a code").to_owned());
                }
            }
            Received::Close(code, _) => break code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, Some(1008));
    let of = |code: &str| codes.iter().filter(|have| *have == code).count();
    assert!(of("bad_json") >= 100 && of("rate_limited") >= 100, "{codes:?}");
    assert_eq!(of("bad_json") + of("rate_limited"), codes.len());
    drop(client);
    server.wait_metric("tickcast_sessions_ended_total", "request_rate", |n| n == 1.0);
    end(&server, good, &memory);
}

#[test]
fn tiny_frames_by_the_hundred_thousand_cost_nobody_anything() {
    let (server, good, memory) = start(&[]);
    let mut client = Client::native(&server);
    // Pongs that nobody asked for, and the smallest pieces of one long message.
    client.stream.write_all(&masked(0x8a, b"").repeat(400_000)).expect("writes");
    client.stream.write_all(&masked(0x01, b"")).expect("writes");
    client.stream.write_all(&masked(0x00, b"").repeat(200_000)).expect("writes");
    client.frame(0x80, br#"{"method":"ping","req_id":7}"#);
    assert_eq!(client.until(|message| message["method"] == "pong")["req_id"], 7);
    // Pings whose pongs are read, all of them.
    let mut writer = client.stream.try_clone().expect("a second handle");
    let writing = std::thread::spawn(move || {
        writer.write_all(&masked(0x89, b"ab").repeat(100_000)).expect("writes");
    });
    let mut pongs = 0;
    while pongs < 100_000 {
        match client.frame_in() {
            Received::Pong(payload) => {
                assert_eq!(payload, b"ab");
                pongs += 1;
            }
            Received::Text(heartbeat) => assert!(heartbeat.contains("heartbeat"), "{heartbeat}"),
            other => panic!("{other:?}"),
        }
    }
    writing.join().expect("wrote all");
    drop(client);
    end(&server, good, &memory);
}

#[test]
fn pings_whose_answers_nobody_reads_fill_an_outbox_and_no_more() {
    let (server, good, memory) = start(&[]);
    let mut client = small(&server, "/v1/ws");
    client.stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    // Until it is told to go; its bytes are still taken from it, and dropped.
    let pings = masked(0x89, &[b'x'; 125]).repeat(500);
    while server.metric("tickcast_slow_clients_total", "") == 0.0 {
        client.stream.write_all(&pings).expect("writes");
        memory.bounded(&server, 192 << 10);
    }
    client.stream.write_all(&pings).expect("writes");
    let code = loop {
        match client.frame_in() {
            Received::Pong(_) => {}
            Received::Text(text) => assert!(!text.contains("method"), "{text}"),
            Received::Close(code, _) => break code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, Some(4008));
    drop(client);
    end(&server, good, &memory);
}

#[test]
fn one_byte_at_a_time_is_as_good_as_all_at_once() {
    let (server, good, memory) = start(&[]);
    let head = "GET /v1/ws HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let request = masked(0x81, subscribe("trade", &[symbol(1)]).to_string().as_bytes());
    let mut streams: Vec<TcpStream> = (0..10).map(|_| connect(&server)).collect();
    for stream in &streams {
        stream.set_nodelay(true).expect("nodelay");
    }
    for byte in head.as_bytes().iter().chain(&request) {
        for stream in &mut streams {
            stream.write_all(&[*byte]).expect("writes");
        }
    }
    for stream in &mut streams {
        let mut answer = Vec::new();
        while !String::from_utf8_lossy(&answer).contains("\"success\":true") {
            let mut bytes = [0; 4096];
            let n = stream.read(&mut bytes).expect("reads");
            assert_ne!(n, 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&bytes[..n]);
        }
    }
    drop(streams);
    end(&server, good, &memory);
}

fn request(method: &str, channel: &str, symbols: &[String]) -> Value {
    json!({"method": method, "params": {"channel": channel, "symbol": symbols}})
}

/// Asks and waits for the answer; says whether it was a success.
fn done(client: &mut Client, request: &Value) -> bool {
    client.ask(request)["success"] == true
}

#[test]
fn floods_of_subscriptions_up_to_the_rate_leave_nothing_behind() {
    let (server, good, memory) = start(&["--request-rate", "1000"]);
    server.wait_metric("tickcast_subscriptions", "", |n| n == 8.0 * GOOD as f64);
    let mut client = Client::native(&server);
    let all: Vec<String> = (0..SYMBOLS).map(symbol).collect();
    let star = ["*".to_owned()];
    for channel in ["trade", "quote", "status", "book"] {
        for _ in 0..5 {
            assert!(done(&mut client, &request("subscribe", channel, &all)));
            assert!(done(&mut client, &request("subscribe", channel, &all)));
            assert!(done(&mut client, &request("unsubscribe", channel, &all)));
            assert!(done(&mut client, &request("subscribe", channel, &star)));
            assert!(done(&mut client, &request("subscribe", channel, &star)));
            assert!(done(&mut client, &request("unsubscribe", channel, &star)));
        }
    }
    let list = client.ask(&json!({"method": "list_subscriptions"}));
    assert_eq!(list["result"], json!([]));
    server.wait_metric("tickcast_subscriptions", "", |n| n == 8.0 * GOOD as f64);
    drop(client);
    end(&server, good, &memory);
}

#[test]
fn the_same_again_and_again_is_one_subscription_and_one_snapshot() {
    // Its subject is not how fast a debug build takes every book at fifteen depths.
    let (server, good, memory) = start(&["--request-rate", "1000", "--outbox-bytes", "16MiB"]);
    let mut client = Client::native(&server);
    let same = request("subscribe", "book", &vec![symbol(3); 300]).to_string();
    let mut frames = masked(0x81, same.as_bytes()).repeat(2);
    // Snapshots come in the order in which they were asked for: this one is the last.
    let last = request("subscribe", "status", &[symbol(4)]).to_string();
    frames.extend(masked(0x81, last.as_bytes()));
    // One write, one read at the server: both are asked for before either is carried out.
    client.stream.write_all(&frames).expect("writes");
    let mut snapshots = 0;
    loop {
        let message = client.next();
        if message["channel"] == "status" {
            break;
        }
        snapshots += usize::from(message["type"] == "snapshot");
    }
    assert_eq!(snapshots, 1);

    let stars = vec!["*".to_owned(); 1000];
    assert!(done(&mut client, &request("subscribe", "quote", &stars)));
    let list = client.ask(&json!({"method": "list_subscriptions"}));
    assert_eq!(list["result"].as_array().expect("a list").len(), 3, "{list}");
    let mut many = Vec::new();
    for depth in 1..=20 {
        let mut wild = request("subscribe", "book", &["*".to_owned()]);
        wild["params"]["depth"] = json!(depth);
        let answer = client.ask(&wild);
        if answer["success"] == false {
            assert_eq!(answer["errors"][0]["code"], "too_many_subscriptions", "{answer}");
            many.push(depth);
        }
    }
    assert_eq!(many, [16, 17, 18, 19, 20], "the wildcards of one client are limited");
    drop(client);
    server.wait_metric("tickcast_subscriptions", "", |n| n == 8.0 * GOOD as f64);
    end(&server, good, &memory);
}

#[test]
fn a_flood_beyond_the_rate_is_limited_and_closed() {
    let (server, good, memory) = start(&["--request-rate", "20"]);
    let mut client = Client::native(&server);
    let mut frames = Vec::new();
    for i in 0..200 {
        let method = if i % 2 == 0 { "subscribe" } else { "unsubscribe" };
        let text = request(method, "quote", &["*".to_owned()]).to_string();
        frames.extend(masked(0x81, text.as_bytes()));
    }
    client.stream.write_all(&frames).expect("writes");
    assert_eq!(client.close().expect("a close frame").0, Some(1008));
    drop(client);
    server.wait_metric("tickcast_sessions_ended_total", "request_rate", |n| n == 1.0);
    server.wait_metric("tickcast_subscriptions", "", |n| n == 8.0 * GOOD as f64);
    end(&server, good, &memory);
}

#[test]
fn books_asked_for_again_and_again_and_never_read_fill_an_outbox_and_no_more() {
    let (server, good, memory) = start(&["--request-rate", "1000"]);
    let mut clients: Vec<Client> = (0..5).map(|_| small(&server, "/v1/ws")).collect();
    let book = request("subscribe", "book", &["*".to_owned()]);
    for client in &mut clients {
        for _ in 0..100 {
            client.send(&book);
        }
    }
    server.wait_metric("tickcast_slow_clients_total", "", |n| {
        memory.bounded(&server, 5 * (192 << 10));
        n == 5.0
    });
    for client in &mut clients {
        assert_eq!(client.close().expect("a close frame").0, Some(4008));
    }
    drop(clients);
    end(&server, good, &memory);
}

#[test]
fn connections_that_end_at_once_leave_nothing_behind() {
    let (server, good, memory) = start(&["--handshake-timeout", "1s"]);
    let before = descriptors(&server);
    for i in 0..2000 {
        let stream = connect(&server);
        match i % 4 {
            // With a reset instead of an end.
            0 => socket2::SockRef::from(&stream)
                .set_linger(Some(std::time::Duration::ZERO))
                .expect("linger"),
            1 => (&stream).write_all(b"GET /v1/ws HTTP/1.1\r\nHost: t").expect("writes"),
            _ => {}
        }
    }
    // Upgraded, subscribed and gone: numbers of sessions are used again and again.
    for i in 0..300 {
        let mut client = Client::native(&server);
        client.send(&request("subscribe", ["book", "quote", "trade"][i % 3], &["*".to_owned()]));
    }
    wait_descriptors(&server, before);
    server.wait_metric("tickcast_subscriptions", "", |n| n == 8.0 * GOOD as f64);
    end(&server, good, &memory);
}

#[test]
fn half_a_handshake_is_ended_by_its_deadline() {
    let (server, good, memory) = start(&["--handshake-timeout", "300ms", "--max-handshakes", "20"]);
    let before = descriptors(&server);
    let mut halves: Vec<TcpStream> = (0..60)
        .map(|i| {
            let mut stream = connect(&server);
            let text = ["", "G", "GET /v1/ws HTTP/1.1\r\nHost: t\r\nUpgrade: web"][i % 3];
            stream.write_all(text.as_bytes()).expect("writes");
            stream
        })
        .collect();
    // Three times what may be under way: the later ones are taken when the first are ended.
    for stream in &mut halves {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 101"), "half a handshake was taken for a whole");
    }
    drop(halves);
    wait_descriptors(&server, before);
    end(&server, good, &memory);
}

#[test]
fn answers_over_http_that_nobody_reads_do_not_keep_others_out() {
    let (server, good, memory) = start(&["--handshake-timeout", "300ms", "--max-handshakes", "4"]);
    let clogged: Vec<TcpStream> = (0..4)
        .map(|_| {
            let client = connect_small(&server);
            client.set_write_timeout(Some(std::time::Duration::from_millis(200))).expect("set");
            let request = b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n".repeat(200);
            // Until it takes no more.
            while (&client).write_all(&request).is_ok() {}
            client
        })
        .collect();
    // They hold all that may be under way, until their time is over.
    let (status, _) = server.get("/healthz");
    assert_eq!(status, 200);
    drop(clogged);
    end(&server, good, &memory);
}
