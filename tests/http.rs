//! The control plane as monitors, browsers and bored strangers see it.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use common::{Capture, Client, PATIENCE, Server, pause};
use serde_json::{Value, json};

fn server() -> Server {
    Server::start(&["--reactors", "2", "--feed", "synthetic:symbols=20,rate=2000"])
}

fn json_of(server: &Server, path: &str) -> Value {
    let until = std::time::Instant::now() + PATIENCE;
    let (status, body) = loop {
        let (status, body) = server.get(path);
        // A reactor that the machine does not run in time is said to be silent: to be asked again.
        if status != 503 || !body.contains("does not answer") || std::time::Instant::now() > until {
            break (status, body);
        }
        pause();
    };
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}"))
}

/// A connection that is kept.
struct Kept {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Kept {
    fn open(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Kept { stream, buffer: Vec::new() }
    }

    fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).expect("writes");
    }

    fn fill(&mut self) -> bool {
        let mut bytes = [0; 16 << 10];
        let n = self.stream.read(&mut bytes).expect("reads");
        self.buffer.extend_from_slice(&bytes[..n]);
        n > 0
    }

    /// The head of the next answer and as many bytes of its body as it says; for the answer to
    /// HEAD, none.
    fn answer(&mut self, has_body: bool) -> (String, Vec<u8>) {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break end;
            }
            assert!(self.fill(), "the connection ended before an answer");
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).to_lowercase();
        let len = header(&head, "content-length").map_or(0, |n| n.parse().expect("a number"));
        let len = if has_body { len } else { 0 };
        while self.buffer.len() < end + 4 + len {
            assert!(self.fill(), "the connection ended within an answer");
        }
        let body = self.buffer[end + 4..end + 4 + len].to_vec();
        self.buffer.drain(..end + 4 + len);
        (head, body)
    }
}

/// The value of a header in a head that is in lower case.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

#[test]
fn health_and_readiness() {
    let server = server();
    assert_eq!(server.get("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(server.get("/readyz"), (200, "ready\n".to_owned()));
    // A query changes nothing.
    assert_eq!(server.get("/healthz?verbose=1").0, 200);
}

#[test]
fn a_server_whose_only_feed_failed_is_healthy_but_not_ready() {
    let capture = Capture::new("failed", "");
    let server = Server::start(&["--reactors", "1", "--feed", &capture.spec("")]);
    server.wait_metric("tickcast_feed_up", "", |up| up == 0.0);
    assert_eq!(server.get("/healthz").0, 200);
    let (status, body) = server.get("/readyz");
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("replay:"), "{body}");
    assert_eq!(json_of(&server, "/v1/feeds")["feeds"][0]["state"], "failed");
}

#[test]
fn metrics_satisfy_the_format_s_own_checker() {
    let server = server();
    let mut client = Client::native(&server);
    client.subscribe("trade", &["*"]);
    client.until(|message| message["channel"] == "trade");
    let (status, text) = server.get("/metrics");
    assert_eq!(status, 200);
    let Some(promtool) = common::tool("promtool") else { return };
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("writes");
    let output = child.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{text}");
    assert_eq!(said.trim(), "", "not even advice");
}

#[test]
fn no_sample_comes_twice_from_the_first_moment_on() {
    for _ in 0..5 {
        let server = Server::start(&["--reactors", "8", "--feed", "synthetic:symbols=1,rate=1"]);
        let (_, text) = server.get("/metrics");
        let mut seen = std::collections::BTreeSet::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, _) = line.rsplit_once(' ').expect("a name and a value");
            assert!(seen.insert(name), "{name} comes twice");
        }
    }
}

