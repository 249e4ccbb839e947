//! Kraken spot: the WebSocket API v2, `wss://ws.kraken.com/v2`.
//!
//! Every fact about the messages is from
//! <https://docs.kraken.com/exchange/api-reference/spot-websocket-v2/book>, its neighbours `trade`,
//! `ticker`, `status`, `heartbeat` and `ping`, and the guide
//! <https://docs.kraken.com/exchange/guides/websockets/book-checksum-v2>.

use std::sync::Arc;

use simd_json::tape::{Object, Value};

use super::event::{Event, array};
use super::json::{Fault, Reader, integer, quoted, text};
use super::slots::{HasBook, Slot, Slots};
use super::{Context, Heard, How, Ignored, Venue, Want};
use crate::instrument::Instruments;
use crate::sink::Sink;
use crate::sync::BookSync;
use crate::tick::{Quote, Side, Stamp, Tick};

mod book;
mod books;
mod fields;
mod rules;

use book::{Book, Level};
use books::Copy;
use fields::{Fields, Print};
pub(super) use rules::rules;

/// The depths that a book can be subscribed to, in levels a side.
const DEPTHS: [u16; 5] = [10, 25, 100, 500, 1_000];

/// What a request is answered with when too many were sent, whichever it was.
const HASTY: &str = "Exceeded msg rate";

/// The parser of Kraken spot.
///
/// | message | ticks |
/// |---|---|
/// | `trade`, `update` | trades; sequence and id are `trade_id`, the side is the taker's. One that is not newer than the last is dropped |
/// | `trade`, `snapshot` (the last 50) | those that are newer than the last one put: what was missed between two connections. None where there was no trade before |
/// | `ticker` (`event_trigger: bbo`) | a quote where the best bid or ask (or its size) changed; it has no sequence |
/// | `book`, `snapshot` | levels flagged [`SNAPSHOT`](crate::tick::flags::SNAPSHOT), without a sequence |
/// | `book`, `update` | levels; those that fall out of the subscribed depth are put as gone |
/// | answers to requests | none; one per symbol, a refused one is rejected with the venue's text |
/// | `heartbeat`, `status`, `pong`, the list of instruments over REST | none |
///
/// **Books** have no sequence but a checksum in every message, over the best ten levels of each
/// side after it. One that is not that of our book puts the status `resync`, and nothing of the book
/// until the next snapshot, which a new subscription brings ([`How::Resubscribe`]). A message about
/// a book that cannot be read (or a text that is no JSON, of which nobody knows what it was about)
/// is a message lost: the next update of the book breaks it the same way. The depth to cut a book to
/// is told by the answer to its subscription; a recording that begins after it is cut to as many
/// levels as the snapshot has, if that is a depth that can be subscribed to, else to the deepest.
///
/// **Several connections** with the same symbol: trades are put once, by `trade_id`. Of the quotes
/// those of the connection that brought the last one are taken, and of another one that has a newer
/// `timestamp`. A book is taken from one connection, and of every other one a copy is kept beside.
/// When that connection is gone, or its book is found to be wrong, a copy goes on with it as soon as
/// it is what was put last, or newer by its `timestamp`: the book never goes back in time, and
/// nothing of the change is seen but perhaps a snapshot. A copy that is found to be wrong is dropped
/// until the next snapshot on its connection.
///
/// **What cannot be detected.** Whether a message about levels beyond the tenth was lost: the
/// checksum does not cover them. It shows when they rise among the best ten. A repeated book message
/// is harmless unless another one that touches the same levels came between, which the checksum
/// shows within the best ten. Whether trades were missed in a break that held more than 50 of them.
/// Quantities of more than 18 significant digits are rejected (they fit no [`Decimal`](crate::Decimal)). Pairs of
/// tokenised assets are not listed.
pub struct Kraken {
    reader: Reader,
    core: Core,
}

struct Core {
    slots: Slots<State>,
    event: Event,
    /// The levels of a message, as read.
    levels: Vec<(Side, Level)>,
    /// What a checksum is computed over.
    digits: Vec<u8>,
    /// The connection that the message came on.
    link: u16,
    ignored: Ignored,
}

