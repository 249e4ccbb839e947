//! Floods: what the attackers get, and that good clients beside them get everything.
//!
//! Attackers come from addresses of their own (all of 127.0.0.0/8 is this machine's); good ones from
//! 127.0.0.1. tests/misbehaviour.rs has what a single client may do wrong.

mod common;
mod neighbours;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Instant;

use common::{Client, PATIENCE, Received, Server, masked, tls};
use flate2::write::DeflateEncoder;
use neighbours::{Chains, Memory, Neighbours, begin, follow, small, subscribe, symbol};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

const GOOD: usize = 4;
const SYMBOLS: usize = 200;

/// A server whose limits by address do not apply to the good ones, of which some are there.
fn start(more: &[&str]) -> (Server, Neighbours) {
    let feed = "synthetic:symbols=200,rate=2000,names=numbered,zipf=1,seed=1";
    let mut args = vec!["--feed", feed, "--reactors", "2", "--ring-slots", "262144"];
    args.extend(["--exempt-address", "127.0.0.1"]);
    args.extend(more);
    let server = Server::start(&args);
    let good = Neighbours::start(&server, GOOD, SYMBOLS);
    (server, good)
}

/// The good ones missed nothing, nor do those who come now.
fn end(server: &Server, good: Neighbours) {
    let late = Neighbours::start(server, GOOD, SYMBOLS);
    good.get_more();
    good.finish(server);
    late.finish(server);
}

/// A connection from another address of this machine.
fn from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 66, last], 0)).into()).expect("an address");
    socket.connect(&to.into()).expect("connects");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Whether the server has ended a connection; false where it waits for more.
fn is_ended(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).expect("set");
    let ended = match stream.read(&mut [0; 1024]) {
        Ok(n) => n == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    };
    stream.set_nonblocking(false).expect("set");
    ended
}

fn ended(streams: &mut [TcpStream]) -> usize {
    streams.iter_mut().map(is_ended).filter(|ended| *ended).count()
}

