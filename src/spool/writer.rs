//! The thread that writes a spool: a reader of the ring.

use std::io;
use std::sync::Arc;
use std::thread;

use tickcast_feeds::tick::{TICK_WORDS, flags};
use tickcast_feeds::{InstrumentId, Instruments, Kind, Level, Side, Stamp, Status, Stop, Tick};

use super::Cause;
use super::format::{Head, Listed};
use super::output::Output;
use super::segments::Segments;
use crate::books::{InstrumentState, Reader};
use crate::clock;
use crate::limits;
use crate::ring::{Consumer, Poll};

/// See the module.
pub(super) struct Writer {
    ring: Consumer<TICK_WORDS>,
    state: Reader,
    instruments: Arc<Instruments>,
    words: Vec<[u64; TICK_WORDS]>,
    /// By instrument, the feed that it comes from, once that is known.
    feeds: Vec<Option<u16>>,
    /// Instruments that the records tell of.
    listed: usize,
    /// An event of which the end is still to come.
    event: Vec<Tick>,
    /// Whole events of one feed that are in no record yet.
    run: Vec<Tick>,
    run_feed: u16,
    copies: Copies,
    /// When the ring was read last: what is missing then came later.
    read_ns: u64,
    output: Output,
}

/// Snapshots that are under way.
#[derive(Default)]
struct Copies {
    /// The instrument that is copied next; `None` where all are.
    next: Option<usize>,
    held: Vec<Held>,
    scratch: InstrumentState,
}

/// A copy.
struct Held {
    id: InstrumentId,
    /// The ring position after the last tick that is in it: it has its place before what comes from there on.
    position: u64,
    feed: u16,
    ticks: Vec<Tick>,
}

impl Writer {
    pub(super) fn new(
        segments: Arc<Segments>,
        head: Head,
        most: u64,
        ring: Consumer<TICK_WORDS>,
        state: Reader,
        instruments: Arc<Instruments>,
    ) -> io::Result<Self> {
        Ok(Writer {
            ring,
            state,
            words: vec![[0; TICK_WORDS]; limits::SPOOL_TICKS],
            feeds: Vec::new(),
            listed: 0,
            event: Vec::new(),
            run: Vec::new(),
            run_feed: 0,
            copies: Copies::default(),
            read_ns: clock::now().mono_ns,
            output: Output::new(segments, head, most, Arc::clone(&instruments))?,
            instruments,
        })
    }

    pub(super) fn run(mut self, stop: &Stop) {
        loop {
            // Asked before: what was on the ring before the end was asked for is written.
            let stopped = stop.is_stopped();
            let more = self.take();
            self.copies();
            if self.output.is_due() || stopped && !more {
                self.output.write();
            }
            if !more && stopped {
                return;
            }
            if !more {
                thread::park_timeout(limits::SPOOL_ROUND);
            }
        }
    }

    /// Takes what has come to the ring, a bounded amount; whether there is more.
    fn take(&mut self) -> bool {
        for _ in 0..limits::SPOOL_POLLS {
            let mut words = std::mem::take(&mut self.words);
            let read_ns = clock::now().mono_ns;
            let polled = self.ring.poll(&mut words);
            // Before their first ticks.
            self.list_new();
            match polled {
                Poll::Read(count) => {
                    let from = self.ring.position() - count as u64;
                    for (position, words) in (from..).zip(&words[..count]) {
                        self.tick(position, Tick::from_words(*words));
                    }
                }
                Poll::Lapped(missing) => self.lapped(missing),
                Poll::Empty => {}
            }
            self.words = words;
            self.read_ns = read_ns;
            self.end_run();
            if self.output.is_full() {
                self.output.write();
            }
            if !matches!(polled, Poll::Read(count) if count == self.words.len()) {
                return false;
            }
        }
        true
    }

    /// Goes on with the snapshots that are under way, or begins with them where a file did.
    fn copies(&mut self) {
        if self.output.wants_copies() {
            self.copies.next = Some(0);
        }
        self.place_copies();
        if self.copies.held.is_empty() {
            self.copy();
            self.place_copies();
        }
        self.end_run();
    }

    fn list_new(&mut self) {
        if self.instruments.len() > self.listed {
            let news = self.instruments.since(self.listed);
            self.listed += news.len();
            for part in news.chunks(limits::SPOOL_LISTED) {
                self.output.list(&part.iter().map(|i| Listed::from(&**i)).collect::<Vec<_>>());
                if self.output.is_full() {
                    self.output.write();
                }
            }
        }
    }

