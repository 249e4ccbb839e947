//! Server-sent events as a client sees them: what a browser's `EventSource` takes, reads and comes back
//! with, over a plain socket.

mod common;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use common::{PATIENCE, Server, pause};
use serde_json::{Value, json};

fn busy(args: &[&str]) -> Server {
    let mut all = vec!["--reactors", "2"];
    all.extend(args);
    all.extend(["--feed", "synthetic:symbols=4,rate=2000,names=numbered"]);
    let server = Server::start(&all);
    // Each symbol has a quote and a book: before its first there is no snapshot to begin with.
    server.wait_metric("tickcast_ingest_ticks_total", "", |ticks| ticks > 200.0);
    server
}

/// One event, as the specification has it dispatched.
#[derive(Clone, Debug, Default, PartialEq)]
struct Event {
    kind: String,
    data: String,
    /// The last id when it came.
    id: String,
}

/// A client that reads events as the HTML standard says.
struct Stream {
    socket: TcpStream,
    buffer: Vec<u8>,
    head: String,
    id: String,
    retry: Option<u64>,
    comments: usize,
}

impl Stream {
    /// Asks, and reads the head of the answer.
    fn open(server: &Server, query: &str, headers: &str) -> Self {
        let mut socket = TcpStream::connect(server.address).expect("connects");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let request = format!(
            "GET /v1/sse?{query} HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n{headers}\r\n"
        );
        socket.write_all(request.as_bytes()).expect("writes");
        let mut stream = Stream {
            socket,
            buffer: Vec::new(),
            head: String::new(),
            id: String::new(),
            retry: None,
            comments: 0,
        };
        let end = loop {
            if let Some(end) = stream.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break end;
            }
            assert!(stream.fill(), "the connection ended in the head");
        };
        stream.head = String::from_utf8_lossy(&stream.buffer[..end]).to_lowercase();
        stream.buffer.drain(..end + 4);
        stream
    }

    fn fill(&mut self) -> bool {
        let mut bytes = [0; 65_536];
        let count = self.socket.read(&mut bytes).expect("something comes");
        self.buffer.extend_from_slice(&bytes[..count]);
        count > 0
    }

    /// The next event; `None` at the end of the stream.
    fn event(&mut self) -> Option<Event> {
        loop {
            while let Some(end) = self.buffer.windows(2).position(|w| w == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
                let block = String::from_utf8(block).expect("text and nothing else");
                let (mut kind, mut data) = ("message".to_owned(), String::new());
                for line in block.lines().filter(|line| !line.is_empty()) {
                    let (field, value) = line.split_once(':').expect("a field");
                    let value = value.strip_prefix(' ').unwrap_or(value);
                    match field {
                        "" => self.comments += 1,
                        "id" => self.id = value.to_owned(),
                        "retry" => self.retry = value.parse().ok(),
                        "event" => kind = value.to_owned(),
                        "data" => data.push_str(value),
                        _ => panic!("unknown field in {block:?}"),
                    }
                }
                if !data.is_empty() {
                    return Some(Event { kind, data, id: self.id.clone() });
                }
            }
            if !self.fill() {
                assert!(self.buffer.is_empty(), "half an event: {:?}", self.buffer);
                return None;
            }
        }
    }

    /// The next message.
    fn message(&mut self) -> Value {
        let event = self.event().expect("an event");
        assert_eq!(event.kind, "message");
        serde_json::from_str(&event.data).expect("JSON")
    }

    /// The next message of a channel.
    fn of(&mut self, channel: &str) -> Value {
        loop {
            let message = self.message();
            if message["channel"] == channel {
                return message;
            }
        }
    }
}

fn seq(message: &Value) -> u64 {
    message["seq"].as_u64().expect("a sequence")
}

