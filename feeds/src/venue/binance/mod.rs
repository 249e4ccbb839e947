//! Binance spot: WebSocket streams, raw or combined, and the REST depth snapshot.
//!
//! Every fact about the messages is from
//! <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams>.

use std::borrow::Cow;
use std::sync::Arc;

use simd_json::prelude::*;
use simd_json::tape::{Object, Value};

use super::event::{Event, array};
use super::json::{Fault, Field, Reader, boolean, decimal, integer, text, wrong};
use super::names::{Listed, split_joined};
use super::slots::{HasBook, Slots};
use super::time::from_epoch;
use super::{Context, Heard, How, Ignored, Venue, Want};
use crate::instrument::Instruments;
use crate::sink::Sink;
use crate::sync::{BookSync, Step};
use crate::tick::{Quote, Side, Stamp, Tick, Trade, flags};

pub(super) mod rules;

/// The parser of Binance spot.
///
/// | message | ticks |
/// |---|---|
/// | `trade` | a trade; sequence and id are `t` |
/// | `aggTrade` | a trade flagged [`AGGREGATE`](flags::AGGREGATE); the id is `a`, the sequence `l`, the last trade that it sums |
/// | `bookTicker` | a quote; the sequence is `u` |
/// | `depthUpdate` | levels; the sequence is `u`, their `first` is `U` |
/// | partial depth (`<symbol>@depth20@100ms`), REST snapshot | levels flagged [`SNAPSHOT`](flags::SNAPSHOT); the sequence is `lastUpdateId` |
///
/// No trade is put twice: trades and quotes that are not newer than the last one are dropped, and
/// from a symbol's first plain trade on its aggregates are.
pub struct Binance {
    reader: Reader,
    core: Core,
}

struct Core {
    slots: Slots<State>,
    listed: Listed,
    event: Event,
    /// A stream's symbol in upper case.
    upper: String,
    ignored: Ignored,
}

/// What is kept per symbol.
#[derive(Debug, Default)]
struct State {
    /// Whether a plain trade was seen: aggregates would repeat it.
    plain_trades: bool,
    /// The newest trade put, `t` or `l`.
    trade: Option<u64>,
    /// The newest quote put, `u`.
    quote: Option<u64>,
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

impl Binance {
    /// The name that symbols start with.
    pub const NAME: &str = "binance";

    /// A parser that lists its symbols in `instruments`.
    pub fn new(instruments: Arc<Instruments>) -> Self {
        let core = Core {
            slots: Slots::new(Self::NAME, instruments),
            listed: Listed::new(),
            event: Event::default(),
            upper: String::new(),
            ignored: Ignored::default(),
        };
        Binance { reader: Reader::new(), core }
    }
}

impl Venue for Binance {
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
        let Binance { reader, core } = self;
        match reader.read(text, |root| core.message(root, recv_ns, context, sink)) {
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
        self.core.slots.wants(How::Fetch, out);
    }
}

/// Whether an object is one of this venue's: it has `stream`, `e`, `lastUpdateId`, or the five keys
/// of a book ticker.
pub(super) fn recognise(object: &Object<'_, '_>) -> bool {
    let has = |key: &str| object.get(key).is_some();
    (has("stream") && has("data"))
        || object.get("e").is_some_and(|e| e.as_str().is_some())
        || has("lastUpdateId")
        || ["u", "s", "b", "B", "a", "A"].into_iter().all(has)
}

/// The fields of a payload that are read, under their own names. A letter means different things
/// in different messages (`a` is an id, a price or the asks).
#[derive(Default)]
#[allow(non_snake_case)]
struct Fields<'t, 'i> {
    e: Field<'t, 'i>,
    E: Field<'t, 'i>,
    s: Field<'t, 'i>,
    t: Field<'t, 'i>,
    p: Field<'t, 'i>,
    q: Field<'t, 'i>,
    T: Field<'t, 'i>,
    m: Field<'t, 'i>,
    l: Field<'t, 'i>,
    U: Field<'t, 'i>,
    u: Field<'t, 'i>,
    b: Field<'t, 'i>,
    B: Field<'t, 'i>,
    a: Field<'t, 'i>,
    A: Field<'t, 'i>,
    last_update_id: Field<'t, 'i>,
    bids: Field<'t, 'i>,
    asks: Field<'t, 'i>,
    symbols: Field<'t, 'i>,
    result: Field<'t, 'i>,
    error: Field<'t, 'i>,
    msg: Field<'t, 'i>,
}

impl<'t, 'i> Fields<'t, 'i> {
    fn of(object: &Object<'t, 'i>) -> Self {
        let mut fields = Fields::default();
        for (key, value) in object {
            let field = match key {
                "e" => &mut fields.e,
                "E" => &mut fields.E,
                "s" => &mut fields.s,
                "t" => &mut fields.t,
                "p" => &mut fields.p,
                "q" => &mut fields.q,
                "T" => &mut fields.T,
                "m" => &mut fields.m,
                "l" => &mut fields.l,
                "U" => &mut fields.U,
                "u" => &mut fields.u,
                "b" => &mut fields.b,
                "B" => &mut fields.B,
                "a" => &mut fields.a,
                "A" => &mut fields.A,
                "lastUpdateId" => &mut fields.last_update_id,
                "bids" => &mut fields.bids,
                "asks" => &mut fields.asks,
                "symbols" => &mut fields.symbols,
                "result" => &mut fields.result,
                "error" => &mut fields.error,
                "msg" => &mut fields.msg,
                _ => continue,
            };
            *field = Some(value);
        }
        fields
    }

