//! Parts that fail while clients watch: who is not concerned notices nothing, who is gets told and can go on
//! elsewhere.

mod common;

use std::collections::HashMap;
use std::io::Read as _;
use std::net::TcpStream;

use common::{Capture, Client, Received, Server, pause};
use serde_json::{Value, json};

/// What a client sends, with a fault behind it.
const DRILL: &str = "a drill that nobody guesses";

/// A server whose parts can be made to fail.
fn drilled(args: &[&str]) -> Server {
    Server::start_with_variable("TICKCAST_DRILL", DRILL, args)
}

fn provoke(client: &mut Client, fault: &str) {
    client.text(&format!("{DRILL} {fault}"));
}

/// A client of trades that checks their order.
struct Follower {
    client: Client,
    epoch: Value,
    last: HashMap<String, u64>,
}

impl Follower {
    fn start(server: &Server) -> Self {
        let mut client = Client::native(server);
        let answer = client.subscribe("trade", &["sim:*"]);
        let epoch = answer["result"][0]["epoch"].clone();
        Follower { client, epoch, last: HashMap::new() }
    }

    fn take(&mut self, message: &Value) {
        let symbol = message["symbol"].as_str().expect("a symbol").to_owned();
        let seq = message["seq"].as_u64().expect("a sequence");
        if let Some(last) = self.last.insert(symbol, seq)
            && message["type"] == "update"
        {
            assert_eq!(message["prev"], last, "{message}");
        }
    }

    /// Takes so many more.
    fn follow(&mut self, count: usize) {
        for _ in 0..count {
            let message = self.client.until(|message| message["channel"] == "trade");
            assert_ne!(message["type"], "resume", "{message}");
            self.take(&message);
        }
    }

