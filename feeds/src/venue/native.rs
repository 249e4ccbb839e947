//! The native line form: one JSON message of docs/PROTOCOL.md, "Data", on a line. What a server of
//! our own sends is understood as it is, and so is what a person writes by hand.
//!
//! `fields` reads a line, `chain` keeps what the lines of one symbol must fit together by; here the
//! two meet. Pure like the venues' parsers: no clock, no socket.

mod chain;
mod fields;

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use simd_json::tape::Value;
use thiserror::Error;

use super::event::Event;
use super::json::{Fault, Reader};
use super::slots::is_asset;
use crate::claims::{Allowance, Denied, Owner};
use crate::instrument::Instruments;
use crate::sink::Sink;
use crate::tick::{FeedState, Stamp, Status, Tick, flags};

use chain::{Slot, Step};
use fields::{Body, Fields};

/// Levels a side of one book message, at most: as many as the server's books hold. One more would
/// only be dropped there, and a line of the smallest levels could hold ten times as many.
pub const MAX_LEVELS: usize = 20_000;

/// The longest symbol, in bytes: the longest that a client can ask the server for.
const MAX_SYMBOL: usize = 48;

/// What the lines of a publisher may say.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The only venue that it may publish; `None`: any that no built-in feed has.
    pub venue: Option<String>,
    /// Whether an unknown field is an error. A relay from a later version of the server needs
    /// `false`; a person's misspelt `prev` would go unnoticed so.
    pub strict: bool,
    /// How many symbols its feed may list.
    pub allowance: Arc<Allowance>,
}

/// A line that was kept out of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Rejected {
    /// A short name of the cause, for programs: `bad_json`, `taken`, `gap`, ...
    pub code: &'static str,
    /// One line for people.
    pub message: String,
    /// Whether the line is no message at all; else it is one that does not fit what came before
    /// it, or is not this publisher's to send.
    pub rubbish: bool,
}

/// Why a line is kept out.
#[derive(Debug, Error)]
enum Refusal {
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("unknown field `{field}`, expected one of {}", fields::NAMES.join(", "))]
    UnknownField { field: String },
    #[error("`{0}` is no channel, expected trade, quote, book or status")]
    UnknownChannel(String),
    #[error("symbol {0:?}: expected venue:BASE-QUOTE of letters and digits, at most 48 bytes")]
    BadSymbol(String),
    #[error("venue {given:?}: this feed takes {expected:?} only")]
    Venue { given: String, expected: String },
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("field `{field}` is {given}, expected {expected}")]
    Unfit { field: &'static str, given: u64, expected: String },
    #[error("a book update with no snapshot before it, expected one of type `snapshot`")]
    NoSnapshot,
    #[error("book update after {prev}, but the last was {last}: send a snapshot")]
    Gap { prev: u64, last: u64 },
    #[error("seq {seq} of the channel `{channel}` does not rise, the last was {last}")]
    Repeated { channel: &'static str, seq: u64, last: u64 },
}

impl Refusal {
    fn code(&self) -> &'static str {
        match self {
            Refusal::Fault(fault) => fault.kind(),
            Refusal::UnknownField { .. } => "unknown_field",
            Refusal::UnknownChannel(_) => "unknown_channel",
            Refusal::BadSymbol(_) => "bad_symbol",
            Refusal::Venue { .. } | Refusal::Denied(Denied::Venue(_)) => "venue",
            Refusal::Denied(Denied::Full { .. }) => "too_many_symbols",
            Refusal::Denied(_) => "taken",
            Refusal::Unfit { .. } => "bad_value",
            Refusal::NoSnapshot => "no_snapshot",
            Refusal::Gap { .. } => "gap",
            Refusal::Repeated { .. } => "repeated",
        }
    }

    fn is_rubbish(&self) -> bool {
        matches!(
            self,
            Refusal::Fault(_)
                | Refusal::UnknownField { .. }
                | Refusal::UnknownChannel(_)
                | Refusal::BadSymbol(_)
        )
    }
}

