//! A parser of instruments that a live feed has listed, and what comes out of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tickcast_feeds::instrument::Listing;
use tickcast_feeds::venue::{self, Context, Heard, How, Venue, Want};
use tickcast_feeds::{FeedState, Instruments, Kind, Tick, VecSink};

use crate::common::Book;

pub(crate) struct Live {
    pub(crate) parser: Box<dyn Venue>,
    pub(crate) sink: VecSink,
    taken: usize,
    /// The book as put so far, by instrument.
    pub(crate) books: BTreeMap<u32, Book>,
    /// The last state put, by instrument.
    pub(crate) states: BTreeMap<u32, FeedState>,
}

impl Live {
    pub(crate) fn new(products: &[&str]) -> Self {
        let instruments = Arc::new(Instruments::new());
        for native in products {
            let (base, quote) = native.split_once('-').unwrap();
            let listing = Listing { quotes_from_book: true, ..Listing::pair(native, base, quote) };
            instruments.list_as("coinbase", &listing);
        }
        let parser = venue::find("coinbase").unwrap().parser(&instruments);
        Live {
            parser,
            sink: VecSink::default(),
            taken: 0,
            books: BTreeMap::new(),
            states: BTreeMap::new(),
        }
    }

    pub(crate) fn feed(&mut self, link: u16, text: &str) -> Heard {
        let context = Context { link, ..Context::default() };
        let heard = self.parser.message(text.as_bytes(), 7, context, &mut self.sink);
        self.settle();
        heard
    }

    pub(crate) fn expect(&mut self, native: &str) {
        self.parser.expect(&[native.into()], true, 7, &mut self.sink);
        self.settle();
    }

    pub(crate) fn lost(&mut self, link: u16, orphans: &[&str]) {
        let orphans: Vec<Box<str>> = orphans.iter().map(|&native| native.into()).collect();
        self.parser.lost(link, &orphans, 7, &mut self.sink);
        self.settle();
    }

    fn settle(&mut self) {
        for tick in &self.sink.ticks[self.taken..] {
            match tick.kind {
                Kind::Level => self.books.entry(tick.instrument.0).or_default().apply(tick),
                Kind::Status => {
                    _ = self.states.insert(tick.instrument.0, tick.as_status().state);
                }
                _ => {}
            }
        }
        self.taken = self.sink.ticks.len();
    }

    pub(crate) fn state(&self) -> Option<FeedState> {
        self.states.get(&0).copied()
    }

    /// Every state of the first product, in order.
    pub(crate) fn history(&self) -> Vec<FeedState> {
        let is_state = |tick: &&Tick| tick.kind == Kind::Status && tick.instrument.0 == 0;
        let states = self.sink.ticks.iter().filter(is_state);
        states.map(|tick| tick.as_status().state).collect()
    }

    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.sink.ticks.iter().filter(|tick| tick.kind == kind).count()
    }

    pub(crate) fn ignored(&self, name: &str) -> u64 {
        self.parser.ignored().get(name)
    }

    /// Whether the book is wanted anew; never in another way than by subscribing.
    pub(crate) fn wants(&self) -> bool {
        let mut wants: Vec<Want> = Vec::new();
        self.parser.wants(&mut wants);
        assert!(wants.iter().all(|want| want.how == How::Resubscribe));
        !wants.is_empty()
    }
}

/// A time of the venue: milliseconds after a fixed moment.
pub(crate) fn at(ms: u64) -> String {
    format!("2026-09-01T12:{:02}:{:02}.{:03}000Z", ms / 60_000, ms / 1_000 % 60, ms % 1_000)
}

pub(crate) fn snapshot(bids: &[(u64, u64)], asks: &[(u64, u64)]) -> String {
    let side = |levels: &[(u64, u64)]| {
        let levels: Vec<_> = levels.iter().map(|(p, s)| format!(r#"["{p}.00","{s}"]"#)).collect();
        levels.join(",")
    };
    format!(
        r#"{{"type":"snapshot","product_id":"BTC-USD","asks":[{}],"bids":[{}]}}"#,
        side(asks),
        side(bids)
    )
}

/// An update of levels `(side, price, size)`.
pub(crate) fn update(ms: u64, changes: &[(&str, u64, u64)]) -> String {
    let changes: Vec<_> =
        changes.iter().map(|(s, p, z)| format!(r#"["{s}","{p}.00","{z}.00000000"]"#)).collect();
    format!(
        r#"{{"type":"l2update","product_id":"BTC-USD","changes":[{}],"time":"{}"}}"#,
        changes.join(","),
        at(ms)
    )
}

pub(crate) fn ticker(ms: u64, bid: u64, ask: u64) -> String {
    format!(
        r#"{{"type":"ticker","sequence":{ms},"product_id":"BTC-USD","price":"{bid}","open_24h":"1","volume_24h":"1","low_24h":"1","high_24h":"1","volume_30d":"1","best_bid":"{bid}","best_bid_size":"1","best_ask":"{ask}","best_ask_size":"1","side":"sell","time":"{}","trade_id":{ms},"last_size":"0.1"}}"#,
        at(ms)
    )
}

fn trade(kind: &str, id: u64) -> String {
    format!(
        r#"{{"type":"{kind}","trade_id":{id},"maker_order_id":"a","taker_order_id":"b","side":"sell","size":"0.5","price":"101","product_id":"BTC-USD","sequence":{id},"time":"{}"}}"#,
        at(id)
    )
}

pub(crate) fn matched(id: u64) -> String {
    trade("match", id)
}

pub(crate) fn last_match(id: u64) -> String {
    trade("last_match", id)
}

pub(crate) fn heartbeat(sequence: u64, last_trade: u64) -> String {
    format!(
        r#"{{"type":"heartbeat","last_trade_id":{last_trade},"product_id":"BTC-USD","sequence":{sequence},"time":"{}"}}"#,
        at(sequence)
    )
}

/// Random numbers that are the same each time (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
