//! Recordings of live feeds, from end to end: what a replay sends is what was sent live.

mod endings;
mod kraken;
mod tape;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use self::tape::{Tape, Taped, assert_same, sorted, without_beginning};
use super::binance::{Binance, PLENTY};
use super::checker::{Checker, PATIENT};
use super::common::Server;
use super::local::{Answer, Fault, LocalVenue, Protocol, wait_for};
use super::world::{ASK, BID, Happening, Step, World, invented};

const SYMBOLS: [(&str, &str); 2] =
    [("binance:BTC-USDT", "BTCUSDT"), ("binance:ETH-USDT", "ETHUSDT")];

/// Binance with its quotes: the best of each book, whenever it changes.
struct Quoting(Binance);

impl Protocol for Quoting {
    fn received(&mut self, text: &str, topics: &mut BTreeSet<String>, w: &World) -> Vec<String> {
        self.0.received(text, topics, w)
    }

    fn get(&mut self, path: &str, world: &World) -> Answer {
        self.0.get(path, world)
    }

    fn messages(&mut self, step: &Step, world: &World) -> Vec<(String, String)> {
        let mut messages = self.0.messages(step, world);
        if let Happening::Book { last, .. } = step.what {
            let book = &world.truths[&step.native].book;
            let [(bid, bid_size), (ask, ask_size)] = [BID, ASK].map(|s| book.best_first(s)[0]);
            let data = json!({"u": last, "s": step.native, "b": bid.to_string(),
                "B": bid_size.to_string(), "a": ask.to_string(), "A": ask_size.to_string()});
            let stream = format!("{}@bookTicker", step.native.to_ascii_lowercase());
            let text = json!({"stream": stream, "data": data}).to_string();
            messages.push((stream, text));
        }
        messages
    }
}

/// A venue and its history of so many milliseconds.
fn venue(steps: usize) -> (Arc<LocalVenue>, Vec<Step>) {
    let (world, script) =
        invented(&["BTCUSDT", "ETHUSDT"], steps, 1_000_000, 7, usize::MAX, |r| r.below(4));
    (Arc::new(LocalVenue::start(Quoting(PLENTY), world)), script)
}

fn spec(venue: &LocalVenue, more: &str) -> String {
    venue.spec("binance:BTCUSDT,ETHUSDT", &format!(",depth=5000{more}"))
}

/// Has a part of a history happen, from now on, with faults by the number in it.
fn play(venue: &LocalVenue, part: &[Step], mut fault: impl FnMut(usize, &Step) -> Option<Fault>) {
    let mut part = part.to_vec();
    let began = part.first().map_or(0, |step| step.at_ns);
    part.iter_mut().for_each(|step| step.at_ns -= began);
    venue.play(&part, 1.0, |index, step| fault(index, step));
}

fn is_book(step: &Step) -> bool {
    matches!(step.what, Happening::Book { .. })
}

/// A server that serves and records.
fn recording_server(folder: &TempDir, specs: &[&str]) -> Server {
    let directory = folder.path().display().to_string();
    let feeds = specs.iter().flat_map(|spec| ["--feed", spec]);
    let args: Vec<&str> = PATIENT
        .into_iter()
        .chain(["--reactors", "1", "--record", directory.as_str()])
        .chain(feeds)
        .collect();
    Server::start(&args)
}

/// The one recording in a folder.
fn recorded(folder: &TempDir) -> PathBuf {
    let mut entries = std::fs::read_dir(folder.path()).expect("a folder");
    let entry = entries.next().expect("a recording").expect("an entry");
    assert!(entries.next().is_none());
    entry.path()
}

/// What `tickcast inspect` tells of what a folder holds.
fn inspected(folder: &TempDir) -> Value {
    try_inspect(folder).unwrap_or_else(|why| panic!("{why}"))
}

/// The same where there may be nothing yet.
fn try_inspect(folder: &TempDir) -> Result<Value, String> {
    let out = Command::new(env!("CARGO_BIN_EXE_tickcast"))
        .args(["inspect", "--json"])
        .arg(folder.path())
        .output()
        .expect("the program runs");
    if !out.status.success() {
        return Err(String::from_utf8_lossy(&out.stderr).into_owned());
    }
    Ok(serde_json::from_slice(&out.stdout).expect("JSON"))
}

/// What a client gets of a replay, in order; it is known to be so many messages.
fn replayed(folder: &TempDir, expected: usize) -> Vec<String> {
    let spec = format!("replay:{},rebase=false,wait=2,speed=max", recorded(folder).display());
    let mut server = Server::start(&[&PATIENT[..], &["--reactors", "1", "--feed", &spec]].concat());
    let tape = Tape::start(&server);
    // The replay begins with the second client, when the first is subscribed to everything.
    let mut second = super::common::Client::native(&server);
    second.subscribe("status", &["*"]);
    server.wait_metric("tickcast_feed_up", "", |up| up == 0.0);
    tape.wait(expected);
    server.signal("TERM");
    assert!(server.wait().success());
    tape.texts()
}

/// Has the venue send what is well-formed and next in line, and crosses the book: the server refuses
/// it.
fn cross(venue: &LocalVenue, server: &Server, checker: &Checker) {
    let last = venue.world(|world| world.truths["BTCUSDT"].last);
    let data = json!({"e": "depthUpdate", "E": 1_700_000_000_000_000_u64, "s": "BTCUSDT",
        "U": last + 1, "u": last + 1, "b": [["999999.00", "1.000"]], "a": []});
    let text = json!({"stream": "btcusdt@depth@100ms", "data": data}).to_string();
    wait_for(|| {
        // A book that is being rebuilt could not be crossed.
        if checker.is_mended("BTCUSDT", 1) {
            venue.say(&text);
        }
        (server.metric("tickcast_ingest_book_errors_total", "") > 0.0).then_some(())
    });
}

