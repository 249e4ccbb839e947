//! The seam between what happens and the dialects: each event is written in the words of a [`Form`].
//!
//! A dialect is a module beside this one with a function for each event that it has words for; its
//! clients' requests are read in `session/`. Nothing else knows which dialects there are.

use std::io::Write;
use std::sync::Arc;

use tickcast_feeds::{FeedState, Instrument, Side, Tick};

use super::binance::encode::Day;
use super::binance::form::{self, Served};
use super::binance::{self, Unit};
use super::form::{Form, Language};
use super::native::{self, BookHead, Named};
use super::request::Channel;
use crate::books::PriceSize;
use crate::derive::{Bar, Span, Sum};

/// The parts of one instrument's messages that never change, for every dialect.
#[derive(Debug)]
pub struct Heads {
    native: native::Heads,
    binance: binance::encode::Heads,
    /// The dialect's symbol in lower case: what its streams are called by.
    stream: Box<[u8]>,
}

impl Heads {
    /// The heads of an instrument, and its symbol in the dialects that have their own.
    pub fn new(info: &Arc<Instrument>, binance: &str) -> Self {
        Heads {
            native: native::Heads::new(&info.symbol),
            binance: binance::encode::Heads::new(binance),
            stream: binance.to_lowercase().into_bytes().into(),
        }
    }