impl From<Refusal> for Rejected {
    fn from(refusal: Refusal) -> Self {
        Rejected {
            code: refusal.code(),
            message: refusal.to_string(),
            rubbish: refusal.is_rubbish(),
        }
    }
}

/// The parser of one publisher's lines.
///
/// It claims each symbol with the first line that names it. Symbols that turn live or stale, and
/// books that break, are told by status ticks; a symbol that had a book is live again only once
/// its publisher has sent a snapshot.
pub struct Native {
    reader: Reader,
    core: Core,
}

struct Core {
    rules: Rules,
    instruments: Arc<Instruments>,
    owner: Owner,
    event: Event,
    slots: Vec<Slot>,
    /// By canonical symbol.
    index: HashMap<Box<str>, usize, RandomState>,
}

impl Native {
    /// The parser of a publisher that has just come.
    pub fn new(rules: Rules, instruments: Arc<Instruments>) -> Self {
        let owner = instruments.claims().owner();
        let (slots, index) = (Vec::new(), HashMap::default());
        let core = Core { rules, instruments, owner, event: Event::default(), slots, index };
        Native { reader: Reader::new(), core }
    }

    /// Reads one line, without its end, and puts its ticks into `sink`, all of them or none (but
    /// for a status where the line breaks its book). `recv` is when it was received, in
    /// nanoseconds since the Unix epoch. The sink is not flushed.
    ///
    /// Answers how many ticks were put: 0 for what carries none, a heartbeat or an empty line.
    ///
    /// # Errors
    /// What is wrong with the line. It is not given to [`Sink::reject`]: the caller knows its
    /// number and bounds how often it is told.
    pub fn line(&mut self, text: &[u8], recv: u64, sink: &mut dyn Sink) -> Result<usize, Rejected> {
        let text = text.trim_ascii();
        if text.is_empty() {
            return Ok(0);
        }
        let Native { reader, core } = self;
        // The inner result is the line's, the outer one the reader's: a fraction is read twice.
        let read = reader.read(text, |root| match core.message(root, recv, sink) {
            Err(Refusal::Fault(fault)) => Err(fault),
            other => Ok(other),
        });
        Ok(read.map_err(Refusal::Fault).flatten()?)
    }

    /// The publisher is silent or has gone: its symbols are stale, and others may claim them.
    pub fn rest(&mut self, now: u64, age_ms: u64, sink: &mut dyn Sink) {
        let Core { slots, instruments, owner, .. } = &mut self.core;
        for slot in slots.iter_mut().filter(|slot| slot.held) {
            slot.held = false;
            slot.show(FeedState::Stale, Stamp { recv: now, ..Stamp::default() }, age_ms, sink);
            instruments.claims().release(slot.id, *owner, slot.past());
        }
    }

    /// The publisher speaks again: its symbols are as they were, except those that another one
    /// has claimed.
    pub fn wake(&mut self, now: u64, sink: &mut dyn Sink) {
        for at in 0..self.core.slots.len() {
            if !self.core.slots[at].held && self.core.claim_again(at).is_ok() {
                let stamp = Stamp { recv: now, ..Stamp::default() };
                let slot = &mut self.core.slots[at];
                slot.show(slot.state(), stamp, 0, sink);
            }
        }
    }

    /// How many symbols it has published.
    pub fn symbols(&self) -> usize {
        self.core.slots.len()
    }
}

