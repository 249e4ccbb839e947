//! TLS as clients see it: versions, names, certificates that change, and those who do not speak it.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use common::stream::Links;
use common::tls::{self, Pair};
use common::{Client, PATIENCE, Received, Server, pause};
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};

const BOTH: &[&rustls::SupportedProtocolVersion] = &[&TLS13, &TLS12];
const MARKET: &str = "synthetic:symbols=4,rate=2000,names=numbered";
const HANDSHAKES: &str = "tickcast_tls_handshakes_total";

fn serve(pairs: &[&Pair], more: &[&str]) -> (Server, SocketAddr) {
    let mut args = vec!["--listen-tls".to_owned(), "127.0.0.1:0".to_owned()];
    args.extend(pairs.iter().flat_map(|pair| pair.flags()));
    args.extend(["--reactors", "2"].map(str::to_owned));
    if !more.contains(&"--feed") {
        args.extend(["--feed", MARKET].map(str::to_owned));
    }
    args.extend(more.iter().map(|&text| text.to_owned()));
    let server = Server::start(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let address = server.tls.expect("an address for TLS");
    server.wait_metric("tickcast_ingest_ticks_total", "", |ticks| ticks > 200.0);
    (server, address)
}

fn localhost() -> Pair {
    Pair::new(&["localhost"])
}

#[test]
fn either_version_carries_every_update() {
    let pair = localhost();
    let (server, address) = serve(&[&pair], &[]);
    for (version, label) in [(&TLS12, "1.2"), (&TLS13, "1.3")] {
        let mut client = tls::native(address, &tls::trusting(&[&pair], &[version]));
        let mut links = Links::default();
        for channel in ["trade", "quote", "book"] {
            links.subscribe(&mut client, channel, &["sim:S0000-USD", "sim:S0001-USD"]);
        }
        for _ in 0..2_000 {
            links.read(&mut client);
        }
        let label = format!("version=\"{label}\"");
        assert_eq!(server.metric(HANDSHAKES, &label), 1.0);
        // A ping and its answer: both ways are encrypted.
        client.frame(0x89, b"are you there");
        while client.frame_in() != Received::Pong(b"are you there".to_vec()) {}
    }
    // These are made to outlive whoever made them.
    let ends = server.metric("tickcast_tls_certificate_expiry_timestamp_seconds", "");
    assert!(ends > 4e9, "{ends}");
    // Plain clients come in beside them.
    let mut plain = Client::native(&server);
    assert_eq!(plain.subscribe("trade", &["sim:S0000-USD"])["success"], true);
    let shown: Value = serde_json::from_str(&server.get("/v1/connections").1).expect("JSON");
    let encrypted = |on: bool| {
        let all = shown["connections"].as_array().expect("an array");
        all.iter().filter(|one| one["tls"] == on).count()
    };
    assert!(encrypted(false) >= 1, "{shown}");
}

#[test]
fn large_messages_come_whole_in_both_directions() {
    let pair = localhost();
    let (_server, address) = serve(&[&pair], &["--max-message-bytes", "1MiB"]);
    let mut client = Client::upgrade(
        tls::connect(address, "localhost", &tls::trusting(&[&pair], BOTH)).expect("a handshake"),
        "/v1/echo",
    );
    for len in [1, 125, 126, 16_383, 16_384, 16_385, 65_536, 100_000, 900_000] {
        let text: String = (0..len).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
        client.text(&text);
        loop {
            match client.frame_in() {
                Received::Text(back) => break assert!(back == text, "{len} bytes came back wrong"),
                Received::Ping(payload) => client.frame(0x8a, &payload),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// What a GET is answered.
fn get(stream: &mut tls::Stream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("writes");
    let mut answer = Vec::new();
    // A `close_notify` comes in the end: without it this is an error.
    stream.read_to_end(&mut answer).expect("an answer to its end");
    String::from_utf8(answer).expect("text")
}

#[test]
fn http_and_streams_of_events_are_served_too() {
    let pair = localhost();
    let (server, address) = serve(&[&pair], &[]);
    let config = tls::trusting(&[&pair], BOTH);
    let open = || tls::connect(address, "localhost", &config).expect("a handshake");
    let page = get(&mut open(), "/");
    assert!(page.starts_with("HTTP/1.1 200 ") && page.ends_with("</html>\n"), "{page}");
    let symbols = get(&mut open(), "/v1/symbols");
    assert!(symbols.contains("sim:S0003-USD"), "{symbols}");
    let mut stream = open();
    let request = "GET /v1/sse?subscribe=trade:* HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("writes");
    let mut seen = String::new();
    let mut buffer = [0; 4_096];
    while seen.matches("\"channel\":\"trade\"").count() < 100 {
        let n = stream.read(&mut buffer).expect("events");
        assert!(n > 0, "the stream ended: {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    assert!(seen.contains("content-type: text/event-stream"), "{seen}");
    drop(stream);
    server.wait_metric("tickcast_sessions", "", |n| n == 0.0);
}

#[test]
fn the_certificate_is_that_of_the_name() {
    let (first, second) = (localhost(), Pair::new(&["b.example", "*.c.example"]));
    let (_server, address) = serve(&[&first, &second], &[]);
    let served = |name: &str| {
        let both = tls::trusting(&[&first, &second], BOTH);
        let stream = tls::connect(address, name, &both);
        stream.map(|stream| stream.conn.peer_certificates().expect("a certificate")[0].clone())
    };
    assert_eq!(&served("localhost").expect("a handshake"), first.der());
    for name in ["b.example", "B.EXAMPLE", "www.c.example"] {
        assert_eq!(&served(name).expect("a handshake"), second.der(), "{name}");
    }
    // Others are given the first, and do not take it.
    for name in ["c.example", "x.y.c.example", "d.example"] {
        let error = served(name).expect_err("a wrong name").to_string();
        assert!(error.contains("not valid for name"), "{error}");
    }
}

#[test]
fn who_comes_back_resumes_its_session() {
    let pair = localhost();
    let (server, address) = serve(&[&pair], &[]);
    for (version, label) in [(&TLS12, "1.2"), (&TLS13, "1.3")] {
        let config = tls::trusting(&[&pair], &[version]);
        for _ in 0..3 {
            // Tickets of 1.3 come behind the handshake.
            let mut client = tls::native(address, &config);
            assert_eq!(client.subscribe("status", &["sim:S0000-USD"])["success"], true);
        }
        let count = |resumed| {
            server.metric(HANDSHAKES, &format!("version=\"{label}\",resumed=\"{resumed}\""))
        };
        assert_eq!((count(false), count(true)), (1.0, 2.0), "{label}");
    }
}

/// Waits until a handshake gives this certificate.
fn wait_for(address: SocketAddr, pair: &Pair) {
    while tls::connect(address, "localhost", &tls::trusting(&[pair], BOTH)).is_err() {
        pause();
    }
}

#[test]
fn certificates_are_swapped_under_a_thousand_clients_without_one_loss() {
    const CLIENTS: usize = 1_000;
    let mut pair = localhost();
    let (server, address) = serve(
        &[&pair],
        // They are not read while others connect.
        [
            ["--slow-grace", "60s"],
            ["--outbox-bytes", "16MiB"],
            ["--ping-interval", "10m"],
            ["--feed", "synthetic:symbols=4,rate=200,names=numbered"],
        ]
        .as_flattened(),
    );
    let config = tls::trusting(&[&pair], BOTH);
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let mut client = tls::native(address, &config);
            let symbol = format!("sim:S{:04}-USD", number % 4);
            let mut links = Links::default();
            links.subscribe(&mut client, "trade", &[&symbol]);
            (client, links)
        })
        .collect();
    let reloads = |result: &str| server.metric("tickcast_tls_reloads_total", result);
    pair.renew(&["localhost"]);
    wait_for(address, &pair);
    assert!(reloads("taken") >= 1.0);
    // Once more, when asked to. The key alone is not that of the certificate: nothing changes.
    std::fs::write(pair.key(), "rubbish").expect("writes");
    server.signal("HUP");
    server.wait_metric("tickcast_tls_reloads_total", "refused", |n| n >= 1.0);
    wait_for(address, &pair);
    let taken = reloads("taken");
    pair.renew(&["localhost"]);
    server.signal("HUP");
    server.wait_metric("tickcast_tls_reloads_total", "taken", |n| n > taken);
    wait_for(address, &pair);
    // All are there, and each reads on without a gap to what came after the last swap.
    let answer = server.get("/v1/trades/sim:S0000-USD?limit=1").1;
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let now = answer["trades"][0]["seq"].as_u64().expect("a sequence");
    for (number, (client, links)) in clients.iter_mut().enumerate() {
        let most = if number % 4 == 0 { now } else { 0 };
        while links.read(client).seq < most {}
    }
    assert_eq!(server.metric("tickcast_sessions", ""), CLIENTS as f64);
    assert_eq!(server.metric("tickcast_sessions_ended_total", "reason=\"slow"), 0.0);
}

#[test]
fn who_speaks_no_tls_is_told_and_harms_nobody() {
    let pair = localhost();
    let (server, address) = serve(&[&pair], &[]);
    let mut good = tls::native(address, &tls::trusting(&[&pair], BOTH));
    let mut links = Links::default();
    links.subscribe(&mut good, "trade", &["sim:S0000-USD"]);
    let said = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(address).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // A server that has seen enough closes at once: all that is written after it is refused.
        let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    };
    let answer = said(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("https://"), "{answer}");
    // A hello of one byte. What comes is an alert of TLS: type 21, fatal.
    let alert = said(&[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0]);
    assert_eq!((alert.first(), alert.get(5)), (Some(&21), Some(&2)), "{alert:?}");
    assert_eq!(said(&[0x16, 3, 1]), b"", "a beginning");
    said(&[0xff; 100_000]);
    let failed = "tickcast_tls_handshakes_failed_total";
    server.wait_metric(failed, "why=\"refused\"", |n| n >= 3.0);
    server.wait_metric(failed, "why=\"lost\"", |n| n >= 1.0);
    for _ in 0..500 {
        links.read(&mut good);
    }
    // A record that was tampered with ends its connection, and no other.
    let mut bad = tls::native(address, &tls::trusting(&[&pair], BOTH));
    assert_eq!(bad.subscribe("status", &["sim:S0000-USD"])["success"], true);
    bad.stream.sock.write_all(&[0x17, 3, 3, 0, 32]).expect("writes");
    bad.stream.sock.write_all(&[7; 32]).expect("writes");
    server.wait_metric("tickcast_sessions", "", |n| n == 1.0);
    for _ in 0..500 {
        links.read(&mut good);
    }
}

#[test]
fn a_handshake_that_takes_its_time_is_ended() {
    let pair = localhost();
    let (server, address) = serve(&[&pair], &["--handshake-timeout", "1s"]);
    let mut slow: Vec<TcpStream> = (0..50)
        .map(|number| {
            let mut stream = TcpStream::connect(address).expect("connects");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            // Nothing, or the beginning of a record that never ends.
            stream.write_all(&[0x16, 3, 1, 1, 0, 1][..number % 6]).expect("writes");
            stream
        })
        .collect();
    let mut good = tls::native(address, &tls::trusting(&[&pair], BOTH));
    assert_eq!(good.subscribe("status", &["sim:S0000-USD"])["success"], true);
    for stream in &mut slow {
        assert!(stream.read(&mut [0; 64]).is_ok_and(|n| n == 0), "it is closed");
    }
    server.wait_metric("tickcast_tls_handshakes_failed_total", "why=\"late\"", |n| n == 50.0);
    server.wait_metric("tickcast_handshakes", "", |n| n <= 1.0);
}

#[test]
fn a_slow_client_is_told_why_and_closed() {
    let pair = localhost();
    let (server, address) = serve(&[&pair], &["--outbox-bytes", "256KiB"]);
    let mut client = tls::native(address, &tls::trusting(&[&pair], BOTH));
    client.send(&json!({"method": "subscribe", "params": {"channel": "book", "symbol": "*"}}));
    client.send(&json!({"method": "subscribe", "params": {"channel": "trade", "symbol": "*"}}));
    server.wait_metric("tickcast_slow_clients_total", "", |n| n == 1.0);
    // All that was sent can still be read, in order, to the reason.
    let mut lag = Value::Null;
    loop {
        match client.frame_in() {
            Received::Text(text) if text.contains("\"type\":\"lag\"") => {
                lag = serde_json::from_str(&text).expect("JSON");
            }
            Received::Text(_) | Received::Ping(_) => {}
            Received::Close(code, reason) => {
                assert_eq!(code, Some(4008), "{reason}");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((&lag["policy"], &lag["cause"]), (&json!("disconnect"), &json!("peer_window")));
    drop(client);
    server.wait_metric("tickcast_sessions_ending", "", |n| n == 0.0);
}

#[test]
fn nothing_but_http_is_agreed_on() {
    let pair = localhost();
    let (_server, address) = serve(&[&pair], &[]);
    let agreed = |offer: &[&str]| {
        let mut config = Arc::unwrap_or_clone(tls::trusting(&[&pair], BOTH));
        config.alpn_protocols = offer.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = tls::connect(address, "localhost", &Arc::new(config));
        stream.map(|stream| stream.conn.alpn_protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(agreed(&["h2", "http/1.1"]).expect("a handshake"), Some(b"http/1.1".to_vec()));
    assert_eq!(agreed(&[]).expect("a handshake"), None);
    assert!(agreed(&["h2"]).is_err());
}

#[test]
fn watch_trusts_whom_it_is_told_to() {
    let pair = localhost();
    let (_server, address) = serve(&[&pair], &[]);
    let url = format!("wss://localhost:{}", address.port());
    let watch = |more: &[&str]| {
        let line = ["watch", "--url", &url, "--count", "50", "--channel", "trade"];
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_tickcast"))
            .args(line)
            .args(more)
            .output()
            .expect("runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    };
    let (lines, _) = watch(&["--ca", pair.chain().to_str().expect("text")]);
    assert_eq!(lines.lines().count(), 50, "{lines}");
    let (lines, why) = watch(&[]);
    assert!(lines.is_empty() && why.contains("invalid peer certificate"), "{why}");
}

#[test]
fn files_that_will_not_do_stop_the_start_in_one_line() {
    let (pair, other) = (localhost(), localhost());
    let file = |path: std::path::PathBuf| path.display().to_string();
    for (chain, key, expected) in [
        (file(pair.chain()), file(other.key()), "the key is not that of the certificate"),
        (file(pair.key()), file(pair.key()), "expected certificates in PEM"),
        (file(pair.chain()), file(pair.chain()), "expected a private key in PEM"),
        ("/nowhere".to_owned(), file(pair.key()), "/nowhere: expected certificates in PEM"),
    ] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_tickcast"))
            .args(["--listen", "none", "--listen-tls", "127.0.0.1:0"])
            .args(["--tls-cert", &chain, "--tls-key", &key])
            .output()
            .expect("runs");
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && why.contains(expected), "{why}");
        assert_eq!(why.lines().count(), 1, "{why}");
    }
}

#[test]
fn a_scanner_finds_no_weak_protocol_and_no_weak_cipher() {
    let Some(sslscan) = common::tool("sslscan") else { return };
    let (_server, address) = serve(&[&localhost()], &[]);
    let output = std::process::Command::new(sslscan)
        .args(["--no-colour", &address.to_string()])
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let enabled: Vec<_> = lines().filter(|line| line.ends_with(" enabled")).collect();
    assert_eq!(enabled, ["TLSv1.2   enabled", "TLSv1.3   enabled"], "{said}");
    assert!(said.contains("Session renegotiation not supported"), "{said}");
    let vulnerable: Vec<_> = lines()
        .filter(|line| line.contains("vulnerable") && !line.contains("not vulnerable"))
        .collect();
    assert!(vulnerable.is_empty(), "{vulnerable:?}");
    // All have forward secrecy (every one of 1.3 has) and authenticated encryption.
    let ciphers: Vec<_> = lines()
        .filter(|line| line.starts_with("Accepted ") || line.starts_with("Preferred "))
        .map(|line| line.split_whitespace().nth(4).expect("a name"))
        .collect();
    let strong = |name: &str| {
        let secret = name.starts_with("TLS_") || name.starts_with("ECDHE-");
        secret && (name.contains("GCM") || name.contains("POLY1305"))
    };
    assert!(ciphers.len() >= 6 && ciphers.iter().all(|name| strong(name)), "{ciphers:?}");
}