#[test]
fn a_stream_begins_with_its_answers_and_goes_on_with_snapshots_and_updates() {
    let server = busy(&["--cors-origin", "https://a.example"]);
    let query = "subscribe=book:sim:S0001-USD:5,quote:sim:*,status:S0001-USD";
    let mut stream = Stream::open(&server, query, "Origin: https://a.example\r\n");
    for part in [
        "http/1.1 200 ok\r\n",
        "\r\ncontent-type: text/event-stream",
        "\r\ncache-control: no-store",
        "\r\nconnection: close",
        "\r\naccess-control-allow-origin: https://a.example",
    ] {
        assert!(stream.head.contains(part), "{part} is not in {}", stream.head);
    }
    for channel in ["book", "quote", "status"] {
        let answer = stream.message();
        assert_eq!((&answer["method"], &answer["success"]), (&json!("subscribe"), &json!(true)));
        assert_eq!(answer["result"][0]["channel"], channel);
        assert_eq!(stream.id, "", "nothing is complete yet");
    }
    assert_eq!(stream.retry, Some(1_000));
    let mut kinds: HashMap<(String, String), Vec<String>> = HashMap::new();
    let mut last = HashMap::new();
    for _ in 0..500 {
        let message = stream.message();
        let of = (message["channel"].to_string(), message["symbol"].to_string());
        if message["type"] == "update" {
            assert_eq!(message["prev"], last[&of], "{message}");
        }
        last.insert(of.clone(), message["seq"].clone());
        kinds.entry(of).or_default().push(message["type"].as_str().unwrap_or("").to_owned());
    }
    assert_eq!(kinds.len(), 6, "{:?}", kinds.keys());
    assert!(kinds.values().all(|kinds| kinds[0] == "snapshot" || kinds[0] == "feed"), "{kinds:?}");
    assert!(!stream.id.is_empty());
}

