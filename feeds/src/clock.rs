//! The time that feeds pace themselves by: the wall clock's nanoseconds, counted by a clock that
//! is never stepped. Feeds take it as a parameter, so that a test brings its own.

use std::num::NonZeroU64;

use rustix::thread::{clock_nanosleep_absolute, set_current_timer_slack};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// No feed sleeps longer at a time: it has to notice that it is to stop.
pub(crate) const LONGEST_SLEEP_NS: u64 = 100_000_000;

/// A clock to pace by.
pub trait Clock {
    /// Nanoseconds since the Unix epoch; never goes back.
    fn now(&self) -> u64;

    /// Sleeps until this time, or less when a signal comes; never spins.
    fn sleep_until(&self, at: u64);
}

/// The machine's clock: `CLOCK_MONOTONIC`, put on the time that `CLOCK_REALTIME` had when the
/// value was made.
///
/// Somebody who steps the wall clock therefore neither stalls a schedule nor makes it hurry; the
/// stamps stay on the old time until the process starts again.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    /// What to add to the monotonic time to get the wall clock's.
    offset: i64,
}

impl SystemClock {
    /// Reads both clocks and ties them together.
    pub fn new() -> Self {
        // The tightest of a few pairs: being preempted between the two readings would shift all.
        let pair = || {
            let before = read(ClockId::Monotonic);
            let wall = read(ClockId::Realtime);
            let after = read(ClockId::Monotonic);
            (after - before, wall as i64 - (before + (after - before) / 2) as i64)
        };
        let (_, offset) = (0..8).map(|_| pair()).min().unwrap_or((0, 0));
        SystemClock { offset }
    }

    /// Asks the kernel to wake the calling thread on time: by default it may be 50 us late to
    /// save wake-ups (prctl(2), `PR_SET_TIMERSLACK`). Refused on some systems, which costs
    /// nothing but that.
    pub fn sharpen_this_thread() {
        let _ = set_current_timer_slack(NonZeroU64::new(1));
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> u64 {
        read(ClockId::Monotonic).saturating_add_signed(self.offset)
    }

    fn sleep_until(&self, at: u64) {
        // What lies before the machine's start is over.
        let at = at.saturating_sub_signed(self.offset);
        let request = Timespec { tv_sec: (at / NANOS) as i64, tv_nsec: (at % NANOS) as _ };
        // The only error of a valid request is a signal; the caller looks at the clock anyway.
        let _ = clock_nanosleep_absolute(ClockId::Monotonic, &request);
    }
}

const NANOS: u64 = 1_000_000_000;

fn read(id: ClockId) -> u64 {
    let time = clock_gettime(id);
    time.tv_sec as u64 * NANOS + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn it_tells_the_wall_clock_and_sleeps_to_the_end() {
        let clock = SystemClock::new();
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        // A minute, in case somebody sets the clock just now; a wrong tie is off by years.
        assert!(clock.now().abs_diff(wall.as_nanos() as u64) < 60 * NANOS);
        SystemClock::sharpen_this_thread();
        let until = clock.now() + 1_000_000;
        while clock.now() < until {
            clock.sleep_until(until);
        }
        clock.sleep_until(0);
        assert!(clock.now() >= until);
    }
}
