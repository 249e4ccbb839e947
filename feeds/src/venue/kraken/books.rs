//! The books: which connection's is put, and the copies that others have of it.

use simd_json::prelude::*;

use super::book::{Book, Level, read_levels};
use super::fields::Fields;
use super::{Core, DEPTHS, State};
use crate::decimal::Decimal;
use crate::sink::Sink;
use crate::tick::{Side, Stamp, flags};
use crate::venue::event::{Event, array};
use crate::venue::json::Fault;
use crate::venue::levels::Form;
use crate::venue::slots::Slot;

/// A book as a connection has it that is not the one whose book is put.
#[derive(Debug, Default)]
pub(super) struct Copy {
    link: u16,
    levels: Book,
    /// The venue's time of its newest message; 0 where it did not say.
    time: u64,
    /// Whether a message of it could not be read.
    lossy: bool,
}

impl Core {
    pub(super) fn books(
        &mut self,
        fields: &Fields<'_, '_>,
        recv: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let is_snapshot = fields.is_snapshot()?;
        let entries = array("data", fields.data)?;
        if entries.len() > 1 {
            // As documented there is one. Of several, all are read before the first is put.
            for entry in &entries {
                let entry = Fields::of("data", entry)?;
                self.read_levels(&entry)?;
                entry.checksum()?;
                entry.stamp(recv, 0)?;
                self.slot(entry.symbol()?)?;
            }
        }
        for entry in &entries {
            let entry = Fields::of("data", entry)?;
            self.read_levels(&entry)?;
            let (checksum, stamp) = (entry.checksum()?, entry.stamp(recv, 0)?);
            if is_snapshot {
                self.snapshot(entry.symbol()?, checksum, stamp, sink)?;
            } else {
                self.update(entry.symbol()?, checksum, stamp, sink)?;
            }
        }
        Ok(())
    }

    fn read_levels(&mut self, entry: &Fields<'_, '_>) -> Result<(), Fault> {
        self.levels.clear();
        for (name, side, field) in
            [("bids", Side::Buy, entry.bids), ("asks", Side::Sell, entry.asks)]
        {
            match self.event.rows(Form::Object, field) {
                Some(rows) => self.levels.extend(rows.iter().map(|row| (side, Level::of(row)))),
                None => read_levels(name, side, field, &mut self.levels)?,
            }
        }
        Ok(())
    }

    fn snapshot(
        &mut self,
        native: &str,
        checksum: u32,
        stamp: Stamp,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let slot = self.slots.resolve(native, |native| native.split_once('/'))?;
        let state = &mut slot.state;
        let is_copy = state.book.is_live() && !state.book.is_owned_by(self.link);
        state.copies.retain(|copy| copy.link != self.link);
        let mut copy = Copy { link: self.link, time: stamp.event, ..Copy::default() };
        let levels = if is_copy { &mut copy.levels } else { &mut state.levels };
        levels.clear();
        for &(side, level) in &self.levels {
            levels.set(side, level);
        }
        if !is_copy {
            let shown = levels.depth();
            let guess = || DEPTHS.into_iter().find(|&depth| usize::from(depth) == shown);
            let deepest = DEPTHS[DEPTHS.len() - 1];
            state.depth = state.confirmed.or_else(guess).unwrap_or(deepest).into();
        }
        levels.truncate(state.depth, |_, _| {});
        let is_right = levels.checksum(&mut self.digits) == checksum;
        if is_copy {
            if is_right {
                state.copies.push(copy);
            }
            hand_over(slot, &mut self.event, stamp.recv, sink);
        } else if is_right {
            state.lossy = false;
            start(slot, self.link, stamp, &mut self.event, sink);
        } else if state.book.is_live() {
            broke(slot, &mut self.event, stamp.recv, sink);
        } else {
            state.book.discard(slot.id, stamp.recv, sink);
        }
        if is_right { Ok(()) } else { self.ignore("bad checksum of a snapshot") }
    }

    fn update(
        &mut self,
        native: &str,
        checksum: u32,
        stamp: Stamp,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let slot = self.slots.resolve(native, |native| native.split_once('/'))?;
        let state = &mut slot.state;
        if !state.book.is_owned_by(self.link) {
            return self.update_copy(native, checksum, stamp, sink);
        }
        if state.lossy {
            broke(slot, &mut self.event, stamp.recv, sink);
            return self.ignore("book update after one that was lost");
        }
        self.event.begin(stamp, 0);
        for &(side, level) in &self.levels {
            state.levels.set(side, level);
            self.event.push(side, level.price(), level.size());
        }
        let event = &mut self.event;
        state.levels.truncate(state.depth, |side, price| event.push(side, price, Decimal::ZERO));
        if state.levels.checksum(&mut self.digits) != checksum {
            broke(slot, &mut self.event, stamp.recv, sink);
            return self.ignore("bad checksum");
        }
        state.time = state.time.max(stamp.event);
        state.book.follow(self.link, self.event.finish(slot.id, 0), sink);
        Ok(())
    }