/// What is kept per symbol.
#[derive(Debug, Default)]
struct State {
    /// The newest trade put, or seen in the first snapshot.
    trade: Option<u64>,
    /// Whether the snapshot of trades under way is not the first: then what is new in it was missed.
    resumed: bool,
    /// The newest quote put.
    quote: Option<Last>,
    /// The depth that the venue confirmed.
    confirmed: Option<u16>,
    /// The depth that the book is cut to.
    depth: usize,
    /// The levels, as of the last message of the book's owner.
    levels: Book,
    /// The venue's time of the newest message of the book that was put; 0 where it did not say.
    time: u64,
    /// Whether a message of the book could not be read.
    lossy: bool,
    /// The same book as other connections have it.
    copies: Vec<Copy>,
    book: BookSync,
}

/// The last quote and where it came from.
#[derive(Clone, Copy, Debug)]
struct Last {
    quote: Quote,
    /// The venue's time, nanoseconds since the Unix epoch; 0 where it did not say.
    time: u64,
    /// The connection; `None` once that is gone.
    link: Option<u16>,
}

impl HasBook for State {
    fn book(&self) -> &BookSync {
        &self.book
    }

    fn book_mut(&mut self) -> &mut BookSync {
        &mut self.book
    }
}

impl Kraken {
    /// The name that symbols start with.
    pub const NAME: &str = "kraken";

    /// A parser that lists its symbols in `instruments`.
    pub fn new(instruments: Arc<Instruments>) -> Self {
        let core = Core {
            slots: Slots::new(Self::NAME, instruments),
            event: Event::default(),
            levels: Vec::new(),
            digits: Vec::new(),
            link: 0,
            ignored: Ignored::default(),
        };
        Kraken { reader: Reader::new(), core }
    }
}

