//! A market of random orders, rendered as the venue's messages, and what the network may do to
//! one of them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tickcast_feeds::FeedState;

use crate::harness::{Live, Random, heartbeat, last_match, matched, snapshot, ticker, update};

/// How long the market is open, in milliseconds.
const OPEN: u64 = 6_000;

type Levels = BTreeMap<u64, u64>;

/// What is varied.
#[derive(Clone, Copy, Debug)]
struct Setting {
    seed: u64,
    /// Whether a batch leaves out the levels whose size is what it was.
    terse: bool,
    /// Whether a batch's time is that of its last change; else of its end.
    last_time: bool,
    /// How much later the books and the tickers arrive than the rest, in milliseconds.
    lags: [u64; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Book,
    Match,
    Other,
}

#[derive(Clone, Debug)]
struct Sent {
    what: What,
    text: String,
    /// The true book as of this message.
    truth: Option<[Levels; 2]>,
}

/// A market maker's book about a price that wanders: bids, then asks.
struct Market {
    random: Random,
    setting: Setting,
    now: u64,
    sides: [Levels; 2],
    /// What the last batch left, what was touched since, and when last.
    sent: [Levels; 2],
    touched: [Levels; 2],
    changed: u64,
    trade: u64,
    out: Vec<(u64, Sent)>,
}

impl Market {
    fn run(setting: Setting) -> Vec<Sent> {
        let sides = [(95..=100, 3), (101..=106, 3)]
            .map(|(prices, size)| prices.map(|p| (p, size)).collect());
        let mut market = Market {
            random: Random(setting.seed),
            setting,
            now: 0,
            sent: sides.clone(),
            sides,
            touched: Default::default(),
            changed: 0,
            trade: 1_000,
            out: Vec::new(),
        };
        market.put_snapshot();
        market.put(0, What::Match, last_match(1_000), None);
        while market.now < OPEN {
            market.now += 1;
            for _ in 0..market.random.below(3) {
                market.act();
            }
            if market.now.is_multiple_of(50) {
                market.put_batch();
            }
            if market.now.is_multiple_of(1_000) {
                let beat = heartbeat(market.now, market.trade);
                market.put(0, What::Other, beat, None);
            }
        }
        market.out.sort_by_key(|(arrival, _)| *arrival);
        market.out.into_iter().map(|(_, sent)| sent).collect()
    }

    fn put(&mut self, lag: u64, what: What, text: String, truth: Option<[Levels; 2]>) {
        self.out.push((self.now + lag, Sent { what, text, truth }));
    }

    fn put_snapshot(&mut self) {
        let [bids, asks] = self.sides.each_ref().map(|s| s.iter().map(|(&p, &z)| (p, z)).collect());
        let (bids, asks): (Vec<_>, Vec<_>) = (bids, asks);
        let truth = Some(self.sides.clone());
        self.put(self.setting.lags[0], What::Other, snapshot(&bids, &asks), truth);
    }

    fn best(&self, side: usize) -> Option<u64> {
        let prices = &self.sides[side];
        if side == 0 { prices.keys().next_back().copied() } else { prices.keys().next().copied() }
    }

    fn set(&mut self, side: usize, price: u64, size: u64) {
        match size {
            0 => _ = self.sides[side].remove(&price),
            _ => _ = self.sides[side].insert(price, size),
        }
        self.touched[side].insert(price, size);
        self.changed = self.now;
    }

    fn act(&mut self) {
        let side = self.random.below(2) as usize;
        let other = self.best(1 - side);
        match self.random.below(100) {
            // A new order, or a change, not through the other side.
            0..60 => {
                let price = 95 + self.random.below(12);
                let fits = other.is_none_or(|o| if side == 0 { price < o } else { price > o });
                if fits {
                    let size = 1 + self.random.below(3);
                    self.set(side, price, size);
                }
            }
            60..90 => {
                let price = 95 + self.random.below(12);
                if self.sides[side].contains_key(&price) && self.sides[side].len() > 1 {
                    self.set(side, price, 0);
                }
            }
            90..96 => self.trade(side),
            _ => {}
        }
    }

    /// Somebody takes the best level of a side, whole, and often it is there again at once.
    fn trade(&mut self, side: usize) {
        let Some(best) = self.best(side).filter(|_| self.sides[side].len() > 1) else { return };
        let size = self.sides[side][&best];
        self.set(side, best, 0);
        self.trade += 1;
        let text = matched(self.trade);
        self.put(0, What::Match, text, None);
        let [bid, ask] = [0, 1].map(|side| self.best(side).unwrap_or(0));
        let text = ticker(self.now, bid, ask);
        self.put(self.setting.lags[1], What::Other, text, None);
        if self.random.below(2) == 0 {
            self.set(side, best, size);
        }
    }