/// What answers a request of an address's.
fn ask(last: u8, server: &Server, head: &str) -> String {
    let mut stream = from(last, server.address);
    stream.write_all(format!("{head}\r\n\r\n").as_bytes()).expect("writes");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

const NO_RATE: [&str; 2] = ["--connect-rate", "0"];

/// Half-open connections and half-said heads of three addresses, 40 each, none of which ends by itself: without a limit by address
/// they are more than all that may be under way, and nobody else comes in.
#[test]
fn slowloris_and_half_open_floods_leave_others_their_handshakes() {
    let (server, good) = start(
        &[
            &["--max-handshakes", "32", "--max-handshakes-per-address", "8"][..],
            &["--handshake-timeout", "300s"],
            &NO_RATE[..],
        ]
        .concat(),
    );
    let said = ["", "G", "GET /v1/ws HTTP/1.1\r\nHost: t\r\nX: "];
    let mut all: Vec<Vec<TcpStream>> = (0..3)
        .map(|i| {
            let come = |_| {
                let mut stream = from(10 + i, server.address);
                // Those that are refused may be so before that.
                let _ = stream.write_all(said[usize::from(i)].as_bytes());
                stream
            };
            (0..40).map(come).collect()
        })
        .collect();
    let refused = server.wait_metric("tickcast_address_refused_total", "handshakes", |n| n >= 96.0);
    assert_eq!(refused, 96.0);
    // A byte at a time, for as long as others come in.
    for _ in 0..200 {
        for stream in &mut all[2] {
            let _ = stream.write_all(b"a");
        }
        drop(Client::native(&server));
    }
    assert_eq!(all.iter_mut().map(|one| ended(one)).collect::<Vec<_>>(), [32, 32, 32]);
    end(&server, good);
    assert_eq!(server.metric("tickcast_handshakes", ""), 25.0, "and the one that asks");
    drop(all);
    server.wait_metric("tickcast_handshakes", "", |n| n == 1.0);
}

#[test]
fn tls_handshakes_that_stall_leave_others_theirs() {
    let pair = tls::Pair::new(&["localhost"]);
    let flags = pair.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let (server, good) = start(
        &[
            &[
                "--listen-tls",
                "127.0.0.1:0",
                "--max-handshakes",
                "32",
                "--handshake-timeout",
                "300s",
            ][..],
            &["--max-handshakes-per-address", "8"],
            &NO_RATE[..],
            &flags,
        ]
        .concat(),
    );
    let to = server.tls.expect("TLS is served");
    // The head of a record that never comes, and nothing.
    let said: [&[u8]; 2] = [b"\x16\x03\x01\x02\x00\x01", b""];
    let mut stalled: Vec<TcpStream> = (0..80)
        .map(|i: u8| {
            let mut stream = from(20 + i % 2, to);
            let _ = stream.write_all(said[usize::from(i % 2)]);
            stream
        })
        .collect();
    server.wait_metric("tickcast_address_refused_total", "handshakes", |n| n == 64.0);
    let config = tls::trusting(&[&pair], rustls::ALL_VERSIONS);
    for _ in 0..20 {
        let mut client = tls::native(to, &config);
        let answer = client.ask(&subscribe("trade", &[symbol(1)]));
        assert_eq!(answer["success"], true, "{answer}");
    }
    assert_eq!(ended(&mut stalled), 64);
    end(&server, good);
}

#[test]
fn an_address_that_connects_too_fast_is_refused() {
    let (server, good) = start(&["--connect-rate", "1"]);
    let mut answered = 0;
    while server.metric("tickcast_address_refused_total", "connect_rate") < 1_000.0 {
        for _ in 0..100 {
            answered += usize::from(ask(30, &server, "GET /healthz HTTP/1.0").contains("200 OK"));
        }
    }
    assert!(answered >= 10, "the burst: {answered}");
    // Others are not held by what one does.
    assert!(ask(31, &server, "GET /healthz HTTP/1.0").contains("200 OK"));
    end(&server, good);
}

/// Who asks without end is told when to come again, and has to connect anew.
#[test]
fn an_address_that_asks_too_fast_is_told_to_wait() {
    let (server, good) = start(&[&["--http-rate", "5"][..], &NO_RATE].concat());
    let mut stream = from(35, server.address);
    stream.write_all(&b"GET /nothing HTTP/1.1\r\nHost: t\r\n\r\n".repeat(500)).expect("writes");
    let mut answers = Vec::new();
    let _ = stream.read_to_end(&mut answers);
    let answers = String::from_utf8_lossy(&answers);
    assert!(answers.matches("HTTP/1.1 404 ").count() >= 50, "the burst: {answers}");
    assert_eq!(answers.matches("HTTP/1.1 429 ").count(), 1, "{answers}");
    let (_, last) = answers.split_once("HTTP/1.1 429 ").expect("a refusal");
    for told in
        ["\r\nretry-after: 1\r\n", "\r\nconnection: close\r\n", "127.0.66.35", "--http-rate"]
    {
        assert!(last.contains(told), "{told}: {last}");
    }
    // By every path, each in its own words; some come to be answered meanwhile.
    let refused = |head: &str| loop {
        let answer = ask(35, &server, head);
        if answer.contains(" 429 ") {
            return answer;
        }
    };
    for head in [
        UPGRADE,
        "GET /v1/symbols HTTP/1.0",
        "OPTIONS /v1/symbols HTTP/1.0",
        "GET /metrics HTTP/1.0",
    ] {
        assert!(refused(head).contains("--http-rate"), "{head}");
    }
    let exchange = refused("GET /api/v3/depth?symbol=X HTTP/1.0");
    assert!(exchange.ends_with("{\"code\":-1003,\"msg\":\"Too many requests.\"}"), "{exchange}");
    assert!(exchange.contains("\r\ncontent-type: application/json"), "{exchange}");
    assert!(server.metric("tickcast_address_refused_total", "http_rate") >= 6.0);
    // Whether the server is well may be asked still, and others ask as they like.
    assert!(ask(35, &server, "GET /healthz HTTP/1.0").contains("200 OK"));
    assert!(ask(36, &server, "GET /v1/symbols HTTP/1.0").contains("200 OK"));
    end(&server, good);
}

const UPGRADE: &str = "GET /v1/ws HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13";

#[test]
fn an_address_has_so_many_clients_and_is_told_so() {
    let (server, good) = start(&[&["--max-clients-per-address", "5"], &NO_RATE[..]].concat());
    let client = |last| Client::over(from(last, server.address), "/v1/ws");
    let mut held: Vec<Client> = (0..5).map(|_| client(40)).collect();
    for head in [
        UPGRADE,
        "GET /v1/sse?subscribe=trade:* HTTP/1.1\r\nHost: t\r\nConnection: close",
        "GET /v1/poll?subscribe=trade:* HTTP/1.1\r\nHost: t\r\nConnection: close",
        "GET /ws/s0001usd@trade HTTP/1.1\r\nHost: t\r\nConnection: close",
    ] {
        let mut stream = from(40, server.address);
        stream.write_all(format!("{head}\r\n\r\n").as_bytes()).expect("writes");
        let mut answer = [0; 4096];
        let n = stream.read(&mut answer).expect("an answer");
        let answer = String::from_utf8_lossy(&answer[..n]).into_owned();
        assert!(answer.starts_with("HTTP/1.1 429 "), "{head}: {answer}");
        assert!(answer.contains("\r\nretry-after: 10\r\n"), "{answer}");
        assert!(answer.contains("127.0.66.40"), "{answer}");
        assert!(answer.contains("--max-clients-per-address"), "{answer}");
    }
    assert_eq!(server.metric("tickcast_address_refused_total", "clients"), 4.0);
    // What is no client's is answered still, and other addresses have theirs.
    assert!(ask(40, &server, "GET /healthz HTTP/1.0").contains("200 OK"));
    drop(client(41));
    // Who goes leaves its place, on whichever reactor it was, as a stream's and a poll's do.
    for _ in 0..20 {
        // What is reported is of a moment ago: both counts are waited for.
        server.wait_metric("tickcast_sessions", "", |n| n == (GOOD + 5) as f64);
        held.pop();
        server.wait_metric("tickcast_sessions", "", |n| n == (GOOD + 4) as f64);
        held.push(client(40));
    }
    end(&server, good);
}

#[test]
fn oversized_heads_and_floods_of_fields_are_refused() {
    let (server, good) = start(&NO_RATE);
    let long = format!("GET /{} HTTP/1.1\r\nHost: t", "a".repeat(1 << 20));
    let field = format!("{UPGRADE}\r\nX: {}", "a".repeat(1 << 20));
    let many = format!("{UPGRADE}{}", "\r\nX: a".repeat(1_000));
    for head in [&long, &field, &many] {
        for i in 0..50 {
            let mut stream = from(50 + i % 5, server.address);
            // The server ends it before it has all of that.
            let _ = stream.write_all(format!("{head}\r\n\r\n").as_bytes());
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        }
    }
    server.wait_metric("tickcast_handshakes", "", |n| n == 1.0);
    end(&server, good);
}

#[test]
fn a_connection_that_asks_no_more_is_ended_by_its_deadline() {
    let (server, good) = start(&[&["--handshake-timeout", "300ms"], &NO_RATE[..]].concat());
    let mut idle: Vec<TcpStream> = (0..100).map(|_| from(60, server.address)).collect();
    for stream in &mut idle {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n").expect("writes");
    }
    for stream in &mut idle {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an end");
        assert!(answer.starts_with(b"HTTP/1.1 200 OK"), "{}", String::from_utf8_lossy(&answer));
    }
    end(&server, good);
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).and_then(|()| encoder.flush()).expect("deflates");
    let mut packed = encoder.get_ref().clone();
    // RFC 7692 section 7.2.1: the end of the flush is left out.
    assert!(packed.ends_with(&[0, 0, 0xff, 0xff]));
    packed.truncate(packed.len() - 4);
    packed
}

