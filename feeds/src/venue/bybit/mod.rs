//! Bybit v5, public streams of spot and of linear contracts.
//!
//! Facts about the messages are from the pages of <https://bybit-exchange.github.io/docs/v5/>, each
//! named where it counts.

use std::sync::Arc;

use simd_json::prelude::*;
use simd_json::tape::{Object, Value};

use super::event::{Event, array};
use super::handover::Handover;
use super::json::{Fault, Reader, as_sent, boolean, integer, text};
use super::slots::{HasBook, Slot, Slots};
use super::{Context, Heard, How, Ignored, Options, Rules, Venue, Want};
use crate::instrument::{InstrumentId, Instruments, Listing};
use crate::sink::Sink;
use crate::sync::{BookSync, Step};
use crate::tick::{Quote, Side, Stamp, Tick, Trade, flags};

mod chain;
mod fields;
mod market;
mod rules;

use chain::{Chain, Mark, Quotes, Trades};
use fields::{Data, Fields, Print, best, unlike};
use market::Market;

/// The parser of Bybit, of its spot market (`bybit`) or of its perpetuals and futures that settle
/// in USDT or USDC (`bybit-linear`). The messages are the same; the instruments are not.
///
/// | message | ticks |
/// |---|---|
/// | `publicTrade.SYMBOL` | a trade for each element |
/// | `orderbook.1.SYMBOL` | a quote; an empty side has price and size zero |
/// | `orderbook.50`, `.200`, `.1000`, `snapshot` or with `u` 1 | levels flagged [`SNAPSHOT`](flags::SNAPSHOT); the sequence is `u` |
/// | the same, `delta` | levels; the sequence is `u` |
///
/// Other topics are ignored, and of a symbol's books all but that of the depth which came first.
///
/// - **Symbols** are `bybit:BTC-USDT`, `bybit-linear:BTC-USDT-PERP` (also for `BTCPERP`, whose
///   quote is USDC) and `bybit-linear:BTC-USDC-251226` for `BTC-26DEC25`. Sizes are in units of the
///   base coin in both markets.
/// - **Trade ids** at Bybit are numbers beyond 2^53 (spot) or UUIDs (linear), so that neither can
///   be a number in JSON. A trade's id and sequence here are `seq` x 1,024 + n for the n-th trade
///   of the matching engine's `seq`, from 0, as it was received; they rise strictly, and `seq` is
///   got back by division. Beyond 1,024 trades of one `seq` they go on counting.
/// - **A trade is put once**: one with a lower `seq` than the last, or with the same and a known
///   id, is dropped. Those of a connection that is ahead of an older one wait until that one has
///   come to where it began, a second at most, so that none is lost between them. Block trades (`BT`) and trades with retail orders that no book shows (`RPI`)
///   are trades like any other, as the venue sends them.
/// - **Quotes** are numbered by `seq`. What is repeated after three quiet seconds (`u` unchanged)
///   is dropped. They come every 10 ms, tickers of linear every 100 ms and those of spot not at
///   all.
/// - **The book** is a snapshot with update id `u`, then deltas each with the next `u`; levels that
///   leave the depth come as deltas of size zero. A `u` that is missing breaks it, and a new
///   subscription gets the next snapshot. A restart of the service (`u` is 1) is a snapshot
///   whatever the message's `type`; where that message is missing, the restart shows in a `u` that
///   is not above the last while `seq` is. What a slower connection still sends of the chain
///   before is known by its lower `seq`; if that is the same, because nothing had happened, the
///   book may be asked for once more than needed.
/// - **Demands**: `depth` is 50 (every 20 ms), 200 (100 ms, the default) or 1000 (200 ms); requests
///   of ten topics at most; 21,000 characters of topics a connection, which is 172 symbols with all
///   channels; a ping every 20 s; 500 connections in five minutes, of which a feed takes 200. One
///   topic that is refused refuses its whole request, which is then asked for topic by topic.
///
/// What cannot be told: that the very last messages of a stream are missing; that the service
/// restarted, if every message was lost until `u` had passed the last one seen; that levels are
/// wrong while the numbers are right, for there is no checksum. Trades that a dead connection would
/// have sent are lost, because the stream of trades begins without the past.
pub struct Bybit {
    reader: Reader,
    core: Core,
}

