//! OKX: no mishap on the way of a book's messages shows a book that never was, on one connection
//! or on two.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use tickcast_feeds::tick::flags;
use tickcast_feeds::venue::{self, Context, Venue};
use tickcast_feeds::{Decimal, FeedState, Instruments, Kind, Side, Tick, VecSink};

#[allow(dead_code)]
mod common;
use common::Book;

const NATIVE: &str = "BTC-USDT";

/// Bids by price, asks by price.
type Levels = [BTreeMap<u64, u64>; 2];

/// One message of the venue: the book after it, and what it changed.
#[derive(Clone, Debug)]
struct Message {
    ts: u64,
    prev: u64,
    seq: u64,
    book: Levels,
    changes: Levels,
}

impl Message {
    fn text(&self, action: &str, prev: i64, levels: &Levels) -> String {
        let [bids, asks] = levels.each_ref().map(|side| {
            let level = |(price, size)| format!(r#"["{price}","{size}","0","1"]"#);
            side.iter().map(level).collect::<Vec<_>>().join(",")
        });
        let Message { ts, seq, .. } = self;
        format!(
            r#"{{"arg":{{"channel":"books","instId":"{NATIVE}"}},"action":"{action}","data":[{{"asks":[{asks}],"bids":[{bids}],"ts":"{ts}","checksum":0,"prevSeqId":{prev},"seqId":{seq}}}]}}"#
        )
    }

    fn update(&self) -> String {
        self.text("update", self.prev as i64, &self.changes)
    }

    fn snapshot(&self) -> String {
        self.text("snapshot", -1, &self.book)
    }
}

/// What happens at one step of a book's history.
#[derive(Clone, Debug)]
enum Happening {
    /// Levels change: side (0 bids, 1 asks), price within the side, new size; and how far the
    /// sequence moves.
    Change(Vec<(usize, u64, u64)>, u64),
    /// Nothing for a minute.
    Pause,
    /// Maintenance: the numbers start over.
    Reset,
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let level = (0..2usize, 0..4u64, 0..5u64);
    let change = (proptest::collection::vec(level, 0..4), 1..6u64)
        .prop_map(|(levels, by)| Happening::Change(levels, by));
    let one = prop_oneof![14 => change, 1 => Just(Happening::Pause), 1 => Just(Happening::Reset)];
    proptest::collection::vec(one, 2..30)
}

/// The messages of a history; each has a time of its own.
fn render(happenings: &[Happening], start: u64) -> Vec<Message> {
    let mut book = Levels::default();
    book[0].insert(97, 1);
    book[1].insert(103, 1);
    let (mut ts, mut seq) = (1_790_000_000_000, start);
    let first = Message { ts, prev: 0, seq, book: book.clone(), changes: Levels::default() };
    let mut messages = vec![first];
    for happening in happenings {
        let prev = seq;
        let mut changes = Levels::default();
        match happening {
            Happening::Change(levels, by) => {
                (ts, seq) = (ts + 100, seq + by);
                for &(side, price, size) in levels {
                    // Bids 96 to 99, asks 101 to 104.
                    let price = [96, 101][side] + price;
                    changes[side].insert(price, size);
                    match size {
                        0 => book[side].remove(&price),
                        _ => book[side].insert(price, size),
                    };
                }
            }
            Happening::Pause => ts += 60_000,
            // To a number below, which later ones may well pass.
            Happening::Reset if seq > 0 => (ts, seq) = (ts + 100, seq.saturating_sub(9)),
            Happening::Reset => ts += 100,
        }
        messages.push(Message { ts, prev, seq, book: book.clone(), changes });
    }
    messages
}

/// The parser with the book that its ticks make.
struct Feed {
    parser: Box<dyn Venue>,
    sink: VecSink,
    book: Book,
    /// When the book's last event was.
    at: u64,
    state: Option<FeedState>,
}

impl Feed {
    fn new() -> Self {
        let parser = venue::find("okx").unwrap().parser(&Arc::new(Instruments::new()));
        Feed { parser, sink: VecSink::default(), book: Book::default(), at: 0, state: None }
    }

    /// Hears a message, and checks what is shown after it against the truth at that time.
    fn hear(&mut self, link: u16, text: &str, truth: &[Message]) {
        let context = Context { link, ..Context::default() };
        self.parser.message(text.as_bytes(), 1, context, &mut self.sink);
        assert!(self.sink.rejects.is_empty(), "{:?}", self.sink.rejects);
        for tick in std::mem::take(&mut self.sink.ticks) {
            self.see(&tick, truth);
        }
    }

    fn see(&mut self, tick: &Tick, truth: &[Message]) {
        if tick.kind == Kind::Status {
            self.state = Some(tick.as_status().state);
            return;
        }
        let broken = self.state == Some(FeedState::Resync);
        // The diffs that waited come between a snapshot and the word that the book is live.
        let starts = tick.has(flags::SNAPSHOT | flags::FIRST);
        assert!(!broken || starts || tick.ts_event >= self.at, "a level of a broken book");
        self.book.apply(tick);
        self.at = tick.ts_event;
        if tick.has(flags::LAST) {
            let message = truth.iter().find(|m| m.ts * 1_000_000 == self.at);
            let message = message.expect("a time that the venue never sent");
            assert_eq!(self.shown(), message.book, "the book at {}", message.ts);
            assert_eq!(tick.seq, message.seq);
        }
    }

