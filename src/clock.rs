//! The clocks, read in one place.

use std::sync::atomic::{AtomicI64, Ordering};

use rustix::time::{ClockId, clock_gettime};

/// One reading.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// Nanoseconds since the Unix epoch.
    pub ns: u64,
    /// Milliseconds of a clock that never steps back.
    pub ms: u64,
    /// The same clock in nanoseconds.
    pub mono_ns: u64,
}

/// Reads both clocks.
pub fn now() -> Now {
    let mono = clock_gettime(ClockId::Monotonic);
    let mono_ns = mono.tv_sec as u64 * 1_000_000_000 + mono.tv_nsec as u64;
    Now { ns: real_ns(), ms: mono_ns / 1_000_000, mono_ns }
}

/// By how many seconds the wall clock seems to have been set: of drills only. The kernel's cannot be set for one process.
static STEP: AtomicI64 = AtomicI64::new(0);

/// Makes the wall clock step, as when somebody sets it.
pub(crate) fn step(seconds: i64) {
    STEP.fetch_add(seconds, Ordering::Relaxed);
}

/// Nanoseconds that this thread has run.
pub fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds since the Unix epoch.
pub fn real_ns() -> u64 {
    let real = clock_gettime(ClockId::Realtime);
    let seconds = real.tv_sec + STEP.load(Ordering::Relaxed);
    seconds as u64 * 1_000_000_000 + real.tv_nsec as u64
}
