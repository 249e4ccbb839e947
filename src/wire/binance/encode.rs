//! Messages of the streams, field for field as Binance documents them.
//!
//! What does not change from tick to tick stands ready in [`Heads`] and [`Envelope`]; nothing here
//! allocates once the output has grown. Numbers are exact, and with eight places as Binance writes
//! them (`number`).
//!
//! Of what Binance says and tickcast cannot know:
//!
//! - `E`, the event time, is the venue's (of receipt where the venue gives none), for trades and books;
//!   for what is derived from trades it is when that became what it is.
//! - `f` and `l` of an aggregate trade are its own id where it is a single trade, -1 where the venue
//!   summed several and their ids are not kept.
//! - `f` and `L` of a kline, `F` of a ticker are -1, as Binance says where there is no trade: ids of
//!   trades are not kept with bars.
//! - `x` of a ticker, the price before the window, is that of the first trade in it.
//! - `Q` of a kline, what takers' purchases cost, is reckoned at the kline's average price: `V` is exact.
//! - A sum that would leave 128 bits is zero.

use tickcast_feeds::tick::flags;
use tickcast_feeds::{Decimal, Side, Tick};

use super::Unit;
use super::number::{push_decimal, push_sum};
use crate::books::PriceSize;
use crate::derive::sum::{difference, percent, quotient};
use crate::derive::{Bar, Sum};
use crate::wire::native::push_int;

/// The parts of one instrument's messages that never change.
#[derive(Debug)]
pub struct Heads {
    /// `,"s":"BTCUSDT"`
    symbol: Box<[u8]>,
}

