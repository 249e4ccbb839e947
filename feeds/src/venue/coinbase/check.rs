//! Whether the tickers bear out the book, which has no sequence of its own.
//!
//! A `ticker` comes with every trade and says what the best bid and ask are. It and the book are
//! not in step: batches hide what comes and goes within 50 ms, and the two channels take their own
//! ways. So one ticker that says something else proves nothing. What does: a side's best level
//! stands untouched in the book, and every ticker over at least [`STANDS`] of the venue's time
//! says that another price is the best, and the book has since gone past the last of them.
//! Whatever touches either price, and any ticker that agrees, ends the doubt.

use crate::decimal::Decimal;
use crate::tick::{Side, Tick, flags};
use crate::venue::top::TopBook;

/// A batch holds what happened in the 50 ms before its time; twice that, to be sure:
/// <https://docs.cdp.coinbase.com/exchange/websocket-feed/channels#level2-batch-channel>.
const BATCH: u64 = 100_000_000;

/// How long the tickers must contradict, in nanoseconds: many times the interval of the batches,
/// so that no order that comes and goes within one each time explains it.
const STANDS: u64 = 1_000_000_000;

/// The check of one book; bids, then asks.
#[derive(Debug, Default)]
pub(super) struct Check([Best; 2]);

/// The best level of a side, and what is said against it.
#[derive(Debug, Default)]
struct Best {
    price: Option<Decimal>,
    /// The venue's time when it was last touched; `None`: no update has come since the snapshot,
    /// which has no time.
    since: Option<u64>,
    /// Whether a ticker has agreed since the snapshot. Until then none is believed: else tickers
    /// that are about something else would have the book fetched for ever.
    borne_out: bool,
    doubt: Option<Doubt>,
}

/// The tickers that say that another price is the best.
#[derive(Debug)]
struct Doubt {
    said: Option<Decimal>,
    /// The times of the first and the last of them.
    first: u64,
    last: u64,
}

const SIDES: [Side; 2] = [Side::Buy, Side::Sell];

impl Check {
    /// A snapshot is in the book.
    pub(super) fn start(&mut self, book: &TopBook) {
        for (best, side) in self.0.iter_mut().zip(SIDES) {
            *best = Best { price: book.best(side), ..Best::default() };
        }
    }

    /// An update is in the book; whether it is now certain that an earlier one is not.
    pub(super) fn update(&mut self, event: &[Tick], book: &TopBook) -> bool {
        let time = event.first().map_or(0, |tick| tick.ts_event);
        let mut wrong = false;
        for (best, side) in self.0.iter_mut().zip(SIDES) {
            let price = book.best(side);
            let said = best.doubt.as_ref().and_then(|doubt| doubt.said);
            let touched = |tick: &&Tick| {
                let level = Some(tick.as_level().price);
                tick.side() == side && (level == price || level == said)
            };
            let levels = || event.iter().filter(|tick| !tick.has(flags::EMPTY));
            if price != best.price || best.since.is_none() || levels().any(|t| touched(&t)) {
                let since = Some(time).filter(|time| *time > 0);
                (best.price, best.since, best.doubt) = (price, since, None);
            } else if let Some(doubt) = &best.doubt {
                let stands = doubt.last - doubt.first >= STANDS;
                wrong |= stands && time > doubt.last.saturating_add(BATCH);
            }
        }
        wrong
    }

    /// A ticker of this time says what the best prices are; zero: none.
    pub(super) fn ticker(&mut self, time: u64, prices: [Decimal; 2]) {
        for ((best, side), said) in self.0.iter_mut().zip(SIDES).zip(prices) {
            let said = Some(said).filter(|price| *price != Decimal::ZERO);
            if said == best.price {
                (best.borne_out, best.doubt) = (true, None);
                continue;
            }
            let applies = best.since.is_some_and(|since| time > since.saturating_add(BATCH));
            if !best.borne_out || !applies {
                continue;
            }
            let worse = |said: Option<Decimal>| is_worse(side, said, best.price);
            match &mut best.doubt {
                Some(doubt) if time <= doubt.last => {}
                Some(doubt) if doubt.said == said || (worse(doubt.said) && worse(said)) => {
                    (doubt.said, doubt.last) = (said, time);
                }
                other => *other = Some(Doubt { said, first: time, last: time }),
            }
        }
    }
}

/// Whether a price is further from the other side than the book's best: then the best level is not
/// there, whatever the price is. A better one contradicts only as long as it is the same: orders
/// of many prices may each come and go within a batch.
fn is_worse(side: Side, said: Option<Decimal>, best: Option<Decimal>) -> bool {
    match (said, best) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(said), Some(best)) => match side {
            Side::Buy => said < best,
            Side::Sell => said > best,
        },
    }
}