    fn tick(&mut self, position: u64, tick: Tick) {
        // Those are made anew.
        if matches!(tick.kind, Kind::Bar | Kind::Cut) {
            return;
        }
        if !self.copies.held.is_empty() {
            let is_it = |held: &Held| held.id == tick.instrument && held.position <= position;
            if let Some(at) = self.copies.held.iter().position(is_it) {
                self.place(at);
            }
        }
        self.event.push(tick);
        if tick.has(flags::LAST) {
            let feed = self.feed(tick.instrument);
            if feed != self.run_feed || self.run.len() >= limits::SPOOL_TICKS {
                self.end_run();
                self.run_feed = feed;
            }
            self.run.append(&mut self.event);
        }
    }

    fn end_run(&mut self) {
        if !self.run.is_empty() {
            self.output.ticks(false, self.run_feed, &self.run);
            self.run.clear();
        }
    }

    fn feed(&mut self, id: InstrumentId) -> u16 {
        if id.index() >= self.feeds.len() {
            self.feeds.resize(id.index() + 1, None);
        }
        let state = &mut self.state;
        *self.feeds[id.index()]
            .get_or_insert_with(|| state.get(id).map_or(0, |state| state.lock().source))
    }

    /// The ring has overtaken this thread.
    fn lapped(&mut self, missing: u64) {
        self.event.clear();
        self.end_run();
        self.output.stats().gap(Cause::Behind);
        self.output.stats().lose(missing);
        tracing::warn!(missing, "the spool was too slow for the ring: delayed clients miss this");
        self.output.gap(missing, self.read_ns);
        self.copies.held.clear();
        self.copies.next = Some(0);
    }

    /// Copies some more instruments, if they are to be copied.
    fn copy(&mut self) {
        let Some(from) = self.copies.next else { return };
        let (mut at, mut ticks) = (from, 0);
        while at < self.listed && at < from + limits::SPOOL_COPIES && ticks < limits::SPOOL_TICKS {
            let id = InstrumentId(at as u32);
            at += 1;
            let state = &mut self.copies.scratch;
            if !self.state.copy_to(id, state) {
                state.copy_from(&InstrumentState::new());
            }
            let copy = events(id, state);
            ticks += copy.len();
            let (position, feed) = (state.position, state.source);
            self.copies.held.push(Held { id, position, feed, ticks: copy });
        }
        self.copies.next = Some(at).filter(|at| *at < self.listed);
    }

    /// Puts those copies where they belong that need not wait for ticks.
    fn place_copies(&mut self) {
        let here = self.ring.position();
        for at in (0..self.copies.held.len()).rev() {
            if self.copies.held[at].position <= here {
                self.place(at);
            }
        }
    }

    fn place(&mut self, at: usize) {
        self.end_run();
        let held = self.copies.held.swap_remove(at);
        self.output.ticks(true, held.feed, &held.ticks);
    }
}

/// All that is known of an instrument, as events that make it known.
fn events(id: InstrumentId, state: &InstrumentState) -> Vec<Tick> {
    let mut out: Vec<Tick> = state.last_trade.into_iter().chain(state.last_quote).collect();
    let book = &state.book;
    if book.is_known() {
        let stamp = Stamp { event: book.ts_event(), recv: book.ts_recv(), seq: book.seq() };
        let from = out.len();
        let sides = book.bids().map(|row| (Side::Buy, row));
        for (side, (price, size)) in sides.chain(book.asks().map(|row| (Side::Sell, row))) {
            let level = Level { side, price, size, first: book.seq() };
            out.push(Tick::level(id, stamp, flags::SNAPSHOT, &level));
        }
        if out.len() == from {
            out.push(Tick::no_level(id, stamp, flags::SNAPSHOT, book.seq()));
        }
        out[from].flags |= flags::FIRST;
        if let Some(last) = out.last_mut() {
            last.flags |= flags::LAST;
        }
    }
    // Received at 0 where the feed has said nothing of its state.
    let stamp = Stamp { event: 0, recv: state.feed_since, seq: state.status_seq };
    out.push(Tick::status(id, stamp, Status { state: state.feed, age_ms: 0 }));
    out
}
