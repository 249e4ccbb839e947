//! Binance: spot (`binance`) and USD-M futures (`binance-usdm`). WebSocket streams, raw or
//! combined, and the REST depth snapshot.
//!
//! Every fact about the messages is from
//! - spot: <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams>,
//! - futures:
//!   <https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams>
//!   and the pages below it.

use std::sync::Arc;

use simd_json::prelude::*;
use simd_json::tape::{Object, Value};

use self::fields::{Fields, Print, decoded, set_upper, unwrap_combined};
use self::symbols::Symbols;
use super::event::{Event, array};
use super::json::{Fault, Reader, as_sent, decimal, integer, text, wrong};
use super::serial::Serial;
use super::slots::HasBook;
use super::{Context, Heard, How, Ignored, Venue, Want};
use crate::instrument::Instruments;
use crate::sink::Sink;
use crate::sync::{BookSync, Step};
use crate::tick::{Quote, Side, Stamp, Tick, flags};

mod fields;
pub(super) mod rules;
mod symbols;
pub(super) mod usdm;

/// The parser of Binance spot or of its USD-M futures.
///
/// | message | ticks |
/// |---|---|
/// | `trade` | a trade; sequence and id are `t` |
/// | `aggTrade` | a trade flagged [`AGGREGATE`](flags::AGGREGATE); the id is `a`, the sequence of spot `l`, the last trade that it sums, of futures `a` |
/// | `bookTicker` | a quote; the sequence is `u` |
/// | `depthUpdate` | levels; the sequence is `u`, their `first` of spot `U`, of futures `pu` + 1 |
/// | partial depth (`<symbol>@depth20@100ms`), REST snapshot | levels flagged [`SNAPSHOT`](flags::SNAPSHOT); the sequence is `lastUpdateId`, in the stream of futures `u` |
///
/// No trade is put twice: trades and quotes that are not newer than the last one are dropped, and
/// from a symbol's first plain trade on its aggregates are.
///
/// Futures have only aggregates documented, summed over 100 ms with those of hidden (RPI) orders;
/// of plain trades, which old captures hold, those outside the market (`X` is not `MARKET`: the
/// insurance fund's) are left out, as the aggregates leave them out. A future with a date has it
/// at the end of its symbol: `BTCUSDT_260327` is `binance-usdm:BTC-USDT-260327`.
///
/// What no message shows: Binance sends no checksum, so a level that it got wrong stays wrong; a
/// snapshot has at most 5,000 levels (futures: 1,000), so what lies beyond them is known only
/// where it has changed since; trades that were lost with a connection are not sent again.
pub struct Binance {
    reader: Reader,
    core: Core,
}

/// A market of Binance, with a namespace of symbols of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Market {
    Spot,
    Usdm,
}

impl Market {
    const fn name(self) -> &'static str {
        match self {
            Market::Spot => Binance::NAME,
            Market::Usdm => Binance::USDM,
        }
    }
}

struct Core {
    market: Market,
    symbols: Symbols<State>,
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
    /// The trades put, by `t` or `l`.
    trade: Serial,
    /// The aggregates put, by `a`.
    aggregate: Serial,
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
    /// The name that symbols of spot start with.
    pub const NAME: &str = "binance";
    /// The name that symbols of USD-M futures start with.
    pub const USDM: &str = "binance-usdm";

    /// A parser of spot, which lists its symbols in `instruments`.
    pub fn new(instruments: Arc<Instruments>) -> Self {
        Self::of(Market::Spot, instruments)
    }

    /// A parser of USD-M futures, which lists its symbols in `instruments`.
    pub fn usdm(instruments: Arc<Instruments>) -> Self {
        Self::of(Market::Usdm, instruments)
    }

    fn of(market: Market, instruments: Arc<Instruments>) -> Self {
        let core = Core {
            market,
            symbols: Symbols::new(market, instruments),
            event: Event::default(),
            upper: String::new(),
            ignored: Ignored::default(),
        };
        Binance { reader: Reader::new(), core }
    }
}