    /// Takes what comes until the connection is closed; the code and when it may come back.
    fn follow_to_the_end(&mut self) -> (Option<u16>, Value) {
        let mut reconnect = Value::Null;
        loop {
            match self.client.frame_in() {
                Received::Text(text) => {
                    let message: Value = serde_json::from_str(&text).expect("JSON");
                    match message["channel"].as_str() {
                        Some("trade") => self.take(&message),
                        _ if message["type"] == "drain" => {
                            reconnect = message["reconnect_ms"].clone();
                        }
                        _ => {}
                    }
                }
                Received::Close(code, _) => {
                    assert_eq!(self.client.frame_in(), Received::End);
                    return (code, reconnect);
                }
                Received::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Comes back with what it has, and is told all that it missed.
    fn come_back(&mut self, server: &Server) {
        self.client = Client::native(server);
        let since = json!({"epoch": self.epoch, "seq": self.last});
        let params = json!({"channel": "trade", "symbol": "sim:*", "since": since});
        let answer = self.client.ask(&json!({"method": "subscribe", "params": params}));
        assert_eq!(answer["success"], true, "{answer}");
        let mut resumed = 0;
        while resumed < self.last.len() {
            let message = self.client.until(|message| message["channel"] == "trade");
            if message["type"] == "resume" {
                assert_eq!(message["recovered"], true, "{message}");
                resumed += 1;
            } else {
                self.take(&message);
            }
        }
    }
}

/// The reactor of each connection, by its client's port.
fn reactors(server: &Server) -> HashMap<u16, u64> {
    let (status, body) = server.get("/v1/connections");
    assert_eq!(status, 200);
    let all: Value = serde_json::from_str(&body).expect("JSON");
    let all = all["connections"].as_array().expect("connections");
    all.iter()
        .map(|connection| {
            let peer = connection["peer"].as_str().expect("a peer");
            let port = peer.rsplit(':').next().expect("a port").parse().expect("a number");
            (port, connection["reactor"].as_u64().expect("a reactor"))
        })
        .collect()
}

fn port(stream: &TcpStream) -> u16 {
    stream.local_addr().expect("an address").port()
}

/// One of three reactors panics.
fn a_reactor_panics(fault: &str) {
    let server = drilled(&[
        "--reactors",
        "3",
        "--feed",
        "synthetic:symbols=4,rate=2000,names=numbered,only=trade",
    ]);
    let mut followers: Vec<Follower> = (0..9).map(|_| Follower::start(&server)).collect();
    let mut streams: Vec<TcpStream> = (0..3).map(|_| events(&server)).collect();
    let mut dialects: Vec<Client> = (0..3).map(|_| Client::open(&server, "/ws")).collect();
    followers.iter_mut().for_each(|follower| follower.follow(20));
    let mut bad = Client::native(&server);
    bad.subscribe("trade", &["sim:*"]);
    let reactors = reactors(&server);
    let failed = reactors[&port(&bad.stream)];
    provoke(&mut bad, fault);

    let is_there = |stream: &TcpStream| reactors[&port(stream)] == failed;
    let (mut gone, mut others): (Vec<_>, Vec<_>) =
        followers.into_iter().partition(|follower| is_there(&follower.client.stream));
    assert_eq!((gone.len(), others.len()), (3, 6));
    for follower in &mut gone {
        assert_eq!(follower.follow_to_the_end(), (Some(1011), json!([500, 8000])));
    }
    for stream in streams.iter_mut().filter(|stream| is_there(stream)) {
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("events");
        assert!(text.contains("event: close\ndata: {\"code\":1011,"), "{text}");
    }
    for client in dialects.iter_mut().filter(|client| is_there(&client.stream)) {
        assert_eq!(client.close().expect("a close frame").0, Some(1011));
    }
    // What the control plane says, and that nobody is sent there any more.
    let (status, body) = server.get("/healthz");
    assert_eq!(
        (status, body),
        (503, format!("reactor {failed} has failed: restart when it suits\n"))
    );
    assert_eq!(server.get("/readyz").0, 200);
    let label = format!("reactor=\"{failed}\"");
    assert_eq!(server.metric("tickcast_reactor_up", &label), 0.0);
    assert_eq!(server.metric("tickcast_reactor_up", ""), 2.0);
    assert_eq!(server.metric("tickcast_sessions", &label), 0.0);
    assert_eq!(server.metric("tickcast_sessions_ended_total", "reason=\"failed\""), 6.0);
    for follower in &mut gone {
        follower.come_back(&server);
    }
    others.iter_mut().chain(&mut gone).for_each(|follower| follower.follow(200));
    server.wait_metric("tickcast_sessions", "", |n| n == (9 + 2 + 2) as f64);
    drain(server, others);
}

/// A stream of events of trades.
fn events(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).expect("connects");
    stream.set_read_timeout(Some(common::PATIENCE)).expect("a timeout");
    let head = "GET /v1/sse?subscribe=trade:sim:* HTTP/1.1\r\nHost: test\r\n\r\n";
    std::io::Write::write_all(&mut stream, head.as_bytes()).expect("writes");
    let mut first = [0; 15];
    stream.read_exact(&mut first).expect("a head");
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    stream
}

/// SIGTERM still ends those who are left in order; the exit code says that not all was well.
fn drain(mut server: Server, others: Vec<Follower>) {
    server.signal("TERM");
    for mut follower in others {
        assert_eq!(follower.follow_to_the_end().0, Some(1012));
    }
    assert_eq!(server.wait().code(), Some(1));
}

#[test]
fn a_reactor_that_panics_over_a_message_takes_nobody_elses_clients_with_it() {
    a_reactor_panics("panic");
}

#[test]
fn a_reactor_that_panics_over_a_tick_takes_nobody_elses_clients_with_it() {
    a_reactor_panics("panic turn");
}

#[test]
fn the_last_reactor_that_panics_ends_the_process() {
    let mut server =
        drilled(&["--reactors", "1", "--feed", "synthetic:symbols=4,rate=2000,names=numbered"]);
    let mut follower = Follower::start(&server);
    follower.follow(20);
    provoke(&mut Client::native(&server), "panic");
    assert_eq!(follower.follow_to_the_end().0, Some(1011));
    assert_eq!(server.wait().code(), Some(1));
}

#[test]
fn a_replay_that_waits_for_reactors_does_not_wait_for_one_that_has_panicked() {
    let mut text = String::new();
    for id in 1..=1_000 {
        let data = json!({"e": "trade", "E": id, "s": "BTCUSDT", "t": id, "p": "1", "q": "1", "T": id,
            "m": true, "M": true});
        let message = json!({"stream": "btcusdt@trade", "data": data});
        text.push_str(&format!("{id}000000 {message}\n"));
    }
    let capture = Capture::new("panicked", &text);
    let server = drilled(&[
        "--reactors",
        "2",
        "--ring-slots",
        "1024",
        "--feed",
        &capture.spec(",speed=max,loop=true"),
    ]);
    server.wait_metric("tickcast_feed_ticks_total", "", |n| n > 10_000.0);
    provoke(&mut Client::native(&server), "panic");
    server.wait_metric("tickcast_reactor_up", "", |n| n == 1.0);
    let before = server.metric("tickcast_feed_ticks_total", "");
    server.wait_metric("tickcast_feed_ticks_total", "", |n| n > before + 10_000.0);
    pause();
}

#[test]
fn without_the_drill_its_text_is_a_message_like_any_other() {
    let server = Server::start(&["--feed", "synthetic:symbols=1,rate=10"]);
    let mut client = Client::native(&server);
    provoke(&mut client, "panic");
    let answer = client.message();
    assert_eq!(answer["success"], false, "{answer}");
    assert_eq!(server.get("/healthz").0, 200);
}

#[test]
fn the_wall_clock_may_step() {
    let server = drilled(&[
        "--reactors",
        "2",
        "--ping-interval",
        "1s",
        "--slow-grace",
        "2s",
        "--feed",
        "synthetic:symbols=4,rate=2000,names=numbered,only=trade",
    ]);
    let mut followers: Vec<Follower> = (0..4).map(|_| Follower::start(&server)).collect();
    let mut somebody = Client::native(&server);
    // An hour back, an hour ahead, and right again.
    for seconds in [-3_600, 7_200, -3_600] {
        provoke(&mut somebody, &format!("clock {seconds}"));
        // Three seconds: longer than pings and graces, whoever is judged by that clock is closed.
        for _ in 0..30 {
            followers.iter_mut().for_each(|follower| follower.follow(200));
        }
        let pong = somebody.ask(&json!({"method": "ping"}));
        assert_eq!(pong["method"], "pong", "{pong}");
    }
    assert_eq!(server.metric("tickcast_sessions", ""), 5.0);
    assert_eq!(server.metric("tickcast_sessions_ended_total", ""), 0.0);
    assert_eq!(server.get("/healthz").0, 200);
}

#[test]
fn a_server_without_descriptors_waits_and_recovers() {
    let server = Server::start(&[
        "--reactors",
        "2",
        "--feed",
        "synthetic:symbols=4,rate=2000,names=numbered,only=trade",
    ]);
    let mut follower = Follower::start(&server);
    follower.follow(20);
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("proc").count();
    let limit = format!("--nofile={}:", open + 10);
    let set = std::process::Command::new("prlimit")
        .args(["--pid", &server.pid().to_string(), &limit])
        .status();
    assert!(set.expect("prlimit runs").success());
    let connect = |_| TcpStream::connect(server.address).expect("the kernel takes it");
    let crowd: Vec<TcpStream> = (0..50).map(connect).collect();
    follower.follow(4_000);
    drop(crowd);
    let mut late = Follower::start(&server);
    late.follow(20);
    follower.follow(20);
    let errors = server.metric("tickcast_accept_errors_total", "");
    // Some for each second of the test; a busy loop has as many in a millisecond.
    assert!((1.0..2_000.0).contains(&errors), "{errors}");
}

#[test]
fn a_bad_network_costs_time_and_nothing_else() {
    let Some(python) = common::python::interpreter() else { return };
    let server = Server::start(&[
        "--reactors",
        "2",
        "--slow-grace",
        "60s",
        "--outbox-bytes",
        "64MiB",
        "--ring-slots",
        "1048576",
        "--feed",
        "synthetic:symbols=4,rate=1000,names=numbered",
    ]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/bad_network.py");
    let output = std::process::Command::new(python)
        .args([script, &server.address.to_string(), "6", "4000", "3"])
        .output()
        .expect("runs");
    let (said, failed) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{failed}");
    let sums: Value = serde_json::from_str(&said).expect("JSON");
    // Four symbols of two channels, each time anew.
    assert!(sums["cuts"].as_u64() >= Some(18) && sums["resumed"].as_u64() >= Some(100), "{sums}");
}