impl Venue for Kraken {
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
        let Kraken { reader, core } = self;
        if context.url.is_some() {
            // The only thing that is asked for over REST; the rules have read it.
            core.ignored.note("list of instruments");
            return Heard::Alive;
        }
        core.link = context.link;
        let heard = match Print::scan(text) {
            Some(print) => core.trade(&print, recv_ns, sink).map(|()| Heard::Alive),
            None => reader.read_levels(text, quoted, |root, cuts| {
                core.event.exchange(cuts);
                let heard = core.message(root, recv_ns, sink);
                core.event.exchange(cuts);
                heard
            }),
        };
        match heard {
            Ok(heard) => heard,
            Err(fault) => {
                if matches!(fault, Fault::Json(_)) {
                    core.doubt(None);
                }
                let heard = fault.reject(text, sink);
                match fault {
                    Fault::Venue(why) if why.starts_with(HASTY) => Heard::Hasty,
                    _ => heard,
                }
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
        let quotes = self.core.slots.iter_mut().filter_map(|slot| slot.state.quote.as_mut());
        for last in quotes.filter(|last| last.link == Some(link)) {
            last.link = None;
        }
        self.core.lost(link, orphans, recv_ns, sink);
    }

    fn distrust(&mut self, native: &str, recv_ns: u64, sink: &mut dyn Sink) {
        for slot in self.core.slots.iter_mut().filter(|slot| *slot.native == *native) {
            slot.state.copies.clear();
        }
        self.core.slots.distrust(native, recv_ns, sink);
    }

    fn wants(&self, out: &mut Vec<Want>) {
        self.core.slots.wants(How::Resubscribe, out);
    }
}

/// Whether an object is one of this venue's: it has `channel`, `type` and `data`, or `method` and
/// `time_in`.
pub(super) fn recognise(object: &Object<'_, '_>) -> bool {
    let has = |key: &str| object.get(key).is_some();
    (has("channel") && has("type") && has("data")) || (has("method") && has("time_in"))
}

impl Core {
    fn message(
        &mut self,
        root: Value<'_, '_>,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<Heard, Fault> {
        if !root.is_object() {
            return Err(Fault::Unknown);
        }
        let fields = Fields::of("message", root)?;
        if fields.channel.is_none() {
            return self.answer(&fields);
        }
        match text("channel", fields.channel)? {
            "trade" => self.trades(&fields, recv, sink),
            "ticker" => self.tickers(&fields, recv, sink),
            "book" => {
                let done = self.books(&fields, recv, sink);
                if done.is_err() {
                    self.doubt_entries(&fields);
                }
                done
            }
            other => self.ignore(other),
        }
        .map(|()| Heard::Alive)
    }

    fn ignore(&mut self, name: &str) -> Result<(), Fault> {
        self.ignored.note(name);
        Ok(())
    }

    fn slot(&mut self, native: &str) -> Result<&mut Slot<State>, Fault> {
        self.slots.resolve(native, |native| native.split_once('/'))
    }

    /// What answers a request: one message per symbol that the request named.
    fn answer(&mut self, fields: &Fields<'_, '_>) -> Result<Heard, Fault> {
        if let Some(why) = fields.refusal()? {
            return Err(Fault::Venue(why));
        }
        if fields.method.is_none() {
            return Err(Fault::Unknown);
        }
        let method = text("method", fields.method)?;
        if method == "subscribe" {
            self.confirmed(fields)?;
            return self.ignore(method).map(|()| Heard::Confirmed);
        }
        self.ignore(method).map(|()| Heard::Alive)
    }

    /// Notes the depth that a book was subscribed to.
    fn confirmed(&mut self, fields: &Fields<'_, '_>) -> Result<(), Fault> {
        let Some(result) = fields.result else { return Ok(()) };
        let result = Fields::of("result", result)?;
        if result.depth.is_none() {
            return Ok(());
        }
        let depth = u16::try_from(integer("depth", result.depth)?).ok();
        let depth = depth.filter(|depth| DEPTHS.contains(depth));
        let slot = self.slot(result.symbol()?)?;
        slot.state.confirmed = depth;
        slot.state.depth = depth.map_or(slot.state.depth, usize::from);
        Ok(())
    }

    fn trades(
        &mut self,
        fields: &Fields<'_, '_>,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let is_snapshot = fields.is_snapshot()?;
        let entries = array("data", fields.data)?;
        // Of several, all are read before the first is put.
        let is_one = entries.len() == 1;
        for entry in entries.iter().filter(|_| !is_one) {
            let print = Fields::of("data", entry)?.print()?;
            let state = &mut self.slot(print.symbol)?.state;
            state.resumed = state.trade.is_some();
        }
        for entry in &entries {
            let print = Fields::of("data", entry)?.print()?;
            if !is_snapshot {
                self.trade(&print, recv, sink)?;
                continue;
            }
            let state = &mut self.slot(print.symbol)?.state;
            if is_one {
                state.resumed = state.trade.is_some();
            }
            if state.resumed || state.trade.is_some_and(|last| print.trade.id <= last) {
                self.trade(&print, recv, sink)?;
            } else {
                state.trade = Some(print.trade.id);
                self.ignore("trade before the first subscription")?;
            }
        }
        Ok(())
    }

    /// Puts a trade, unless it is known.
    fn trade(&mut self, print: &Print<'_>, recv: u64, sink: &mut dyn Sink) -> Result<(), Fault> {
        let id = print.trade.id;
        let slot = self.slot(print.symbol)?;
        if slot.state.trade.is_some_and(|last| id <= last) {
            return self.ignore("duplicate trade");
        }
        slot.state.trade = Some(id);
        let stamp = Stamp { event: print.time, recv, seq: id };
        sink.put(&Tick::trade(slot.id, stamp, &print.trade));
        Ok(())
    }

    fn tickers(
        &mut self,
        fields: &Fields<'_, '_>,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        fields.is_snapshot()?;
        let entries = array("data", fields.data)?;
        for entry in &entries {
            let entry = Fields::of("data", entry)?;
            let (quote, stamp) = (entry.quote()?, entry.stamp(recv, 0)?);
            Tick::quote(Default::default(), stamp, &quote).ok_or(Fault::Spread)?;
            self.slot(entry.symbol()?)?;
        }
        for entry in &entries {
            let entry = Fields::of("data", entry)?;
            let (quote, stamp) = (entry.quote()?, entry.stamp(recv, 0)?);
            self.ticker(entry.symbol()?, quote, stamp, sink)?;
        }
        Ok(())
    }

    fn ticker(
        &mut self,
        native: &str,
        quote: Quote,
        stamp: Stamp,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let link = self.link;
        let slot = self.slot(native)?;
        let last = slot.state.quote;
        // Two connections are two copies of one order of quotes: within one it is right, and from
        // one to the other only what is surely newer may follow.
        let follows = last.is_none_or(|last| {
            last.link.is_none_or(|from| from == link) || stamp.event > last.time
        });
        if !follows {
            return self.ignore("ticker of another connection");
        }
        let time = last.map_or(0, |last| last.time).max(stamp.event);
        slot.state.quote = Some(Last { quote, time, link: Some(link) });
        if last.is_some_and(|last| last.quote == quote) {
            return self.ignore("ticker without a change");
        }
        if let Some(tick) = Tick::quote(slot.id, stamp, &quote) {
            sink.put(&tick);
        }
        Ok(())
    }
}
