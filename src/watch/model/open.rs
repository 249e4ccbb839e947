//! The symbol whose ladder is shown: its book, and the trades since it was opened.

use std::collections::VecDeque;

use super::book::{Applied, Book};
use super::chain::Chain;
use crate::watch::message;

/// Trades that are kept: more than the tallest screen shows.
const TAPE: usize = 512;
/// Decimal places that numbers are filled up to at most. Longer ones are shown as they are.
const PLACES_MAX: usize = 10;

/// A line of the trades.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::watch) enum Entry {
    Trade {
        /// Microseconds since the Unix epoch: the venue's time, or that of the arrival.
        time: u64,
        /// The taker's side.
        buy: bool,
        price: Box<str>,
        qty: Box<str>,
    },
    /// Trades are missing here.
    Gap,
}

/// See the module.
#[derive(Debug)]
pub(in crate::watch) struct Open {
    /// As it was asked for, and as the server writes it once it has answered.
    pub(in crate::watch) symbol: String,
    pub(in crate::watch) book: Book,
    /// Whether the book is void because something was missing.
    pub(in crate::watch) broken: bool,
    /// Newest first.
    pub(in crate::watch) tape: VecDeque<Entry>,
    /// Decimal places of the finest price and quantity seen: columns do not move to and fro.
    pub(in crate::watch) price_places: usize,
    pub(in crate::watch) qty_places: usize,
    trades: Chain,
}

impl Open {
    pub(super) fn new(symbol: String, depth: usize) -> Self {
        Open {
            symbol,
            book: Book::new(depth),
            broken: false,
            tape: VecDeque::new(),
            price_places: 0,
            qty_places: 0,
            trades: Chain::default(),
        }
    }

    /// Takes a trade; false where one before it is missing.
    pub(super) fn traded(&mut self, trade: &message::Trade<'_>) -> bool {
        let linked = self.trades.link(trade.prev, trade.seq);
        if !linked {
            self.missed();
        }
        self.fit(&trade.price, &trade.qty);
        self.tape.push_front(Entry::Trade {
            time: trade.ts.event.unwrap_or(trade.ts.recv),
            buy: trade.side == "buy",
            price: (&*trade.price).into(),
            qty: (&*trade.qty).into(),
        });
        self.tape.truncate(TAPE);
        linked
    }

    /// Takes a message of the book.
    pub(super) fn booked(&mut self, message: &message::Book<'_>) -> Applied {
        for (price, qty) in message.bids.iter().chain(&message.asks) {
            self.fit(price, qty);
        }
        let applied = self.book.apply(message);
        match applied {
            Applied::Ok => self.broken = false,
            Applied::Broken => self.broken = true,
            Applied::Ignored => {}
        }
        applied
    }

    /// The trades begin after this sequence.
    pub(super) fn trades_after(&mut self, seq: Option<u64>) {
        self.trades = Chain::after(seq);
    }

    /// The connection is a new one: what is known is of before.
    pub(super) fn reconnected(&mut self) {
        self.book.void();
        self.broken = false;
        self.trades = Chain::default();
        self.missed();
    }

    fn missed(&mut self) {
        if self.tape.front().is_some_and(|entry| *entry != Entry::Gap) {
            self.tape.push_front(Entry::Gap);
        }
    }

    fn fit(&mut self, price: &str, qty: &str) {
        self.price_places = self.price_places.max(places(price).min(PLACES_MAX));
        self.qty_places = self.qty_places.max(places(qty).min(PLACES_MAX));
    }
}

/// Digits after the point.
fn places(number: &str) -> usize {
    number.split_once('.').map_or(0, |(_, fraction)| fraction.len())
}