#[test]
fn compressed_bombs_end_those_who_throw_them() {
    let (server, good) = start(&[&["--compress"], &NO_RATE[..]].concat());
    let bomb = masked(0xc1, &deflate(&vec![b' '; 32 << 20]));
    assert!(bomb.len() < 64 << 10, "{} bytes", bomb.len());
    for i in 0..100 {
        let mut stream = from(70 + i % 10, server.address);
        let offer = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        stream.write_all(format!("{UPGRADE}\r\n{offer}\r\n\r\n").as_bytes()).expect("writes");
        let mut client = Client::answered(stream);
        client.stream.write_all(&bomb).expect("writes");
        let (code, reason) = client.close().expect("a close frame");
        assert_eq!(code, Some(1009), "{reason}");
    }
    end(&server, good);
}

/// Many clients of many addresses ask for all that can be asked for at once, as fast as they can.
#[test]
fn bombs_of_lists_and_subscriptions_end_by_the_rate() {
    let (server, good) = start(&[&["--max-subscriptions", "2000"], &NO_RATE[..]].concat());
    let names: Vec<String> = (0..1_000).map(|i| symbol(i % SYMBOLS)).collect();
    let unknown: Vec<String> = (0..1_000).map(|i| format!("sim:X{i}-USD")).collect();
    let bombs: Vec<Value> = vec![
        json!({"method": "list_symbols"}),
        subscribe("book", &names),
        subscribe("book", &unknown),
        subscribe("book", &["*".to_owned()]),
        json!({"method": "unsubscribe", "params": {"channel": "book", "symbol": ["*"]}}),
        json!({"method": "list_subscriptions"}),
    ];
    let bytes: Vec<u8> =
        bombs.iter().flat_map(|bomb| masked(0x81, bomb.to_string().as_bytes())).collect();
    let attackers: Vec<_> = (0..8)
        .map(|i| {
            let mut client = Client::over(from(80 + i, server.address), "/v1/ws");
            let mut writer = client.stream.try_clone().expect("a second handle");
            let bytes = bytes.clone();
            let writing = std::thread::spawn(move || {
                // Until it is put out.
                while writer.write_all(&bytes).is_ok() {}
            });
            let reading = std::thread::spawn(move || {
                let mut codes = Vec::new();
                loop {
                    match client.frame_in() {
                        Received::Close(code, _) => {
                            codes.extend(code);
                            let _ = client.stream.shutdown(Shutdown::Both);
                        }
                        Received::End => return codes,
                        _ => {}
                    }
                }
            });
            (writing, reading)
        })
        .collect();
    for (writing, reading) in attackers {
        let codes = reading.join().expect("reads");
        // Too many requests; or it did not read what it had asked for.
        assert!(codes.iter().all(|code| [1008, 4008].contains(code)), "{codes:?}");
        writing.join().expect("writes");
    }
    server.wait_metric("tickcast_sessions", "", |n| n == GOOD as f64);
    server.wait_metric("tickcast_sessions_ended_total", "", |n| n >= 8.0);
    let put_out = |why| server.metric("tickcast_sessions_ended_total", why);
    assert_eq!(put_out("request_rate") + put_out("slow_overflow"), 8.0);
    end(&server, good);
}

