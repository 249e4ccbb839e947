//! Real captures through the server to clients that are not ours: nothing lost, nothing twice,
//! exact to the last digit, and whoever comes at whatever moment ends with the right book.

mod common;

use std::fmt::Write as _;

use common::python::Clients;
use common::{Client, Server};
use serde_json::json;

/// The grace and the room are for a machine that has more to do: dozens of clients in one Python process
/// may be seconds behind, and who is slow is not what these tests are about.
fn replay(feed: &str) -> Server {
    let patient = ["--slow-grace", "60s", "--outbox-bytes", "64MiB"];
    Server::start(&[&["--reactors", "2", "--feed", feed][..], &patient].concat())
}

#[test]
fn everything_arrives_once_in_order_and_exact_as_fast_as_it_goes() {
    let Some(clients) = Clients::find() else { return };
    let server = replay(&clients.spot("speed=max,wait=2,rebase=false"));
    clients.run(&server, "exact.py", &["kept"]);
}

#[test]
#[ignore = "takes the 17 s of the captures at this speed; scripts/test runs it optimised"]
fn everything_arrives_once_in_order_and_exact_at_20_times_the_speed() {
    let Some(clients) = Clients::find() else { return };
    let server = replay(&clients.spot("speed=20,wait=2"));
    clients.run(&server, "exact.py", &["rebased"]);
}

#[test]
fn whoever_comes_at_a_random_moment_ends_with_the_right_book() {
    let Some(clients) = Clients::find() else { return };
    let server = replay(&clients.spot("speed=max,wait=6"));
    clients.run(&server, "moments.py", &["1"]);
}

#[test]
#[ignore = "takes the 17 s of the captures at this speed; scripts/test runs it optimised"]
fn whoever_comes_at_a_random_moment_at_20_times_the_speed_ends_with_the_right_book() {
    let Some(clients) = Clients::find() else { return };
    let server = replay(&clients.spot("speed=20,wait=6"));
    clients.run(&server, "moments.py", &["2"]);
}

#[test]
fn a_replay_that_starts_over_goes_on_with_higher_sequences() {
    let Some(clients) = Clients::find() else { return };
    let server = replay(&clients.spot("speed=max,wait=2,loop=true"));
    clients.run(&server, "looped.py", &["1"]);
}

#[test]
fn books_of_other_captures_are_never_crossed() {
    let Some(clients) = Clients::find() else { return };
    for (folder, books) in [("binance_misc", "8"), ("coinbase_exchange_2021", "10")] {
        let server = replay(&clients.folder(folder, "speed=max,wait=2"));
        clients.run(&server, "uncrossed.py", &[books]);
    }
}

/// A capture of large snapshots of one book, as Binance answers a REST request.
fn large_snapshots(count: usize) -> String {
    let quote = r#"{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"1","B":"1","a":"100000","A":"1"}}"#;
    let mut text = format!("1723161254000000000 {quote}\n");
    let side = |from: usize| {
        let levels: Vec<String> =
            (0..15_000).map(|i| format!(r#"["{}.01","12345.678901"]"#, from + i)).collect();
        levels.join(",")
    };
    let (bids, asks) = (side(10_000), side(50_000));
    for id in 1..=count {
        let book = format!(r#"{{"lastUpdateId":{id},"bids":[{bids}],"asks":[{asks}]}}"#);
        writeln!(text, "17231612{}000000000 {book}", 54 + id).expect("text");
    }
    capture("large_snapshots", &text)
}

fn capture(name: &str, text: &str) -> String {
    let path = format!("{}/{name}.jsonl", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&path, text).expect("writes");
    path
}

#[test]
fn a_snapshot_of_the_venue_larger_than_the_outbox_is_no_reason_to_close() {
    let path = large_snapshots(10);
    let feed = format!("replay:{path},speed=max,wait=1");
    let server = Server::start(&["--reactors", "1", "--outbox-bytes", "128KiB", "--feed", &feed]);
    let mut client = Client::native(&server);
    client.send(&json!({"method": "subscribe", "params": {"channel": "book", "symbol": "*"}}));
    // More than the kernel takes: the client has not read yet, which is no offence.
    server.wait_metric("tickcast_sends_blocked_total", "", |blocked| blocked > 0.0);
    for id in 1..=10 {
        let snapshot = client.until(|message| message["channel"] == "book");
        assert_eq!((&snapshot["type"], &snapshot["seq"]), (&json!("snapshot"), &json!(id)));
        assert_eq!(snapshot["bids"].as_array().expect("levels").len(), 15_000);
    }
}

/// A line of a capture: a trade, so many milliseconds after the first.
fn trade(symbol: &str, id: u64, ms: u64) -> String {
    let recv = 1_723_161_254_000_000_000 + ms * 1_000_000;
    let stream = symbol.to_lowercase();
    format!(
        r#"{recv} {{"stream":"{stream}@trade","data":{{"e":"trade","E":1,"s":"{symbol}","t":{id},"p":"2.5","q":"1","T":1,"m":true,"M":true}}}}"#
    ) + "\n"
}

#[test]
fn a_replay_that_starts_over_does_not_touch_the_sequences_of_another_feed() {
    // Two feeds bring the same trades, one of them late, and a third starts over all the while.
    let lines = |trades: &[(u64, u64)]| -> String {
        trades.iter().map(|&(id, ms)| trade("BTCUSDT", id, ms)).collect()
    };
    let files = [
        capture("first", &lines(&[(1, 0), (2, 10), (3, 20), (4, 900)])),
        capture("late", &lines(&[(1, 0), (3, 600)])),
        capture("looping", &[trade("ETHUSDT", 7, 0), trade("ETHUSDT", 9, 1)].concat()),
    ];
    let feed = |i: usize, options: &str| format!("replay:{},wait=1{options}", files[i]);
    let feeds = [feed(0, ""), feed(1, ""), feed(2, ",loop=true")];
    let server = Server::start(&["--feed", &feeds[0], "--feed", &feeds[1], "--feed", &feeds[2]]);
    let mut client = Client::native(&server);
    client.send(&json!({"method": "subscribe", "params": {"channel": "trade", "symbol": "*"}}));
    for id in 1..=4 {
        let trade = client.until(|message| message["symbol"] == "binance:BTC-USDT");
        let got = [&trade["id"], &trade["seq"], &trade["prev"]];
        assert_eq!(got, [&json!(id), &json!(id), &json!(id - 1)], "{trade}");
    }
    let again = |client: &mut Client| {
        let trade = client.until(|message| message["symbol"] == "binance:ETH-USDT");
        trade["seq"].as_u64().expect("a sequence")
    };
    let before = again(&mut client);
    assert!(again(&mut client) > before);
}
