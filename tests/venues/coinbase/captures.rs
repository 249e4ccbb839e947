//! Real traffic of ten products, and single losses in it.
//!
//! The capture is of 2021: `level2`, one change a message, and no heartbeats, which are added. For
//! the losses its updates are put together as `level2_batch` does, and every product is served many
//! times over under other names, so that each book has one loss only.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead, BufReader};

use flate2::read::MultiGzDecoder;
use serde_json::Value;
use tickcast_feeds::Decimal;

use super::super::checker::Trust;
use super::super::common;
use super::super::local::{Fault, wait_for};
use super::super::world::{ASK, BID, Book, Change, Happening, Random, Step, Trade, Truth, World};
use super::{Coinbase, Run, Terms, ignored, native, quotes_are_right, with_beats};

const SECOND: u64 = 1_000_000_000;

/// An update of `level2_batch` holds what happened in so long.
const BATCH: u64 = SECOND / 20;

/// A capture.
struct Capture {
    /// The book and the last trade of each product when it begins.
    opening: BTreeMap<String, (Book, Trade)>,
    script: Vec<Step>,
}

fn decimal(value: &Value) -> Decimal {
    value.as_str().expect("text").parse().expect("a decimal")
}

fn levels(value: &Value, side: usize) -> impl Iterator<Item = Change> + '_ {
    let levels = value.as_array().expect("levels").iter();
    levels.map(move |level| (side, decimal(&level[0]), decimal(&level[1])))
}

fn trade(message: &Value) -> Trade {
    Trade {
        id: message["trade_id"].as_u64().expect("an id"),
        price: decimal(&message["price"]),
        size: decimal(&message["size"]),
        taker_sold: message["side"] == "buy",
    }
}

fn capture() -> Option<Capture> {
    let name = "coinbase_exchange_2021/COINBASE.ws.28.0.gz";
    let file = std::fs::File::open(common::captures()?.join(name)).expect("a capture");
    let (mut books, mut trades) = (HashMap::new(), HashMap::new());
    let (mut script, mut from) = (Vec::new(), None);
    for line in BufReader::new(MultiGzDecoder::new(file)).lines() {
        let line = line.expect("a line");
        let Some((recv, text)) = line.split_once(": ") else { continue };
        let Ok(recv) = recv.parse::<f64>() else { continue };
        let message: Value = serde_json::from_str(text).expect("JSON");
        let Some(native) = message["product_id"].as_str().map(str::to_owned) else { continue };
        let at_ns = ((recv - *from.get_or_insert(recv)) * 1e9) as u64;
        let kind = message["type"].as_str().expect("a type");
        let (channel, what) = match kind {
            "snapshot" => {
                let mut book = Book::default();
                levels(&message["bids"], BID).for_each(|change| book.set(change));
                levels(&message["asks"], ASK).for_each(|change| book.set(change));
                books.insert(native, book);
                continue;
            }
            "last_match" => {
                trades.insert(native, trade(&message));
                continue;
            }
            "match" => ("matches", Happening::Trade(trade(&message))),
            "ticker" => ("ticker", Happening::Verbatim),
            "l2update" => {
                let changes = message["changes"].as_array().expect("changes").iter();
                let change = |change: &Value| {
                    let side = if change[0] == "buy" { BID } else { ASK };
                    (side, decimal(&change[1]), decimal(&change[2]))
                };
                let changes = changes.map(change).collect();
                ("level2_batch", Happening::Book { first: 0, last: 0, changes })
            }
            other => panic!("{other} in the capture"),
        };
        let captured = Some((format!("{channel}:{native}"), text.to_owned()));
        script.push(Step { native, at_ns, what, captured });
    }
    let opening = books.into_iter().map(|(native, book)| {
        let last = trades[&native].clone();
        (native, (book, last))
    });
    Some(Capture { opening: opening.collect(), script })
}

