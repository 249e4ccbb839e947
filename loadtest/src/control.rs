//! What the threads of a run share: the schedule, the progress, and the first failure.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::time::{ClockId, clock_gettime};

use crate::RunError;
use crate::args::Clock;

/// Reads a clock, nanoseconds.
#[inline]
pub(crate) fn now_ns(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Nanoseconds of the clock that the run is scheduled by, which nothing sets back.
#[inline]
pub(crate) fn monotonic_ns() -> u64 {
    now_ns(ClockId::Monotonic)
}

/// The clock of the stamps.
pub(crate) fn stamp_clock(clock: Clock) -> ClockId {
    match clock {
        Clock::Real => ClockId::Realtime,
        Clock::Mono => ClockId::Monotonic,
    }
}

/// When what happens, once all clients are subscribed. Nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// The window's start by the stamps' clock.
    pub(crate) stamp_start: u64,
    /// The window's end by the stamps' clock.
    pub(crate) stamp_end: u64,
    /// The window's start by the monotonic clock.
    pub(crate) start: u64,
    /// The window's end by the monotonic clock.
    pub(crate) end: u64,
    /// When the storm breaks, by the monotonic clock.
    pub(crate) storm: u64,
    /// The same by the stamps' clock.
    pub(crate) stamp_storm: u64,
}

/// One thread's progress, written by it once per turn.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Updates so far that the good clients received.
    pub(crate) updates: AtomicU64,
    /// Updates so far that all others received.
    pub(crate) other_updates: AtomicU64,
    /// Gaps so far that the good clients noticed.
    pub(crate) gaps: AtomicU64,
    /// The good clients' worst latency since this was last taken, nanoseconds.
    pub(crate) worst_ns: AtomicU64,
    /// Busy time so far, nanoseconds.
    pub(crate) busy_ns: AtomicU64,
    /// Connections that are subscribed now.
    pub(crate) open: AtomicUsize,
}

/// What the threads of a run share.
#[derive(Debug)]
pub(crate) struct Control {
    /// The schedule, as soon as all clients are subscribed.
    pub(crate) schedule: OnceLock<Schedule>,
    /// By thread.
    pub(crate) progress: Vec<Progress>,
    /// Clients that have been upgraded at least once.
    pub(crate) upgraded: AtomicUsize,
    /// Clients that have been subscribed at least once.
    pub(crate) subscribed: AtomicUsize,
    /// When the last of them was upgraded, monotonic nanoseconds.
    pub(crate) upgraded_at: AtomicU64,
    /// Clients that the storm drops and that are not back yet.
    pub(crate) away: AtomicUsize,
    /// When the last of them was back, nanoseconds of the stamps' clock; `u64::MAX` until then.
    pub(crate) storm_over: AtomicU64,
    /// The window is over: whoever stopped reading reads what is left.
    pub(crate) draining: AtomicBool,
    /// The run is over.
    pub(crate) stop: AtomicBool,
    failure: Mutex<Option<RunError>>,
}

impl Control {
    /// For so many threads and clients of the storm.
    pub(crate) fn new(threads: usize, storm: usize) -> Self {
        Control {
            schedule: OnceLock::new(),
            progress: (0..threads).map(|_| Progress::default()).collect(),
            upgraded: AtomicUsize::new(0),
            subscribed: AtomicUsize::new(0),
            upgraded_at: AtomicU64::new(0),
            away: AtomicUsize::new(storm),
            storm_over: AtomicU64::new(u64::MAX),
            draining: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    /// Stops the run. The first failure is the one that is reported.
    pub(crate) fn fail(&self, error: RunError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.stop.store(true, Ordering::Release);
    }

    /// The failure, when there was one.
    pub(crate) fn take_failure(&self) -> Option<RunError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Connections that are subscribed now, over all threads.
    pub(crate) fn open(&self) -> usize {
        self.progress.iter().map(|progress| progress.open.load(Ordering::Relaxed)).sum()
    }
}