    /// An update on a connection whose book is not the one that is put.
    fn update_copy(
        &mut self,
        native: &str,
        checksum: u32,
        stamp: Stamp,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let slot = self.slots.resolve(native, |native| native.split_once('/'))?;
        let (link, state) = (self.link, &mut slot.state);
        let Some(at) = state.copies.iter().position(|copy| copy.link == link) else {
            let is_live = state.book.is_live();
            return self.ignore(if is_live {
                "book update of another connection"
            } else {
                "book update before a snapshot"
            });
        };
        let copy = &mut state.copies[at];
        for &(side, level) in &self.levels {
            copy.levels.set(side, level);
        }
        copy.levels.truncate(state.depth, |_, _| {});
        copy.time = copy.time.max(stamp.event);
        let is_right = !copy.lossy && copy.levels.checksum(&mut self.digits) == checksum;
        if !is_right {
            state.copies.swap_remove(at);
        }
        hand_over(slot, &mut self.event, stamp.recv, sink);
        self.ignore(match is_right {
            true => "book update of another connection",
            false => "bad book of another connection",
        })
    }

    /// A connection is gone; see [`Venue::lost`](crate::venue::Venue::lost).
    pub(super) fn lost(
        &mut self,
        link: u16,
        orphans: &[Box<str>],
        recv_ns: u64,
        sink: &mut dyn Sink,
    ) {
        for slot in self.slots.iter_mut() {
            let state = &mut slot.state;
            state.copies.retain(|copy| copy.link != link);
            if state.book.is_owned_by(link) && !state.copies.is_empty() {
                state.book.set_owner(None);
            }
        }
        self.slots.lost(link, orphans, recv_ns, sink);
        for slot in self.slots.iter_mut() {
            hand_over(slot, &mut self.event, recv_ns, sink);
        }
    }

    /// A message about these books could not be read.
    #[cold]
    pub(super) fn doubt_entries(&mut self, fields: &Fields<'_, '_>) {
        let Some(entries) = fields.data.and_then(|data| data.as_array()) else {
            return self.doubt(None);
        };
        for entry in &entries {
            let symbol = entry.as_object().and_then(|entry| entry.get("symbol"));
            self.doubt(symbol.and_then(|symbol| symbol.into_string()));
        }
    }

    /// Something was lost of the book of this symbol, or of one that nobody knows, on the
    /// connection. What is there is right up to here; the next update would go on from what was
    /// lost, and breaks it instead.
    #[cold]
    pub(super) fn doubt(&mut self, native: Option<&str>) {
        let link = self.link;
        let named = self.slots.iter_mut().filter(|slot| native.is_none_or(|n| *slot.native == *n));
        for slot in named {
            let state = &mut slot.state;
            state.lossy |= state.book.is_owned_by(link);
            for copy in state.copies.iter_mut().filter(|copy| copy.link == link) {
                copy.lossy = true;
            }
        }
    }
}

/// The book that is put is wrong from here on: a copy goes on with it, or a snapshot is needed.
#[cold]
fn broke(slot: &mut Slot<State>, event: &mut Event, recv_ns: u64, sink: &mut dyn Sink) {
    slot.state.lossy = true;
    slot.state.book.set_owner(None);
    hand_over(slot, event, recv_ns, sink);
}

/// Where nobody's book is put any more, a copy goes on that is what was put last, or newer. One that
/// is older will be: until then the book stands as it is. Without any it is worth nothing.
fn hand_over(slot: &mut Slot<State>, event: &mut Event, recv_ns: u64, sink: &mut dyn Sink) {
    let state = &mut slot.state;
    if !state.book.is_live() || state.book.has_owner() {
        return;
    }
    if state.copies.is_empty() {
        return state.book.discard(slot.id, recv_ns, sink);
    }
    // The levels here are those that were put, if nothing was wrong with them.
    let is_same = |copy: &Copy| !state.lossy && copy.levels.is_same(&state.levels);
    let is_fit = |copy: &Copy| copy.time >= state.time || is_same(copy);
    let Some(at) = state.copies.iter().position(is_fit) else { return };
    let is_same = is_same(&state.copies[at]);
    let copy = state.copies.swap_remove(at);
    (state.levels, state.lossy) = (copy.levels, copy.lossy);
    if is_same {
        return state.book.set_owner(Some(copy.link));
    }
    let stamp = Stamp { event: copy.time, recv: recv_ns, seq: 0 };
    start(slot, copy.link, stamp, event, sink);
}

/// Puts the levels as a snapshot; the book is that connection's from here on.
fn start(slot: &mut Slot<State>, link: u16, stamp: Stamp, event: &mut Event, sink: &mut dyn Sink) {
    let state = &mut slot.state;
    state.time = stamp.event;
    event.begin(stamp, 0);
    for (side, level) in state.levels.levels() {
        event.push(side, level.price(), level.size());
    }
    state.book.start(Some(link), 0, event.finish(slot.id, flags::SNAPSHOT), sink);
}