/// Reads what a client is told, in order, up to a message or to the words that it is closed for the budget; whether
/// the latter came.
fn was_let_go(client: &mut Client, until: impl Fn(&Value) -> bool) -> bool {
    let mut chains = Chains::new();
    loop {
        match client.frame_in() {
            Received::Text(text) => {
                let message: Value = serde_json::from_str(&text).expect("JSON");
                if message["method"] == "subscribe" {
                    begin(&mut chains, &message);
                } else {
                    follow(&mut chains, &message);
                }
                if until(&message) {
                    return false;
                }
            }
            Received::Ping(_) => {}
            Received::Close(code, reason) => {
                assert_eq!(code, Some(4008), "{reason}");
                assert!(reason.contains("memory budget"), "{reason}");
                return true;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The addresses of those who are closed for the budget and still there.
fn let_go(server: &Server) -> Vec<String> {
    let (status, text) = server.get("/v1/connections");
    assert_eq!(status, 200, "{text}");
    let shown: Value = serde_json::from_str(&text).expect("JSON");
    let all = shown["connections"].as_array().expect("connections").iter();
    let closing = all.filter(|one| one["closing"] == "memory_budget");
    closing.map(|one| one["peer"].as_str().expect("text").to_owned()).collect()
}

const BUDGET: u64 = 24 << 20;
/// What may come between two looks of the server at what it holds.
const GROWTH: u64 = 24 << 20;

/// 300 clients read nothing. Half of them are told everything, half what a quiet symbol does: the former hold the memory.
#[test]
fn over_the_memory_budget_those_who_hold_most_go_first() {
    let feed = "synthetic:symbols=200,rate=1000,names=numbered,zipf=1,seed=1";
    let budget = BUDGET.to_string();
    let mut args = vec!["--feed", feed, "--reactors", "2", "--ring-slots", "262144"];
    // Nothing else closes them.
    args.extend(["--outbox-bytes", "8MiB", "--slow-grace", "10m", "--ping-interval", "10m"]);
    args.extend(["--memory-budget", &budget]);
    let server = Server::start_frugal(&args);
    let good = Neighbours::start(&server, GOOD, 40);
    let memory = Memory::watch(&server);
    let come = |channels: &[&str], symbols: &[String]| {
        let mut client = small(&server, "/v1/ws");
        channels.iter().for_each(|channel| client.send(&subscribe(channel, symbols)));
        client
    };
    let light: Vec<Client> = (0..150).map(|i| come(&["trade"], &[symbol(100 + i % 100)])).collect();
    let all: Vec<String> = (0..SYMBOLS).map(symbol).collect();
    let heavy: Vec<Client> = (0..150).map(|_| come(&["trade", "quote"], &all)).collect();
    // Newcomers are told so while it is tight.
    let until = Instant::now() + PATIENCE;
    let refused = loop {
        let answer = ask(1, &server, "HEAD /v1/sse?subscribe=trade:* HTTP/1.0");
        if answer.starts_with("HTTP/1.0 503 ") {
            break answer;
        }
        memory.bounded(&server, BUDGET + GROWTH);
        assert!(Instant::now() < until, "{answer}");
    };
    assert!(refused.contains("retry-after: "), "{refused}");
    for evicted in [20.0, 50.0, 80.0] {
        server.wait_metric("tickcast_memory_evicted_total", "", |n| {
            memory.bounded(&server, BUDGET + GROWTH);
            n >= evicted
        });
        good.get_more();
    }
    // All of them are of those who hold most, and told why.
    let closing = let_go(&server);
    let address = |client: &Client| client.stream.local_addr().expect("an address").to_string();
    assert!(light.iter().all(|client| !closing.contains(&address(client))), "{closing:?}");
    let mut gone: Vec<Client> =
        heavy.into_iter().filter(|client| closing.contains(&address(client))).collect();
    assert!(gone.len() >= 50 && gone.len() == closing.len(), "{} of {closing:?}", gone.len());
    for client in gone.iter_mut().take(20) {
        assert!(was_let_go(client, |_| false));
    }
    drop(gone);
    // Who held little has lost nothing.
    for mut client in light {
        client.send(&json!({"method": "ping"}));
        assert!(!was_let_go(&mut client, |message| message["method"] == "pong"));
    }
    server.wait_metric("tickcast_memory_held_bytes", "", |n| n < BUDGET as f64 / 2.0);
    assert!(server.metric("tickcast_memory_resident_bytes", "") > 0.0);
    good.get_more();
    good.finish(&server);
    memory.is_back(&server);
}

/// Messages that never end are held too.
#[test]
fn unfinished_messages_count_for_the_memory_budget() {
    let more = ["--memory-budget", "4MiB", "--max-message-bytes", "1MiB"];
    let (server, good) = start(&[&more[..], &NO_RATE].concat());
    let come = |i: u8| Client::over(from(90 + i, server.address), "/v1/ws");
    let mut clients: Vec<Client> = (0..20).map(come).collect();
    // 900,000 bytes of a message of a million.
    let mut whole = masked(0x81, &vec![b' '; 1_000_000]);
    whole.truncate(900_000);
    for client in &mut clients {
        client.stream.write_all(&whole).expect("writes");
    }
    // Three of them fit, and the good ones' encodings.
    server.wait_metric("tickcast_memory_evicted_total", "", |n| n >= 17.0);
    server.wait_metric("tickcast_memory_held_bytes", "", |n| n <= f64::from(4 << 20));
    let is_heartbeat = |message: &Value| message["channel"] == "heartbeat";
    let told = clients.iter_mut().filter_map(|one| was_let_go(one, is_heartbeat).then_some(()));
    assert!(told.count() > 0);
    drop(clients);
    end(&server, good);
}
