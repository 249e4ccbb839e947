//! The thread that writes a spool: a reader of the ring.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use tickcast_feeds::tick::{TICK_WORDS, flags};
use tickcast_feeds::{InstrumentId, Instruments, Kind, Level, Side, Stamp, Status, Stop, Tick};
use zstd::bulk::Compressor;

use super::format::{self, Head, Listed};
use super::segments::Segments;
use super::{Cause, Stats};
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
        self.output.gap(missing);
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

/// The records that are to be written, and the file.
struct Output {
    segments: Arc<Segments>,
    head: Head,
    instruments: Arc<Instruments>,
    compressor: Compressor<'static>,
    frame_bytes: usize,
    segment_bytes: u64,
    most: u64,
    /// Records of no frame yet, since when, and the ticks and listings in them.
    raw: Vec<u8>,
    since_ns: u64,
    ticks: u64,
    listing: usize,
    /// Instruments that frames tell of.
    listed: usize,
    packed: Vec<u8>,
    file: Option<(File, u64, u64)>,
    /// Files that were begun.
    begun: u64,
    wants_copies: bool,
    /// Why what comes is not written, while it is not; and ticks that are to be told of as missing.
    halted: Option<Cause>,
    missing: u64,
    retry_ns: u64,
    warned: bool,
}

impl Output {
    fn new(
        segments: Arc<Segments>,
        head: Head,
        most: u64,
        instruments: Arc<Instruments>,
    ) -> io::Result<Self> {
        let mut compressor = Compressor::new(limits::SPOOL_LEVEL)?;
        compressor.include_checksum(true)?;
        let frame = (most / 32).clamp(limits::SPOOL_FRAME.0, limits::SPOOL_FRAME.1);
        Ok(Output {
            segments,
            head,
            instruments,
            compressor,
            frame_bytes: frame as usize,
            segment_bytes: most / limits::SPOOL_SEGMENTS,
            most,
            raw: Vec::new(),
            since_ns: 0,
            ticks: 0,
            listing: 0,
            listed: 0,
            packed: Vec::new(),
            file: None,
            begun: 0,
            wants_copies: false,
            halted: None,
            missing: 0,
            retry_ns: 0,
            warned: false,
        })
    }

    fn stats(&self) -> &Stats {
        &self.segments.stats
    }

    /// When all that is put now was on the ring, at the latest.
    fn stamp(&mut self) -> u64 {
        let now_ns = clock::now().mono_ns;
        if self.raw.is_empty() {
            self.since_ns = now_ns;
        }
        now_ns
    }

    fn ticks(&mut self, snapshot: bool, feed: u16, ticks: &[Tick]) {
        if ticks.is_empty() {
            return;
        }
        let now_ns = self.stamp();
        format::put_ticks(&mut self.raw, snapshot, feed, ticks, now_ns);
        if !snapshot {
            self.ticks += ticks.len() as u64;
        }
    }

    fn list(&mut self, news: &[Listed]) {
        let now_ns = self.stamp();
        format::put_listed(&mut self.raw, false, news, now_ns);
        self.listing += news.len();
    }

    fn gap(&mut self, missing: u64) {
        let now_ns = self.stamp();
        format::put_gap(&mut self.raw, missing, now_ns);
    }

    fn is_full(&self) -> bool {
        self.raw.len() >= self.frame_bytes
    }

    fn is_due(&self) -> bool {
        let age_ns = clock::now().mono_ns.saturating_sub(self.since_ns);
        !self.raw.is_empty() && age_ns >= limits::SPOOL_WRITE.as_nanos() as u64
    }

    /// Whether a file was begun since this was asked, which needs snapshots.
    fn wants_copies(&mut self) -> bool {
        std::mem::take(&mut self.wants_copies)
    }

    /// Writes what there is as a frame. What the disk does not take is missing.
    fn write(&mut self) {
        let now_ns = clock::now().mono_ns;
        if !self.raw.is_empty() && now_ns >= self.retry_ns {
            match self.try_write(now_ns) {
                Ok(true) => self.went_well(),
                Ok(false) => self.full(),
                Err(error) => self.failed(&error, now_ns),
            }
        }
        if !self.raw.is_empty() {
            self.missing += self.ticks;
            self.stats().lose(self.ticks);
            // They are told of with the next file's beginning.
            self.listed += self.listing;
        }
        (self.ticks, self.listing) = (0, 0);
        self.raw.clear();
    }

