//! Captures of real traffic, and a plain book to check the parsers against.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use tickcast_feeds::tick::flags;
use tickcast_feeds::{Decimal, Quote, Side, Tick};

/// Where the captures are: `TICKCAST_DATA`, else beside the workspace. Where they are missing a
/// test says so and passes, except on CI.
pub(crate) fn data() -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("TICKCAST_DATA").map_or_else(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "no captures in {}", folder.display());
    eprintln!("SKIPPED: no captures in {}; set TICKCAST_DATA", folder.display());
    None
}

/// A message of a capture.
pub(crate) struct Line {
    /// When it was received, nanoseconds since the Unix epoch.
    pub(crate) recv: u64,
    /// What it answers, for a REST reply.
    pub(crate) url: Option<String>,
    /// As received.
    pub(crate) json: String,
}

/// The messages of these files, in the order of receipt. Three forms of line hold one:
/// `<ns> <JSON>`, `<s>: <JSON>` and `<URL> -> <s>: <JSON>`.
pub(crate) fn lines(files: &[&str]) -> Option<Vec<Line>> {
    let folder = data()?;
    let mut all = Vec::new();
    for file in files {
        let packed = std::fs::File::open(folder.join(file)).unwrap();
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(packed).read_to_string(&mut text).unwrap();
        all.extend(text.lines().filter_map(line));
    }
    all.sort_by_key(|line| line.recv);
    Some(all)
}

fn line(text: &str) -> Option<Line> {
    let (head, json) = text.split_at_checked(text.find(['{', '['])?)?;
    let head = head.trim_end();
    if let Ok(recv) = head.parse() {
        return Some(Line { recv, url: None, json: json.to_owned() });
    }
    let (url, time) = match head.split_once(" -> ") {
        Some((url, time)) => (Some(url.to_owned()), time),
        None => (None, head),
    };
    let seconds: f64 = time.strip_suffix(':')?.parse().ok()?;
    Some(Line { recv: (seconds * 1e9) as u64, url, json: json.to_owned() })
}

/// A book rebuilt from ticks.
#[derive(Default)]
pub(crate) struct Book {
    pub(crate) bids: BTreeMap<Decimal, Decimal>,
    pub(crate) asks: BTreeMap<Decimal, Decimal>,
}

impl Book {
    pub(crate) fn apply(&mut self, tick: &Tick) {
        if tick.has(flags::FIRST | flags::SNAPSHOT) {
            *self = Book::default();
        }
        if tick.has(flags::EMPTY) {
            return;
        }
        let level = tick.as_level();
        let side = if level.side == Side::Buy { &mut self.bids } else { &mut self.asks };
        if level.size == Decimal::ZERO {
            side.remove(&level.price);
        } else {
            side.insert(level.price, level.size);
        }
    }

    /// The best bid and ask; a side that is empty is zero.
    pub(crate) fn best(&self) -> Quote {
        let zero = (&Decimal::ZERO, &Decimal::ZERO);
        let (bid, bid_size) = self.bids.last_key_value().unwrap_or(zero);
        let (ask, ask_size) = self.asks.first_key_value().unwrap_or(zero);
        Quote { bid: *bid, bid_size: *bid_size, ask: *ask, ask_size: *ask_size }
    }

    pub(crate) fn is_crossed(&self) -> bool {
        let (bid, ask) = (self.bids.last_key_value(), self.asks.first_key_value());
        bid.zip(ask).is_some_and(|(bid, ask)| bid.0 >= ask.0)
    }
}