struct Core {
    market: Market,
    instruments: Arc<Instruments>,
    slots: Slots<State>,
    event: Event,
    prints: Vec<Print>,
    ignored: Ignored,
}

/// What is kept per symbol.
#[derive(Debug, Default)]
struct State {
    trades: Trades,
    /// Trades with when they were received.
    lines: Handover<(Print, u64)>,
    quotes: Quotes,
    /// Whose messages the book is made of: each depth counts its own.
    depth: Option<u16>,
    chain: Chain,
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
    fn put(&mut self, (print, recv): (Print, u64), ignored: &mut Ignored, sink: &mut dyn Sink) {
        let Print { id, mark, trade } = print;
        let Some(number) = self.state.trades.admit(id, mark) else {
            ignored.note("duplicate trade");
            return;
        };
        let stamp = Stamp { event: mark.time, recv, seq: number };
        sink.put(&Tick::trade(self.id, stamp, &Trade { id: number, ..trade }));
    }

    /// Puts the trades that waited for another connection's.
    fn release(&mut self, now: u64, ignored: &mut Ignored, sink: &mut dyn Sink) {
        while let Some(trades) = self.state.lines.release(self.state.trades.newest_seq(), now) {
            trades.into_iter().for_each(|trade| self.put(trade, ignored, sink));
        }
    }
}

impl Bybit {
    /// The name that symbols of spot start with.
    pub const SPOT: &str = Market::Spot.venue();
    /// The name that symbols of linear contracts start with.
    pub const LINEAR: &str = Market::Linear.venue();

    /// A parser of spot that lists its symbols in `instruments`.
    pub fn spot(instruments: Arc<Instruments>) -> Self {
        Bybit::new(Market::Spot, instruments)
    }

    /// A parser of linear contracts that lists its symbols in `instruments`.
    pub fn linear(instruments: Arc<Instruments>) -> Self {
        Bybit::new(Market::Linear, instruments)
    }

    fn new(market: Market, instruments: Arc<Instruments>) -> Self {
        let core = Core {
            market,
            slots: Slots::new(market.venue(), Arc::clone(&instruments)),
            instruments,
            event: Event::default(),
            prints: Vec::new(),
            ignored: Ignored::default(),
        };
        Bybit { reader: Reader::new(), core }
    }
}

