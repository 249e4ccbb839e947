//! Plays a spool again, later: what a delayed market gets instead of feeds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tickcast_feeds::{Instruments, SinkClosed, Stop};

use super::script::{Hand, Script};
use super::segments::{Next, Reader};
use crate::clock;
use crate::limits;

/// See the module.
pub(crate) struct Player {
    reader: Reader,
    script: Script,
    due: Due,
}

/// When what is played may be told.
struct Due {
    delay_ns: u64,
    /// Milliseconds by which what is played now is later than it should be.
    lag_ms: Arc<AtomicU64>,
}

impl Player {
    pub(super) fn new(reader: Reader, delay_ms: u64, into: Arc<Instruments>) -> Self {
        let due = Due { delay_ns: delay_ms * 1_000_000, lag_ms: Arc::default() };
        Player { reader, script: Script::new(into), due }
    }

    pub(crate) fn lag_ms(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.due.lag_ms)
    }

    /// Plays until it is told to stop, or `hand` takes nothing more.
    pub(crate) fn run(mut self, stop: &Stop, hand: &mut Hand<'_>) {
        let mut raw = Vec::new();
        while !stop.is_stopped() {
            let played = match self.reader.next(&mut raw) {
                Next::Frame => {
                    let wait = &mut |mono_ns| self.due.wait(mono_ns, stop);
                    self.script.frame(&raw, wait, hand)
                }
                Next::Gap => self.script.lose(hand),
                // Not before: until then nothing was missing.
                Next::Missing(since_ns) => {
                    self.due.sleep_until(since_ns, stop).and_then(|()| self.script.lose(hand))
                }
                Next::Nothing => {
                    self.due.lag_ms.store(0, Ordering::Relaxed);
                    sleep(limits::SPOOL_LOOK);
                    Ok(())
                }
            };
            if played.is_err() {
                return;
            }
        }
    }
}

impl Due {
    /// Waits until what was on the ring at `mono_ns` may be told, and says how late that is.
    fn wait(&self, mono_ns: u64, stop: &Stop) -> Result<(), SinkClosed> {
        self.sleep_until(mono_ns, stop)?;
        let due_ns = mono_ns.saturating_add(self.delay_ns);
        let late_ns = clock::now().mono_ns.saturating_sub(due_ns);
        self.lag_ms.store(late_ns / 1_000_000, Ordering::Relaxed);
        Ok(())
    }

    fn sleep_until(&self, mono_ns: u64, stop: &Stop) -> Result<(), SinkClosed> {
        loop {
            let rest_ns = rest_ns(mono_ns, self.delay_ns, clock::now().mono_ns);
            if rest_ns == 0 {
                return Ok(());
            }
            if stop.is_stopped() {
                return Err(SinkClosed);
            }
            sleep(Duration::from_nanos(rest_ns).min(limits::SPOOL_LOOK));
        }
    }
}

/// How long what was on the ring at `mono_ns` may not be told yet, all of the clock that never steps.
fn rest_ns(mono_ns: u64, delay_ns: u64, now_ns: u64) -> u64 {
    mono_ns.saturating_add(delay_ns).saturating_sub(now_ns)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the player serves no client, and has nothing to do until then"
)]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the clocks say, nothing is told before its time, and what is due is not kept back.
        #[test]
        fn nothing_is_told_before_its_time(
            mono_ns in any::<u64>(), delay_ns in any::<u64>(), now_ns in any::<u64>(),
        ) {
            let due = now_ns.checked_sub(mono_ns).is_some_and(|age_ns| age_ns >= delay_ns);
            let rest_ns = rest_ns(mono_ns, delay_ns, now_ns);
            prop_assert!(due == (rest_ns == 0) || now_ns == u64::MAX);
            prop_assert!(rest_ns <= u64::MAX - now_ns);
        }
    }
}