impl Core {
    fn message(
        &mut self,
        root: Value<'_, '_>,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<usize, Refusal> {
        let object = root.as_object().ok_or(Fault::Unknown)?;
        let fields = Fields::of(&object, self.rules.strict)?;
        let Some(message) = fields.message(recv, &mut self.event)? else { return Ok(0) };
        let (symbol, stamp) = (message.symbol, message.stamp);
        // Nothing is listed for a line that has not proved good.
        let at = self.resolve(symbol)?;
        let slot = &mut self.slots[at];
        let put = match message.body {
            Body::Trade { trade, aggregate } => {
                let seq = slot.trade(stamp.seq)?;
                let mut tick = Tick::trade(slot.id, Stamp { seq, ..stamp }, &trade);
                tick.flags |= if aggregate { flags::AGGREGATE } else { 0 };
                sink.put(&tick);
                1
            }
            Body::Quote { quote, snapshot } => {
                let Step::Put(seq) = slot.quote(stamp.seq, snapshot)? else { return Ok(0) };
                let tick = Tick::quote(slot.id, Stamp { seq, ..stamp }, &quote);
                sink.put(&tick.ok_or(Fault::Spread)?);
                1
            }
            Body::Book { depth, prev, snapshot } => {
                if snapshot {
                    slot.snapshot(stamp.seq, depth);
                } else if let Err(refusal) = slot.update(stamp.seq, prev, depth) {
                    // The book may be broken from here on: everybody is told.
                    slot.show(slot.state(), stamp, 0, sink);
                    return Err(refusal);
                }
                let kind = if snapshot { flags::SNAPSHOT } else { 0 };
                let event = self.event.finish(slot.id, kind);
                event.iter().for_each(|tick| sink.put(tick));
                event.len()
            }
            Body::Status { state, age_ms } => {
                slot.say(state);
                slot.show(slot.state(), stamp, age_ms, sink);
                return Ok(1);
            }
        };
        // Last, so that whoever acts on it finds the book as new as it can be.
        slot.show(slot.state(), stamp, 0, sink);
        Ok(put)
    }

    /// The slot of a symbol that this publisher holds.
    fn resolve(&mut self, symbol: &str) -> Result<usize, Refusal> {
        if let Some(&at) = self.index.get(symbol) {
            if !self.slots[at].held {
                self.claim_again(at)?;
            }
            return Ok(at);
        }
        self.list(symbol)
    }

    #[cold]
    fn list(&mut self, given: &str) -> Result<usize, Refusal> {
        let bad = || Refusal::BadSymbol(given.chars().take(MAX_SYMBOL).collect());
        let (venue, pair) = given.split_once(':').ok_or_else(bad)?;
        let (base, quote) = pair.split_once('-').ok_or_else(bad)?;
        if given.len() > MAX_SYMBOL || ![venue, base, quote].into_iter().all(is_asset) {
            return Err(bad());
        }
        // Clients write either case, and find what is listed in this one.
        let (venue, base, quote) =
            (venue.to_lowercase(), base.to_uppercase(), quote.to_uppercase());
        let symbol = format!("{venue}:{base}-{quote}");
        if symbol.len() > MAX_SYMBOL {
            return Err(bad());
        }
        if symbol != given && self.index.contains_key(&*symbol) {
            return self.resolve(&symbol);
        }
        if let Some(expected) = self.rules.venue.as_ref().filter(|expected| **expected != venue) {
            return Err(Refusal::Venue { given: venue, expected: expected.clone() });
        }
        let (all, allowance) = (&self.instruments, &self.rules.allowance);
        let granted = all.claims().claim(all, (&venue, &base, &quote), self.owner, allowance)?;
        let at = self.slots.len();
        self.slots.push(Slot::new((venue, base, quote), granted));
        self.index.insert(symbol.into(), at);
        Ok(at)
    }

    fn claim_again(&mut self, at: usize) -> Result<(), Refusal> {
        let slot = &mut self.slots[at];
        let (venue, base, quote) = &slot.name;
        let (all, allowance) = (&self.instruments, &self.rules.allowance);
        let granted = all.claims().claim(all, (venue, base, quote), self.owner, allowance)?;
        slot.hold(granted.past);
        Ok(())
    }
}

#[cfg(test)]
#[path = "native_tests.rs"]
mod tests;
