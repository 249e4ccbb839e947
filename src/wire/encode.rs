//! The seam between what happens and the dialects: each event is written in the words of a [`Form`].
//!
//! A dialect is a module beside this one with a function for each event that it has words for; its
//! clients' requests are read in `session/`. Nothing else knows which dialects there are.

use std::sync::Arc;

use tickcast_feeds::{FeedState, Instrument, Side, Tick};

use super::form::{Form, Language};
use super::native::{self, BookHead};
use crate::books::PriceSize;
use crate::derive::{Bar, Span, Sum};

/// The parts of one instrument's messages that never change, for every dialect.
#[derive(Debug)]
pub struct Heads {
    native: native::Heads,
}

impl Heads {
    /// The heads of an instrument.
    pub fn new(info: &Arc<Instrument>) -> Self {
        Heads { native: native::Heads::new(&info.symbol) }
    }
}

/// Several trades as one, for who asked for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TradeSum {
    /// The newest of them.
    pub last: Tick,
    /// How many.
    pub count: u64,
    /// Their quantity.
    pub qty: Sum,
    /// What takers bought of it.
    pub bought: Sum,
    /// The trade with the highest price, and the one with the lowest.
    pub high: Tick,
    /// See `high`.
    pub low: Tick,
}

impl TradeSum {
    /// Of one trade.
    pub fn new(tick: &Tick) -> Self {
        let none = Sum::ZERO;
        let mut sum =
            TradeSum { last: *tick, count: 0, qty: none, bought: none, high: *tick, low: *tick };
        sum.add(tick);
        sum
    }

    /// One more.
    pub fn add(&mut self, tick: &Tick) {
        let trade = tick.as_trade();
        self.last = *tick;
        self.count += 1;
        self.qty.add(trade.size.mantissa.into(), trade.size.exponent.into());
        if trade.side == Side::Buy {
            self.bought.add(trade.size.mantissa.into(), trade.size.exponent.into());
        }
        if trade.price > self.high.as_trade().price {
            self.high = *tick;
        }
        if trade.price < self.low.as_trade().price {
            self.low = *tick;
        }
    }
}

/// Whether a book's stream has no snapshots in it: when the book is replaced, its followers are told
/// the difference.
pub(crate) fn is_bridged(form: Form) -> bool {
    match form.language() {
        Language::Native => false,
        Language::Binance(_) => true,
    }
}

/// Whether a book's message is always of all levels in view.
pub(crate) fn is_whole(form: Form) -> bool {
    match form.language() {
        Language::Native => false,
        Language::Binance(_) => false,
    }
}

/// Appends a trade.
pub(crate) fn trade(out: &mut Vec<u8>, form: Form, heads: &Heads, tick: &Tick, prev: u64) {
    match form.language() {
        Language::Native => native::trade(out, &heads.native, tick, prev),
        Language::Binance(_) => {}
    }
}

/// Appends several trades as one.
pub(crate) fn trades(out: &mut Vec<u8>, form: Form, heads: &Heads, sum: &TradeSum, prev: u64) {
    match form.language() {
        Language::Native => native::trades(out, &heads.native, sum, prev),
        Language::Binance(_) => trade(out, form, heads, &sum.last, prev),
    }
}

/// Appends a quote: an update that follows `prev`, or a snapshot where there is none.
pub(crate) fn quote(out: &mut Vec<u8>, form: Form, heads: &Heads, tick: &Tick, prev: Option<u64>) {
    match form.language() {
        Language::Native => native::quote(out, &heads.native, tick, prev),
        Language::Binance(_) => {}
    }
}

/// Appends a book message with these levels, best first.
pub(crate) fn book(
    out: &mut Vec<u8>,
    form: Form,
    heads: &Heads,
    head: &BookHead,
    bids: impl Iterator<Item = PriceSize>,
    asks: impl Iterator<Item = PriceSize>,
) {
    match form.language() {
        Language::Native => native::book(out, &heads.native, head, bids, asks),
        Language::Binance(_) => {}
    }
}

/// Appends a bar or a ticker: an update that follows `prev`, or a snapshot where there is none.
pub(crate) fn bar(
    out: &mut Vec<u8>,
    form: Form,
    heads: &Heads,
    bar: &Bar,
    seq: u64,
    prev: Option<u64>,
) {
    match (form.language(), bar.span) {
        (Language::Native, Span::Rolling) => native::ticker(out, &heads.native, bar, seq, prev),
        (Language::Native, _) => native::bar(out, &heads.native, bar, seq, prev),
        (Language::Binance(_), _) => {}
    }
}

/// Appends the state of an instrument's feed.
pub(crate) fn feed_status(
    out: &mut Vec<u8>,
    form: Form,
    heads: &Heads,
    state: FeedState,
    age_ms: u64,
) {
    match form.language() {
        Language::Native => native::feed_status(out, &heads.native, state, age_ms),
        // It has no words for it.
        Language::Binance(_) => {}
    }
}
