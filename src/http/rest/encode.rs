//! Answers as JSON: the names and forms of docs/PROTOCOL.md, written straight into a buffer, for a
//! full book is tens of thousands of levels.

use tickcast_feeds::tick::flags;
use tickcast_feeds::{Decimal, Instrument, Side, Tick};

use crate::books::PriceSize;
use crate::derive::sum::{difference, percent};
use crate::derive::{Bar, Span, Sum};
use crate::wire::native::push_int;

/// A JSON object under way.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Opens one at the end of `out`.
    pub(crate) fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Object { out, empty: true }
    }

    /// Begins a field; its value is to be appended to what this returns.
    pub(crate) fn field(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// A text.
    pub(crate) fn text(&mut self, name: &str, value: &str) -> &mut Self {
        push_text(self.field(name), value);
        self
    }

    /// A whole number.
    pub(crate) fn int(&mut self, name: &str, value: u64) -> &mut Self {
        push_int(self.field(name), value);
        self
    }

    /// A truth.
    pub(crate) fn bool(&mut self, name: &str, value: bool) -> &mut Self {
        self.field(name).extend_from_slice(if value { b"true" } else { b"false" });
        self
    }

    /// A price or a quantity.
    pub(crate) fn decimal(&mut self, name: &str, value: Decimal) -> &mut Self {
        push_decimal(self.field(name), value);
        self
    }

    /// A sum, left out where it has no value.
    pub(crate) fn sum(&mut self, name: &str, value: Sum) -> &mut Self {
        if value.is_known() {
            let out = self.field(name);
            out.push(b'"');
            value.write_to(out);
            out.push(b'"');
        }
        self
    }

    /// `ts`, of nanoseconds.
    pub(crate) fn stamps(&mut self, event_ns: u64, recv_ns: u64) -> &mut Self {
        let mut ts = Object::open(self.field("ts"));
        if event_ns != 0 {
            ts.int("event", event_ns / 1000);
        }
        ts.int("recv", recv_ns / 1000).close();
        self
    }

    /// Ends it.
    pub(crate) fn close(&mut self) {
        self.out.push(b'}');
    }
}

/// Appends a text in quotes.
pub(crate) fn push_text(out: &mut Vec<u8>, value: &str) {
    // Writing a text into memory cannot fail.
    let _ = serde_json::to_writer(out, value);
}

fn push_decimal(out: &mut Vec<u8>, value: Decimal) {
    out.push(b'"');
    value.write_to(out);
    out.push(b'"');
}

/// Appends an array of what `one` appends for each item.
pub(crate) fn array<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut one: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        one(out, item);
    }
    out.push(b']');
}

/// Adds a trade's fields. `prev`: the sequence of the one before, where it is known.
pub(crate) fn trade(object: &mut Object<'_>, tick: &Tick, prev: Option<u64>) {
    let trade = tick.as_trade();
    object.int("seq", tick.seq);
    if let Some(prev) = prev {
        object.int("prev", prev);
    }
    object.int("id", trade.id);
    object.text("side", if trade.side == Side::Buy { "buy" } else { "sell" });
    object.decimal("price", trade.price).decimal("qty", trade.size);
    if tick.has(flags::AGGREGATE) {
        object.bool("aggregate", true);
    }
    object.stamps(tick.ts_event, tick.ts_recv);
}

/// Adds a quote's fields.
pub(crate) fn quote(object: &mut Object<'_>, tick: &Tick) {
    let quote = tick.as_quote();
    object
        .int("seq", tick.seq)
        .decimal("bid", quote.bid)
        .decimal("bid_qty", quote.bid_size)
        .decimal("ask", quote.ask)
        .decimal("ask_qty", quote.ask_size)
        .stamps(tick.ts_event, tick.ts_recv);
}

/// Adds one side of a book, best first.
pub(crate) fn levels(object: &mut Object<'_>, name: &str, levels: &[PriceSize]) {
    array(object.field(name), levels, level);
}

/// Appends a level of a book.
pub(crate) fn level(out: &mut Vec<u8>, &(price, size): &PriceSize) {
    out.push(b'[');
    push_decimal(out, price);
    out.push(b',');
    push_decimal(out, size);
    out.push(b']');
}

/// Adds a bar's fields.
pub(crate) fn bar(object: &mut Object<'_>, bar: &Bar) {
    object.int("start", bar.start_s * 1_000_000).int("end", bar.end_s() * 1_000_000);
    prices(object, bar);
    object
        .decimal("close", bar.close)
        .sum("volume", bar.volume)
        .sum("buy_volume", bar.bought)
        .sum("quote_volume", bar.turnover)
        .int("trades", bar.trades)
        .bool("final", bar.is_final);
    if bar.revision > 0 {
        object.int("revision", bar.revision.into());
    }
    object.stamps(bar.event_ns, bar.recv_ns);
}

/// Adds a ticker's fields; `day` is of [`Span::Rolling`].
pub(crate) fn ticker(object: &mut Object<'_>, day: &Bar, seq: u64) {
    debug_assert_eq!(day.span, Span::Rolling);
    object.int("seq", seq).int("start", day.start_s * 1_000_000);
    prices(object, day);
    object.decimal("last", day.close).sum("change", difference(day.close, day.open));
    if let Some(percent) = percent(day.close, day.open) {
        object.sum("change_percent", percent);
    }
    object
        .sum("volume", day.volume)
        .sum("quote_volume", day.turnover)
        .int("trades", day.trades)
        .stamps(day.event_ns, day.recv_ns);
}

fn prices(object: &mut Object<'_>, bar: &Bar) {
    object.decimal("open", bar.open).decimal("high", bar.high).decimal("low", bar.low);
}

/// Appends what is known of a listed symbol.
pub(crate) fn instrument(out: &mut Vec<u8>, info: &Instrument) {
    let mut object = Object::open(out);
    object
        .text("symbol", &info.symbol)
        .text("venue", &info.venue)
        .text("native", &info.native)
        .text("base", &info.base)
        .text("quote", &info.quote);
    for (name, step) in [("tick_size", info.tick_size), ("lot_size", info.lot_size)] {
        if let Some(step) = step {
            object.decimal(name, step);
        }
    }
    object.close();
}
