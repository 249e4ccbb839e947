//! A plain book of one instrument, kept to derive quotes where a venue sends none, and to see
//! whether the book is still right.

use std::collections::BTreeMap;

use crate::decimal::Decimal;
use crate::tick::{Quote, Side, Tick, flags};

/// Both sides of a book, and the quote that was last derived from them.
#[derive(Debug, Default)]
pub(super) struct TopBook {
    bids: BTreeMap<Decimal, Decimal>,
    asks: BTreeMap<Decimal, Decimal>,
    last: Option<Quote>,
}

/// What an event did to the best bid and ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// They are these now; a side that is empty has price and size zero.
    Quote(Quote),
    /// The best bid is at or above the best ask: levels are missing, and no quote can be trusted.
    Crossed,
}

impl TopBook {
    /// Applies the level ticks of one event, and derives the quote.
    pub(super) fn apply(&mut self, event: &[Tick]) -> Change {
        self.update(event);
        self.change()
    }

    /// Applies the level ticks of one event.
    pub(super) fn update(&mut self, event: &[Tick]) {
        if event.first().is_some_and(|tick| tick.has(flags::SNAPSHOT)) {
            self.bids.clear();
            self.asks.clear();
        }
        for tick in event.iter().filter(|tick| !tick.has(flags::EMPTY)) {
            let level = tick.as_level();
            let side = match level.side {
                Side::Buy => &mut self.bids,
                Side::Sell => &mut self.asks,
            };
            if level.size.mantissa == 0 {
                side.remove(&level.price);
            } else {
                side.insert(level.price, level.size);
            }
        }
    }

    /// The best price of a side; `None` where it is empty.
    pub(super) fn best(&self, side: Side) -> Option<Decimal> {
        match side {
            Side::Buy => self.bids.last_key_value().map(|(&price, _)| price),
            Side::Sell => self.asks.first_key_value().map(|(&price, _)| price),
        }
    }

    /// Whether the best bid is at or above the best ask: levels are missing.
    pub(super) fn is_crossed(&self) -> bool {
        self.best(Side::Buy).zip(self.best(Side::Sell)).is_some_and(|(bid, ask)| bid >= ask)
    }

    fn change(&mut self) -> Change {
        if self.is_crossed() {
            return Change::Crossed;
        }
        let bid = self.bids.last_key_value();
        let ask = self.asks.first_key_value();
        let level = |best: Option<(&Decimal, &Decimal)>| {
            best.map_or((Decimal::ZERO, Decimal::ZERO), |(&price, &size)| (price, size))
        };
        let ((bid, bid_size), (ask, ask_size)) = (level(bid), level(ask));
        let quote = Quote { bid, bid_size, ask, ask_size };
        if self.last.replace(quote) == Some(quote) { Change::None } else { Change::Quote(quote) }
    }
}
