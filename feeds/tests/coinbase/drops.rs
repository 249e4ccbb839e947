//! How much of what is lost shows: updates dropped one at a time from a capture of real traffic.
//!
//! The capture is of 2021: `level2`, one change a message, 31 s, ten quiet products with 97 trades.
//! It is played as it is, and as `level2_batch` would have sent it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tickcast_feeds::{Decimal, FeedState};

use crate::common::lines;
use crate::harness::{Live, Random};

const DROPS: usize = 200;

/// The messages of one product, each with the time of its receipt in milliseconds.
type Stream = Vec<(u64, String)>;

/// The capture by product.
fn capture() -> Option<BTreeMap<String, Stream>> {
    let mut products: BTreeMap<String, Stream> = BTreeMap::new();
    for line in lines(&["coinbase_exchange_2021/COINBASE.ws.28.0.gz"])? {
        let value: Value = serde_json::from_str(&line.json).unwrap();
        if let Some(product) = value["product_id"].as_str() {
            let stream = products.entry(product.to_owned()).or_default();
            stream.push((line.recv / 1_000_000, line.json));
        }
    }
    Some(products)
}

/// The updates of every 50 ms in one message, the newest size of each level only, and none whose
/// size is what it was: the least that a batch can hold. It comes after all else of its interval.
fn batched(stream: &Stream) -> Stream {
    let mut sent: BTreeMap<(String, Decimal), Decimal> = BTreeMap::new();
    let mut out = Stream::new();
    for interval in stream.chunk_by(|a, b| a.0 / 50 == b.0 / 50) {
        let mut changed = BTreeMap::new();
        let mut last = None;
        for (recv, text) in interval {
            let value: Value = serde_json::from_str(text).unwrap();
            if value["type"] == "l2update" {
                for change in value["changes"].as_array().unwrap() {
                    let (price, size) = (decimal(&change[1]), decimal(&change[2]));
                    changed.insert((change[0].as_str().unwrap().to_owned(), price), size);
                }
                last = Some((*recv, value));
                continue;
            }
            for (side, levels) in [("buy", &value["bids"]), ("sell", &value["asks"])] {
                for level in levels.as_array().into_iter().flatten() {
                    sent.insert((side.to_owned(), decimal(&level[0])), decimal(&level[1]));
                }
            }
            out.push((*recv, text.clone()));
        }
        let Some((recv, mut update)) = last else { continue };
        changed.retain(|level, size| {
            sent.insert(level.clone(), *size).unwrap_or(Decimal::ZERO) != *size
        });
        let changes = changed.into_iter().map(|((side, price), size)| {
            Value::from(vec![side, price.to_string(), size.to_string()])
        });
        update["changes"] = changes.collect();
        out.push((recv, update.to_string()));
    }
    out
}

fn decimal(value: &Value) -> Decimal {
    value.as_str().unwrap().parse().unwrap()
}

/// The same with a `ticker` twice a second, as if there were trades: the true best bid and ask.
fn traded(product: &str, stream: &Stream) -> Stream {
    let mut live = Live::new(&[product]);
    let (mut out, mut next) = (Stream::new(), 0);
    for (recv, text) in stream {
        live.feed(1, text);
        out.push((*recv, text.clone()));
        if *recv < next || !text.contains(r#""l2update""#) {
            continue;
        }
        next = recv + 500;
        let update: Value = serde_json::from_str(text).unwrap();
        let best = live.books[&0].best();
        let ticker = json!({
            "type": "ticker", "sequence": recv, "product_id": product, "time": update["time"],
            "best_bid": best.bid.to_string(), "best_ask": best.ask.to_string(),
        });
        out.push((*recv, ticker.to_string()));
    }
    out
}