impl Capture {
    /// The updates of every interval in one, with the newest size of each level, and only what has
    /// changed: the least that a batch can hold.
    fn batched(self, every_ns: u64) -> Self {
        let mut books: BTreeMap<String, Book> =
            self.opening.iter().map(|(native, (book, _))| (native.clone(), book.clone())).collect();
        let mut script = Vec::new();
        for interval in self.script.chunk_by(|a, b| a.at_ns / every_ns == b.at_ns / every_ns) {
            let mut changed: BTreeMap<&str, BTreeMap<(usize, Decimal), Decimal>> = BTreeMap::new();
            for step in interval {
                let Happening::Book { changes, .. } = &step.what else {
                    script.push(step.clone());
                    continue;
                };
                let levels = changed.entry(&step.native).or_default();
                levels.extend(changes.iter().map(|&(side, price, size)| ((side, price), size)));
            }
            let at_ns = (interval[0].at_ns / every_ns + 1) * every_ns - 1;
            for (native, levels) in changed {
                let book = books.get_mut(native).expect("a known product");
                let mut changes: Vec<Change> =
                    levels.into_iter().map(|((side, price), size)| (side, price, size)).collect();
                changes.retain(|(side, price, size)| {
                    book.sides[*side].get(price).copied().unwrap_or(Decimal::ZERO) != *size
                });
                changes.iter().for_each(|&change| book.set(change));
                let what = Happening::Book { first: 0, last: 0, changes };
                let native = native.to_owned();
                script.push(Step { native, at_ns, what, captured: None });
            }
        }
        script.retain(
            |step| !matches!(&step.what, Happening::Book { changes, .. } if changes.is_empty()),
        );
        Capture { script, ..self }
    }

    /// Every product so many times, by names of their own.
    fn copied(self, copies: usize) -> Self {
        let name = |native: &str, copy: usize| native.replacen('-', &format!("{copy}-"), 1);
        let all = |native: &str| (0..copies).map(|copy| name(native, copy)).collect::<Vec<_>>();
        let mut opening = BTreeMap::new();
        for (native, at_first) in &self.opening {
            opening.extend(all(native).into_iter().map(|name| (name, at_first.clone())));
        }
        let mut script = Vec::new();
        for step in &self.script {
            for name in all(&step.native) {
                let captured = step.captured.as_ref().map(|(topic, text)| {
                    let renamed = |text: &str| text.replace(&step.native, &name);
                    (renamed(topic), renamed(text))
                });
                script.push(Step { native: name, captured, ..step.clone() });
            }
        }
        Capture { opening, script }
    }

    /// A last trade of every product: it shows that all before it has come.
    fn ended(mut self) -> Self {
        let end = self.script.last().map_or(0, |step| step.at_ns);
        let mut last: BTreeMap<String, Trade> =
            self.opening.iter().map(|(name, (_, trade))| (name.clone(), trade.clone())).collect();
        for step in &self.script {
            if let Happening::Trade(trade) = &step.what {
                last.insert(step.native.clone(), trade.clone());
            }
        }
        for (native, trade) in last {
            let what = Happening::Trade(Trade { id: trade.id + 1, ..trade });
            self.script.push(Step { native, at_ns: end, what, captured: None });
        }
        self
    }

    fn begin(self, terms: Terms<'_>) -> Run {
        let mut world = World { truths: HashMap::new(), depth: usize::MAX };
        let mut protocol = Coinbase::default();
        for (native, (book, trade)) in self.opening {
            let truth = Truth::new(book, 0, usize::MAX);
            world.truths.insert(native.clone(), truth);
            protocol.last.insert(native, trade);
        }
        Run::begin(protocol, world, with_beats(self.script, SECOND), terms)
    }

    /// For each product the place of one of its steps that `which` picks, if there is any.
    fn one_each(
        script: &[Step],
        seed: u64,
        which: impl Fn(&Step) -> bool,
    ) -> BTreeMap<usize, String> {
        let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (place, step) in script.iter().enumerate().filter(|(_, step)| which(step)) {
            places.entry(&step.native).or_default().push(place);
        }
        let mut random = Random::new(seed);
        let one = |(native, places): (&str, Vec<usize>)| {
            (places[random.below(places.len() as u64) as usize], native.to_owned())
        };
        places.into_iter().map(one).collect()
    }
}

/// The trades of a product since the beginning: the one before it may have been seen or not.
fn trades_since(trades: &[u64], first: u64) -> Vec<u64> {
    trades.iter().copied().filter(|id| *id >= first).collect()
}

#[test]
fn every_book_of_a_real_capture_over_wss_is_true_at_every_message() {
    let Some(capture) = capture() else { return };
    assert_eq!(capture.opening.len(), 10);
    let run = capture.ended().begin(Terms::default());
    run.venue.play(&run.script, 8.0, |_, _| None);
    let venue = run.venue.clone();
    let seen = run.checker.finish();
    let (mut books, mut matches) = (0, 0);
    for (symbol, seen) in &seen {
        let trades = venue.world(|world| world.truths[native(symbol)].trades.clone());
        assert_eq!(trades_since(&seen.trades, trades[0]), trades, "{symbol}");
        assert_eq!(seen.times("resync"), 0, "{symbol}");
        quotes_are_right(symbol, seen);
        books += seen.books;
        matches += trades.len() - 1;
    }
    assert_eq!(matches, 97);
    assert!(books > 9_000, "{books}");
}

