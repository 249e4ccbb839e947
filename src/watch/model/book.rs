//! The best levels of one book, kept from a snapshot and the updates that follow it.

use tickcast_feeds::Decimal;

use crate::watch::message;

/// A price and what is offered there, as the server wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::watch) struct Level {
    /// What the levels are ordered by.
    pub(in crate::watch) value: Decimal,
    pub(in crate::watch) price: Box<str>,
    /// What the bars are drawn by.
    pub(in crate::watch) size: Decimal,
    pub(in crate::watch) qty: Box<str>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Applied {
    /// The book holds it.
    Ok,
    /// It is of another depth, or there is no snapshot to apply it to.
    Ignored,
    /// Something before it is missing, or it is not what a server sends: the book is void.
    Broken,
}

/// The best `depth` levels a side.
#[derive(Clone, Debug)]
pub(in crate::watch) struct Book {
    /// Levels a side that are subscribed to.
    pub(in crate::watch) depth: usize,
    /// Best first. What is here while a snapshot is awaited is of before, and may be wrong.
    pub(in crate::watch) bids: Vec<Level>,
    pub(in crate::watch) asks: Vec<Level>,
    /// The newest sequence; `None` while a snapshot is awaited.
    seq: Option<u64>,
}

impl Book {
    pub(super) fn new(depth: usize) -> Self {
        Book { depth, bids: Vec::new(), asks: Vec::new(), seq: None }
    }

    /// Whether the levels are those of the server.
    pub(in crate::watch) fn is_known(&self) -> bool {
        self.seq.is_some()
    }

    #[cfg(test)]
    pub(super) fn seq(&self) -> Option<u64> {
        self.seq
    }

    /// The levels count no more; they stay to be looked at until the next snapshot.
    pub(super) fn void(&mut self) {
        self.seq = None;
    }

    /// Takes a message of this book's symbol.
    pub(super) fn apply(&mut self, message: &message::Book<'_>) -> Applied {
        if message.depth != Some(self.depth) {
            return Applied::Ignored;
        }
        match (message.prev, self.seq) {
            (None, _) => {
                self.bids.clear();
                self.asks.clear();
            }
            (Some(_), None) => return Applied::Ignored,
            (Some(prev), Some(seq)) if prev == seq => {}
            (Some(_), Some(_)) => return self.broken(),
        }
        let put = |levels: &mut Vec<Level>, changes: &[(&str, &str)], rising: bool| {
            changes.iter().try_for_each(|(price, qty)| set(levels, price, qty, rising))
        };
        let done =
            put(&mut self.bids, &message.bids, false).and(put(&mut self.asks, &message.asks, true));
        // The server keeps to the depth exactly: a level too many is one whose end was missed.
        if done.is_none() || self.bids.len().max(self.asks.len()) > self.depth {
            return self.broken();
        }
        self.seq = Some(message.seq);
        Applied::Ok
    }

    fn broken(&mut self) -> Applied {
        self.void();
        Applied::Broken
    }
}

/// Puts one level where it belongs, or takes it away; `None` if it is not made of numbers.
fn set(levels: &mut Vec<Level>, price: &str, qty: &str, rising: bool) -> Option<()> {
    let value = Decimal::parse(price.as_bytes()).ok()?;
    let size = Decimal::parse(qty.as_bytes()).ok()?;
    let order = |level: &Level| {
        let order = level.value.cmp(&value);
        if rising { order } else { order.reverse() }
    };
    match levels.binary_search_by(order) {
        Ok(at) if size == Decimal::ZERO => drop(levels.remove(at)),
        Ok(at) => (levels[at].size, levels[at].qty) = (size, qty.into()),
        Err(_) if size == Decimal::ZERO => {}
        Err(at) => levels.insert(at, Level { value, price: price.into(), size, qty: qty.into() }),
    }
    Some(())
}