#[test]
fn what_is_wrong_with_a_request_is_named() {
    let server = busy(&["--max-subscriptions", "3"]);
    for (query, status, code, named) in [
        ("", 400, "missing_field", "`subscribe`"),
        ("subscribe=trade", 400, "bad_value", "trade"),
        ("subscribe=trades:sim:*", 400, "bad_value", "trades"),
        ("subscribe=book:sim:S0001-USD:0", 400, "bad_value", "1 to 1000"),
        ("subscribe=trade:sim:S0009-USD", 404, "unknown_symbol", "S0009"),
        ("subscribe=trade:sum:*", 404, "unknown_venue", "sum"),
        ("subscribe=trade:*&history=2000", 400, "bad_value", "2000"),
        ("subscribe=trade:*&foo=1", 400, "unknown_field", "`foo`"),
        ("subscribe=trade:*&last_event_id=x", 400, "bad_value", "last_event_id"),
        ("subscribe=quote:*&mode=some", 400, "bad_value", "\"some\" for `mode`"),
        ("subscribe=quote:*,status:*&mode=conflate", 400, "bad_value", "`mode`"),
        ("subscribe=quote:*&max_hz=0.01", 400, "bad_value", "0.01 for `max_hz`"),
        ("subscribe=quote:*&mode=all&max_hz=5", 400, "bad_value", "mode conflate only"),
        ("subscribe=quote:*&batch_ms=50", 400, "bad_value", "mode batch only"),
        ("subscribe=trade:*,quote:*,book:*,bar:*", 400, "too_many_subscriptions", "3"),
    ] {
        let (got, body) = server.get(&format!("/v1/sse?{query}"));
        let body: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{query}: {body}"));
        assert_eq!((got, &body["error"]["code"]), (status, &json!(code)), "{query}: {body}");
        assert!(body["error"]["message"].as_str().expect("text").contains(named), "{body}");
    }
    let (status, head, _) =
        server.request("POST /v1/sse HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    assert_eq!((status, head.to_lowercase().contains("allow: get, head, options")), (405, true));
    // Not begun, not counted.
    server.wait_metric("tickcast_sessions", "", |n| n == 0.0);
}

/// Reads trades of all symbols over many connections, each begun with the id of the one before it, and
/// checks that nothing is missing; says how many came twice.
fn trades_over_cuts(server: &Server, cuts: usize) -> usize {
    let mut last: HashMap<String, u64> = HashMap::new();
    let (mut id, mut twice) = (String::new(), 0);
    for cut in 0..cuts {
        let header = if id.is_empty() { String::new() } else { format!("Last-Event-ID: {id}\r\n") };
        let mut stream = Stream::open(server, "subscribe=trade:sim:*", &header);
        let resumes = !id.is_empty();
        let mut recovered = 0;
        let mut count = 0;
        while count < 50 + cut * 13 || resumes && recovered < 4 {
            count += 1;
            let message = stream.of("trade");
            if message["type"] == "resume" {
                assert_eq!(message["recovered"], true, "{message}");
                recovered += 1;
                continue;
            }
            let symbol = message["symbol"].as_str().expect("a symbol").to_owned();
            match last.get(&symbol) {
                Some(last) if seq(&message) <= *last => twice += 1,
                Some(last) => assert_eq!(message["prev"], *last, "cut {cut}: {message}"),
                None => {}
            }
            let newest = last.entry(symbol).or_default();
            *newest = seq(&message).max(*newest);
        }
        assert_eq!(recovered, if resumes { 4 } else { 0 });
        id = stream.id.clone();
        assert!(!id.is_empty());
        drop(stream);
        (0..cut % 5).for_each(|_| pause());
    }
    twice
}

#[test]
fn a_stream_goes_on_where_its_last_id_was_and_misses_nothing() {
    let server = busy(&[]);
    let twice = trades_over_cuts(&server, 15);
    eprintln!("{twice} events came twice");
}

#[test]
fn an_id_of_another_start_or_too_old_begins_anew_and_says_so() {
    let server = busy(&["--ring-slots", "1024", "--history", "0"]);
    let mut stream = Stream::open(&server, "subscribe=quote:sim:S0001-USD", "");
    while stream.id.is_empty() {
        stream.of("quote");
    }
    let old = stream.id.clone();
    let ticks = server.metric("tickcast_ticks_total", "");
    server.wait_metric("tickcast_ticks_total", "", |n| n > ticks + 4_000.0);
    for (id, reason) in [("zz-5", "epoch"), (old.as_str(), "too_old")] {
        let query = format!("subscribe=quote:sim:S0001-USD&last_event_id={id}");
        let mut stream = Stream::open(&server, &query, "");
        let resume = stream.of("quote");
        assert_eq!((&resume["recovered"], &resume["reason"]), (&json!(false), &json!(reason)));
        assert_eq!(stream.of("quote")["type"], "snapshot");
    }
}

#[test]
fn a_quiet_stream_has_comments_and_its_id_goes_on() {
    let server = Server::start(&[
        "--feed",
        "synthetic:symbols=2,rate=100,names=numbered",
        "--ping-interval",
        "200ms",
        "--ping-timeout",
        "200ms",
    ]);
    // Nothing is ever said of an hour that is not over by more than a bar a quarter second; a status is
    // quieter.
    let mut stream = Stream::open(&server, "subscribe=status:sim:S0001-USD", "");
    // Whatever a client says is passed over, and it may say that it says no more.
    stream.socket.write_all(b"\x81\x05hello and more of it\r\n\r\n").expect("writes");
    stream.socket.shutdown(Shutdown::Write).expect("half-closes");
    assert_eq!(stream.of("status")["state"], "live");
    let first = stream.id.clone();
    stream.socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    while stream.comments < 3 {
        assert!(stream.fill());
        // Parses what came; no event is among it.
        let whole = stream.buffer.windows(2).rposition(|w| w == b"\n\n").map_or(0, |at| at + 2);
        let text: Vec<u8> = stream.buffer.drain(..whole).collect();
        let text = String::from_utf8(text).expect("text");
        for line in text.lines().filter(|line| !line.is_empty()) {
            match line.strip_prefix("id: ") {
                Some(id) => stream.id = id.to_owned(),
                None => {
                    assert_eq!(line, ":", "no event, no control frame");
                    stream.comments += 1;
                }
            }
        }
    }
    assert_ne!(stream.id, first);
    assert_eq!(server.metric("tickcast_sessions_ended_total", ""), 0.0, "nobody waits for a pong");
    // Who is gone is found out by writing.
    drop(stream);
    server.wait_metric("tickcast_sessions_ended_total", "reason=\"lost\"", |n| n == 1.0);
}

#[test]
fn a_slow_reader_is_told_why_and_closed_like_any_other() {
    let server = busy(&["--outbox-bytes", "128KiB", "--slow-grace", "1s"]);
    let mut stream = Stream::open(&server, "subscribe=trade:*,quote:*,book:*", "");
    server.wait_metric("tickcast_sessions_ended_total", "reason=\"slow", |n| n == 0.0);
    // It reads nothing until it is closed, or at least told to go.
    server.wait_metric("tickcast_sessions_ending", "", |n| n == 1.0);
    let (mut lag, mut close) = (false, None);
    while let Some(event) = stream.event() {
        assert!(close.is_none(), "something came after the close");
        let data: Value = serde_json::from_str(&event.data).expect("JSON");
        match event.kind.as_str() {
            "close" => close = Some(data),
            _ => lag |= data["type"] == "lag" && data["policy"] == "disconnect",
        }
    }
    assert!(lag);
    assert_eq!(close.expect("an end")["code"], 4008);
}

#[test]
fn a_drain_says_when_to_come_back_and_ends_the_stream() {
    let mut server = busy(&["--drain-spread", "2s..3s"]);
    let mut stream = Stream::open(&server, "subscribe=trade:*", "");
    stream.of("trade");
    server.signal("TERM");
    let mut last = Vec::new();
    while let Some(event) = stream.event() {
        last.push(event);
    }
    let close = last.pop().expect("an end");
    assert_eq!(close.kind, "close");
    let drain: Value = serde_json::from_str(&last.pop().expect("a drain").data).expect("JSON");
    assert_eq!((&drain["type"], &drain["reconnect_ms"]), (&json!("drain"), &json!([2000, 3000])));
    assert!((2_000..=3_000).contains(&stream.retry.expect("a hint")), "{:?}", stream.retry);
    drop(stream);
    assert!(server.wait().success());
}

#[test]
fn streams_count_as_clients() {
    let server = busy(&["--max-clients", "2"]);
    let mut streams: Vec<_> =
        (0..2).map(|_| Stream::open(&server, "subscribe=trade:*", "")).collect();
    streams.iter_mut().for_each(|stream| drop(stream.of("trade")));
    assert_eq!(server.get("/v1/sse?subscribe=trade:*").0, 503);
    // Metrics are some time behind: the 0 of before they came would do as well.
    server.wait_metric("tickcast_sessions", "", |n| n == 2.0);
    streams.clear();
    server.wait_metric("tickcast_sessions", "", |n| n == 0.0);
    let mut stream = Stream::open(&server, "subscribe=trade:*", "");
    stream.of("trade");
}

#[test]
fn a_stream_may_be_told_sums_and_then_begins_anew_when_it_comes_back() {
    let server = busy(&[]);
    let query = "subscribe=quote:sim:*,book:S0001-USD:5,trade:S0002-USD&max_hz=20";
    let mut stream = Stream::open(&server, query, "");
    for _ in 0..3 {
        let answer = stream.message();
        let what = &answer["result"][0];
        assert_eq!((&what["mode"], &what["max_hz"]), (&json!("conflate"), &json!(20)), "{answer}");
    }
    let mut last = HashMap::new();
    let mut summed = 0;
    for _ in 0..200 {
        let message = stream.message();
        let of = (message["channel"].to_string(), message["symbol"].to_string());
        // A book that is not known yet may come later than quotes.
        if let (Some(last), true) = (last.get(&of), message["type"] == "update") {
            assert_eq!(message["prev"], *last, "{message}");
        }
        summed += u64::from(message["count"].as_u64() > Some(1));
        last.insert(of, message["seq"].clone());
    }
    assert_eq!(last.len(), 6, "{:?}", last.keys());
    assert!(summed > 0, "trades are summed up");
    assert!(!stream.id.is_empty());
    let header = format!("Last-Event-ID: {}\r\n", stream.id);
    let mut again = Stream::open(&server, query, &header);
    let mut began = HashMap::new();
    while began.len() < 6 || began.values().any(|kinds: &Vec<_>| kinds.len() < 2) {
        let message = again.message();
        if message["type"] == "resume" {
            assert_eq!(
                (&message["recovered"], &message["reason"]),
                (&json!(false), &json!("mode"))
            );
        }
        if let (Some(channel), Some(kind)) = (message["channel"].as_str(), message["type"].as_str())
        {
            let of = (channel.to_owned(), message["symbol"].to_string());
            began.entry(of).or_insert_with(Vec::new).push(kind.to_owned());
        }
    }
    for ((channel, symbol), kinds) in began {
        let second = if channel == "trade" { "update" } else { "snapshot" };
        assert_eq!(kinds[..2], ["resume", second], "{channel} {symbol}");
    }
}

#[test]
fn a_stream_may_be_told_every_tick_in_batches() {
    let server = busy(&[]);
    let query = "subscribe=trade:sim:*&mode=batch&batch_ms=50";
    let mut stream = Stream::open(&server, query, "");
    let what = &stream.message()["result"][0];
    assert_eq!((&what["mode"], &what["batch_ms"]), (&json!("batch"), &json!(50)), "{what}");
    let mut last = HashMap::new();
    let (mut batches, mut trades) = (0, 0);
    while trades < 2_000 {
        let batch = stream.message();
        batches += 1;
        for trade in batch.as_array().expect("a batch") {
            trades += 1;
            let of = trade["symbol"].to_string();
            if let Some(last) = last.get(&of) {
                assert_eq!(trade["prev"], *last, "{trade}");
            }
            last.insert(of, trade["seq"].clone());
        }
    }
    assert!(batches < trades / 2, "{batches} batches of {trades} trades");
}
