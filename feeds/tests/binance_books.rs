//! Whatever one fault does to Binance's messages, the books that come out are true or marked as
//! not.
//!
//! Of spot and of futures alike, every fault in the order of diffs shows: each names where it
//! begins. What cannot show is a fault in the levels themselves, for which Binance sends no
//! checksum, and the loss of the newest diff until the next one comes.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use tickcast_feeds::tick::flags;
use tickcast_feeds::venue::{self, Context, Input, Venue};
use tickcast_feeds::{FeedState, Instruments, Kind, Side, Tick, VecSink};

/// Prices and sizes of a side.
type Levels = BTreeMap<u64, u64>;

/// A side's total at a price from an update id on.
#[derive(Clone, Copy, Debug)]
struct Change {
    id: u64,
    side: Side,
    price: u64,
    size: u64,
}

/// A market's book with all that ever changed in it.
#[derive(Debug)]
struct History {
    usdm: bool,
    changes: Vec<Change>,
}

impl History {
    /// Of each step: side and price, size, how many ids a future's book skips.
    fn new(usdm: bool, steps: &[(u64, u64, u64)]) -> Self {
        let mut id = 1_000;
        let changes = steps.iter().map(|&(price, size, skipped)| {
            id += 1 + if usdm { skipped } else { 0 };
            // Bids below 100, asks from 100 on: never crossed.
            let side = if price < 100 { Side::Buy } else { Side::Sell };
            Change { id, side, price, size }
        });
        History { usdm, changes: changes.collect() }
    }

    /// Both sides as of an update id.
    fn at(&self, id: u64) -> [Levels; 2] {
        let mut sides = [Levels::new(), Levels::new()];
        for change in self.changes.iter().take_while(|change| change.id <= id) {
            let side = &mut sides[usize::from(change.side == Side::Sell)];
            match change.size {
                0 => side.remove(&change.price),
                size => side.insert(change.price, size),
            };
        }
        sides
    }

    /// Diffs that end after each of these changes.
    fn diffs(&self, ends: impl Iterator<Item = usize>) -> Vec<(u64, String)> {
        let mut from = 0;
        let mut diffs = Vec::new();
        for end in ends.take_while(|&end| end < self.changes.len()) {
            let [first, last] = [from, end].map(|at| self.changes[at].id);
            let before = self.changes[..from].last().map_or(1_000, |change| change.id);
            let mut sides = [Levels::new(), Levels::new()];
            for change in &self.changes[from..=end] {
                sides[usize::from(change.side == Side::Sell)].insert(change.price, change.size);
            }
            let [bids, asks] = sides.map(|side| levels(&side));
            let before = if self.usdm { format!(r#""pu":{before},"#) } else { String::new() };
            let text = format!(
                r#"{{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":{first},"u":{last},{before}"b":{bids},"a":{asks}}}"#
            );
            diffs.push((last, text));
            from = end + 1;
        }
        diffs
    }

    fn snapshot(&self, id: u64) -> String {
        let [bids, asks] = self.at(id).map(|side| levels(&side));
        format!(r#"{{"lastUpdateId":{id},"bids":{bids},"asks":{asks}}}"#)
    }
}

fn levels(side: &Levels) -> String {
    let entries = side.iter().map(|(price, size)| format!(r#"["{price}","{size}"]"#));
    let entries: Vec<String> = entries.collect();
    format!("[{}]", entries.join(","))
}

/// What one who applies the ticks holds.
#[derive(Default)]
struct Client {
    book: [Levels; 2],
    live: bool,
    begun: bool,
    seq: u64,
}

impl Client {
    /// Takes a tick; panics if the book is called live and is not that of the history.
    fn take(&mut self, tick: &Tick, history: &History) {
        match tick.kind {
            Kind::Status => {
                self.live = tick.as_status().state == FeedState::Live;
                self.begun = self.live;
                if self.live {
                    self.check(history);
                }
            }
            Kind::Level => {
                // A snapshot begins a book; the diffs that waited for it come before the status.
                self.begun |= tick.has(flags::SNAPSHOT);
                assert!(self.begun, "a diff of a broken book");
                self.apply(tick);
                self.seq = tick.seq;
                if tick.has(flags::LAST) && self.live {
                    self.check(history);
                }
            }
            other => panic!("{other:?}"),
        }
    }

    fn apply(&mut self, tick: &Tick) {
        if tick.has(flags::FIRST | flags::SNAPSHOT) {
            self.book = Default::default();
        }
        if tick.has(flags::EMPTY) {
            return;
        }
        let level = tick.as_level();
        let [price, size] = [level.price, level.size].map(|number| number.to_string());
        let (price, size) = (price.parse().unwrap(), size.parse().unwrap());
        let side = &mut self.book[usize::from(level.side == Side::Sell)];
        match size {
            0 => side.remove(&price),
            size => side.insert(price, size),
        };
    }

    fn check(&self, history: &History) {
        assert_eq!(self.book, history.at(self.seq), "as of {}", self.seq);
    }
}

/// A parser, who listens to it, and who fetches what it wants.
struct Scene<'h> {
    history: &'h History,
    parser: Box<dyn Venue>,
    sink: VecSink,
    client: Client,
    /// The newest id that any message has shown: a reply is as of there or a little earlier.
    shown: u64,
    /// After how many messages the reply comes that is under way.
    fetching: Option<u64>,
}

impl<'h> Scene<'h> {
    fn new(history: &'h History) -> Self {
        let name = if history.usdm { "binance-usdm" } else { "binance" };
        let parser = venue::find(name).unwrap().parser(&Arc::new(Instruments::new()));
        let (sink, client) = (VecSink::default(), Client::default());
        Scene { history, parser, sink, client, shown: 1_000, fetching: None }
    }

    fn hear(&mut self, link: u16, last: u64, text: &str) {
        self.shown = self.shown.max(last);
        let message = Input::Message { link, text: text.as_bytes() };
        message.apply(&mut *self.parser, 1, &mut self.sink);
        self.listen();
    }

    fn listen(&mut self) {
        assert!(self.sink.rejects.is_empty(), "{:?}", self.sink.rejects);
        for tick in self.sink.ticks.drain(..) {
            self.client.take(&tick, self.history);
        }
    }

    fn wants(&self) -> bool {
        let mut wants = Vec::new();
        self.parser.wants(&mut wants);
        !wants.is_empty()
    }

    /// Lets a reply come that was asked for `delay` messages ago; `lag` ids behind the stream.
    fn fetch(&mut self, delay: u64, lag: u64) {
        self.fetching = match self.fetching {
            Some(0) => {
                self.reply(self.shown.saturating_sub(lag).max(1_000));
                None
            }
            Some(left) => Some(left - 1),
            None => self.wants().then_some(delay),
        };
    }

    fn reply(&mut self, id: u64) {
        // As of the newest change up to there: the venue knows no other ids.
        let known = self.history.changes.iter().rev().find(|change| change.id <= id);
        let id = known.map_or(1_000, |change| change.id);
        let text = self.history.snapshot(id);
        let context = Context { symbol: Some("BTCUSDT"), ..Context::default() };
        self.parser.message(text.as_bytes(), 1, context, &mut self.sink);
        self.listen();
    }
}

/// What happens to one message.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    Drop,
    Repeat,
    Delay(usize),
}

fn faults() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::None),
        Just(Fault::Drop),
        Just(Fault::Repeat),
        (1..6usize).prop_map(Fault::Delay),
    ]
}