    fn shown(&self) -> Levels {
        let side = |side: Side| {
            let levels = if side == Side::Buy { &self.book.bids } else { &self.book.asks };
            let whole = |d: &Decimal| d.rescale(0).unwrap() as u64;
            levels.iter().map(|(price, size)| (whole(price), whole(size))).collect()
        };
        [side(Side::Buy), side(Side::Sell)]
    }

    fn wants(&self) -> bool {
        let mut wants = Vec::new();
        self.parser.wants(&mut wants);
        !wants.is_empty()
    }

    /// Answers what is wanted, then lets the history go on; the book must be the true one.
    fn recover(&mut self, link: u16, truth: &[Message]) {
        // Long enough after, for what only the time tells.
        let (past, rest) = truth.split_at(truth.len() - 2);
        self.hear(link, &rest[0].update(), truth);
        if self.wants() {
            assert_ne!(self.state, Some(FeedState::Live));
            self.hear(link, &rest[0].snapshot(), truth);
        }
        assert!(!self.wants(), "{} messages before", past.len());
        self.hear(link, &rest[1].update(), truth);
        assert_eq!((self.state, self.shown()), (Some(FeedState::Live), rest[1].book.clone()));
        assert_eq!(self.at, rest[1].ts * 1_000_000);
    }
}

/// A history with two more messages at its end, six seconds later.
fn histories() -> impl Strategy<Value = Vec<Message>> {
    (happenings(), 0..30u64).prop_map(|(mut happenings, start)| {
        let change = |size| Happening::Change(vec![(0, 3, size)], 3);
        happenings.extend([change(7), change(8)]);
        let mut messages = render(&happenings, start);
        for message in messages.iter_mut().rev().take(2) {
            message.ts += 6_000;
        }
        messages
    })
}

#[derive(Clone, Copy, Debug)]
enum Mishap {
    Drop,
    Repeat,
    /// It comes after so many later ones.
    Delay(usize),
}

/// One mishap; `ordered` where a later message does not come first, as on any connection.
fn mishaps(ordered: bool) -> impl Strategy<Value = (Mishap, prop::sample::Index)> {
    let kind = prop_oneof![
        Just(Mishap::Drop),
        Just(Mishap::Repeat),
        (1..4usize).prop_map(move |by| if ordered { Mishap::Drop } else { Mishap::Delay(by) })
    ];
    (kind, any::<prop::sample::Index>())
}

/// The texts that one connection carries, its snapshot first, and with a mishap.
fn carry(messages: &[Message], mishap: Option<(Mishap, prop::sample::Index)>) -> Vec<String> {
    let (first, rest) = messages.split_first().unwrap();
    let mut texts = vec![first.snapshot()];
    texts.extend(rest.iter().map(Message::update));
    if let Some((kind, at)) = mishap {
        let at = at.index(texts.len());
        let text = texts.remove(at);
        match kind {
            Mishap::Drop => {}
            Mishap::Repeat => texts.splice(at..at, [text.clone(), text]).for_each(drop),
            Mishap::Delay(by) => texts.insert((at + by).min(texts.len()), text),
        }
    }
    texts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_connection_with_a_mishap(truth in histories(), mishap in mishaps(false)) {
        let mut feed = Feed::new();
        // Before anything is known of the symbol an expectation has no book to wait for.
        feed.hear(0, &format!(r#"{{"arg":{{"channel":"trades","instId":"{NATIVE}"}},"data":[]}}"#), &truth);
        feed.parser.expect(&[NATIVE.into()], true, 1, &mut feed.sink);
        for text in carry(&truth[..truth.len() - 2], Some(mishap)) {
            feed.hear(0, &text, &truth);
        }
        feed.recover(0, &truth);
    }

    #[test]
    fn two_connections_of_which_one_lags_and_one_has_a_mishap(
        truth in histories(),
        mishap in proptest::option::of(mishaps(true)),
        join in any::<prop::sample::Index>(),
        turns in proptest::collection::vec(0..3u8, 80),
    ) {
        let past = &truth[..truth.len() - 2];
        let mut lines = [carry(past, mishap), carry(&past[join.index(past.len())..], None)]
            .map(Vec::into_iter);
        let mut feed = Feed::new();
        // The second is behind in most turns.
        for turn in turns {
            let link = usize::from(turn == 0);
            if let Some(text) = lines[link].next() {
                feed.hear(link as u16, &text, &truth);
            }
        }
        for (link, line) in lines.iter_mut().enumerate() {
            for text in line {
                feed.hear(link as u16, &text, &truth);
            }
        }
        feed.recover(0, &truth);
    }
}