fn play(product: &str, stream: &Stream, without: Option<usize>) -> (Live, Option<u64>) {
    let mut live = Live::new(&[product]);
    let mut found = None;
    for (at, (recv, text)) in stream.iter().enumerate() {
        if Some(at) == without {
            continue;
        }
        live.feed(1, text);
        if found.is_none() && live.states.get(&0) == Some(&FeedState::Resync) {
            found = Some(*recv);
        }
    }
    assert!(live.sink.rejects.is_empty(), "{:?}", live.sink.rejects.first());
    (live, found)
}

const CROSSED: &str = "crossed book";
const TICKERS: &str = "book contradicted by tickers";

/// What became of the drops.
#[derive(Debug, Default)]
struct Outcome {
    /// How late each showed, in milliseconds, by what it showed.
    shown: BTreeMap<&'static str, Vec<u64>>,
    /// How many did not show.
    unseen: usize,
    /// Of these, after how many the last book was right all the same ...
    right: usize,
    /// ... and its best bid and ask.
    best_right: usize,
}

impl Outcome {
    fn count(&self, cause: &str) -> usize {
        self.shown.get(cause).map_or(0, Vec::len)
    }

    fn print(&mut self, name: &str) {
        let Outcome { unseen, right, best_right, .. } = *self;
        let right = format!("{right} books right at the end, {best_right} best bids and asks");
        eprintln!("{name}: {unseen} of {DROPS} not seen, of which {right}");
        for (cause, late) in &mut self.shown {
            late.sort_unstable();
            let (median, most) = (late[late.len() / 2], late[late.len() - 1]);
            eprintln!("  {cause}: {}, late by {median} ms (median), {most} ms at most", late.len());
        }
    }
}

fn drop_one_by_one(products: &BTreeMap<String, Stream>) -> Outcome {
    let mut updates: Vec<(&String, usize)> = Vec::new();
    let mut truths = BTreeMap::new();
    for (product, stream) in products {
        let is_update = |at: &usize| stream[*at].1.contains(r#""l2update""#);
        updates.extend((0..stream.len()).filter(is_update).map(|at| (product, at)));
        // Nothing is lost: nothing may be found.
        let (live, found) = play(product, stream, None);
        assert_eq!((found, live.history()), (None, vec![FeedState::Live]), "{product}");
        truths.insert(product, live);
    }
    let mut random = Random(1);
    let mut outcome = Outcome::default();
    for _ in 0..DROPS {
        let (product, at) = updates[random.below(updates.len() as u64) as usize];
        let stream = &products[product];
        let (live, found) = play(product, stream, Some(at));
        if let Some(recv) = found {
            let cause = if live.ignored(TICKERS) > 0 { TICKERS } else { CROSSED };
            outcome.shown.entry(cause).or_default().push(recv - stream[at].0);
            continue;
        }
        let (book, truth) = (&live.books[&0], &truths[product].books[&0]);
        outcome.unseen += 1;
        outcome.best_right += usize::from(book.best() == truth.best());
        outcome.right += usize::from(book.bids == truth.bids && book.asks == truth.asks);
    }
    outcome
}

fn check(name: &str, render: impl Fn(&str, &Stream) -> Stream) -> Option<Outcome> {
    let products = capture()?;
    let rendered = products.iter().map(|(name, stream)| (name.clone(), render(name, stream)));
    let mut outcome = drop_one_by_one(&rendered.collect());
    outcome.print(name);
    Some(outcome)
}

#[test]
fn as_it_was() {
    let Some(outcome) = check("level2", |_, stream| stream.clone()) else { return };
    assert_eq!((outcome.count(CROSSED), outcome.count(TICKERS)), (3, 0));
}

#[test]
fn in_batches() {
    let Some(outcome) = check("level2_batch", |_, stream| batched(stream)) else { return };
    assert_eq!((outcome.count(CROSSED), outcome.count(TICKERS)), (14, 0));
}

#[test]
fn with_more_trades() {
    let traded = |name: &str, stream: &Stream| traded(name, &batched(stream));
    let Some(outcome) = check("level2_batch, a ticker each half second", traded) else { return };
    assert_eq!((outcome.count(CROSSED), outcome.count(TICKERS)), (11, 10));
}