    /// The event's time in nanoseconds: of the trade, else of the message; 0 without either.
    fn time(&self) -> Result<u64, Fault> {
        let (name, field) = if self.T.is_some() { ("T", self.T) } else { ("E", self.E) };
        let Some(value) = field else { return Ok(0) };
        from_epoch(integer(name, field)?)
            .ok_or_else(|| wrong(name, value, "milliseconds or microseconds since 1970"))
    }

    fn trade(&self, id: u64) -> Result<Trade, Fault> {
        // `m`: the buyer was the maker, so the taker sold.
        let side = if boolean("m", self.m)? { Side::Sell } else { Side::Buy };
        Ok(Trade { price: decimal("p", self.p)?, size: decimal("q", self.q)?, id, side })
    }

    fn is_book_ticker(&self) -> bool {
        [self.u, self.s, self.b, self.B, self.a, self.A].iter().all(Option::is_some)
    }
}

impl Core {
    fn message(
        &mut self,
        root: Value<'_, '_>,
        recv: u64,
        context: Context<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Heard, Fault> {
        let (stream, payload) = unwrap_combined(root)?;
        let Some(object) = payload.as_object() else {
            // The streams of all symbols (`!miniTicker@arr`) and REST lists.
            let array = payload.is_array().then(|| self.ignore("array")).ok_or(Fault::Unknown)?;
            return array.map(|()| Heard::Alive);
        };
        let fields = Fields::of(&object);
        let done = if fields.e.is_some() {
            match text("e", fields.e)? {
                "trade" => self.trade(&fields, recv, sink),
                "aggTrade" => self.aggregate(&fields, recv, sink),
                "depthUpdate" => self.depth(&fields, recv, sink),
                "bookTicker" => self.quote(&fields, recv, sink),
                // "The server is about to shut down. Please establish a new connection as soon
                // as possible": how long there is, the page no longer says (once: ten minutes).
                "serverShutdown" => {
                    self.ignore("serverShutdown")?;
                    return Ok(Heard::Leaving);
                }
                other => self.ignore(other),
            }
        } else if fields.last_update_id.is_some() {
            match stream {
                Some(stream) => self.partial(stream, &fields, recv, sink),
                None => self.snapshot(&fields, recv, context, sink),
            }
        } else if fields.is_book_ticker() {
            self.quote(&fields, recv, sink)
        } else {
            return self.answer(&fields);
        };
        done.map(|()| Heard::Alive)
    }

    /// What comes without a symbol: answers to requests, and the list of symbols.
    fn answer(&mut self, fields: &Fields<'_, '_>) -> Result<Heard, Fault> {
        if fields.symbols.is_some() {
            return self.exchange_info(fields).map(|()| Heard::Alive);
        }
        if fields.msg.is_some() {
            return Err(Fault::Venue(text("msg", fields.msg)?.to_owned()));
        }
        if let Some(error) = fields.error {
            let message = error.as_object().and_then(|error| error.get("msg"));
            return Err(Fault::Venue(text("msg", message)?.to_owned()));
        }
        if fields.result.is_none() {
            return Err(Fault::Unknown);
        }
        self.ignore("answer").map(|()| Heard::Confirmed)
    }

    fn ignore(&mut self, name: &str) -> Result<(), Fault> {
        self.ignored.note(name);
        Ok(())
    }

    fn trade(
        &mut self,
        fields: &Fields<'_, '_>,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let id = integer("t", fields.t)?;
        let trade = fields.trade(id)?;
        let stamp = Stamp { event: fields.time()?, recv, seq: id };
        let slot = resolve(&mut self.slots, &self.listed, text("s", fields.s)?)?;
        slot.state.plain_trades = true;
        if slot.state.trade.is_some_and(|last| id <= last) {
            return self.ignore("duplicate trade");
        }
        slot.state.trade = Some(id);
        sink.put(&Tick::trade(slot.id, stamp, &trade));
        Ok(())
    }

    fn aggregate(
        &mut self,
        fields: &Fields<'_, '_>,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let trade = fields.trade(integer("a", fields.a)?)?;
        // The last trade summed, not the aggregate's own id: plain trades that take over go on
        // in the same sequence, and those that the aggregate held are known by it.
        let last = integer("l", fields.l)?;
        let stamp = Stamp { event: fields.time()?, recv, seq: last };
        let slot = resolve(&mut self.slots, &self.listed, text("s", fields.s)?)?;
        if slot.state.plain_trades {
            return self.ignore("aggTrade");
        }
        if slot.state.trade.is_some_and(|newest| last <= newest) {
            return self.ignore("duplicate aggTrade");
        }
        slot.state.trade = Some(last);
        let mut tick = Tick::trade(slot.id, stamp, &trade);
        tick.flags |= flags::AGGREGATE;
        sink.put(&tick);
        Ok(())
    }

    fn quote(
        &mut self,
        fields: &Fields<'_, '_>,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let seq = integer("u", fields.u)?;
        let quote = Quote {
            bid: decimal("b", fields.b)?,
            bid_size: decimal("B", fields.B)?,
            ask: decimal("a", fields.a)?,
            ask_size: decimal("A", fields.A)?,
        };
        let stamp = Stamp { event: fields.time()?, recv, seq };
        let mut tick = Tick::quote(Default::default(), stamp, &quote).ok_or(Fault::Spread)?;
        let slot = resolve(&mut self.slots, &self.listed, text("s", fields.s)?)?;
        if slot.state.quote.is_some_and(|last| seq <= last) {
            return self.ignore("duplicate bookTicker");
        }
        slot.state.quote = Some(seq);
        tick.instrument = slot.id;
        sink.put(&tick);
        Ok(())
    }

    fn depth(
        &mut self,
        fields: &Fields<'_, '_>,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let (first, last) = (integer("U", fields.U)?, integer("u", fields.u)?);
        if first > last {
            return Err(Fault::Sequence { first, last });
        }
        self.event.begin(Stamp { event: fields.time()?, recv, seq: last }, first);
        self.event.levels("b", Side::Buy, fields.b)?;
        self.event.levels("a", Side::Sell, fields.a)?;
        let slot = resolve(&mut self.slots, &self.listed, text("s", fields.s)?)?;
        let event = self.event.finish(slot.id, 0);
        match slot.state.book.diff(first, last, event, sink) {
            Step::Duplicate => self.ignore("duplicate depthUpdate"),
            Step::Gap => self.ignore("gap before depthUpdate"),
            _ => Ok(()),
        }
    }

    /// Reads `{lastUpdateId, bids, asks}` into the event; returns the id.
    fn full_book(&mut self, fields: &Fields<'_, '_>, recv: u64) -> Result<u64, Fault> {
        let last = integer("lastUpdateId", fields.last_update_id)?;
        self.event.begin(Stamp { event: fields.time()?, recv, seq: last }, last);
        self.event.levels("bids", Side::Buy, fields.bids)?;
        self.event.levels("asks", Side::Sell, fields.asks)?;
        Ok(last)
    }

    /// `<symbol>@depth<levels>[@100ms]`: the best levels, whole.
    fn partial(
        &mut self,
        stream: &str,
        fields: &Fields<'_, '_>,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let last = self.full_book(fields, recv)?;
        let (symbol, _) = stream.split_once('@').unwrap_or((stream, ""));
        set_upper(&mut self.upper, symbol);
        let slot = resolve(&mut self.slots, &self.listed, &self.upper)?;
        let event = self.event.finish(slot.id, flags::SNAPSHOT);
        match slot.state.book.partial(last, event, sink) {
            Step::Duplicate => self.ignore("partial depth beside a full book"),
            _ => Ok(()),
        }
    }

    fn snapshot(
        &mut self,
        fields: &Fields<'_, '_>,
        recv: u64,
        context: Context<'_>,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let last = self.full_book(fields, recv)?;
        let symbol = match context.symbol() {
            Some(symbol) => symbol,
            None => self.slots.only()?,
        };
        set_upper(&mut self.upper, &decoded(symbol));
        let slot = resolve(&mut self.slots, &self.listed, &self.upper)?;
        let event = self.event.finish(slot.id, flags::SNAPSHOT);
        match slot.state.book.snapshot(last, event, sink) {
            Step::Duplicate => self.ignore("snapshot not newer than the book"),
            Step::TooOld => self.ignore("snapshot older than the waiting diffs"),
            _ => Ok(()),
        }
    }

    /// Keeps base and quote of every symbol for the names that follow. Lists none: a venue has
    /// thousands of symbols, and a stream carries a few.
    fn exchange_info(&mut self, fields: &Fields<'_, '_>) -> Result<(), Fault> {
        let mut read = Vec::new();
        for symbol in &array("symbols", fields.symbols)? {
            let object = symbol.as_object();
            let object = object.ok_or_else(|| wrong("symbols", symbol, "objects"))?;
            let native = text("symbol", object.get("symbol"))?;
            let base = text("baseAsset", object.get("baseAsset"))?;
            let quote = text("quoteAsset", object.get("quoteAsset"))?;
            read.push((native.into(), (base.into(), quote.into())));
        }
        self.listed.extend(read);
        self.ignore("exchangeInfo")
    }
}

/// The stream's name and the payload of `{"stream","data"}`, or the message itself.
fn unwrap_combined<'t, 'i>(root: Value<'t, 'i>) -> Result<(Option<&'i str>, Value<'t, 'i>), Fault> {
    let Some(object) = root.as_object() else { return Ok((None, root)) };
    let (mut stream, mut data) = (None, None);
    for (key, value) in &object {
        match key {
            "stream" => stream = Some(value),
            "data" => data = Some(value),
            _ => {}
        }
    }
    match (stream, data) {
        (None, _) => Ok((None, root)),
        (Some(_), Some(payload)) => Ok((Some(text("stream", stream)?), payload)),
        (Some(_), None) => Err(Fault::Missing("data")),
    }
}

fn resolve<'s>(
    slots: &'s mut Slots<State>,
    listed: &Listed,
    native: &str,
) -> Result<&'s mut super::slots::Slot<State>, Fault> {
    slots.resolve(native, |native| split_joined(listed, native))
}

/// `name` in upper case, in a buffer that is reused.
fn set_upper(upper: &mut String, name: &str) {
    upper.clear();
    upper.push_str(name);
    upper.make_ascii_uppercase();
}

/// A symbol as it stands in a URL, its percent-encoded bytes decoded (Binance lists Chinese names).
fn decoded(symbol: &str) -> Cow<'_, str> {
    if !symbol.contains('%') {
        return Cow::Borrowed(symbol);
    }
    let mut parts = symbol.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let code = part.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok());
        let Some(byte) = code else { return Cow::Borrowed(symbol) };
        bytes.push(byte);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(symbol), Cow::Owned)
}
