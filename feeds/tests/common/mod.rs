//! What the tests of the feeds share.
// Each test file uses its part.
#![allow(dead_code)]

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;

use tickcast_feeds::clock::Clock;
use tickcast_feeds::{RunContext, Stop};

/// A clock that stands still except when somebody sleeps, and then oversleeps.
pub(crate) struct TestClock {
    pub(crate) now: Cell<u64>,
    /// How late each sleep ends, nanoseconds.
    pub(crate) late: u64,
    /// Tells the feed to stop when this time has come.
    pub(crate) end: u64,
    /// What it tells.
    pub(crate) stop: Stop,
    /// How often somebody slept.
    pub(crate) sleeps: Cell<u64>,
    /// The longest sleep that was asked for, nanoseconds.
    pub(crate) longest: Cell<u64>,
}

impl TestClock {
    /// Starts at `now` and stops the feed `lasting` nanoseconds later.
    pub(crate) fn new(now: u64, lasting: u64) -> Self {
        TestClock {
            now: Cell::new(now),
            late: 0,
            end: now.saturating_add(lasting),
            stop: Stop::new(),
            sleeps: Cell::new(0),
            longest: Cell::new(0),
        }
    }

    /// A context whose stop handle is this clock's.
    pub(crate) fn context(&self) -> RunContext {
        context(&self.stop)
    }
}

impl Clock for TestClock {
    fn now(&self) -> u64 {
        self.now.get()
    }

    fn sleep_until(&self, at: u64) {
        self.longest.set(self.longest.get().max(at.saturating_sub(self.now.get())));
        self.now.set(self.now.get().max(at) + self.late);
        self.sleeps.set(self.sleeps.get() + 1);
        if self.now.get() >= self.end {
            self.stop.stop();
        }
    }
}

/// A context without subscribers.
pub(crate) fn context(stop: &Stop) -> RunContext {
    RunContext::new(stop.clone(), Arc::new(|| 0))
}

/// The folder of real captures; `None`, said loudly, where it is missing.
pub(crate) fn captures() -> Option<PathBuf> {
    let folder = match std::env::var_os("TICKCAST_DATA") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
    };
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "no captures in {}", folder.display());
    eprintln!("SKIPPED: no captures in {} (set TICKCAST_DATA)", folder.display());
    None
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
