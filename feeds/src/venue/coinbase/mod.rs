//! Coinbase Exchange: the WebSocket feed.
//!
//! Every fact about the messages is from
//! <https://docs.cdp.coinbase.com/exchange/websocket-feed/channels>; what the venue demands of
//! those who connect is in [`mod@rules`].

use std::sync::Arc;

use simd_json::prelude::*;
use simd_json::tape::{Object, Value};

use super::event::{Event, array};
use super::handover::Handover;
use super::json::{Fault, Field, Reader, as_sent, decimal, integer, text, wrong};
use super::levels::Form;
use super::names::split_dashed;
use super::slots::{HasBook, Slot, Slots};
use super::top::{Change, TopBook};
use super::{Context, Heard, How, Ignored, Venue, Want};
use crate::instrument::Instruments;
use crate::sink::Sink;
use crate::sync::{BookSync, Step};
use crate::tick::{Quote, Side, Stamp, Tick, Trade, flags};

mod check;
mod fields;
mod rules;
mod trades;

use check::Check;
use fields::{Fields, Print, side};
pub(super) use rules::rules;
use trades::{Beat, Links};

/// The parser of Coinbase Exchange.
///
/// | message | ticks |
/// |---|---|
/// | `match`, `last_match` | a trade; sequence and id are `trade_id`. One that is not newer than the last is dropped; of a younger connection, it waits (a second at most) until the older one is where that began |
/// | `snapshot` | levels flagged [`SNAPSHOT`](flags::SNAPSHOT) |
/// | `l2update` | levels |
/// | `ticker` | none: the book is checked with it |
/// | `heartbeat` | none: the trades are checked with it |
///
/// Quotes are derived from the book by the server
/// ([`quotes_from_book`](crate::instrument::Instrument::quotes_from_book)): a `ticker` is sent on
/// trades only, so between two of them it would show a best bid and ask that are long gone. So
/// `channels=quote` subscribes to the book too. For instruments that nobody has listed (a capture)
/// the parser derives them itself: a quote where an event changed the best bid or ask; without a
/// book, a quote per `ticker` that has sizes (since 2022), with the sequence `sequence`. And as a
/// capture can give no other snapshot, nothing in it makes a book distrusted.
///
/// # What is lost, and what of it shows
///
/// `l2update` carries no sequence and no checksum. The venue says that the channel "guarantees
/// delivery of all updates"; if one is lost all the same, no single message tells. A book is
/// thrown away, its instrument in the state `resync`, and subscribed to anew when
/// - it is crossed (counted as `crossed book`);
/// - the tickers contradict it for a second of the venue's time (`book contradicted by tickers`):
///   its best bid or ask stands untouched while all of them say that it is another one. See
///   `check.rs` for why less would raise false alarms;
/// - the connection that carries it has lost trades: the ids, which are consecutive, jump (`gap
///   before match`), or a heartbeat names one that did not come before the next heartbeat (`match
///   missing at heartbeat`). The docs say that `matches` may drop messages where `level2` does not;
///   but who loses one message is not to be trusted with the others;
/// - the `sequence` of the heartbeats goes back (`sequence went back`): the venue started over;
/// - an update cannot be understood. What is no JSON may have been one, of any product: then this
///   holds for all books that its connection carries.
///
/// What does not show: a lost update of a level that is not the best, until the market gets there,
/// and of the size of one that is. A later update of the same price makes it right again, unseen. A
/// level that is removed without being there proves nothing: in batches that is how one shows that
/// came and went within 50 ms.
///
/// How much that is, by `tests/coinbase/drops.rs`: of 200 updates dropped one at a time from 31 s
/// of ten quiet products of 2021, rendered in batches, 14 showed as a crossed book, half of them
/// within 6 s; of those that did not show, two thirds were made good by the end, and all but 7 of
/// the best bids and asks were right. With a ticker twice a second 21 showed, 10 by the tickers.
///
/// `missed trades` counts the trades that came on no connection, those made while none was open
/// among them. After a reconnect `last_match` jumps, as does what a second connection brings first:
/// neither is a loss.
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
    /// Those that wait for an older connection's.
    lines: Handover<(Stamp, Trade)>,
    /// The newest ticker put as a quote.
    ticker: Option<u64>,
    /// What each connection has brought of the trades.
    links: Links,
    /// The book since its first snapshot.
    top: Option<TopBook>,
    /// Whether the tickers bear it out.
    check: Check,
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

