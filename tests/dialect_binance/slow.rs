//! Who reads slowly is told sums: the chain holds, the book is right, nothing grows, nobody is closed.

use std::io::Read;

use serde_json::json;

use crate::books::{Event, Snapshot, check_chain, check_snapshots, next_book, wait_book};
use crate::common::{Client, Server, captures, pause};
use crate::desk::ask;
use crate::neighbours::small;

/// What the outboxes of two clients may hold: each 128 KiB and the sum that is told next. That is of each
/// price once, at this speed some 20,000 of 35 bytes. Every message would be 300 KB a second.
const BOUND: f64 = 4.0 * 1024.0 * 1024.0;
const STREAM: &str = "btcusdt@depth@100ms";

/// The captures at a hundred times their speed: some 300 KB a second of one stream.
fn busy() -> Option<Server> {
    let data = captures()?;
    let file = data.join("binance_spot/binance_spot_btcusdt_20240808.jsonl.gz");
    let feed = format!("replay:{},speed=100,loop=true", file.display());
    // Patient: on a busy machine a client that does not read for some messages does not for a minute.
    let patient = ["--slow-grace", "1m", "--ping-timeout", "10m"];
    let small = ["--reactors", "1", "--outbox-bytes", "128KiB", "--feed", &feed];
    let server = Server::start(&[&patient[..], &small].concat());
    wait_book(&server, "btcusdt");
    Some(server)
}

/// A client with small buffers that follows the book, and where it begins.
fn follower(server: &Server) -> (Client, Vec<Event>, Snapshot) {
    let mut client = small(server, "/stream");
    ask(&mut client, "SUBSCRIBE", &json!([STREAM]));
    let begin = Snapshot::get(server, "btcusdt").expect("a book");
    (client, Vec::new(), begin)
}

fn read(client: &mut Client, events: &mut Vec<Event>) {
    events.push(Event::of(&next_book(client)["data"]));
}

/// Reads on until it has come to a book that is asked for now, twice; then all of it is checked.
fn check_end(server: &Server, client: &mut Client, events: &mut Vec<Event>, begin: Snapshot) {
    // What was held back is told in a few steps; from then on it has every event.
    let now = Snapshot::get(server, "btcusdt").expect("a book").last;
    while events.last().is_none_or(|event| event.last < now) {
        read(client, events);
    }
    let mut snapshots = vec![begin];
    for _ in 0..2 {
        let snapshot = Snapshot::get(server, "btcusdt").expect("a book");
        while events.last().is_none_or(|event| event.last < snapshot.last) {
            read(client, events);
        }
        snapshots.push(snapshot);
    }
    check_chain(events);
    assert_eq!(check_snapshots(events, &snapshots), 3);
    assert_eq!(server.metric("tickcast_slow_clients_total", ""), 0.0);
}

fn outboxes(server: &Server) -> f64 {
    server.metric("tickcast_outboxes_bytes", "")
}

#[test]
fn one_that_stops_reading_for_a_while_ends_with_the_true_book() {
    let Some(server) = busy() else { return };
    let (mut client, mut events, begin) = follower(&server);
    read(&mut client, &mut events);
    let before = server.rss();
    // It reads nothing until it is told sums, and others have been told much since.
    server.wait_metric("tickcast_outboxes_bytes", "", |bytes| bytes > 40_000.0);
    let (mut other, mut others, _) = follower(&server);
    while others.len() < 30 {
        read(&mut other, &mut others);
        assert!(outboxes(&server) < BOUND, "{}", outboxes(&server));
    }
    assert!(server.rss() < before + (24 << 20), "{before} then {}", server.rss());
    check_end(&server, &mut client, &mut events, begin);
    assert!(server.metric("tickcast_conflated_total", "") > 0.0);
}

#[test]
fn one_that_reads_a_tenth_of_it_ends_with_the_true_book() {
    let Some(server) = busy() else { return };
    let (mut client, mut events, begin) = follower(&server);
    let mut taken = Vec::new();
    let mut bytes = [0; 300];
    // Three tenths of a kilobyte every ten milliseconds, at most.
    while server.metric("tickcast_conflated_total", "") < 60.0 {
        for _ in 0..20 {
            let n = client.stream.read(&mut bytes).expect("reads");
            taken.extend_from_slice(&bytes[..n]);
            pause();
        }
        assert!(outboxes(&server) < BOUND, "{}", outboxes(&server));
    }
    assert!(taken.len() > 30_000, "{} bytes", taken.len());
    client.put_back(&taken);
    check_end(&server, &mut client, &mut events, begin);
}