/// Does it to the message at `at`.
fn damage<T: Clone>(messages: &mut Vec<T>, at: usize, fault: Fault) {
    match fault {
        Fault::None => {}
        Fault::Drop => drop(messages.remove(at)),
        Fault::Repeat => messages.insert(at, messages[at].clone()),
        Fault::Delay(by) => {
            let message = messages.remove(at);
            messages.insert((at + by).min(messages.len()), message);
        }
    }
}

/// Where diffs end, of a connection that cuts them after so many changes each.
fn ends(cuts: &[usize]) -> impl Iterator<Item = usize> {
    cuts.iter().cycle().scan(0, |next, cut| {
        *next += cut;
        Some(*next - 1)
    })
}

fn histories() -> impl Strategy<Value = History> {
    let step = (90..110u64, 0..4u64, 0..5u64);
    (any::<bool>(), proptest::collection::vec(step, 60..200))
        .prop_map(|(usdm, steps)| History::new(usdm, &steps))
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(1..6usize, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_fault_never_makes_a_false_book_and_is_mended(
        history in histories(),
        cuts in cuts(),
        at: proptest::sample::Index,
        fault in faults(),
        delay in 0..4u64,
        lag in 0..8u64,
    ) {
        let mut diffs = history.diffs(ends(&cuts));
        // The last ones are left whole, for a fault shows with the next message.
        let newest = diffs.split_off(diffs.len() - 3);
        let at = at.index(diffs.len());
        damage(&mut diffs, at, fault);
        let mut scene = Scene::new(&history);
        for (last, text) in diffs.iter().chain(&newest) {
            scene.hear(0, *last, text);
            scene.fetch(delay, lag);
        }
        if scene.wants() {
            prop_assert!(!scene.client.live);
            scene.reply(scene.shown);
        }
        prop_assert!(scene.client.live && !scene.wants());
        prop_assert_eq!(scene.client.seq, scene.shown);
        scene.client.check(&history);
    }

    #[test]
    fn a_missing_diff_is_noticed_with_the_next(
        history in histories(),
        cuts in cuts(),
        at: proptest::sample::Index,
    ) {
        let diffs = history.diffs(ends(&cuts));
        let at = 1 + at.index(diffs.len() - 2);
        let mut scene = Scene::new(&history);
        scene.reply(1_000);
        for (last, text) in &diffs[..at] {
            scene.hear(0, *last, text);
        }
        prop_assert!(scene.client.live);
        let (last, text) = &diffs[at + 1];
        scene.hear(0, *last, text);
        prop_assert!(!scene.client.live && scene.wants());
    }

    #[test]
    fn of_two_lines_one_may_fail(
        history in histories(),
        cuts in [cuts(), cuts()],
        turns in proptest::collection::vec(0..4usize, 1..20),
        at: proptest::sample::Index,
        fault in faults(),
        lag in 0..8u64,
    ) {
        let [mut a, b] = cuts.map(|cuts| history.diffs(ends(&cuts)));
        let at = at.index(a.len());
        damage(&mut a, at, fault);
        let mut lines = [a.into_iter(), b.into_iter()];
        let mut scene = Scene::new(&history);
        // In turns of some messages each, until both are through.
        for (turn, count) in turns.iter().cycle().enumerate() {
            for (last, text) in lines[turn % 2].by_ref().take(count + 1) {
                scene.hear((turn % 2) as u16, last, &text);
                scene.fetch(1, lag);
            }
            if lines.iter().all(|line| line.len() == 0) {
                break;
            }
        }
        if scene.wants() {
            prop_assert!(!scene.client.live);
            scene.reply(scene.shown);
        }
        prop_assert!(scene.client.live && !scene.wants());
        prop_assert_eq!(scene.client.seq, scene.shown);
        scene.client.check(&history);
    }
}