impl Heads {
    /// The heads of an instrument of this symbol (see [`Names`](super::names::Names)).
    pub fn new(symbol: &str) -> Self {
        let quoted = serde_json::Value::from(symbol).to_string();
        Heads { symbol: format!(r#","s":{quoted}"#).into_bytes().into() }
    }
}

/// What stands around the messages of a stream on a combined connection.
#[derive(Debug)]
pub struct Envelope(Box<[u8]>);

impl Envelope {
    /// Of the stream of this name, as the client gave it.
    pub fn new(stream: &str) -> Self {
        let quoted = serde_json::Value::from(stream).to_string();
        Envelope(format!(r#"{{"stream":{quoted},"data":"#).into_bytes().into())
    }

    /// Appends `{"stream":"...","data":`, what `message` appends, and `}`.
    pub fn around(&self, out: &mut Vec<u8>, message: impl FnOnce(&mut Vec<u8>)) {
        out.extend_from_slice(&self.0);
        message(out);
        out.push(b'}');
    }
}

/// The venue's time, or that of receipt, nanoseconds.
pub(super) const fn time_of(tick: &Tick) -> u64 {
    if tick.ts_event == 0 { tick.ts_recv } else { tick.ts_event }
}

/// When a bar became what it is, nanoseconds.
pub(super) const fn made_at(bar: &Bar) -> u64 {
    if bar.recv_ns == 0 { bar.event_ns } else { bar.recv_ns }
}

/// `m`: the buyer was the maker, so the taker sold.
pub(super) fn buyer_is_maker(tick: &Tick) -> bool {
    tick.side() == Side::Sell
}

pub(super) fn push_field(out: &mut Vec<u8>, name: &[u8], value: u64) {
    out.extend_from_slice(name);
    push_int(out, value);
}

pub(super) fn push_bool(out: &mut Vec<u8>, name: &[u8], value: bool) {
    out.extend_from_slice(name);
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// `["1.5","2"],...`, without the brackets around them.
pub(super) fn push_levels(out: &mut Vec<u8>, levels: impl Iterator<Item = PriceSize>) {
    for (i, (price, size)) in levels.enumerate() {
        push_decimal(out, if i == 0 { b"[" } else { b",[" }, price);
        push_decimal(out, b",", size);
        out.push(b']');
    }
}

/// `{"e":"...","E":...,"s":"..."`
fn push_opening(out: &mut Vec<u8>, event: &[u8], heads: &Heads, time: u64) {
    out.extend_from_slice(b"{\"e\":\"");
    out.extend_from_slice(event);
    push_field(out, b"\",\"E\":", time);
    out.extend_from_slice(&heads.symbol);
}

/// `,"T":...,"m":...,"M":true}`
fn push_trade_end(out: &mut Vec<u8>, tick: &Tick, time: u64) {
    push_field(out, b",\"T\":", time);
    push_bool(out, b",\"m\":", buyer_is_maker(tick));
    out.extend_from_slice(b",\"M\":true}");
}

/// Appends a trade (`<symbol>@trade`).
pub fn trade(out: &mut Vec<u8>, heads: &Heads, tick: &Tick, unit: Unit) {
    let (trade, time) = (tick.as_trade(), unit.of_ns(time_of(tick)));
    push_opening(out, b"trade", heads, time);
    push_field(out, b",\"t\":", trade.id);
    push_decimal(out, b",\"p\":", trade.price);
    push_decimal(out, b",\"q\":", trade.size);
    push_trade_end(out, tick, time);
}

/// Appends an aggregate trade (`<symbol>@aggTrade`): each of the venue's, be it an aggregate or not.
pub fn agg_trade(out: &mut Vec<u8>, heads: &Heads, tick: &Tick, unit: Unit) {
    let (trade, time) = (tick.as_trade(), unit.of_ns(time_of(tick)));
    push_opening(out, b"aggTrade", heads, time);
    push_field(out, b",\"a\":", trade.id);
    push_decimal(out, b",\"p\":", trade.price);
    push_decimal(out, b",\"q\":", trade.size);
    push_first_last(out, tick);
    push_trade_end(out, tick, time);
}

/// `,"f":...,"l":...` of an aggregate trade.
pub(super) fn push_first_last(out: &mut Vec<u8>, tick: &Tick) {
    if tick.has(flags::AGGREGATE) {
        out.extend_from_slice(b",\"f\":-1,\"l\":-1");
    } else {
        push_field(out, b",\"f\":", tick.as_trade().id);
        push_field(out, b",\"l\":", tick.as_trade().id);
    }
}

/// Appends a quote (`<symbol>@bookTicker`, `!bookTicker`), its sequence as `u`.
pub fn book_ticker(out: &mut Vec<u8>, heads: &Heads, tick: &Tick) {
    let quote = tick.as_quote();
    push_field(out, b"{\"u\":", tick.seq);
    out.extend_from_slice(&heads.symbol);
    push_decimal(out, b",\"b\":", quote.bid);
    push_decimal(out, b",\"B\":", quote.bid_size);
    push_decimal(out, b",\"a\":", quote.ask);
    push_decimal(out, b",\"A\":", quote.ask_size);
    out.push(b'}');
}

/// Which events of a book a message of its changes covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    /// `U`: one more than `u` of the message before, so that nothing can be missed unseen, whatever
    /// numbers the venue leaves out.
    pub first: u64,
    /// `u`: the book's sequence after it.
    pub last: u64,
    /// Time of the last event, nanoseconds: the venue's, or that of receipt.
    pub time_ns: u64,
}

/// Appends the changes of a book (`<symbol>@depth`): new sizes by price, zero where a level is gone.
pub fn depth_update(
    out: &mut Vec<u8>,
    heads: &Heads,
    covered: Covered,
    bids: impl Iterator<Item = PriceSize>,
    asks: impl Iterator<Item = PriceSize>,
    unit: Unit,
) {
    push_opening(out, b"depthUpdate", heads, unit.of_ns(covered.time_ns));
    push_field(out, b",\"U\":", covered.first);
    push_field(out, b",\"u\":", covered.last);
    out.extend_from_slice(b",\"b\":[");
    push_levels(out, bids);
    out.extend_from_slice(b"],\"a\":[");
    push_levels(out, asks);
    out.extend_from_slice(b"]}");
}

/// Appends the best levels of a book (`<symbol>@depth5` and so on), best first; also the body of
/// `/api/v3/depth`. It names no symbol: that is Binance's form.
pub fn partial_depth(
    out: &mut Vec<u8>,
    last_update_id: u64,
    bids: impl Iterator<Item = PriceSize>,
    asks: impl Iterator<Item = PriceSize>,
) {
    push_field(out, b"{\"lastUpdateId\":", last_update_id);
    out.extend_from_slice(b",\"bids\":[");
    push_levels(out, bids);
    out.extend_from_slice(b"],\"asks\":[");
    push_levels(out, asks);
    out.extend_from_slice(b"]}");
}

/// What a ticker is made of.
#[derive(Clone, Copy, Debug)]
pub struct Day<'a> {
    /// The last 24 hours.
    pub bar: &'a Bar,
    /// The last quote.
    pub quote: Option<&'a Tick>,
    /// The last trade.
    pub trade: Option<&'a Tick>,
}

impl Day<'_> {
    pub(super) fn change(&self) -> Sum {
        difference(self.bar.close, self.bar.open)
    }

    pub(super) fn change_percent(&self) -> Sum {
        percent(self.bar.close, self.bar.open).unwrap_or(Sum::ZERO)
    }

    pub(super) fn average(&self) -> Sum {
        quotient(self.bar.turnover, self.bar.volume).unwrap_or(self.bar.close.into())
    }

    pub(super) fn last_size(&self) -> Decimal {
        self.trade.map_or(Decimal::ZERO, |tick| tick.as_trade().size)
    }

    /// Bid, its size, ask, its size; zeros where there is no quote.
    pub(super) fn best(&self) -> [Decimal; 4] {
        self.quote.map_or([Decimal::ZERO; 4], |tick| {
            let quote = tick.as_quote();
            [quote.bid, quote.bid_size, quote.ask, quote.ask_size]
        })
    }

    /// Appends the id of the last trade, -1 where there is none.
    pub(super) fn push_last_id(&self, out: &mut Vec<u8>, name: &[u8]) {
        match self.trade {
            Some(tick) => push_field(out, name, tick.as_trade().id),
            None => {
                out.extend_from_slice(name);
                out.extend_from_slice(b"-1");
            }
        }
    }
}

/// Appends the last 24 hours in short (`<symbol>@miniTicker`; an element of `!miniTicker@arr`).
pub fn mini_ticker(out: &mut Vec<u8>, heads: &Heads, bar: &Bar, unit: Unit) {
    push_opening(out, b"24hrMiniTicker", heads, unit.of_ns(made_at(bar)));
    push_decimal(out, b",\"c\":", bar.close);
    push_decimal(out, b",\"o\":", bar.open);
    push_decimal(out, b",\"h\":", bar.high);
    push_decimal(out, b",\"l\":", bar.low);
    push_sum(out, b",\"v\":", bar.volume);
    push_sum(out, b",\"q\":", bar.turnover);
    out.push(b'}');
}

/// Appends the last 24 hours (`<symbol>@ticker`; an element of `!ticker@arr`).
pub fn ticker(out: &mut Vec<u8>, heads: &Heads, day: &Day<'_>, unit: Unit) {
    let (bar, time) = (day.bar, unit.of_ns(made_at(day.bar)));
    push_opening(out, b"24hrTicker", heads, time);
    push_sum(out, b",\"p\":", day.change());
    push_sum(out, b",\"P\":", day.change_percent());
    push_sum(out, b",\"w\":", day.average());
    push_decimal(out, b",\"x\":", bar.open);
    push_decimal(out, b",\"c\":", bar.close);
    push_decimal(out, b",\"Q\":", day.last_size());
    for (name, value) in [b",\"b\":", b",\"B\":", b",\"a\":", b",\"A\":"].iter().zip(day.best()) {
        push_decimal(out, *name, value);
    }
    push_decimal(out, b",\"o\":", bar.open);
    push_decimal(out, b",\"h\":", bar.high);
    push_decimal(out, b",\"l\":", bar.low);
    push_sum(out, b",\"v\":", bar.volume);
    push_sum(out, b",\"q\":", bar.turnover);
    push_field(out, b",\"O\":", unit.of_s(bar.start_s));
    push_field(out, b",\"C\":", time);
    out.extend_from_slice(b",\"F\":-1");
    day.push_last_id(out, b",\"L\":");
    push_field(out, b",\"n\":", bar.trades);
    out.push(b'}');
}

/// What takers' purchases of a bar cost, at its average price.
pub(super) fn bought_turnover(bar: &Bar) -> Sum {
    let Some((average, exp)) = quotient(bar.turnover, bar.volume).map(Sum::parts) else {
        return Sum::NONE;
    };
    if !bar.bought.is_known() {
        return Sum::NONE;
    }
    let (bought, bought_exp) = bar.bought.parts();
    average.checked_mul(bought).map_or(Sum::NONE, |cost| Sum::new(cost, exp + bought_exp))
}

/// Appends a bar (`<symbol>@kline_<interval>`).
pub fn kline(out: &mut Vec<u8>, heads: &Heads, bar: &Bar, unit: Unit) {
    push_opening(out, b"kline", heads, unit.of_ns(made_at(bar)));
    push_field(out, b",\"k\":{\"t\":", unit.of_s(bar.start_s));
    push_field(out, b",\"T\":", unit.of_s(bar.end_s()) - 1);
    out.extend_from_slice(&heads.symbol);
    out.extend_from_slice(b",\"i\":\"");
    out.extend_from_slice(bar.span.as_str().as_bytes());
    out.extend_from_slice(b"\",\"f\":-1,\"L\":-1");
    push_decimal(out, b",\"o\":", bar.open);
    push_decimal(out, b",\"c\":", bar.close);
    push_decimal(out, b",\"h\":", bar.high);
    push_decimal(out, b",\"l\":", bar.low);
    push_sum(out, b",\"v\":", bar.volume);
    push_field(out, b",\"n\":", bar.trades);
    push_bool(out, b",\"x\":", bar.is_final);
    push_sum(out, b",\"q\":", bar.turnover);
    push_sum(out, b",\"V\":", bar.bought);
    push_sum(out, b",\"Q\":", bought_turnover(bar));
    out.extend_from_slice(b",\"B\":\"0\"}}");
}

/// Appends what is said before the server ends (`serverShutdown`; on a combined connection in the
/// envelope of [`SHUTDOWN_STREAM`]).
pub fn server_shutdown(out: &mut Vec<u8>, now_ns: u64, unit: Unit) {
    push_field(out, b"{\"e\":\"serverShutdown\",\"E\":", unit.of_ns(now_ns));
    out.push(b'}');
}

/// The stream of [`server_shutdown`].
pub const SHUTDOWN_STREAM: &str = "!serverShutdown";

#[cfg(test)]
mod tests;