    fn put_batch(&mut self) {
        let touched = std::mem::take(&mut self.touched);
        let mut changes = Vec::new();
        for ((name, levels), sent) in ["buy", "sell"].into_iter().zip(touched).zip(&self.sent) {
            for (price, size) in levels {
                let before = sent.get(&price).copied().unwrap_or(0);
                if !self.setting.terse || before != size {
                    changes.push((name, price, size));
                }
            }
        }
        self.sent = self.sides.clone();
        if !changes.is_empty() {
            let time = if self.setting.last_time { self.changed } else { self.now };
            let truth = Some(self.sides.clone());
            self.put(self.setting.lags[0], What::Book, update(time, &changes), truth);
        }
    }
}

fn settings() -> impl Strategy<Value = Setting> {
    (any::<u64>(), any::<[bool; 2]>(), [0..400u64, 0..400u64])
        .prop_map(|(seed, [terse, last_time], lags)| Setting { seed, terse, last_time, lags })
}

/// The book as put.
fn book(live: &Live) -> [Levels; 2] {
    let book = &live.books[&0];
    [&book.bids, &book.asks].map(|side| {
        side.iter()
            .map(|(p, z)| (p.rescale(0).unwrap() as u64, z.rescale(0).unwrap() as u64))
            .collect()
    })
}

#[derive(Clone, Copy, Debug)]
enum Mishap {
    Drop,
    Repeat,
    Swap,
}

fn mishaps() -> impl Strategy<Value = Mishap> {
    prop_oneof![Just(Mishap::Drop), Just(Mishap::Repeat), Just(Mishap::Swap)]
}

/// Does it to one of the messages of a kind; where it is, and where that kind goes on.
fn strike(
    messages: &mut Vec<Sent>,
    what: What,
    mishap: Mishap,
    which: &prop::sample::Index,
) -> [usize; 2] {
    let all: Vec<usize> = (0..messages.len()).filter(|&at| messages[at].what == what).collect();
    let at = which.index(all.len() - 1);
    let (at, next) = (all[at], all[at + 1]);
    match mishap {
        Mishap::Drop => _ = messages.remove(at),
        Mishap::Repeat => messages.insert(at, messages[at].clone()),
        Mishap::Swap => messages.swap(at, next),
    }
    [at, next]
}

/// Feeds the messages; after each, what is put is not crossed.
fn feed(live: &mut Live, messages: &[Sent]) {
    for sent in messages {
        live.feed(1, &sent.text);
        assert!(live.books.get(&0).is_none_or(|book| !book.is_crossed()));
    }
    assert!(live.sink.rejects.is_empty(), "{:?}", live.sink.rejects.first());
}

/// A snapshot heals what was done, wanted or not.
fn check_healed(live: &mut Live) {
    live.feed(1, &snapshot(&[(10, 1)], &[(20, 2)]));
    live.feed(1, &update(OPEN + 1_000, &[("buy", 11, 3)]));
    assert_eq!((live.state(), live.wants()), (Some(FeedState::Live), false));
    assert_eq!(book(live), [Levels::from([(10, 1), (11, 3)]), Levels::from([(20, 2)])]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn where_nothing_is_lost_nothing_is_found(setting in settings()) {
        let mut live = Live::new(&["BTC-USD"]);
        for sent in Market::run(setting) {
            live.feed(1, &sent.text);
            if let Some(truth) = &sent.truth {
                prop_assert_eq!(&book(&live), truth);
            }
        }
        prop_assert_eq!(live.history(), [FeedState::Live]);
        prop_assert!(live.ignored("ticker") > 20);
        prop_assert_eq!(live.ignored("missed trades"), 0);
        check_healed(&mut live);
    }

    /// An update that is dropped or comes late may leave a wrong book that nothing tells from a
    /// right one. But it is never crossed, and what comes twice changes nothing.
    #[test]
    fn a_mishap_to_an_update(setting in settings(), mishap in mishaps(), which: prop::sample::Index) {
        let mut messages = Market::run(setting);
        let truth = messages.iter().filter_map(|sent| sent.truth.clone()).next_back();
        strike(&mut messages, What::Book, mishap, &which);
        let mut live = Live::new(&["BTC-USD"]);
        feed(&mut live, &messages);
        if matches!(mishap, Mishap::Repeat) {
            prop_assert_eq!(live.history(), [FeedState::Live]);
            prop_assert_eq!(Some(book(&live)), truth);
        }
        let found = live.history().contains(&FeedState::Resync);
        prop_assert_eq!(found, live.wants());
        check_healed(&mut live);
    }

    /// Every trade that is lost or out of order is found, by the next one or by the heartbeats.
    #[test]
    fn a_mishap_to_a_trade(setting in settings(), mishap in mishaps(), which: prop::sample::Index) {
        let mut messages = Market::run(setting);
        let [at, _] = strike(&mut messages, What::Match, mishap, &which);
        let first = messages.iter().position(|sent| sent.text.contains("snapshot")).unwrap();
        let mut live = Live::new(&["BTC-USD"]);
        feed(&mut live, &messages);
        // The first is `last_match`, which may be anything; and without a book none is lost.
        let was_live = at > first && at > messages.iter().position(|s| s.what == What::Match).unwrap();
        let harmless = matches!(mishap, Mishap::Repeat);
        prop_assert!(!harmless || live.history() == [FeedState::Live]);
        if was_live && !harmless {
            prop_assert!(live.history().starts_with(&[FeedState::Live, FeedState::Resync]));
            prop_assert!(live.wants() && live.ignored("missed trades") > 0);
        }
        check_healed(&mut live);
    }
}
