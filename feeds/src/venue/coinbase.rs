//! Coinbase Exchange: the WebSocket feed.
//!
//! Every fact about the messages is from
//! <https://docs.cdp.coinbase.com/exchange/websocket-feed/channels>.

use std::sync::Arc;

use simd_json::tape::{Object, Value};

use super::event::{Event, array};
use super::json::{Fault, Field, Reader, decimal, integer, text, wrong};
use super::names::split_dashed;
use super::slots::{HasBook, Slot, Slots};
use super::time::from_rfc3339;
use super::top::{Change, TopBook};
use super::{Context, Heard, How, Ignored, Venue, Want};
use crate::instrument::Instruments;
use crate::sink::Sink;
use crate::sync::{BookSync, Step};
use crate::tick::{Quote, Side, Stamp, Tick, Trade, flags};

/// The parser of Coinbase Exchange.
///
/// | message | ticks |
/// |---|---|
/// | `match`, `last_match` | a trade; sequence and id are `trade_id`. One that is not newer than the last is dropped |
/// | `snapshot` | levels flagged [`SNAPSHOT`](flags::SNAPSHOT), and a quote |
/// | `l2update` | levels, and a quote where the best bid or ask changed |
/// | `ticker` | a quote with the sequence `sequence`, if it has sizes and the symbol has no book |
///
/// `l2update` carries no sequence, so what follows a snapshot is taken as it comes; updates before
/// the first snapshot are dropped. Quotes come from the book where there is one, because a ticker
/// is sent on trades only and until 2022 held no sizes; none goes out while levels that were
/// missed make the book look crossed.
pub struct Coinbase {
    reader: Reader,
    core: Core,
}

struct Core {
    slots: Slots<State>,
    event: Event,
    /// The connection that the message came on.
    link: u16,
    ignored: Ignored,
}

/// What is kept per symbol.
#[derive(Debug, Default)]
struct State {
    /// The newest trade put.
    trade: Option<u64>,
    /// The newest ticker put as a quote.
    ticker: Option<u64>,
    /// The book since its first snapshot.
    top: Option<TopBook>,
    book: BookSync,
}

impl HasBook for State {
    fn book(&self) -> &BookSync {
        &self.book
    }

    fn book_mut(&mut self) -> &mut BookSync {
        &mut self.book
    }
}

impl Coinbase {
    /// The name that symbols start with.
    pub const NAME: &str = "coinbase";

    /// A parser that lists its symbols in `instruments`.
    pub fn new(instruments: Arc<Instruments>) -> Self {
        let slots = Slots::new(Self::NAME, instruments);
        let core = Core { slots, event: Event::default(), link: 0, ignored: Ignored::default() };
        Coinbase { reader: Reader::new(), core }
    }
}

impl Venue for Coinbase {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn message(
        &mut self,
        text: &[u8],
        recv_ns: u64,
        context: Context<'_>,
        sink: &mut dyn Sink,
    ) -> Heard {
        let Coinbase { reader, core } = self;
        core.link = context.link;
        match reader.read(text, |root| core.message(root, recv_ns, sink)) {
            Ok(heard) => heard,
            Err(fault) => fault.reject(text, sink),
        }
    }

    fn restart(&mut self) {
        self.core.slots.restart();
    }

    fn ignored(&self) -> &Ignored {
        &self.core.ignored
    }

    fn expect(&mut self, natives: &[Box<str>], book: bool, recv_ns: u64, sink: &mut dyn Sink) {
        self.core.slots.expect(natives, book, recv_ns, sink);
    }

    fn lost(&mut self, link: u16, orphans: &[Box<str>], recv_ns: u64, sink: &mut dyn Sink) {
        self.core.slots.lost(link, orphans, recv_ns, sink);
    }

    fn distrust(&mut self, native: &str, recv_ns: u64, sink: &mut dyn Sink) {
        self.core.slots.distrust(native, recv_ns, sink);
    }

    fn wants(&self, out: &mut Vec<Want>) {
        self.core.slots.wants(How::Resubscribe, out);
    }
}