    /// In the envelope of its stream, where the connection has messages in envelopes.
    fn enveloped(
        &self,
        out: &mut Vec<u8>,
        variant: u8,
        channel: Channel,
        depth: u16,
        write: impl FnOnce(&mut Vec<u8>, &binance::encode::Heads, Unit),
    ) {
        let unit = form::unit(variant);
        let Some(kind) = Served::kind(channel, depth, variant) else { return };
        if !form::is_combined(variant) {
            return write(out, &self.binance, unit);
        }
        out.extend_from_slice(b"{\"stream\":\"");
        out.extend_from_slice(&self.stream);
        // Writing into memory cannot fail.
        let _ = write!(out, "@{kind}{}\",\"data\":", kind.rest(form::is_long(variant)));
        write(out, &self.binance, unit);
        out.push(b'}');
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

/// Whether a book's subscription begins without a snapshot, and has none in it: when the book is replaced, its followers are told
/// the difference.
pub(crate) fn is_bridged(form: Form) -> bool {
    match form.language() {
        Language::Native => false,
        Language::Binance(_) => true,
    }
}

/// Whether a book's subscription is told nothing but changes, not even in the beginning.
pub(crate) fn is_unbegun(form: Form) -> bool {
    is_bridged(form) && !is_whole(form)
}

/// Whether a book's message is always of all levels in view.
pub(crate) fn is_whole(form: Form) -> bool {
    match form.language() {
        Language::Native => false,
        Language::Binance(variant) => form::stream(variant) >= 2,
    }
}

/// Appends a trade.
pub(crate) fn trade(out: &mut Vec<u8>, form: Form, heads: &Heads, tick: &Tick, prev: u64) {
    match form.language() {
        Language::Native => native::trade(out, &heads.native, tick, prev),
        Language::Binance(variant) => {
            heads.enveloped(
                out,
                variant,
                Channel::Trade,
                0,
                |out, heads, unit| match form::stream(variant) {
                    0 => binance::encode::trade(out, heads, tick, unit),
                    _ => binance::encode::agg_trade(out, heads, tick, unit),
                },
            );
        }
    }
}

/// Appends several trades as one.
pub(crate) fn trades(out: &mut Vec<u8>, form: Form, heads: &Heads, sum: &TradeSum, prev: u64) {
    match form.language() {
        Language::Native => native::trades(out, &heads.native, sum, prev),
        Language::Binance(_) => trade(out, form, heads, &sum.last, prev),
    }
}

/// The beginning of a quote's envelope where a client has those of all symbols.
const ALL_QUOTES: &[u8] = b"{\"stream\":\"!bookTicker\",\"data\":";

/// Appends a quote: an update that follows `prev`, or a snapshot where there is none.
pub(crate) fn quote(out: &mut Vec<u8>, form: Form, heads: &Heads, tick: &Tick, prev: Option<u64>) {
    match form.language() {
        Language::Native => native::quote(out, &heads.native, tick, prev),
        Language::Binance(variant) if form::is_of_all(Channel::Quote, variant) => {
            let combined = form::is_combined(variant);
            out.extend_from_slice(if combined { ALL_QUOTES } else { b"" });
            binance::encode::book_ticker(out, &heads.binance, tick);
            out.extend_from_slice(if combined { b"}" } else { b"" });
        }
        Language::Binance(variant) => {
            heads.enveloped(out, variant, Channel::Quote, 0, |out, heads, _| {
                binance::encode::book_ticker(out, heads, tick);
            });
        }
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
        Language::Binance(variant) => {
            let depth = head.depth.unwrap_or(0);
            heads.enveloped(out, variant, Channel::Book, depth, |out, heads, unit| {
                if is_whole(form) {
                    return binance::encode::partial_depth(out, head.seq, bids, asks);
                }
                let covered = binance::encode::Covered {
                    first: head.prev.unwrap_or(0) + 1,
                    last: head.seq,
                    time_ns: if head.ts_event == 0 { head.ts_recv } else { head.ts_event },
                };
                binance::encode::depth_update(out, heads, covered, bids, asks, unit);
            });
        }
    }
}

/// Appends a bar or a ticker: an update that follows `prev`, or a snapshot where there is none. What
/// else is known of the instrument goes into some dialects' tickers.
pub(crate) fn bar(
    out: &mut Vec<u8>,
    form: Form,
    heads: &Heads,
    day: &Day<'_>,
    seq: u64,
    prev: Option<u64>,
) {
    let bar = day.bar;
    match (form.language(), bar.span) {
        (Language::Native, Span::Rolling) => native::ticker(out, &heads.native, bar, seq, prev),
        (Language::Native, _) => native::bar(out, &heads.native, bar, seq, prev),
        (Language::Binance(variant), Span::Rolling) => {
            heads.enveloped(out, variant, Channel::Ticker, 0, |out, heads, unit| {
                ticker(out, form, heads, day, unit);
            });
        }
        (Language::Binance(variant), span) => {
            heads.enveloped(out, variant, Channel::Bar, span as u16, |out, heads, unit| {
                binance::encode::kline(out, heads, bar, unit);
            });
        }
    }
}

fn ticker(
    out: &mut Vec<u8>,
    form: Form,
    heads: &binance::encode::Heads,
    day: &Day<'_>,
    unit: Unit,
) {
    match form.language() {
        Language::Binance(variant) if form::stream(variant) == 0 => {
            binance::encode::ticker(out, heads, day, unit);
        }
        _ => binance::encode::mini_ticker(out, heads, day.bar, unit),
    }
}

/// Appends the tickers of many instruments as one message.
pub(crate) fn tickers<'a>(
    out: &mut Vec<u8>,
    form: Form,
    days: impl Iterator<Item = (&'a Heads, Day<'a>)>,
) {
    let Language::Binance(variant) = form.language() else { return };
    let name = if form::stream(variant) == 0 { "ticker" } else { "miniTicker" };
    let combined = form::is_combined(variant);
    if combined {
        out.extend_from_slice(format!("{{\"stream\":\"!{name}@arr\",\"data\":").as_bytes());
    }
    out.push(b'[');
    for (i, (heads, day)) in days.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        ticker(out, form, &heads.binance, &day, form::unit(variant));
    }
    out.push(b']');
    if combined {
        out.push(b'}');
    }
}

/// Appends a trade of the time before a subscription.
pub(crate) fn past_trade(out: &mut Vec<u8>, form: Form, heads: &Heads, tick: &Tick, prev: u64) {
    match form.language() {
        Language::Native => native::past_trade(out, &heads.native, tick, prev),
        Language::Binance(_) => {}
    }
}

/// Appends a bar that closed before a subscription.
pub(crate) fn past_bar(out: &mut Vec<u8>, form: Form, heads: &Heads, bar: &Bar) {
    match form.language() {
        Language::Native => native::past_bar(out, &heads.native, bar),
        Language::Binance(_) => {}
    }
}

/// Appends whether a subscription goes on where the client was; as [`native::resumed`].
pub(crate) fn resumed(
    out: &mut Vec<u8>,
    form: Form,
    heads: &Heads,
    of: Named<'_>,
    lost: Option<&str>,
    seq: Option<u64>,
) {
    match form.language() {
        Language::Native => native::resumed(out, &heads.native, of, lost, seq),
        Language::Binance(_) => {}
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
