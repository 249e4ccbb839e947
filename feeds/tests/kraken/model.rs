//! Kraken's side of a book: what it sends to who subscribed to so many levels, with the checksum
//! computed anew from the text, and what can happen to its messages on the way.

use std::collections::BTreeMap;

use tickcast_feeds::tick::flags;
use tickcast_feeds::{Decimal, Side, Tick};

pub(crate) const SYMBOL: &str = "BTC/USD";

/// Price and quantity as they are written.
type Written<'a> = (&'a str, &'a str);

/// The CRC32 of IEEE 802.3, bit by bit.
pub(crate) fn crc32(text: &[u8]) -> u32 {
    !text.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
    })
}

/// The checksum of these levels, the best first, as the guide has it: the point and the leading
/// zeros removed, ten asks, then ten bids.
fn checksum(bids: &[Written<'_>], asks: &[Written<'_>]) -> u32 {
    let levels = asks.iter().take(10).chain(bids.iter().take(10));
    let digits = levels.flat_map(|&(price, qty)| [price, qty]).map(|number| {
        let digits = number.replace('.', "");
        digits.trim_start_matches('0').to_owned()
    });
    crc32(digits.collect::<String>().as_bytes())
}

fn entries(levels: &[Written<'_>]) -> String {
    let entry = |(price, qty): &Written<'_>| format!(r#"{{"price":{price},"qty":{qty}}}"#);
    levels.iter().map(entry).collect::<Vec<_>>().join(",")
}

fn message(kind: &str, bids: &str, asks: &str, crc: u32) -> String {
    format!(
        r#"{{"channel":"book","type":"{kind}","data":[{{"symbol":"{SYMBOL}","bids":[{bids}],"asks":[{asks}],"checksum":{crc},"timestamp":"2023-10-06T17:35:55.440295Z"}}]}}"#
    )
}

/// A message of these levels, the best first, with the checksum of a book that has no others.
pub(crate) fn book(
    kind: &str,
    bids: &[Written<'_>],
    asks: &[Written<'_>],
    change: &dyn Fn(&mut u32),
) -> String {
    let mut crc = checksum(bids, asks);
    change(&mut crc);
    message(kind, &entries(bids), &entries(asks), crc)
}

/// A book of the venue, whole, with prices in tenths and quantities in hundred-millionths.
#[derive(Clone, Debug)]
pub(crate) struct Market {
    depth: usize,
    bids: BTreeMap<i64, u64>,
    asks: BTreeMap<i64, u64>,
}

/// The middle of the market, in tenths: the number of digits changes there.
const MIDDLE: i64 = 10_000;

impl Market {
    /// `levels` on each side, of which `depth` are subscribed to.
    pub(crate) fn new(depth: usize, levels: i64) -> Self {
        let side = |sign: i64| (1..=levels).map(move |n| (MIDDLE + sign * n, 1_000 * n as u64));
        Market { depth, bids: side(-1).collect(), asks: side(1).collect() }
    }

    /// The best bid, as a distance from the middle.
    pub(crate) fn best_bid(&self) -> i64 {
        self.bids.last_key_value().unwrap().0 - MIDDLE
    }

    /// What is subscribed to, the best first.
    fn view(&self, side: Side) -> Vec<(i64, u64)> {
        let copy = |(&price, &qty): (&i64, &u64)| (price, qty);
        match side {
            Side::Buy => self.bids.iter().rev().map(copy).take(self.depth).collect(),
            Side::Sell => self.asks.iter().map(copy).take(self.depth).collect(),
        }
    }

    fn crc(&self) -> u32 {
        let [bids, asks] = [Side::Buy, Side::Sell].map(|side| written(&self.view(side)));
        checksum(&borrowed(&bids), &borrowed(&asks))
    }

    pub(crate) fn snapshot(&self) -> String {
        let [bids, asks] =
            [Side::Buy, Side::Sell].map(|side| entries(&borrowed(&written(&self.view(side)))));
        message("snapshot", &bids, &asks, self.crc())
    }

    /// Changes levels (a distance from the middle and a quantity, zero to remove) and returns what
    /// the venue sends of it: what is new or other in the view, and what left the book; nothing of
    /// what only fell out of the view. Levels that would cross the book take what is there away.
    pub(crate) fn step(&mut self, changes: &[(Side, i64, u64)]) -> String {
        let before = [Side::Buy, Side::Sell].map(|side| self.view(side));
        for &(side, distance, qty) in changes {
            let price = MIDDLE + distance;
            let (own, other) = match side {
                Side::Buy => (&mut self.bids, &mut self.asks),
                Side::Sell => (&mut self.asks, &mut self.bids),
            };
            own.remove(&price);
            if qty > 0 {
                own.insert(price, qty);
                other.retain(|&at, _| if side == Side::Buy { at > price } else { at < price });
            }
        }
        let sides = [Side::Buy, Side::Sell].map(|side| {
            let (old, new) = (&before[usize::from(side == Side::Sell)], self.view(side));
            let whole = if side == Side::Buy { &self.bids } else { &self.asks };
            let gone = old.iter().filter(|(price, _)| !whole.contains_key(price));
            let gone = gone.map(|&(price, _)| (price, 0));
            let changed = new.iter().copied().filter(|level| !old.contains(level));
            entries(&borrowed(&written(&gone.chain(changed).collect::<Vec<_>>())))
        });
        message("update", &sides[0], &sides[1], self.crc())
    }

    /// That a book has the best `compared` levels of this one, and no more than `depth` if that is
    /// all.
    pub(crate) fn assert_is(&self, book: &Book, compared: usize) {
        let number = |value: i64, places: i8| Decimal::new(value, -places);
        let expected = |side| {
            let view = self.view(side).into_iter().take(compared);
            view.map(|(price, qty)| (number(price, 1), number(qty as i64, 8))).collect::<Vec<_>>()
        };
        let limit = if compared < self.depth { compared } else { usize::MAX };
        let copy = |(&price, &size): (&Decimal, &Decimal)| (price, size);
        let bids: Vec<_> = book.bids.iter().rev().map(copy).take(limit).collect();
        let asks: Vec<_> = book.asks.iter().map(copy).take(limit).collect();
        assert_eq!((bids, asks), (expected(Side::Buy), expected(Side::Sell)));
    }
}

fn written(levels: &[(i64, u64)]) -> Vec<(String, String)> {
    let write = |&(price, qty): &(i64, u64)| {
        let qty = format!("{}.{:08}", qty / 100_000_000, qty % 100_000_000);
        (format!("{}.{}", price / 10, price % 10), qty)
    };
    levels.iter().map(write).collect()
}

fn borrowed(levels: &[(String, String)]) -> Vec<Written<'_>> {
    levels.iter().map(|(price, qty)| (&**price, &**qty)).collect()
}

/// What can happen to a message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Drop,
    Repeat,
    /// It comes after the next one.
    Swap,
    /// Its end is missing.
    Cut,
    /// A digit of it is another one.
    Corrupt(usize, u8),
}

impl Fault {
    pub(crate) fn strike<T: Clone>(self, at: usize, history: &mut Vec<(String, T)>) {
        match self {
            Fault::Drop => drop(history.remove(at)),
            Fault::Repeat => history.insert(at, history[at].clone()),
            Fault::Swap => {
                if at + 1 < history.len() {
                    history.swap(at, at + 1);
                }
            }
            Fault::Cut => drop(history[at].0.pop()),
            Fault::Corrupt(place, byte) => {
                let text = &mut history[at].0;
                // The stamp comes after; it is not part of the book.
                let end = text.find(",\"timestamp\"").unwrap();
                let digits: Vec<usize> =
                    (0..end).filter(|&at| text.as_bytes()[at].is_ascii_digit()).collect();
                let place = digits[place % digits.len()];
                text.replace_range(place..=place, &(byte % 10).to_string());
            }
        }
    }
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
        let level = tick.as_level();
        let side = if level.side == Side::Buy { &mut self.bids } else { &mut self.asks };
        if tick.has(flags::EMPTY) || level.size == Decimal::ZERO {
            side.remove(&level.price);
        } else {
            side.insert(level.price, level.size);
        }
    }
}