#[test]
fn metrics_have_one_type_and_every_family_its_samples() {
    let server = server();
    let (status, head, text) =
        server.request("GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert_eq!(status, 200);
    assert!(head.contains("text/plain; version=0.0.4; charset=utf-8"), "{head}");
    let types: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    assert!(types.len() > 30);
    for line in types {
        let mut words = line.split(' ').skip(2);
        let (name, kind) = (words.next().expect("a name"), words.next().expect("a type"));
        assert_eq!(text.matches(&format!("# TYPE {name} ")).count(), 1, "{name}");
        assert_eq!(text.matches(&format!("# HELP {name} ")).count(), 1, "{name}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        let sample =
            if kind == "histogram" { format!("\n{name}_count") } else { format!("\n{name}") };
        assert!(text.contains(&format!("{sample}{{")) || text.contains(&format!("{sample} ")));
    }
}

#[test]
fn histogram_buckets_are_cumulative_and_end_with_the_count() {
    let server = server();
    let mut client = Client::native(&server);
    client.subscribe("trade", &["*"]);
    server.wait_metric("tickcast_recv_to_write_seconds_count", "", |n| n > 20.0);
    let (_, text) = server.get("/metrics");
    let stages = ["tickcast_recv_to_encoded_seconds", "tickcast_recv_to_write_seconds"];
    let reactors = ["reactor=\"0\"", "reactor=\"1\""];
    for (name, reactor) in stages.into_iter().flat_map(|name| reactors.map(|of| (name, of))) {
        let of = |suffix: &str| -> Vec<f64> {
            text.lines()
                .filter(|line| line.starts_with(&format!("{name}{suffix}{{{reactor}")))
                .map(|line| line.rsplit(' ').next().expect("a value").parse().expect("a number"))
                .collect()
        };
        let buckets = of("_bucket");
        assert_eq!(buckets.len(), 19, "{text}");
        assert!(buckets.windows(2).all(|pair| pair[0] <= pair[1]), "{buckets:?}");
        assert_eq!(buckets.last(), of("_count").first());
        assert!(of("_sum")[0].is_finite());
    }
    // The ingest's, which has no label.
    let of = |what: &str| -> Vec<f64> {
        text.lines()
            .filter_map(|line| {
                line.strip_prefix("tickcast_recv_to_ring_seconds_")?.strip_prefix(what)
            })
            .map(|line| line.rsplit(' ').next().expect("a value").parse().expect("a number"))
            .collect()
    };
    let buckets = of("bucket{le=");
    assert_eq!(buckets.len(), 19, "{text}");
    assert!(buckets.windows(2).all(|pair| pair[0] <= pair[1]), "{buckets:?}");
    assert!(buckets[18] > 0.0 && buckets.last() == of("count ").first(), "{text}");
}

#[test]
fn metrics_tell_what_newcomers_take() {
    let server = server();
    let mut client = Client::native(&server);
    client.subscribe("quote", &["*"]);
    server.wait_metric("tickcast_admission_seconds_total", "", |seconds| seconds > 0.0);
    server.wait_metric("tickcast_admission_waiting", "", |waiting| waiting == 0.0);
    // Who asks is under way, and nobody else: an upgraded connection is a session.
    assert_eq!(server.metric("tickcast_handshakes", ""), 1.0);
    let (_, text) = server.get("/metrics");
    for name in ["tickcast_admission_paced_total{", "tickcast_accept_paced_total "] {
        assert!(text.contains(&format!("\n{name}")), "{text}");
    }
}

#[test]
fn counters_move_as_clients_do() {
    let server = server();
    let count = |name: &str| server.metric(name, "");
    assert_eq!(count("tickcast_sessions_accepted_total"), 0.0);
    let mut client = Client::native(&server);
    let mut other = Client::native(&server);
    assert_eq!(client.subscribe("trade", &["*"])["result"][0]["matched"], 20);
    client.send(&json!({"method": "nonsense"}));
    other.ask(&json!({"method": "ping"}));
    server.wait_metric("tickcast_sessions", "", |n| n == 2.0);
    server.wait_metric("tickcast_subscriptions", "", |n| n == 20.0);
    server.wait_metric("tickcast_requests_total", "", |n| n == 3.0);
    server.wait_metric("tickcast_requests_refused_total", "", |n| n == 1.0);
    server.wait_metric("tickcast_deliveries_total", "", |n| n > 10.0);
    server.wait_metric("tickcast_encoded_total", "", |n| n > 10.0);
    server.wait_metric("tickcast_sent_bytes_total", "", |n| n > 1000.0);
    server.wait_metric("tickcast_received_bytes_total", "", |n| n > 100.0);
    server.wait_metric("tickcast_heartbeats_total", "", |n| n >= 1.0);
    assert_eq!(count("tickcast_upgrades_total"), 2.0);
    // Ticks reach both reactors, and each of them once.
    let ticks = count("tickcast_ingest_ticks_total");
    assert!(
        ticks > 0.0
            && ticks <= server.wait_metric("tickcast_ticks_total", "", |n| n >= 2.0 * ticks) / 2.0
    );
    assert!(count("tickcast_feed_ticks_total") >= ticks);
    assert_eq!(count("tickcast_feed_up"), 1.0);

    client.frame(0x88, &1000u16.to_be_bytes());
    drop(other);
    server.wait_metric("tickcast_sessions_ended_total", "reason=\"closed_by_peer\"", |n| n == 1.0);
    server.wait_metric("tickcast_sessions_ended_total", "reason=\"lost\"", |n| n == 1.0);
    server.wait_metric("tickcast_sessions", "", |n| n == 0.0);
    server.wait_metric("tickcast_subscriptions", "", |n| n == 0.0);
    let (requests, accepted) =
        (count("tickcast_http_requests_total"), count("tickcast_connections_accepted_total"));
    server.get("/nothing");
    assert!(count("tickcast_http_requests_total") >= requests + 2.0);
    assert!(count("tickcast_connections_accepted_total") >= accepted + 2.0);
}

#[test]
fn connections_are_listed_up_to_a_limit() {
    let server = server();
    assert_eq!(
        json_of(&server, "/v1/connections"),
        json!({"clients": 0, "shown": 0, "connections": []})
    );
    let mut clients: Vec<Client> = (0..5).map(|_| Client::native(&server)).collect();
    for client in &mut clients {
        client.subscribe("trade", &["*"]);
        client.until(|message| message["channel"] == "trade");
    }
    let answer = json_of(&server, "/v1/connections");
    assert_eq!((&answer["clients"], &answer["shown"]), (&json!(5), &json!(5)));
    let mut peers = Vec::new();
    let mut ids = std::collections::BTreeSet::new();
    for connection in answer["connections"].as_array().expect("a list") {
        assert!(ids.insert(connection["id"].as_str().expect("a text").to_owned()));
        assert_eq!(connection["subscriptions"], 20);
        for field in
            ["reactor", "connected_ms", "sent_bytes", "queued_bytes", "blocked_ms", "ring_lag"]
        {
            assert!(connection[field].is_u64(), "{field}: {connection}");
        }
        assert!(connection["delivered"].as_u64() > Some(0), "{connection}");
        assert_eq!(connection["closing"], Value::Null);
        peers.push(connection["peer"].as_str().expect("a text").to_owned());
    }
    for client in &clients {
        let me = client.stream.local_addr().expect("an address").to_string();
        assert!(peers.contains(&me), "{me} in {peers:?}");
    }
    for (limit, shown) in [(0, 0), (3, 3), (100_000, 5)] {
        let answer = json_of(&server, &format!("/v1/connections?limit={limit}"));
        assert_eq!(answer["shown"], shown);
        assert_eq!(answer["connections"].as_array().expect("a list").len(), shown);
        assert_eq!(answer["clients"], 5);
    }
    for bad in ["-1", "x", "", "100001", "99999999999999999999", "1.5"] {
        let (status, body) = server.get(&format!("/v1/connections?limit={bad}"));
        assert_eq!(status, 400, "{bad}");
        assert!(body.contains("0 to 100000"), "{bad}: {body}");
    }
}

#[test]
fn stats_have_the_shape_that_the_page_draws() {
    let server = server();
    let empty = json_of(&server, "/v1/stats");
    assert_eq!(empty["latency_us"]["count"], 0);
    let buckets = empty["latency_us"]["buckets"].as_array().expect("a list");
    assert!(buckets.iter().all(|bucket| bucket[1] == 0), "{buckets:?}");
    assert_eq!(empty["latency_us"]["max"], 0.0);

    let mut client = Client::native(&server);
    client.subscribe("quote", &["*"]);
    server.wait_metric("tickcast_recv_to_write_seconds_count", "", |n| n > 20.0);
    let stats = json_of(&server, "/v1/stats");
    for field in ["uptime_s", "symbols", "clients", "subscriptions", "ticks", "deliveries"] {
        assert!(stats[field].as_f64() > Some(0.0), "{field}: {stats}");
    }
    for field in ["version", "commit", "epoch"] {
        assert!(stats[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {stats}");
    }
    let epoch = &client.subscribe("trade", &["*"])["result"][0]["epoch"];
    assert_eq!(&stats["epoch"], epoch);

    let latency = &stats["latency_us"];
    let buckets: Vec<(f64, u64)> =
        serde_json::from_value(latency["buckets"].clone()).expect("pairs of numbers");
    assert!(buckets.iter().all(|(upper, _)| upper.is_finite() && *upper > 0.0));
    assert!(buckets.windows(2).all(|pair| pair[0].0 < pair[1].0), "{buckets:?}");
    let sum: u64 = buckets.iter().map(|(_, count)| count).sum();
    assert_eq!(Some(sum), latency["count"].as_u64());
    let quantiles = ["p50", "p90", "p99", "p999", "max"].map(|q| latency[q].as_f64().expect(q));
    assert!(quantiles.windows(2).all(|pair| pair[0] <= pair[1]), "{quantiles:?}");
    assert!(buckets.last().expect("a bucket").0 >= quantiles[4]);

    assert_eq!(stats["reactors"].as_array().map(Vec::len), Some(2));
    for (id, reactor) in stats["reactors"].as_array().expect("a list").iter().enumerate() {
        assert_eq!(reactor["id"], id);
        for field in
            ["clients", "subscriptions", "ticks", "deliveries", "sends", "lapped", "ring_lag"]
        {
            assert!(reactor[field].is_u64(), "{field}: {reactor}");
        }
    }
    let feed = &stats["feeds"][0];
    assert_eq!((&feed["state"], &feed["rejected"]), (&json!("running"), &json!(0)));
    assert!(feed["name"].as_str().is_some_and(|name| name.starts_with("synthetic:")), "{feed}");
    // Rates are over half a second at least.
    while json_of(&server, "/v1/stats")["ticks_per_s"] == 0.0 {
        common::pause();
    }
    assert!(json_of(&server, "/v1/stats")["deliveries_per_s"].as_f64() > Some(0.0));
}

#[test]
fn feeds_list_what_they_rejected() {
    let trade = |id: u64, price: &str| {
        format!(
            "{} {}\n",
            1_723_161_254_000_000_000 + id,
            json!({"stream": "btcusdt@trade", "data": {"e": "trade", "E": 1_723_161_255_343u64,
                "s": "BTCUSDT", "t": id, "p": price, "q": "0.02", "T": 1_723_161_255_342u64,
                "m": true, "M": true}})
        )
    };
    let text = trade(1, "61837.63")
        + "this is <no> line of a capture\n"
        + &trade(2, "not a price")
        + &trade(3, "61837.64");
    let capture = Capture::new("rejects", &text);
    let server = Server::start(&["--reactors", "1", "--feed", &capture.spec(",speed=max")]);
    server.wait_metric("tickcast_feed_ticks_total", "", |n| n == 2.0);
    server.wait_metric("tickcast_feed_rejected_total", "", |n| n == 2.0);
    server.wait_metric("tickcast_feed_up", "", |n| n == 0.0);
    let feeds = json_of(&server, "/v1/feeds");
    let feed = &feeds["feeds"][0];
    assert_eq!((&feed["state"], &feed["rejected"]), (&json!("ended"), &json!(2)), "{feeds}");
    let rejects = feed["rejects"].as_array().expect("a list");
    assert_eq!(rejects.len(), 2, "{feeds}");
    for (reject, text) in rejects.iter().zip(["this is <no> line", "not a price"]) {
        assert_eq!(reject["count"], 1);
        assert!(reject["text"].as_str().is_some_and(|t| t.contains(text)), "{reject}");
        for field in ["kind", "detail"] {
            assert!(reject[field].as_str().is_some_and(|t| !t.is_empty()), "{reject}");
        }
    }
    // A feed that has ended leaves its values to be served.
    assert_eq!(server.get("/readyz").0, 200);
}

#[test]
fn other_paths_and_methods_are_told_what_there_is() {
    let server = server();
    for path in ["/nothing", "/v1/", "/v1/stats/", "/web/../Cargo.toml", "/%2e%2e/etc/passwd", "//"]
    {
        let (status, body) = server.get(path);
        assert_eq!(status, 404, "{path}");
        assert!(body.contains("/metrics") && body.contains("/v1/ws"), "{body}");
        assert!(!body.contains("passwd"), "what was asked for is not repeated");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        for path in ["/", "/metrics", "/v1/stats", "/nothing"] {
            let (status, head, body) = server.request(&format!(
                "{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
            ));
            assert_eq!(status, 405, "{method} {path}");
            assert!(head.to_lowercase().contains("allow: get, head"), "{head}");
            assert!(body.contains(method), "{body}");
        }
    }
}

#[test]
fn one_connection_serves_many_requests() {
    let server = server();
    let mut kept = Kept::open(&server);
    for path in ["/healthz", "/nothing", "/metrics", "/v1/stats", "/"] {
        kept.send(&get(path));
        let (head, body) = kept.answer(true);
        assert!(!body.is_empty(), "{path}: {head}");
    }
    // HEAD: the same head, no body, and the connection goes on.
    kept.send("HEAD /healthz HTTP/1.1\r\nHost: test\r\n\r\n");
    let (head, _) = kept.answer(false);
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert_eq!(header(&head, "content-length"), Some("3"));
    // Two at once are answered in their order.
    kept.send(&(get("/healthz") + &get("/readyz")));
    assert_eq!(kept.answer(true).1, b"ok\n");
    assert_eq!(kept.answer(true).1, b"ready\n");
    // And an upgrade may come last.
    kept.send(
        "GET /v1/ws HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    let mut client = Client::answered(kept.stream);
    assert_eq!(client.ask(&json!({"method": "ping", "req_id": 1}))["req_id"], 1);
}

#[test]
fn the_page_is_cached_by_its_tag_and_kept_to_this_server() {
    let server = server();
    let mut kept = Kept::open(&server);
    for (path, mime) in [
        ("/", "text/html; charset=utf-8"),
        ("/web/main.js", "text/javascript; charset=utf-8"),
        ("/web/style.css", "text/css; charset=utf-8"),
        ("/favicon.ico", "image/svg+xml"),
    ] {
        kept.send(&get(path));
        let (head, body) = kept.answer(true);
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        assert_eq!(header(&head, "content-type"), Some(mime));
        assert_eq!(header(&head, "cache-control"), Some("no-cache"));
        assert_eq!(header(&head, "x-content-type-options"), Some("nosniff"));
        let policy = header(&head, "content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        let tag = header(&head, "etag").expect("a tag").to_owned();
        assert!(!body.is_empty());

        let again = |tag: &str| {
            format!("GET {path} HTTP/1.1\r\nHost: test\r\nIf-None-Match: {tag}\r\n\r\n")
        };
        // Alone, in a list, as weak as a cache may have made it, and as anything.
        for same in [tag.clone(), format!("\"old\", {tag}"), format!("W/{tag}"), "*".to_owned()] {
            kept.send(&again(&same));
            let (head, body) = kept.answer(false);
            assert!(head.starts_with("http/1.1 304 "), "{same}: {head}");
            assert_eq!(header(&head, "etag"), Some(tag.as_str()));
            assert!(body.is_empty());
        }
        kept.send(&again("\"0000000000000000\""));
        let (head, other) = kept.answer(true);
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        assert_eq!(other, body);
    }
    // What changes is never stored.
    kept.send(&get("/v1/stats"));
    let (head, _) = kept.answer(true);
    assert_eq!(header(&head, "cache-control"), Some("no-store"));
    assert_eq!(header(&head, "content-type"), Some("application/json"));
}

#[test]
fn what_is_not_http_is_turned_away() {
    let server = server();
    let tls_hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    let cases: [&[u8]; 7] = [
        b"hello\r\n\r\n",
        &tls_hello,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /healthz HTTP/3.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        &[0xff; 20_000],
    ];
    for case in cases {
        let mut stream = TcpStream::connect(server.address).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let _ = stream.write_all(case);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        // Data that nobody reads may make the end a reset.
        let end = stream.read_to_end(&mut answer);
        assert!(!matches!(end, Err(e) if e.kind() == std::io::ErrorKind::WouldBlock));
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).unwrap_or("");
        assert!(answer.is_empty() || status.starts_with("4"), "{case:?}: {answer}");
    }
    assert_eq!(server.get("/healthz").0, 200);
}

#[test]
fn pages_of_other_origins_open_no_websocket() {
    let server = Server::start(&["--cors-origin", "https://app.example"]);
    let status = |path: &str, origin: &str| {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: feed.example\r\nOrigin: {origin}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade, close\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n"
        );
        let mut stream = std::net::TcpStream::connect(server.address).expect("connects");
        stream.set_read_timeout(Some(common::PATIENCE)).expect("a timeout");
        stream.write_all(request.as_bytes()).expect("writes");
        let mut answer = vec![0; 512];
        let n = stream.read(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer[..n]).into_owned()
    };
    for path in ["/v1/ws", "/ws", "/ws/btcusdt@trade", "/stream?streams=btcusdt@trade", "/v1/echo"]
    {
        for origin in ["https://feed.example", "https://app.example"] {
            let answer = status(path, origin);
            assert!(answer.starts_with("HTTP/1.1 101 "), "{path} {origin}: {answer}");
        }
        for origin in ["https://evil.example", "null", "https://app.example.evil"] {
            let answer = status(path, origin);
            assert!(answer.starts_with("HTTP/1.1 403 "), "{path} {origin}: {answer}");
            assert!(answer.contains(origin) && answer.contains("--cors-origin"), "{answer}");
        }
    }
    assert_eq!(server.metric("tickcast_upgrades_foreign_total", ""), 15.0);
}