/// Whether an object is one of this venue's: it has `type` and `product_id` (or `channels`, in its
/// first answer).
pub(super) fn recognise(object: &Object<'_, '_>) -> bool {
    let has = |key: &str| object.get(key).is_some();
    has("type") && (has("product_id") || has("channels"))
}

/// The fields that are read.
#[derive(Default)]
struct Fields<'t, 'i> {
    kind: Field<'t, 'i>,
    product_id: Field<'t, 'i>,
    time: Field<'t, 'i>,
    trade_id: Field<'t, 'i>,
    sequence: Field<'t, 'i>,
    side: Field<'t, 'i>,
    price: Field<'t, 'i>,
    size: Field<'t, 'i>,
    best_bid: Field<'t, 'i>,
    best_bid_size: Field<'t, 'i>,
    best_ask: Field<'t, 'i>,
    best_ask_size: Field<'t, 'i>,
    changes: Field<'t, 'i>,
    bids: Field<'t, 'i>,
    asks: Field<'t, 'i>,
    message: Field<'t, 'i>,
}

impl<'t, 'i> Fields<'t, 'i> {
    fn of(object: &Object<'t, 'i>) -> Self {
        let mut fields = Fields::default();
        for (key, value) in object {
            let field = match key {
                "type" => &mut fields.kind,
                "product_id" => &mut fields.product_id,
                "time" => &mut fields.time,
                "trade_id" => &mut fields.trade_id,
                "sequence" => &mut fields.sequence,
                "side" => &mut fields.side,
                "price" => &mut fields.price,
                "size" => &mut fields.size,
                "best_bid" => &mut fields.best_bid,
                "best_bid_size" => &mut fields.best_bid_size,
                "best_ask" => &mut fields.best_ask,
                "best_ask_size" => &mut fields.best_ask_size,
                "changes" => &mut fields.changes,
                "bids" => &mut fields.bids,
                "asks" => &mut fields.asks,
                "message" => &mut fields.message,
                _ => continue,
            };
            *field = Some(value);
        }
        fields
    }

    /// The event's time in nanoseconds, 0 where the message has none (a snapshot).
    fn stamp(&self, recv: u64, seq: u64) -> Result<Stamp, Fault> {
        let Some(value) = self.time else { return Ok(Stamp { event: 0, recv, seq }) };
        let event = from_rfc3339(text("time", self.time)?)
            .ok_or_else(|| wrong("time", value, "a time as 2021-04-17T16:43:36.989711Z"))?;
        Ok(Stamp { event, recv, seq })
    }
}