    /// Whether there was room.
    fn try_write(&mut self, now_ns: u64) -> io::Result<bool> {
        self.packed.clear();
        format::pack(&self.raw, &mut self.compressor, &mut self.packed)?;
        let is_over = |(_, bytes, since_ns): &(File, u64, u64)| {
            *bytes >= self.segment_bytes
                || now_ns.saturating_sub(*since_ns) >= limits::SPOOL_SEGMENT_AGE.as_nanos() as u64
        };
        if self.file.as_ref().is_some_and(is_over) {
            self.file = None;
            self.segments.close();
        }
        // Once it was full it is to be half empty first: shreds are of no use to anybody.
        let room = match (&self.file, self.halted) {
            (_, Some(Cause::Bound)) => self.most / 2,
            (None, _) => self.segment_bytes,
            (Some(_), _) => 0,
        };
        if !self.segments.make_room(room.max(self.packed.len() as u64)) {
            return Ok(false);
        }
        if self.file.is_none() {
            let frame = std::mem::take(&mut self.packed);
            self.begin(now_ns)?;
            self.packed = frame;
        }
        self.append(self.ticks)?;
        self.listed += self.listing;
        self.raw.clear();
        Ok(true)
    }

    /// Begins a file with what its reader needs to know.
    fn begin(&mut self, now_ns: u64) -> io::Result<()> {
        self.file = Some((self.segments.begin()?, 0, now_ns));
        let (mut raw, mut at) = (Vec::new(), 0);
        format::put_head(&mut raw, &self.head, now_ns);
        loop {
            self.packed.clear();
            format::pack(&raw, &mut self.compressor, &mut self.packed)?;
            self.append(0)?;
            raw.clear();
            let news = self.instruments.since(at);
            let count = news.len().min(limits::SPOOL_LISTED).min(self.listed - at);
            if count == 0 {
                break;
            }
            let listed: Vec<_> = news[..count].iter().map(|info| Listed::from(&**info)).collect();
            format::put_listed(&mut raw, true, &listed, now_ns);
            at += count;
        }
        if self.missing > 0 {
            format::put_gap(&mut raw, self.missing, now_ns);
            self.packed.clear();
            format::pack(&raw, &mut self.compressor, &mut self.packed)?;
            self.append(0)?;
            self.missing = 0;
        }
        self.begun += 1;
        // The first has all from the beginning on.
        self.wants_copies = self.begun > 1;
        Ok(())
    }

    /// Writes a packed frame, or nothing of it.
    fn append(&mut self, ticks: u64) -> io::Result<()> {
        let bytes = self.packed.len() as u64;
        let Some((file, written, _)) = &mut self.file else { return Ok(()) };
        if let Err(error) = file.write_all(&self.packed) {
            // If that does not go either, a reader takes the rest for damaged.
            let _ = file.set_len(*written);
            return Err(error);
        }
        *written += bytes;
        self.segments.grew(bytes);
        let stats = self.stats();
        stats.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        stats.ticks.fetch_add(ticks, Ordering::Relaxed);
        Ok(())
    }

    /// What comes from here on is missing.
    fn halt(&mut self, cause: Cause) {
        if self.file.take().is_some() {
            self.segments.abandon();
        }
        if self.halted.replace(cause).is_none() {
            self.stats().gap(cause);
        }
    }

    fn full(&mut self) {
        self.halt(Cause::Bound);
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                bytes = self.most,
                "the spool is full before its delay has passed: delayed clients miss what comes now (further gaps are counted), raise --spool-bytes"
            );
        }
    }

    fn failed(&mut self, error: &io::Error, now_ns: u64) {
        // The rest of this file is as it was; the next begins with all that is needed.
        self.halt(Cause::Disk);
        self.retry_ns = now_ns + limits::SPOOL_RETRY.as_nanos() as u64;
        if !self.stats().failing.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "the spool cannot be written: delayed clients miss what comes now");
        }
    }

    fn went_well(&mut self) {
        self.halted = None;
        if self.stats().failing.swap(false, Ordering::Relaxed) {
            tracing::warn!("the spool is written again");
        }
    }
}