impl Venue for Binance {
    fn name(&self) -> &'static str {
        self.core.market.name()
    }

    fn message(
        &mut self,
        text: &[u8],
        recv_ns: u64,
        context: Context<'_>,
        sink: &mut dyn Sink,
    ) -> Heard {
        let Binance { reader, core } = self;
        let heard = match Print::scan(text) {
            Some(print) => core.trade(&print, recv_ns, context.link, sink),
            None => reader.read_levels(text, as_sent, |root, cuts| {
                core.event.exchange(cuts);
                let heard = core.message(root, recv_ns, context, sink);
                core.event.exchange(cuts);
                heard
            }),
        };
        match heard {
            Ok(heard) => heard,
            Err(fault) => fault.reject(text, sink),
        }
    }

    fn restart(&mut self) {
        self.core.symbols.slots.restart();
    }

    fn ignored(&self) -> &Ignored {
        &self.core.ignored
    }

    fn expect(&mut self, natives: &[Box<str>], book: bool, recv_ns: u64, sink: &mut dyn Sink) {
        self.core.symbols.slots.expect(natives, book, recv_ns, sink);
    }

    fn lost(&mut self, link: u16, orphans: &[Box<str>], recv_ns: u64, sink: &mut dyn Sink) {
        self.core.symbols.slots.lost(link, orphans, recv_ns, sink);
        for slot in self.core.symbols.slots.iter_mut() {
            slot.state.trade.forget(link, sink);
            slot.state.aggregate.forget(link, sink);
        }
    }

    fn distrust(&mut self, native: &str, recv_ns: u64, sink: &mut dyn Sink) {
        self.core.symbols.slots.distrust(native, recv_ns, sink);
    }

    fn wants(&self, out: &mut Vec<Want>) {
        self.core.symbols.slots.wants(How::Fetch, out);
    }
}

/// Whether an object is one of spot's or of another market's: it has `stream`, `e`,
/// `lastUpdateId`, or the keys of a book ticker.
pub(super) fn recognise(object: &Object<'_, '_>) -> bool {
    let has = |key: &str| object.get(key).is_some();
    (has("stream") && has("data"))
        || object.get("e").is_some_and(|e| e.as_str().is_some())
        || has("lastUpdateId")
        || ["u", "s", "b", "B", "a", "A"].into_iter().all(has)
}

/// Whether an object is one of USD-M futures: to be asked first, as [`recognise`] takes them too.
/// Depth has `pu` (a snapshot `T`), a book ticker `e`, an aggregate lacks `M`.
pub(super) fn recognise_usdm(object: &Object<'_, '_>) -> bool {
    let payload = object.get("stream").and_then(|_| object.get("data"));
    let inner = payload.and_then(|payload| payload.as_object());
    let object = inner.as_ref().unwrap_or(object);
    let has = |key: &str| object.get(key).is_some();
    match object.get("e").and_then(|e| e.into_string()) {
        Some("depthUpdate") => has("pu"),
        Some("bookTicker") => has("T"),
        Some("aggTrade") => has("l") && !has("M"),
        Some("trade") => has("X"),
        Some(_) => false,
        None => has("lastUpdateId") && has("T"),
    }
}