#[test]
fn two_hundred_lost_matches_and_all_are_noticed() {
    let Some(mut capture) = capture() else { return };
    // Two products have no trade.
    let is_trade = |step: &Step| matches!(step.what, Happening::Trade(_));
    let traded: BTreeSet<String> =
        capture.script.iter().filter(|s| is_trade(s)).map(|s| s.native.clone()).collect();
    capture.opening.retain(|native, _| traded.contains(native));
    capture.script.retain(|step| traded.contains(&step.native));
    assert_eq!(capture.opening.len(), 8);
    // What matters here are the trades: books change but once a second, and no ticker is sent that
    // would be ahead of them.
    let mut capture = capture.batched(SECOND).copied(25).ended();
    capture.script.retain(|step| !matches!(step.what, Happening::Verbatim));
    let run = capture.begin(Terms::default());
    // But for the last ones, which show whether it recovers.
    let count = run.script.len() - 200;
    let lost = Capture::one_each(&run.script[..count], 5, is_trade);
    assert_eq!(lost.len(), 200);
    run.venue.play(&run.script, 8.0, |at, _| lost.contains_key(&at).then_some(Fault::Drop));
    let venue = run.venue.clone();
    let (server, seen) = (run.server, run.checker.finish());
    for (place, native) in &lost {
        let seen = &seen[&format!("coinbase:{native}")];
        let mut trades = venue.world(|world| world.truths[native].trades.clone());
        let Happening::Trade(trade) = &run.script[*place].what else { unreachable!("a trade") };
        let first = trades[0];
        trades.retain(|id| *id != trade.id);
        assert_eq!(trades_since(&seen.trades, first), trades, "{native}");
        assert_eq!(seen.times("resync"), 1, "{native}: {:?}", seen.feed);
        quotes_are_right(native, seen);
    }
    wait_for(|| (ignored(&server, "missed trades") == 200).then_some(()));
}

/// Most do not show: updates have no numbers. What this asserts is what can be: a book that was
/// found wrong ends right, and none is crossed meanwhile; what it prints is in docs/FEEDS.md. Fifty
/// at a time, a book each.
fn lost_updates(seed: u64) {
    let Some(capture) = capture() else { return };
    let terms = Terms { trust: Trust::Lossy, ..Terms::default() };
    let run = capture.batched(BATCH).copied(5).ended().begin(terms);
    let is_book = |step: &Step| matches!(step.what, Happening::Book { .. });
    let lost = Capture::one_each(&run.script, seed, is_book);
    assert_eq!(lost.len(), 50);
    run.venue.play(&run.script, 5.0, |at, _| lost.contains_key(&at).then_some(Fault::Drop));
    let venue = run.venue.clone();
    let seen = run.checker.finish();
    let (mut shown, mut right, mut best) = (0, 0, 0);
    for (symbol, seen) in &seen {
        let truth = venue.world(|world| world.truths[native(symbol)].book.clone());
        let book = seen.book.as_ref().expect("a book");
        let is_right = book.hash() == truth.hash();
        let is_best = [BID, ASK].iter().all(|&side| book.best(side) == truth.best(side));
        let resyncs = seen.times("resync");
        assert!(resyncs <= 1, "{symbol}: {:?}", seen.feed);
        assert!(resyncs == 0 || is_right, "{symbol}: found wrong, and wrong in the end");
        quotes_are_right(symbol, seen);
        shown += resyncs;
        right += usize::from(is_right && resyncs == 0);
        best += usize::from(is_best && resyncs == 0);
    }
    println!(
        "50 updates lost: {shown} showed; of the others {right} books ended right, {best} bests"
    );
    assert!(right > 10, "later updates of the same levels make books right again");
}

#[test]
fn fifty_lost_updates_and_how_many_of_them_show() {
    lost_updates(1);
}

#[test]
fn fifty_other_lost_updates_and_how_many_of_them_show() {
    lost_updates(2);
}

#[test]
fn fifty_more_lost_updates_and_how_many_of_them_show() {
    lost_updates(3);
}

#[test]
fn the_last_fifty_lost_updates_and_how_many_of_them_show() {
    lost_updates(4);
}
