//! OKX: the public WebSocket of API v5, spot pairs, perpetual swaps and expiry futures.
//!
//! Every fact about the messages is from
//! <https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-order-book-channel>, the
//! chapters on trades and on the WebSocket of the same document, and its changelog,
//! <https://www.okx.com/docs-v5/log_en/>. That changelog announced in February 2026 that snapshots
//! would be dropped from `books`; what came of it is the end of the checksum
//! (<https://www.okx.com/help/okx-order-book-channels-checksum-field-deprecation>).

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use simd_json::tape::{Object, Value};

use self::fields::{Data, Fields, Print};
use self::listing::{Instrument, ONE};
use self::state::{SKEW, State, Taken, Update, rising};
use super::event::{Event, array, times};
use super::json::{Fault, Reader, as_sent, integer, text, wrong};
use super::names::split_dashed;
use super::slots::{Slot, Slots};
use super::{Context, Heard, How, Ignored, Venue, Want};
use crate::decimal::Decimal;
use crate::instrument::Instruments;
use crate::sink::Sink;
use crate::tick::{Quote, Side, Tick, flags};

mod fields;
mod listing;
pub(super) mod rules;
mod state;

/// The parser of OKX.
///
/// | message | ticks |
/// |---|---|
/// | `trades` | a trade; the id is `tradeId`; flagged [`AGGREGATE`](flags::AGGREGATE) if its `count` is above 1 |
/// | `bbo-tbt` | a quote; the sequence is `seqId` |
/// | `books`, action `snapshot`; `books5` | levels flagged [`SNAPSHOT`](flags::SNAPSHOT); the sequence is `seqId` |
/// | `books`, action `update` | levels; the sequence is `seqId`, their `first` is `prevSeqId + 1` |
/// | a list of instruments (REST) | none: it tells what one contract is |
/// | the text `pong`; events | none |
///
/// - **Sizes** are in units of the base currency. OKX counts contracts for what is not spot; they
///   are multiplied by `ctVal` and `ctMult`, exactly, once the list of instruments has told them.
///   Before that a contract's messages are rejected. Inverse contracts (`BTC-USD-SWAP`), whose
///   value is in dollars, have no exact size in the base currency and are not listed.
/// - **Symbols**: `okx:BTC-USDT`, `okx:BTC-USDT-SWAP`, `okx:BTC-USDT-260327`, `okx:BTC-USD-UM-SWAP`
///   (which OKX calls `BTC-USD_UM-SWAP`).
/// - **Trades** are as the venue sums them: all that one taker's order filled at one price, from
///   one kind of makers (`source`). Those kinds can overtake each other, and so can connections:
///   repetitions are told per kind, by the last 256, and a trade whose id is below one that is out
///   has the sequence 0.
/// - **Books** hold 400 levels a side, sent every 100 ms (`depth=5`: 5, always whole). They leave
///   out the orders of the "enhanced liquidity program". The level that leaves the best 400 is
///   taken to be sent with the size 0, as the documents say of every level to be deleted: nothing
///   is cut off here.
/// - **Checksums** are always 0 since 2026-06-23 and are not read. The chain alone tells what is
///   missing; that a level was altered on its way cannot be detected.
/// - In a pre-open auction bid and ask may cross.
/// - **Not detected**: trades and quotes that are lost (neither has a chain). After maintenance
///   the numbers of quotes start over unannounced; theirs may then be missing for five seconds.
pub struct Okx {
    reader: Reader,
    core: Core,
}

struct Core {
    slots: Slots<State>,
    instruments: Arc<Instruments>,
    /// What is known of each contract, by its name.
    contracts: HashMap<Box<str>, Instrument, RandomState>,
    event: Event,
    /// The connection that the message came on.
    link: u16,
    /// The trades of the message at hand, each with whether it is of ordinary makers.
    trades: Vec<(Tick, bool)>,
    ignored: Ignored,
}

impl Okx {
    /// The name that symbols start with.
    pub const NAME: &str = "okx";

    /// A parser that lists its symbols in `instruments`.
    pub fn new(instruments: Arc<Instruments>) -> Self {
        let core = Core {
            slots: Slots::new(Self::NAME, Arc::clone(&instruments)),
            instruments,
            contracts: HashMap::default(),
            event: Event::default(),
            link: 0,
            trades: Vec::new(),
            ignored: Ignored::default(),
        };
        Okx { reader: Reader::new(), core }
    }
}

