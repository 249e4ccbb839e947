//! The book of one symbol, kept as Kraken keeps it: cut to the depth that was subscribed to, and
//! checked against the venue's checksum after every message.
//!
//! <https://docs.kraken.com/exchange/guides/websockets/book-checksum-v2>: "Process all price level
//! updates in a message before calculating the checksum. [...] After each update, truncate your
//! book to the subscribed depth — you will not receive `"qty": 0` for levels that fall out of
//! scope."

use std::collections::VecDeque;

use simd_json::prelude::*;
use simd_json::tape::Value;

use crate::decimal::Decimal;
use crate::tick::Side;
use crate::venue::event::array;
use crate::venue::json::{Fault, Field, decimal, wrong};
use crate::venue::levels::Row;

/// The checksum covers so many of the best levels of each side, "regardless of subscription depth".
const CHECKED: usize = 10;

/// A text of so many characters holds no more digits than a mantissa has room for.
const ROOM: usize = 18;

/// A number, and what its digits were when it was sent.
///
/// The checksum is over the digits as sent, point and leading zeros removed: prices and quantities
/// are "pushed onto the wire containing full precision"
/// (<https://docs.kraken.com/api/docs/guides/spot-ws-book-v2>), so `0.00100000` counts as `100000`.
/// That is just what the mantissa of a [`Decimal`] is, except that one drops trailing zeros for
/// which it has no room. No precision of the instrument is needed.
#[derive(Clone, Copy, Debug)]
struct Digits {
    value: Decimal,
    /// The trailing zeros that the mantissa had no room for.
    dropped: u8,
}

impl Digits {
    fn read(name: &'static str, field: Field<'_, '_>) -> Result<Self, Fault> {
        let value = decimal(name, field)?;
        let text = field.and_then(|field| field.into_string()).unwrap_or_default();
        let dropped = if text.len() <= ROOM { 0 } else { dropped(text, value) };
        Ok(Digits { value, dropped })
    }

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(itoa::Buffer::new().format(self.value.mantissa).as_bytes());
        out.extend(std::iter::repeat_n(b'0', self.dropped.into()));
    }
}

/// How many of the places of `text` are not in `value`. Of the notation with an exponent, which
/// Kraken does not use in books, there is nothing to tell.
fn dropped(text: &str, value: Decimal) -> u8 {
    if text.contains(['e', 'E']) {
        return 0;
    }
    let places = text.find('.').map_or(0, |point| text.len() - point - 1);
    u8::try_from(places as i64 + i64::from(value.exponent)).unwrap_or(0)
}

/// The new total at a price; zero where the level is gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    price: Digits,
    size: Digits,
}

impl Level {
    /// Of numbers too short to have lost a digit.
    pub(super) fn of(row: &Row) -> Self {
        let digits = |value| Digits { value, dropped: 0 };
        Level { price: digits(row.price), size: digits(row.size) }
    }

    /// Units of the quote currency.
    pub(super) fn price(&self) -> Decimal {
        self.price.value
    }

    /// Units of the base currency.
    pub(super) fn size(&self) -> Decimal {
        self.size.value
    }
}

/// Reads an array of `{"price","qty"}`, in the order in which they are to be applied, onto the end
/// of `out`.
pub(super) fn read_levels(
    name: &'static str,
    side: Side,
    field: Field<'_, '_>,
    out: &mut Vec<(Side, Level)>,
) -> Result<(), Fault> {
    for entry in &array(name, field)? {
        out.push((side, read_level(name, entry)?));
    }
    Ok(())
}

fn read_level(name: &'static str, entry: Value<'_, '_>) -> Result<Level, Fault> {
    let object = entry.as_object().ok_or_else(|| wrong(name, entry, "{price, qty}"))?;
    let (mut price, mut size) = (None, None);
    for (key, value) in &object {
        match key {
            "price" => price = Some(value),
            "qty" => size = Some(value),
            _ => {}
        }
    }
    Ok(Level { price: Digits::read("price", price)?, size: Digits::read("qty", size)? })
}

/// Both sides, the best level first: what changes is mostly there, and a deque moves the shorter
/// end. 40 bytes a level, so 80 KB at the deepest subscription.
#[derive(Debug, Default)]
pub(super) struct Book {
    bids: VecDeque<Level>,
    asks: VecDeque<Level>,
    /// Behind the level that was set last: a message goes from the best level on, so the next one
    /// mostly is there.
    next: usize,
}

impl Book {
    /// No levels.
    pub(super) fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
    }

    /// How many levels the longer side has.
    pub(super) fn depth(&self) -> usize {
        self.bids.len().max(self.asks.len())
    }

    /// Every level, bids first, each side from its best.
    pub(super) fn levels(&self) -> impl Iterator<Item = (Side, &Level)> {
        let bids = self.bids.iter().map(|level| (Side::Buy, level));
        bids.chain(self.asks.iter().map(|level| (Side::Sell, level)))
    }

    /// Whether another one has the same levels.
    pub(super) fn is_same(&self, other: &Book) -> bool {
        let plain = |(side, level): (Side, &Level)| (side, level.price(), level.size());
        self.levels().map(plain).eq(other.levels().map(plain))
    }

    /// Applies one change.
    pub(super) fn set(&mut self, side: Side, level: Level) {
        let (price, gone) = (level.price(), level.size().mantissa == 0);
        let next = self.next;
        let levels = self.side(side);
        let found = match levels.get(next) {
            Some(known) if known.price() == price => Ok(next),
            _ => levels.binary_search_by(|known| match side {
                Side::Buy => price.cmp(&known.price()),
                Side::Sell => known.price().cmp(&price),
            }),
        };
        match (found, gone) {
            (Ok(at), true) => drop(levels.remove(at)),
            (Ok(at), false) => levels[at] = level,
            (Err(_), true) => {}
            (Err(at), false) => levels.insert(at, level),
        }
        self.next = match found {
            Ok(at) | Err(at) if gone => at,
            Ok(at) | Err(at) => at + 1,
        };
    }

    /// Cuts both sides to `depth` levels; tells of every level that goes.
    pub(super) fn truncate(&mut self, depth: usize, mut gone: impl FnMut(Side, Decimal)) {
        for side in [Side::Buy, Side::Sell] {
            let levels = self.side(side);
            while levels.len() > depth {
                let Some(level) = levels.pop_back() else { break };
                gone(side, level.price());
            }
        }
    }

    /// The CRC32 of the best ten asks and the best ten bids, price and quantity of each. `text` is a
    /// buffer for their digits.
    pub(super) fn checksum(&self, text: &mut Vec<u8>) -> u32 {
        text.clear();
        for levels in [&self.asks, &self.bids] {
            for level in levels.iter().take(CHECKED) {
                level.price.write(text);
                level.size.write(text);
            }
        }
        crc32fast::hash(text)
    }

    fn side(&mut self, side: Side) -> &mut VecDeque<Level> {
        match side {
            Side::Buy => &mut self.bids,
            Side::Sell => &mut self.asks,
        }
    }
}