impl Venue for Bybit {
    fn name(&self) -> &'static str {
        self.core.market.venue()
    }

    fn message(
        &mut self,
        text: &[u8],
        recv_ns: u64,
        context: Context<'_>,
        sink: &mut dyn Sink,
    ) -> Heard {
        let Bybit { reader, core } = self;
        if context.url.is_some() {
            // The only thing that is asked for over REST; the rules have read it.
            core.ignored.note("list of instruments");
            return Heard::Alive;
        }
        let heard = match Print::scan(core.market, text, &mut core.prints) {
            Some(symbol) => core.put_prints(symbol, context.link, recv_ns, sink),
            None => reader.read_levels(text, as_sent, |root, cuts| {
                core.event.exchange(cuts);
                let heard = core.message(root, context.link, recv_ns, sink);
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
        for slot in self.core.slots.iter_mut() {
            slot.state.lines.leave(link);
            slot.release(recv_ns, &mut self.core.ignored, sink);
        }
    }

    fn distrust(&mut self, native: &str, recv_ns: u64, sink: &mut dyn Sink) {
        self.core.slots.distrust(native, recv_ns, sink);
    }

    fn wants(&self, out: &mut Vec<Want>) {
        self.core.slots.wants(How::Resubscribe, out);
    }
}

/// The rules of spot.
pub(super) fn spot_rules(options: Options) -> Result<Box<dyn Rules>, String> {
    rules::make(Market::Spot, options)
}

/// The rules of linear contracts.
pub(super) fn linear_rules(options: Options) -> Result<Box<dyn Rules>, String> {
    rules::make(Market::Linear, options)
}

/// Whether an object is surely of spot.
pub(super) fn recognise_spot(object: &Object<'_, '_>) -> bool {
    recognise(object) == Some(Market::Spot)
}

/// Whether an object is surely of linear contracts.
pub(super) fn recognise_linear(object: &Object<'_, '_>) -> bool {
    recognise(object) == Some(Market::Linear)
}

/// The market that a message is of, where it shows. Trades of contracts have the direction of the
/// price (`L`), those of spot do not
/// (<https://bybit-exchange.github.io/docs/v5/websocket/public/trade>). Of the books "Spot (all
/// levels) & Futures (Level 1): the "ts" field appears before the "type" field", in all others it
/// comes after (<https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook>).
fn recognise(object: &Object<'_, '_>) -> Option<Market> {
    let topic = object.get("topic")?.into_string()?;
    let data = object.get("data")?;
    if topic.starts_with("publicTrade.") {
        let trade = data.as_array()?.iter().next()?.as_object()?;
        trade.get("i")?;
        return Some(if trade.get("L").is_some() { Market::Linear } else { Market::Spot });
    }
    let book = topic.strip_prefix("orderbook.")?;
    let first = object.iter().map(|(key, _)| key).find(|key| matches!(*key, "type" | "ts"))?;
    match first {
        "type" => Some(Market::Linear),
        _ if book.starts_with("1.") => None,
        _ => Some(Market::Spot),
    }
}

impl Core {
    fn message(
        &mut self,
        root: Value<'_, '_>,
        link: u16,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<Heard, Fault> {
        let fields = Fields::of(&root.as_object().ok_or(Fault::Unknown)?);
        if fields.topic.is_none() {
            return self.answer(&fields);
        }
        let topic = text("topic", fields.topic)?;
        let (kind, rest) = topic.split_once('.').unwrap_or((topic, ""));
        match (kind, rest.split_once('.')) {
            ("publicTrade", _) => self.trades(rest, &fields, link, recv, sink),
            ("orderbook", Some(("1", symbol))) => self.quote(symbol, &fields, recv, sink),
            ("orderbook", Some((depth, symbol))) => match depth.parse() {
                Ok(depth) => self.book(depth, symbol, &fields, recv, sink),
                // `orderbook.rpi`, `orderbook.full`.
                Err(_) => self.ignore(&topic[..kind.len() + 1 + depth.len()]),
            },
            _ => self.ignore(kind),
        }
        .map(|()| Heard::Alive)
    }

    /// What comes without a topic:
    /// <https://bybit-exchange.github.io/docs/v5/ws/connect#understanding-the-subscription-response>.
    /// A pong of these markets has the `op` `ping`, of others `pong` and no `success`.
    fn answer(&mut self, fields: &Fields<'_, '_>) -> Result<Heard, Fault> {
        if fields.op.is_none() {
            return Err(Fault::Unknown);
        }
        let op = text("op", fields.op)?;
        if op != "pong" && !boolean("success", fields.success)? {
            let reason = fields.ret_msg.and_then(|reason| reason.into_string());
            let why = reason.unwrap_or("no reason given").to_owned();
            if op != "subscribe" {
                return Err(Fault::Venue(why));
            }
            // Ours is a number; what is none answers nothing that was asked here.
            let id = fields.req_id.and_then(|id| id.into_string()?.parse().ok());
            return Err(Fault::Request { why, id });
        }
        let name = if op == "ping" { "pong" } else { op };
        self.ignore(name)?;
        Ok(if op == "subscribe" { Heard::Confirmed } else { Heard::Alive })
    }

    fn ignore(&mut self, name: &str) -> Result<(), Fault> {
        self.ignored.note(name);
        Ok(())
    }

    fn trades(
        &mut self,
        symbol: &str,
        fields: &Fields<'_, '_>,
        link: u16,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        self.prints.clear();
        for element in &array("data", fields.data)? {
            self.prints.push(Data::of(element, symbol)?.print()?);
        }
        self.put_prints(symbol, link, recv, sink).map(|_| ())
    }

    /// Puts the trades of the message at hand, unless they are known.
    fn put_prints(
        &mut self,
        symbol: &str,
        link: u16,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<Heard, Fault> {
        let slot = resolve(&mut self.slots, &self.instruments, self.market, symbol)?;
        for &print in &self.prints {
            let line = &mut slot.state.lines;
            if let Some(trade) = line.take(link, print.mark.seq, recv, (print, recv)) {
                slot.put(trade, &mut self.ignored, sink);
            }
        }
        slot.release(recv, &mut self.ignored, sink);
        Ok(Heard::Alive)
    }

    fn quote(
        &mut self,
        symbol: &str,
        fields: &Fields<'_, '_>,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        // "Linear, inverse, spot level 1 data has `snapshot` message only".
        if !fields.is_snapshot()? {
            return Err(unlike("type", fields.kind, "snapshot, as always at level 1"));
        }
        let data = Data::of(fields.data.ok_or(Fault::Missing("data"))?, symbol)?;
        let (bid, bid_size) = best("b", data.b)?;
        let (ask, ask_size) = best("a", data.a)?;
        let mark = Mark { seq: integer("seq", data.seq)?, time: fields.time()? };
        let update_id = data.update_id()?;
        let quote = Quote { bid, bid_size, ask, ask_size };
        let stamp = Stamp { event: mark.time, recv, seq: 0 };
        let mut tick = Tick::quote(InstrumentId::default(), stamp, &quote).ok_or(Fault::Spread)?;
        let slot = resolve(&mut self.slots, &self.instruments, self.market, symbol)?;
        let Some(number) = slot.state.quotes.admit(update_id, mark) else {
            return self.ignore("duplicate orderbook.1");
        };
        (tick.instrument, tick.seq) = (slot.id, number);
        sink.put(&tick);
        Ok(())
    }

    fn book(
        &mut self,
        depth: u16,
        symbol: &str,
        fields: &Fields<'_, '_>,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let data = Data::of(fields.data.ok_or(Fault::Missing("data"))?, symbol)?;
        let mark = Mark { seq: integer("seq", data.seq)?, time: fields.time()? };
        let update_id = data.update_id()?;
        // "Occasionally, you'll receive "u"=1, which is a snapshot data due to the restart of the
        // service. So please overwrite your local orderbook."
        let is_snapshot = fields.is_snapshot()? || update_id == 1;
        self.event.begin(Stamp { event: mark.time, recv, seq: update_id }, update_id);
        self.event.levels("b", Side::Buy, data.b)?;
        self.event.levels("a", Side::Sell, data.a)?;
        let slot = resolve(&mut self.slots, &self.instruments, self.market, symbol)?;
        if *slot.state.depth.get_or_insert(depth) != depth {
            return self.ignore("orderbook of another depth");
        }
        let Some(place) = slot.state.chain.place(update_id, mark) else {
            return self.ignore("orderbook before a restart");
        };
        let event = self.event.finish(slot.id, if is_snapshot { flags::SNAPSHOT } else { 0 });
        let book = &mut slot.state.book;
        let step = match is_snapshot {
            true if book.is_live() && place <= book.last() => Step::Duplicate,
            true => book.start(None, place, event, sink),
            false => book.diff(place, place, event, sink),
        };
        match step {
            Step::Duplicate => self.ignore("duplicate orderbook"),
            Step::Gap => self.ignore("gap before orderbook"),
            _ => Ok(()),
        }
    }
}

/// The slot of a symbol. One that no feed has listed is listed now, as a live feed would.
fn resolve<'s>(
    slots: &'s mut Slots<State>,
    instruments: &Instruments,
    market: Market,
    symbol: &str,
) -> Result<&'s mut Slot<State>, Fault> {
    slots.resolve(symbol, |native| {
        let parts = market.split(native)?;
        let contract = parts.contract.map(|contract| contract.into_owned());
        let listing = Listing { contract, ..Listing::pair(native, parts.base, parts.quote) };
        instruments.list_as(market.venue(), &listing);
        Some((parts.base, parts.quote))
    })
}
