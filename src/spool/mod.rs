//! The spool: what was on the ring, on disk until a delayed market plays it (docs/ACCESS.md).
//!
//! The `writer` is one more reader of the ring, on a thread of its own, so that the path of a tick knows nothing of
//! it; it writes frames (`format`, `output`) to files (`segments`), from which each delayed market's `player` takes them
//! when their time has come; `script` says what becomes of them.
//!
//! Invariant: nothing is played before it has been on the ring for the delay, by the clock that never steps.
//! Invariant: nobody waits for the spool. What is missing is counted and said in it, and books are not known from there
//! to the next snapshot, of which the writer puts one at each beginning of a file and behind each gap.

mod format;
pub mod fuzz;
mod output;
mod player;
mod script;
mod segments;
mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use tickcast_feeds::tick::TICK_WORDS;
use tickcast_feeds::{Instruments, Stop};

use crate::books;
use crate::clock;
use crate::ring::Consumer;
pub(crate) use player::Player;
use segments::Segments;

/// Why something is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The writer was too slow for the ring.
    Behind,
    /// The disk took nothing.
    Disk,
    /// `--spool-bytes` was reached before what was there had been played.
    Bound,
    /// A file is not as it was written.
    Damaged,
}

impl Cause {
    pub(crate) const ALL: [Cause; 4] = [Cause::Behind, Cause::Disk, Cause::Bound, Cause::Damaged];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Cause::Behind => "behind",
            Cause::Disk => "disk",
            Cause::Bound => "bound",
            Cause::Damaged => "damaged",
        }
    }
}

/// What is known of a spool.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// On disk now.
    pub(crate) bytes: AtomicU64,
    pub(crate) segments: AtomicU64,
    /// Written since the start.
    pub(crate) written_bytes: AtomicU64,
    pub(crate) ticks: AtomicU64,
    /// The disk takes nothing.
    pub(crate) failing: AtomicBool,
    lost: AtomicU64,
    gaps: [AtomicU64; Cause::ALL.len()],
}

impl Stats {
    fn gap(&self, cause: Cause) {
        self.gaps[cause as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn lose(&self, ticks: u64) {
        self.lost.fetch_add(ticks, Ordering::Relaxed);
    }

    /// Ticks that are missing, as far as they are known.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(crate) fn gaps(&self, cause: Cause) -> u64 {
        self.gaps[cause as usize].load(Ordering::Relaxed)
    }
}

/// A spool that is being written.
#[derive(Debug)]
pub(crate) struct Spool {
    segments: Arc<Segments>,
    stop: Stop,
    thread: JoinHandle<()>,
}

impl Spool {
    /// Begins to write what comes to the ring, at most `most` bytes.
    ///
    /// # Errors
    /// A directory that cannot be written, or that another process has.
    pub(crate) fn start(
        directory: &Path,
        most: u64,
        ring: Consumer<TICK_WORDS>,
        state: books::Reader,
        instruments: Arc<Instruments>,
    ) -> io::Result<Self> {
        let boot = boot();
        let segments = Segments::open(directory, most, &boot, Arc::default())?;
        let head = format::Head { boot, run: clock::real_ns() };
        let writer =
            writer::Writer::new(Arc::clone(&segments), head, most, ring, state, instruments)?;
        let stop = Stop::new();
        let stopped = stop.clone();
        let run = move || writer.run(&stopped);
        let thread = thread::Builder::new().name("spool".to_owned()).spawn(run)?;
        Ok(Spool { segments, stop, thread })
    }

    pub(crate) fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.segments.stats)
    }

    /// What plays it later by so much, from the oldest on, into a market of these instruments.
    ///
    /// # Errors
    /// Too little memory.
    pub(crate) fn player(&self, delay_ms: u64, into: Arc<Instruments>) -> io::Result<Player> {
        Ok(Player::new(self.segments.reader()?, delay_ms, into))
    }

    /// Writes the rest, and ends.
    pub(crate) fn close(self) {
        self.stop.stop();
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the spool's thread panicked");
        }
    }
}

/// Names this start of the machine, whose monotonic clock times are of; unlike any other where that is not known.
fn boot() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    read.map_or_else(|_| clock::real_ns().to_string(), |text| text.trim().to_owned())
}