impl Venue for Okx {
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
        let Okx { reader, core } = self;
        core.link = context.link;
        // The answer to the text `ping`, the one message that is not JSON:
        // https://www.okx.com/docs-v5/en/#overview-websocket-connect
        if text == b"pong" {
            core.ignored.note("pong");
            return Heard::Alive;
        }
        let heard = match Print::scan(text) {
            Some((native, print)) => core.trade(native, &print, recv_ns, sink),
            None => reader.read_levels(text, as_sent, |root, cuts| {
                core.event.exchange(cuts);
                let heard = core.message(root, recv_ns, sink);
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
    }

    fn distrust(&mut self, native: &str, recv_ns: u64, sink: &mut dyn Sink) {
        self.core.slots.distrust(native, recv_ns, sink);
    }

    fn wants(&self, out: &mut Vec<Want>) {
        self.core.slots.wants(How::Resubscribe, out);
    }
}

/// Whether an object is one of this venue's: it has `arg` with `data` or `event`, or `connId`.
pub(super) fn recognise(object: &Object<'_, '_>) -> bool {
    let has = |key: &str| object.get(key).is_some();
    (has("arg") && (has("data") || has("event"))) || (has("event") && has("connId"))
}

impl Core {
    fn message(
        &mut self,
        root: Value<'_, '_>,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<Heard, Fault> {
        let object = root.as_object().ok_or(Fault::Unknown)?;
        let fields = Fields::of(&object);
        if fields.event.is_some() {
            return self.happening(&fields);
        }
        if fields.arg.is_none() {
            return self.reply(root, &fields).map(|()| Heard::Alive);
        }
        let (channel, native) = fields.arg()?;
        match channel {
            "trades" => self.trades(text("instId", native)?, &fields, recv, sink),
            "bbo-tbt" => self.quote(text("instId", native)?, &fields.one()?, recv, sink),
            "books" => {
                let (native, data) = (text("instId", native)?, fields.one()?);
                match text("action", fields.action)? {
                    "snapshot" => self.snapshot(native, &data, 0, recv, sink),
                    "update" => self.update(native, &data, recv, sink),
                    _ => Err(fields.action.map_or(Fault::Missing("action"), |value| {
                        wrong("action", value, "snapshot or update")
                    })),
                }
            }
            // Always whole, and without an action.
            "books5" => self.snapshot(text("instId", native)?, &fields.one()?, SKEW, recv, sink),
            other => self.ignore(other),
        }
        .map(|()| Heard::Alive)
    }

    /// A message about the connection.
    fn happening(&mut self, fields: &Fields<'_, '_>) -> Result<Heard, Fault> {
        let name = text("event", fields.event)?;
        let code = || text("code", fields.code);
        match name {
            "subscribe" => {
                self.ignore(name)?;
                return Ok(Heard::Confirmed);
            }
            "error" | "channel-conn-count-error" => {
                let code = code().unwrap_or_default();
                let msg = text("msg", fields.msg).unwrap_or_default();
                return Err(Fault::Venue([name, code, msg].join(" ")));
            }
            // "The connection will soon be closed for a service upgrade. Please reconnect.", 60 s
            // before: https://www.okx.com/docs-v5/en/#overview-websocket-notification
            "notice" if code()? == "64008" => {
                self.ignore("notice 64008")?;
                return Ok(Heard::Leaving);
            }
            other => self.ignore(other)?,
        }
        Ok(Heard::Alive)
    }

    /// A reply of REST: the list of instruments, which lists none here (a venue has thousands, and
    /// a stream carries a few), or something else.
    fn reply(&mut self, root: Value<'_, '_>, fields: &Fields<'_, '_>) -> Result<(), Fault> {
        if fields.code.is_none() || fields.data.is_none() {
            return Err(Fault::Unknown);
        }
        listing::check_code(fields.code, fields.msg)?;
        let first = array("data", fields.data)?.iter().next();
        let first = first.as_ref().and_then(|row| row.as_object());
        if !first.is_some_and(|row| row.get("instType").is_some() && row.get("lotSz").is_some()) {
            return self.ignore("reply");
        }
        let all = listing::read(root)?;
        let contracts = all.into_iter().filter(|known| known.listing.contract.is_some());
        self.contracts.extend(contracts.map(|known| (known.listing.native.as_str().into(), known)));
        self.ignore("instruments")
    }

    fn ignore(&mut self, name: &str) -> Result<(), Fault> {
        self.ignored.note(name);
        Ok(())
    }

    /// What one contract is; [`ONE`] for a pair.
    fn unit(&self, native: &str) -> Result<Decimal, Fault> {
        if split_dashed(native).is_some() {
            return Ok(ONE);
        }
        let known = self.contracts.get(native).map(|known| known.unit);
        known.ok_or_else(|| Fault::Contract(native.chars().take(40).collect()))
    }

    fn slot(&mut self, native: &str) -> Result<&mut Slot<State>, Fault> {
        let Core { slots, instruments, contracts, .. } = self;
        resolve(slots, instruments, contracts, native)
    }

    fn trades(
        &mut self,
        native: &str,
        fields: &Fields<'_, '_>,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let unit = self.unit(native)?;
        self.trades.clear();
        for entry in &array("data", fields.data)? {
            let print = Data::of(entry)?.print()?;
            self.trades.push((print.tick(recv, unit)?, print.is_ordinary));
        }
        self.put_trades(native, sink)
    }

    /// A message of one trade that is read already.
    fn trade(
        &mut self,
        native: &str,
        print: &Print,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<Heard, Fault> {
        let unit = self.unit(native)?;
        self.trades.clear();
        self.trades.push((print.tick(recv, unit)?, print.is_ordinary));
        self.put_trades(native, sink).map(|()| Heard::Alive)
    }

    /// Puts the trades of the message at hand, unless they are known.
    fn put_trades(&mut self, native: &str, sink: &mut dyn Sink) -> Result<(), Fault> {
        let Core { slots, instruments, contracts, trades, ignored, .. } = self;
        let slot = resolve(slots, instruments, contracts, native)?;
        for (tick, ordinary) in trades {
            let recent = &mut slot.state.trades[usize::from(!*ordinary)];
            if !recent.takes(tick.seq, tick.ts_event) {
                ignored.note("duplicate trade");
                continue;
            }
            tick.seq = rising(&mut slot.state.highest[0], tick.seq);
            tick.instrument = slot.id;
            sink.put(tick);
        }
        Ok(())
    }

    fn quote(
        &mut self,
        native: &str,
        data: &Data<'_, '_>,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let unit = self.unit(native)?;
        let seq = integer("seqId", data.seq_id)?;
        let (bid, bid_size) = data.best("bids", data.bids)?;
        let (ask, ask_size) = data.best("asks", data.asks)?;
        let (bid_size, ask_size) = (times(bid_size, unit)?, times(ask_size, unit)?);
        let stamp = data.stamp(recv, seq)?;
        let quote = Quote { bid, bid_size, ask, ask_size };
        let mut tick = Tick::quote(Default::default(), stamp, &quote).ok_or(Fault::Spread)?;
        let slot = self.slot(native)?;
        if !slot.state.quote.takes(seq, stamp.event) {
            return self.ignore("duplicate bbo-tbt");
        }
        tick.seq = rising(&mut slot.state.highest[1], seq);
        tick.instrument = slot.id;
        sink.put(&tick);
        Ok(())
    }

    /// Reads the levels of a book into the event.
    fn levels(&mut self, data: &Data<'_, '_>, unit: Decimal) -> Result<(), Fault> {
        self.event.levels("bids", Side::Buy, data.bids)?;
        self.event.levels("asks", Side::Sell, data.asks)?;
        if unit == ONE { Ok(()) } else { self.event.scale(unit) }
    }

    fn snapshot(
        &mut self,
        native: &str,
        data: &Data<'_, '_>,
        slack: u64,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let unit = self.unit(native)?;
        let seq = integer("seqId", data.seq_id)?;
        let stamp = data.stamp(recv, seq)?;
        self.event.begin(stamp, seq);
        self.levels(data, unit)?;
        let Core { slots, instruments, contracts, event, .. } = self;
        let slot = resolve(slots, instruments, contracts, native)?;
        let event = event.finish(slot.id, flags::SNAPSHOT);
        let snapshot = Update { link: self.link, prev: 0, seq, stamp, event };
        if slot.state.renew(&snapshot, slack, sink) {
            Ok(())
        } else {
            self.ignore("snapshot not newer than the book")
        }
    }

    fn update(
        &mut self,
        native: &str,
        data: &Data<'_, '_>,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let unit = self.unit(native)?;
        let (prev, seq) = (integer("prevSeqId", data.prev_seq_id)?, integer("seqId", data.seq_id)?);
        let stamp = data.stamp(recv, seq)?;
        let first = if prev < seq { prev + 1 } else { seq };
        self.event.begin(stamp, first);
        self.levels(data, unit)?;
        let Core { slots, instruments, contracts, event, ignored, .. } = self;
        let slot = resolve(slots, instruments, contracts, native)?;
        let update = Update { link: self.link, prev, seq, stamp, event: event.finish(slot.id, 0) };
        match slot.state.follow(&update, sink) {
            Taken::Put | Taken::Waits => {}
            Taken::Unchanged => ignored.note("books without a change"),
            Taken::Late => ignored.note("duplicate books"),
            Taken::Gap => ignored.note("gap before books"),
        }
        Ok(())
    }
}

/// The slot of a symbol; a contract is listed with all that is known of it.
fn resolve<'s>(
    slots: &'s mut Slots<State>,
    instruments: &Instruments,
    contracts: &HashMap<Box<str>, Instrument, RandomState>,
    native: &str,
) -> Result<&'s mut Slot<State>, Fault> {
    slots.resolve(native, |native| match contracts.get(native) {
        Some(known) => {
            instruments.list_as(Okx::NAME, &known.listing);
            Some((&known.listing.base, &known.listing.quote))
        }
        None => split_dashed(native),
    })
}