/// A client's tape of a live run in which all goes wrong that can, recorded.
fn eventful(folder: &TempDir, lines: usize) -> Taped {
    let (venue, script) = venue(1_600);
    venue.die();
    let mut server = recording_server(folder, &[&spec(&venue, &format!(",lines={lines}"))]);
    // Before anything is known.
    let tape = Tape::start(&server);
    venue.come_back();
    let checker = Checker::start(&server, &venue, &SYMBOLS);
    venue.wait_subscribed(6 * lines);
    let faults = |index: usize, step: &Step| match index % 100 {
        50 if is_book(step) => Some(Fault::Drop),
        7 | 8 => Some(Fault::Repeat),
        71 => Some(Fault::Late),
        _ => None,
    };
    play(&venue, &script[..600], faults);
    cross(&venue, &server, &checker);
    venue.delay_snapshots(Duration::from_millis(300));
    play(&venue, &script[600..800], |_, _| None);
    if lines == 1 {
        venue.abort_all()
    } else {
        venue.abort_first()
    }
    server.wait_metric("tickcast_live_losses_total", "", |n| n == 1.0);
    venue.wait_subscribed(6 * lines);
    play(&venue, &script[800..], faults);
    checker.finish();
    server.signal("TERM");
    assert!(server.wait().success());
    tape.finish()
}

fn replays_are_what_was_live(lines: usize) {
    let folder = TempDir::new().expect("a folder");
    let live = eventful(&folder, lines);
    for channel in ["trade", "quote", "book", "status"] {
        let texts = live.iter().filter(|(key, _)| key.0 == channel);
        let counts: Vec<usize> = texts.map(|(_, texts)| texts.len()).collect();
        let least = if channel == "status" { 3 } else { 50 };
        assert!(counts.len() == 2 && counts.iter().all(|&n| n > least), "{channel}: {counts:?}");
    }
    let live = without_beginning(live);
    // Of each symbol's status, that it is stale: on subscription, and as recorded.
    let count = tape::len(&live) + 2 * SYMBOLS.len();
    for _ in 0..2 {
        let replayed = sorted(replayed(&folder, count));
        for (symbol, _) in SYMBOLS {
            // Not live, as no symbol is that was listed and that nobody carries yet. (A reactor may see the
            // list before the state, and then says both.)
            let statuses = &replayed[&("status".to_owned(), symbol.to_owned())];
            let stale = |text: &String| text.contains("\"state\":\"stale\",\"age_ms\":0");
            assert!(statuses.iter().take(2).any(stale), "{statuses:?}");
        }
        assert_same(&live, &without_beginning(replayed));
    }
}

#[test]
fn a_replay_is_what_was_live_with_all_its_faults() {
    replays_are_what_was_live(1);
}

#[test]
fn a_replay_of_two_lines_is_what_was_live() {
    replays_are_what_was_live(2);
}

/// When a message was received, microseconds since the Unix epoch.
fn received(text: &str) -> u64 {
    let message: Value = serde_json::from_str(text).expect("JSON");
    message["ts"]["recv"].as_u64().expect("a time")
}

#[test]
fn two_venues_are_recorded_together_and_replayed_by_receive_time() {
    let folder = TempDir::new().expect("a folder");
    let (binance, script) = venue(400);
    let (world, others) = invented(&["BTC/USD"], 400, 1_000_000, 3, usize::MAX, |_| 1);
    let kraken = LocalVenue::start(kraken::Kraken, world);
    let of_kraken = kraken.spec("kraken:BTC/USD", ",channels=trade");
    // Not there until the client is subscribed: it sees all.
    binance.die();
    kraken.die();
    let mut server = recording_server(&folder, &[&spec(&binance, ""), &of_kraken]);
    let tape = Tape::start(&server);
    binance.come_back();
    kraken.come_back();
    binance.wait_subscribed(6);
    kraken.wait_subscribed(1);
    let checker = Checker::start(&server, &binance, &SYMBOLS);
    std::thread::scope(|scope| {
        scope.spawn(|| play(&kraken, &others, |_, _| None));
        play(&binance, &script, |_, _| None);
    });
    checker.finish();
    let trades = kraken.world(|world| world.truths["BTC/USD"].trades.len());
    server.wait_metric("tickcast_feed_ticks_total", "kraken", |n| n >= trades as f64);
    server.signal("TERM");
    assert!(server.wait().success());
    let live = without_beginning(tape.finish());
    assert_eq!(live[&("trade".to_owned(), "kraken:BTC-USD".to_owned())].len(), trades);
    let texts = replayed(&folder, tape::len(&live) + 2 * 3);
    let times: Vec<u64> =
        texts.iter().filter(|text| text.contains("\"trade\"")).map(|text| received(text)).collect();
    assert!(times.is_sorted(), "not by receive time");
    assert_same(&live, &without_beginning(sorted(texts)));
    let told = inspected(&folder);
    let mut names: Vec<&str> =
        told["feeds"].as_array().into_iter().flatten().filter_map(|f| f["name"].as_str()).collect();
    names.sort_unstable();
    assert!(names[0].starts_with("binance:") && names[1].starts_with("kraken:"), "{names:?}");
    assert_eq!(told["symbols"], 3);
}