/// Whether a stream is one of partial books: `<symbol>@depth<levels>`, not `<symbol>@depth@100ms`.
fn is_partial(stream: &str) -> bool {
    let levels = stream.split_once("@depth").map(|(_, levels)| levels.as_bytes());
    levels.is_some_and(|levels| levels.first().is_some_and(u8::is_ascii_digit))
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
        let (fields, link) = (Fields::of(&object), context.link);
        let done = if fields.e.is_some() {
            match text("e", fields.e)? {
                "trade" if fields.is_off_market()? => self.ignore("trade outside the market"),
                "trade" => return self.trade(&fields.print()?, recv, link, sink),
                "aggTrade" => self.aggregate(&fields, recv, link, sink),
                "depthUpdate" => match stream.filter(|stream| is_partial(stream)) {
                    // Of futures; spot's have no `e`.
                    Some(_) => self.partial_update(&fields, recv, sink),
                    None => self.depth(&fields, recv, link, sink),
                },
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
            let why = text("msg", message)?.to_owned();
            return Err(match fields.id {
                // One stream's name that is refused spoils the whole request.
                Some(_) => Fault::Request { why, id: integer("id", fields.id).ok() },
                None => Fault::Venue(why),
            });
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
        print: &Print<'_>,
        recv: u64,
        link: u16,
        sink: &mut dyn Sink,
    ) -> Result<Heard, Fault> {
        let id = print.trade.id;
        let slot = self.symbols.resolve(print.symbol)?;
        slot.state.plain_trades = true;
        let stamp = Stamp { event: print.time, recv, seq: id };
        let tick = Tick::trade(slot.id, stamp, &print.trade);
        if !slot.state.trade.take(link, id, &tick, sink) {
            self.ignore("duplicate trade")?;
        }
        Ok(Heard::Alive)
    }

    fn aggregate(
        &mut self,
        fields: &Fields<'_, '_>,
        recv: u64,
        link: u16,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let trade = fields.trade(integer("a", fields.a)?)?;
        // The last trade summed: plain trades that take over go on in the same sequence, and
        // those that the aggregate held are known by it.
        let last = integer("l", fields.l)?;
        let seq = match self.market {
            Market::Spot => last,
            // Summed over 100 ms by price and side, two may hold trades in turns.
            Market::Usdm => trade.id,
        };
        let stamp = Stamp { event: fields.time()?, recv, seq };
        let slot = self.symbols.resolve(text("s", fields.s)?)?;
        if slot.state.plain_trades {
            return self.ignore("aggTrade");
        }
        slot.state.trade.skip(last);
        let mut tick = Tick::trade(slot.id, stamp, &trade);
        tick.flags |= flags::AGGREGATE;
        if !slot.state.aggregate.take(link, trade.id, &tick, sink) {
            return self.ignore("duplicate aggTrade");
        }
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
        let slot = self.symbols.resolve(text("s", fields.s)?)?;
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
        link: u16,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let (first, last) = self.span(fields)?;
        self.event.begin(Stamp { event: fields.time()?, recv, seq: last }, first);
        self.event.levels("b", Side::Buy, fields.b)?;
        self.event.levels("a", Side::Sell, fields.a)?;
        let slot = self.symbols.resolve(text("s", fields.s)?)?;
        let event = self.event.finish(slot.id, 0);
        match slot.state.book.diff_via(link, first, last, event, sink) {
            Step::Duplicate => self.ignore("duplicate depthUpdate"),
            Step::Gap => self.ignore("gap before depthUpdate"),
            _ => Ok(()),
        }
    }

    /// The update ids that a diff covers, from the first after the diff before it.
    ///
    /// The ids of spot follow each other. Those of a future's book do not: a diff names the end of
    /// the one before it, `pu`, and holds all changes since. So what is demanded of spot's `U`
    /// holds for `pu` + 1: not beyond the end of the book, be it a diff's or a snapshot's. The
    /// documented rule for the first diff after a snapshot of `L` (`U` <= `L` <= `u`) implies it;
    /// a diff that ends at `L` changes nothing, and one with `pu` <= `L` < `U` misses nothing.
    fn span(&self, fields: &Fields<'_, '_>) -> Result<(u64, u64), Fault> {
        let (first, last) = (integer("U", fields.U)?, integer("u", fields.u)?);
        if first > last {
            return Err(Fault::Sequence { first, last });
        }
        if self.market == Market::Spot {
            return Ok((first, last));
        }
        let before = integer("pu", fields.pu)?;
        if before > last {
            return Err(Fault::Sequence { first: before, last });
        }
        Ok((before.saturating_add(1), last))
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
        let slot = self.symbols.resolve(&self.upper)?;
        let event = self.event.finish(slot.id, flags::SNAPSHOT);
        match slot.state.book.partial(last, event, sink) {
            Step::Duplicate => self.ignore("partial depth beside a full book"),
            _ => Ok(()),
        }
    }

    /// The same of futures: a `depthUpdate` that only its stream's name tells from a diff.
    fn partial_update(
        &mut self,
        fields: &Fields<'_, '_>,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let last = integer("u", fields.u)?;
        self.event.begin(Stamp { event: fields.time()?, recv, seq: last }, last);
        self.event.levels("b", Side::Buy, fields.b)?;
        self.event.levels("a", Side::Sell, fields.a)?;
        let slot = self.symbols.resolve(text("s", fields.s)?)?;
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
            None => self.symbols.slots.only()?,
        };
        set_upper(&mut self.upper, &decoded(symbol));
        let slot = self.symbols.resolve(&self.upper)?;
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
        self.symbols.listed.extend(read);
        self.ignore("exchangeInfo")
    }
}
