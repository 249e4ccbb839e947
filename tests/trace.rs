//! Ticks of a sample on their way through the server: as lines of the log, and for a collector.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use common::{Client, Received, Server};
use serde_json::Value;

const MARKET: [&str; 2] = ["--feed", "synthetic:symbols=2,rate=2000,names=numbered"];

/// The traces that a server logs as JSON, each checked to be one of ours.
fn traces(log: impl Read) -> impl Iterator<Item = Value> {
    let lines = BufReader::new(log).lines().map_while(Result::ok);
    let values = lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    values.filter(|line| line["target"] == "trace")
}

#[test]
fn a_tick_of_the_sample_is_one_line_with_its_stages_in_order() {
    let args = ["--log-level", "info", "--log-format", "json", "--reactors", "1"];
    let (server, log) =
        Server::start_logged(&[&args[..], &MARKET, &["--trace-sample", "50"]].concat());
    let mut clients: Vec<Client> = (0..3).map(|_| Client::native(&server)).collect();
    for client in &mut clients {
        client.subscribe("trade", &["*"]);
        client.subscribe("book", &["*"]);
    }
    // They read on while the log is looked at.
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| std::thread::spawn(move || while client.frame_in() != Received::End {}))
        .collect();
    let mut kinds = std::collections::BTreeSet::new();
    for line in traces(log) {
        let number = |key: &str| line[key].as_i64().unwrap_or_else(|| panic!("{key}: {line}"));
        // When a tick comes while they subscribe, fewer are told.
        if number("recipients") < 3 || line["kind"] == "status" {
            continue;
        }
        assert_eq!(number("recipients"), 3, "{line}");
        assert_eq!(number("messages"), 1, "all are told the same: {line}");
        assert_eq!(number("writes") + number("blocked"), 3, "{line}");
        assert!(
            line["symbol"].as_str().is_some_and(|symbol| symbol.starts_with("sim:S")),
            "{line}"
        );
        let stages =
            ["ingest_us", "ring_us", "reactor_us", "encoded_us", "first_write_us", "last_write_us"];
        let times = stages.map(number);
        assert!(times[0] >= 0 && times.is_sorted(), "{line}");
        kinds.insert(line["kind"].to_string());
        if kinds.len() == 2 {
            break;
        }
    }
    assert!(kinds.contains("\"trade\"") && kinds.contains("\"book\""), "{kinds:?}");
    let made = server.metric("tickcast_traces_total", "");
    let ticks = server.metric("tickcast_ticks_total", "");
    assert!(made >= 2.0 && made <= ticks / 50.0 + 1.0, "{made} of {ticks}");
    drop(server);
    for reader in readers {
        reader.join().expect("no panic");
    }
}

/// Reads a request with a body, and answers it.
fn take(mut stream: TcpStream, answer: &str) -> (String, Value) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text");
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned)
    });
    let mut body = vec![0; length.expect("a length").parse().expect("a number")];
    stream.read_exact(&mut body).expect("a body");
    stream.write_all(answer.as_bytes()).expect("writes");
    (head, serde_json::from_slice(&body).expect("JSON"))
}

#[test]
fn a_collector_gets_them_and_one_that_fails_is_counted() {
    let collector = TcpListener::bind("127.0.0.1:0").expect("binds");
    let at = format!("http://{}", collector.local_addr().expect("an address"));
    let traced = ["--trace-sample", "20", "--otlp-endpoint", &at];
    let server = Server::start(&[&traced[..], &MARKET].concat());
    let mut client = Client::native(&server);
    client.subscribe("trade", &["*"]);
    let reader = std::thread::spawn(move || while client.frame_in() != Received::End {});
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    let (head, body) = take(collector.accept().expect("a post").0, ok);
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("content-type: application/json"), "{head}");
    let resource = &body["resourceSpans"][0];
    assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "tickcast");
    let spans = resource["scopeSpans"][0]["spans"].as_array().expect("spans");
    let root = spans.iter().find(|span| span["name"] == "tick").expect("a root");
    let of_it = spans.iter().filter(|span| {
        span["parentSpanId"] == root["spanId"] && span["traceId"] == root["traceId"]
    });
    assert!(of_it.count() >= 3, "{body}");
    server.wait_metric("tickcast_traces_sent_total", "", |sent| sent > 0.0);
    assert_eq!(server.metric("tickcast_traces_lost_total", ""), 0.0);
    take(collector.accept().expect("a post").0, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    server.wait_metric("tickcast_traces_lost_total", "", |lost| lost > 0.0);
    drop(server);
    reader.join().expect("no panic");
}

#[test]
fn a_collector_without_a_sample_is_a_mistake() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tickcast"));
    let output = command.args(["--otlp-endpoint", "http://127.0.0.1:4318"]).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("expected --trace-sample N with it"), "{text}");
}
