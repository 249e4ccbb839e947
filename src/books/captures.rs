//! The book on real traffic: captures of Binance spot, found through `TICKCAST_DATA`.
//!
//! The parsing here is the test's own and slow, so that nothing of the feeds is taken on trust.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tickcast_feeds::{Decimal, Side};

use super::tests::{Plain, event};
use super::*;

/// The captures' folder; `None`, loudly, where there is none (a failure on CI).
fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("TICKCAST_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "no captures at {}", folder.display());
    eprintln!("SKIPPED: no captures at {} (set TICKCAST_DATA)", folder.display());
    None
}

fn levels(side: Side, rows: &Value) -> Vec<(Side, Decimal, Decimal)> {
    let text = |value: &Value| value.as_str().unwrap().parse::<Decimal>().unwrap();
    rows.as_array().unwrap().iter().map(|row| (side, text(&row[0]), text(&row[1]))).collect()
}

/// What PROVENANCE.md says of a capture.
struct Facts {
    symbol: &'static str,
    early: usize,
    applied: usize,
    last: u64,
    bid: (&'static str, &'static str),
    ask: (&'static str, &'static str),
    levels: (usize, usize),
}

/// Snapshot and diffs as the venue documents it (diffs with `u` up to the snapshot's
/// `lastUpdateId` are left out); clients follow from the snapshot and from random later moments.
fn replay(folder: &Path, facts: &Facts) {
    let file = format!("binance_spot/binance_spot_{}_20240808.jsonl.gz", facts.symbol);
    let mut text = String::new();
    let file = std::fs::File::open(folder.join(file)).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let messages: Vec<Value> = text
        .lines()
        .map(|line| line.split_once(' ').unwrap().1)
        .filter(|json| json.contains("lastUpdateId") || json.contains("\"depthUpdate\""))
        .map(|json| serde_json::from_str(json).unwrap())
        .collect();

    let snapshot = messages.iter().find(|message| !message["lastUpdateId"].is_null()).unwrap();
    let start = snapshot["lastUpdateId"].as_u64().unwrap();
    let mut all = levels(Side::Buy, &snapshot["bids"]);
    all.extend(levels(Side::Sell, &snapshot["asks"]));
    let mut book = Book::new();
    book.apply_event(&event(start, true, &all)).unwrap();

    let depths = [Depth::top(25).unwrap(), Depth::top(1).unwrap(), Depth::FULL];
    let mut clients: Vec<(Depth, Plain)> =
        depths.iter().map(|&depth| (depth, Plain::of(depth, &book))).collect();
    let (mut early, mut applied) = (0, 0);
    let mut changes = Changes::new();
    for diff in messages.iter().map(|message| &message["data"]).filter(|data| !data.is_null()) {
        let last = diff["u"].as_u64().unwrap();
        if last <= start {
            early += 1;
            continue;
        }
        let mut all = levels(Side::Buy, &diff["b"]);
        all.extend(levels(Side::Sell, &diff["a"]));
        book.apply_event(&event(last, false, &all)).unwrap();
        applied += 1;
        assert!(!book.is_crossed(), "at {last}");
        for (depth, client) in &mut clients {
            depth.changes(&book, &mut changes);
            client.follow(&changes).unwrap();
            // Comparing thousands of levels thousands of times: the full ones less often.
            if depth.levels().is_none() && applied % 97 != 0 && applied != facts.applied {
                continue;
            }
            let bids: Vec<_> = depth.bids(&book).collect();
            let asks: Vec<_> = depth.asks(&book).collect();
            assert_eq!(client.rows(Side::Buy, Depth::FULL), bids, "{depth:?} at {last}");
            assert_eq!(client.rows(Side::Sell, Depth::FULL), asks, "{depth:?} at {last}");
        }
        if applied % 401 == 0 {
            let depth = Depth::top(10).unwrap();
            clients.push((depth, Plain::of(depth, &book)));
        }
    }

    let row = |(price, size): (&str, &str)| (price.parse().unwrap(), size.parse().unwrap());
    assert_eq!((early, applied), (facts.early, facts.applied));
    assert_eq!(book.seq(), facts.last);
    assert_eq!(book.best(), (Some(row(facts.bid)), Some(row(facts.ask))));
    assert_eq!(book.levels(), facts.levels);
    assert_eq!(book.dropped(), 0);
}

#[test]
fn binance_btcusdt() {
    let Some(folder) = data() else { return };
    replay(
        &folder,
        &Facts {
            symbol: "btcusdt",
            early: 2,
            applied: 3449,
            last: 50_093_421_584,
            bid: ("61685.99", "1.0087"),
            ask: ("61686.00", "2.29327"),
            levels: (1209, 2196),
        },
    );
}

#[test]
fn binance_ethusdt() {
    let Some(folder) = data() else { return };
    replay(
        &folder,
        &Facts {
            symbol: "ethusdt",
            early: 2,
            applied: 3432,
            last: 35_346_671_849,
            bid: ("2682.50", "3.3168"),
            ask: ("2682.51", "48.9739"),
            levels: (1195, 1158),
        },
    );
}