impl Core {
    fn message(
        &mut self,
        root: Value<'_, '_>,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<Heard, Fault> {
        let Some(object) = root.as_object() else {
            // REST lists (`/products`).
            return if root.is_array() {
                self.ignore("array").map(|()| Heard::Alive)
            } else {
                Err(Fault::Unknown)
            };
        };
        let fields = Fields::of(&object);
        if fields.kind.is_none() {
            return Err(Fault::Unknown);
        }
        match text("type", fields.kind)? {
            "match" | "last_match" => self.trade(&fields, recv, sink),
            "ticker" => self.ticker(&fields, recv, sink),
            "l2update" => self.update(&fields, recv, sink),
            "snapshot" => self.snapshot(&fields, recv, sink),
            "error" => Err(Fault::Venue(text("message", fields.message)?.to_owned())),
            "subscriptions" => {
                self.ignore("subscriptions")?;
                return Ok(Heard::Confirmed);
            }
            other => self.ignore(other),
        }
        .map(|()| Heard::Alive)
    }

    fn ignore(&mut self, name: &str) -> Result<(), Fault> {
        self.ignored.note(name);
        Ok(())
    }

    fn slot(&mut self, fields: &Fields<'_, '_>) -> Result<&mut Slot<State>, Fault> {
        self.slots.resolve(text("product_id", fields.product_id)?, split_dashed)
    }

    fn trade(
        &mut self,
        fields: &Fields<'_, '_>,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let id = integer("trade_id", fields.trade_id)?;
        // The maker's side: the taker did the opposite.
        let side = match side(fields.side)? {
            Side::Buy => Side::Sell,
            Side::Sell => Side::Buy,
        };
        let (price, size) = (decimal("price", fields.price)?, decimal("size", fields.size)?);
        let stamp = fields.stamp(recv, id)?;
        let slot = self.slot(fields)?;
        if slot.state.trade.is_some_and(|last| id <= last) {
            return self.ignore("duplicate match");
        }
        slot.state.trade = Some(id);
        sink.put(&Tick::trade(slot.id, stamp, &Trade { price, size, id, side }));
        Ok(())
    }

    fn ticker(
        &mut self,
        fields: &Fields<'_, '_>,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        if fields.best_bid_size.is_none() || fields.best_ask_size.is_none() {
            return self.ignore("ticker without sizes");
        }
        let quote = Quote {
            bid: decimal("best_bid", fields.best_bid)?,
            bid_size: decimal("best_bid_size", fields.best_bid_size)?,
            ask: decimal("best_ask", fields.best_ask)?,
            ask_size: decimal("best_ask_size", fields.best_ask_size)?,
        };
        let seq = integer("sequence", fields.sequence)?;
        let stamp = fields.stamp(recv, seq)?;
        let mut tick = Tick::quote(Default::default(), stamp, &quote).ok_or(Fault::Spread)?;
        let slot = self.slot(fields)?;
        if slot.state.book.is_live() {
            return self.ignore("ticker beside a book");
        }
        if slot.state.ticker.is_some_and(|last| seq <= last) {
            return self.ignore("duplicate ticker");
        }
        slot.state.ticker = Some(seq);
        tick.instrument = slot.id;
        sink.put(&tick);
        Ok(())
    }

    fn snapshot(
        &mut self,
        fields: &Fields<'_, '_>,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let stamp = fields.stamp(recv, 0)?;
        self.event.begin(stamp, 0);
        self.event.levels("bids", Side::Buy, fields.bids)?;
        self.event.levels("asks", Side::Sell, fields.asks)?;
        let product = text("product_id", fields.product_id)?;
        let slot = self.slots.resolve(product, split_dashed)?;
        let event = self.event.finish(slot.id, flags::SNAPSHOT);
        slot.state.book.start(Some(self.link), 0, event, sink);
        let change = quote(event, slot.state.top.get_or_insert_default(), stamp, sink);
        self.note(change)
    }

    fn update(
        &mut self,
        fields: &Fields<'_, '_>,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let stamp = fields.stamp(recv, 0)?;
        self.event.begin(stamp, 0);
        for change in &array("changes", fields.changes)? {
            let expected = "[side, price, size]";
            let parts = change.as_array().ok_or_else(|| wrong("changes", change, expected))?;
            let mut parts = parts.iter();
            let side = side(parts.next())?;
            self.event.level("changes", side, parts.next(), parts.next())?;
        }
        let product = text("product_id", fields.product_id)?;
        let slot = self.slots.resolve(product, split_dashed)?;
        let event = self.event.finish(slot.id, 0);
        match slot.state.book.follow(self.link, event, sink) {
            Step::Applied => {}
            Step::Duplicate => return self.ignore("l2update of another connection"),
            _ => return self.ignore("l2update before a snapshot"),
        }
        let change = quote(event, slot.state.top.get_or_insert_default(), stamp, sink);
        self.note(change)
    }

    fn note(&mut self, change: Change) -> Result<(), Fault> {
        if change == Change::Crossed { self.ignore("crossed book") } else { Ok(()) }
    }
}

/// Puts the quote where a book event changed the best bid or ask.
fn quote(event: &[Tick], book: &mut TopBook, stamp: Stamp, sink: &mut dyn Sink) -> Change {
    let change = book.apply(event);
    if let (Change::Quote(quote), Some(tick)) = (change, event.first()) {
        // A pair that fits no one exponent (18 digits between best bid and ask) has no quote.
        if let Some(quote) = Tick::quote(tick.instrument, stamp, &quote) {
            sink.put(&quote);
        }
    }
    change
}

fn side(field: Field<'_, '_>) -> Result<Side, Fault> {
    match text("side", field)? {
        "buy" => Ok(Side::Buy),
        "sell" => Ok(Side::Sell),
        _ => Err(field.map_or(Fault::Missing("side"), |v| wrong("side", v, "buy or sell"))),
    }
}