impl Slot<State> {
    /// Puts a trade, unless it is known.
    fn put(&mut self, (stamp, trade): (Stamp, Trade), ignored: &mut Ignored, sink: &mut dyn Sink) {
        let id = trade.id;
        match self.state.trade {
            Some(last) if id <= last => return ignored.note("duplicate match"),
            Some(last) if id - last > 1 => ignored.add("missed trades", id - last - 1),
            _ => {}
        }
        self.state.trade = Some(id);
        sink.put(&Tick::trade(self.id, stamp, &trade));
    }

    /// Puts the trades that waited for another connection's.
    fn release(&mut self, now: u64, ignored: &mut Ignored, sink: &mut dyn Sink) {
        let newest = |slot: &Self| slot.state.trade.unwrap_or_default();
        while let Some(trades) = self.state.lines.release(newest(self), now) {
            trades.into_iter().for_each(|trade| self.put(trade, ignored, sink));
        }
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
        let heard = match Print::scan(text) {
            Some(print) => core.trade(&print, recv_ns, sink).map(|()| Heard::Alive),
            None => reader.read_levels(text, as_sent, |root, cuts| {
                core.event.exchange(cuts);
                let heard = core.message(root, recv_ns, sink);
                core.event.exchange(cuts);
                heard
            }),
        };
        match heard {
            Ok(heard) => heard,
            Err(fault) => {
                core.distrust_unread(&fault, recv_ns, sink);
                fault.reject(text, sink)
            }
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
        let Core { slots, ignored, .. } = &mut self.core;
        slots.lost(link, orphans, recv_ns, sink);
        for slot in slots.iter_mut() {
            slot.state.links.lost(link);
            slot.state.lines.leave(link);
            slot.release(recv_ns, ignored, sink);
        }
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
            "match" => self.trade(&fields.print(false)?, recv, sink),
            "last_match" => self.trade(&fields.print(true)?, recv, sink),
            "ticker" => self.ticker(&fields, recv, sink),
            "l2update" => {
                let update = self.update(&fields, recv, sink);
                if let Err(fault) = &update
                    && *fault != Fault::Fraction
                {
                    self.distrust_named(&fields, recv, sink);
                }
                update
            }
            "snapshot" => self.snapshot(&fields, recv, sink),
            "heartbeat" => self.heartbeat(&fields, recv, sink),
            "error" => return Err(refusal(&fields)?),
            "subscriptions" => {
                self.ignore("subscriptions")?;
                return Ok(Heard::Confirmed);
            }
            // "New message types can be added at any time."
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

    fn trade(&mut self, print: &Print<'_>, recv: u64, sink: &mut dyn Sink) -> Result<(), Fault> {
        let id = print.trade.id;
        let Core { slots, ignored, link, .. } = self;
        let slot = slots.resolve(print.product, split_dashed)?;
        if slot.state.links.trade(*link, id, print.is_first) {
            ignored.note("gap before match");
            distrust_link(slot, *link, recv, sink);
        }
        let trade = (Stamp { event: print.time, recv, seq: id }, print.trade);
        if let Some(trade) = slot.state.lines.take(*link, id, recv, trade) {
            slot.put(trade, ignored, sink);
        }
        slot.release(recv, ignored, sink);
        Ok(())
    }

    fn heartbeat(
        &mut self,
        fields: &Fields<'_, '_>,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let sequence = integer("sequence", fields.sequence)?;
        // For months of 2019 and 2020 it was always 0, and a product without a trade has none:
        // <https://github.com/preichenberger/go-coinbasepro/issues/89>.
        let trade = match fields.last_trade_id.filter(|id| !id.is_null()) {
            Some(id) => integer("last_trade_id", Some(id))?,
            None => 0,
        };
        let product = text("product_id", fields.product_id)?;
        self.ignored.note("heartbeat");
        let Some(slot) = self.slots.get(product) else { return Ok(()) };
        let cause = match slot.state.links.beat(self.link, sequence, trade) {
            Beat::Fine => return Ok(()),
            Beat::Missing => "match missing at heartbeat",
            Beat::Back => {
                slot.state.ticker = None;
                "sequence went back"
            }
        };
        distrust_link(slot, self.link, recv, sink);
        self.ignore(cause)
    }

    fn ticker(
        &mut self,
        fields: &Fields<'_, '_>,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let product = text("product_id", fields.product_id)?;
        if let Some(slot) = self.slots.get(product).filter(|slot| slot.quotes_from_book) {
            let prices =
                [decimal("best_bid", fields.best_bid)?, decimal("best_ask", fields.best_ask)?];
            let time = fields.stamp(recv, 0)?.event;
            slot.state.check.ticker(time, prices);
            return self.ignore("ticker");
        }
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
        if slot.quotes_from_book {
            return self.ignore("ticker");
        }
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
        let top = slot.state.top.get_or_insert_default();
        if !slot.quotes_from_book {
            slot.state.book.start(Some(self.link), 0, event, sink);
            let change = quote(event, top, stamp, sink);
            return self.note(change);
        }
        top.update(event);
        if top.is_crossed() {
            // An auction: nothing is matched, and no best bid and ask can be told.
            slot.state.book.discard(slot.id, recv, sink);
            return self.ignore("crossed snapshot");
        }
        slot.state.check.start(top);
        slot.state.book.start(Some(self.link), 0, event, sink);
        Ok(())
    }

    fn update(
        &mut self,
        fields: &Fields<'_, '_>,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let stamp = fields.stamp(recv, 0)?;
        self.event.begin(stamp, 0);
        self.changes(fields.changes)?;
        let product = text("product_id", fields.product_id)?;
        let slot = self.slots.resolve(product, split_dashed)?;
        let event = self.event.finish(slot.id, 0);
        let top = slot.state.top.get_or_insert_default();
        // Looked at before anything is put: nothing of a broken book is to go out.
        if slot.quotes_from_book && slot.state.book.is_owned_by(self.link) {
            top.update(event);
            let cause = if top.is_crossed() {
                Some("crossed book")
            } else if slot.state.check.update(event, top) {
                Some("book contradicted by tickers")
            } else {
                None
            };
            if let Some(cause) = cause {
                slot.state.book.discard(slot.id, recv, sink);
                return self.ignore(cause);
            }
        }
        match slot.state.book.follow(self.link, event, sink) {
            Step::Applied if slot.quotes_from_book => Ok(()),
            Step::Applied => {
                let change = quote(event, top, stamp, sink);
                self.note(change)
            }
            Step::Duplicate => self.ignore("l2update of another connection"),
            _ => self.ignore("l2update before a snapshot"),
        }
    }

    /// Reads an array of `[side, price, size]` into the event.
    fn changes(&mut self, field: Field<'_, '_>) -> Result<(), Fault> {
        if self.event.adopted(Form::Sided, Side::Buy, field) {
            return Ok(());
        }
        for change in &array("changes", field)? {
            let expected = "[side, price, size]";
            let parts = change.as_array().ok_or_else(|| wrong("changes", change, expected))?;
            let mut parts = parts.iter();
            let side = side(parts.next())?;
            self.event.level("changes", side, parts.next(), parts.next())?;
        }
        Ok(())
    }

    /// An update that cannot be understood: it is lost.
    #[cold]
    fn distrust_named(&mut self, fields: &Fields<'_, '_>, recv: u64, sink: &mut dyn Sink) {
        let product = text("product_id", fields.product_id).ok();
        match product.filter(|product| self.slots.knows(product)) {
            Some(product) => {
                let link = self.link;
                if let Some(slot) = self.slots.get(product) {
                    distrust_link(slot, link, recv, sink);
                }
            }
            None => self.distrust_all(recv, sink),
        }
    }

    /// What is no JSON may have been an update, of any book that its connection carries.
    #[cold]
    fn distrust_unread(&mut self, fault: &Fault, recv: u64, sink: &mut dyn Sink) {
        if matches!(fault, Fault::Json(_)) {
            self.distrust_all(recv, sink);
        }
    }

    fn distrust_all(&mut self, recv: u64, sink: &mut dyn Sink) {
        let link = self.link;
        for slot in self.slots.iter_mut() {
            distrust_link(slot, link, recv, sink);
        }
    }

    fn note(&mut self, change: Change) -> Result<(), Fault> {
        if change == Change::Crossed { self.ignore("crossed book") } else { Ok(()) }
    }
}

/// The connection has lost something of this instrument: the book is worth nothing if it is that
/// connection's. In a capture there is nobody to get another one.
fn distrust_link(slot: &mut Slot<State>, link: u16, recv: u64, sink: &mut dyn Sink) {
    if slot.quotes_from_book && slot.state.book.is_owned_by(link) {
        slot.state.book.discard(slot.id, recv, sink);
    }
}

/// `{"type":"error","message":"Failed to subscribe","reason":"..."}`; see
/// <https://docs.cdp.coinbase.com/exchange/websocket-feed/errors>.
fn refusal(fields: &Fields<'_, '_>) -> Result<Fault, Fault> {
    let message = text("message", fields.message)?;
    let why = match fields.reason {
        Some(_) => format!("{message}: {}", text("reason", fields.reason)?),
        None => message.to_owned(),
    };
    // One product that is refused spoils the whole request, and none is named by an id.
    Ok(match message {
        "Failed to subscribe" => Fault::Request { why, id: None },
        _ => Fault::Venue(why),
    })
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
