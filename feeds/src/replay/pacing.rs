//! When a capture's messages are due and what their stamps become: arithmetic, no clock.

use crate::sink::{Sink, SinkClosed};
use crate::spec::Speed;
use crate::tick::Tick;

/// Lays one pass over a capture on the present: its first message is due at a base time, the
/// others at their distances, divided by the speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pacing {
    first: u64,
    base: u64,
    speed: Speed,
}

impl Pacing {
    /// The message received at `first` is due at `base`; both in nanoseconds since the Unix epoch.
    pub const fn new(speed: Speed, first: u64, base: u64) -> Self {
        Pacing { first, base, speed }
    }

    /// When the message received at `recv` is due: at once at [`Speed::Max`], and never before
    /// the base, even where the capture's clock went back.
    pub fn due(&self, recv: u64) -> u64 {
        match self.speed {
            Speed::Max => self.base,
            Speed::Millionths(_) => self.shift(recv).max(self.base),
        }
    }

    /// What the capture's time `at` is in the present; stays ahead of the base or behind it as it
    /// was of the first message. At [`Speed::Max`] the distances are kept.
    pub fn shift(&self, at: u64) -> u64 {
        let distance = i128::from(at) - i128::from(self.first);
        let scaled = match self.speed {
            Speed::Max => distance,
            // Rounded down on both sides of zero, so that the order of stamps survives.
            Speed::Millionths(speed) => (distance * 1_000_000).div_euclid(i128::from(speed)),
        };
        clamp(i128::from(self.base) + scaled)
    }
}

fn clamp(time: i128) -> u64 {
    // 0 means "unknown" in a stamp: nothing is shifted there.
    u64::try_from(time.max(1)).unwrap_or(u64::MAX)
}

/// How the stamps of one message's ticks change on their way to the sink.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stamps {
    /// Not at all.
    Keep,
    /// As the pacing lays them.
    Shift(Pacing),
    /// By the distance from the receive time `recv` to `now`: a replay at full speed receives
    /// when it reads.
    Now { recv: u64, now: u64 },
}

impl Stamps {
    fn apply(self, at: u64) -> u64 {
        match self {
            _ if at == 0 => 0,
            Stamps::Keep => at,
            Stamps::Shift(pacing) => pacing.shift(at),
            Stamps::Now { recv, now } => {
                clamp(i128::from(now) + (i128::from(at) - i128::from(recv)))
            }
        }
    }
}

/// Changes the stamps of what goes through it.
pub(super) struct Stamping<'a> {
    pub(super) sink: &'a mut dyn Sink,
    pub(super) stamps: Stamps,
}

impl Sink for Stamping<'_> {
    fn put(&mut self, tick: &Tick) {
        let mut tick = *tick;
        tick.ts_event = self.stamps.apply(tick.ts_event);
        tick.ts_recv = self.stamps.apply(tick.ts_recv);
        self.sink.put(&tick);
    }

    fn flush(&mut self) -> Result<(), SinkClosed> {
        self.sink.flush()
    }

    fn reject(&mut self, kind: &'static str, detail: &str, text: &[u8]) {
        self.sink.reject(kind, detail, text);
    }

    fn note(&mut self, trouble: bool, text: &str) {
        self.sink.note(trouble, text);
    }

    fn restart(&mut self) {
        self.sink.restart();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_divided_by_the_speed() {
        let (first, base) = (1_000_000_000, 5_000_000_000);
        let at = |speed, recv| Pacing::new(Speed::Millionths(speed), first, base).due(recv);
        assert_eq!(at(1_000_000, 1_000_000_007), 5_000_000_007);
        assert_eq!(at(100_000, 1_000_000_007), 5_000_000_070);
        assert_eq!(at(20_000_000, 3_000_000_000), 5_100_000_000);
        assert_eq!(at(1_000_000_000, 1_000_001_999), 5_000_000_001);
        assert_eq!(at(1_500_000, 1_000_000_003), 5_000_000_002);
        assert_eq!(at(1_000_000, 999_999_000), base, "a clock that went back");
        assert_eq!(Pacing::new(Speed::Max, first, base).due(u64::MAX), base);
        // Ten years at a tenth of the speed do not overflow.
        let years = 10 * 365 * 86_400 * 1_000_000_000;
        assert_eq!(at(100_000, first + years), base + years * 10);
    }

    #[test]
    fn stamps_before_the_first_message_stay_before() {
        let pacing = Pacing::new(Speed::Millionths(20_000_000), 1_000_000_000, 5_000_000_000);
        assert_eq!(pacing.shift(980_000_000), 4_999_000_000);
        assert_eq!(pacing.shift(999_999_999), 4_999_999_999);
        assert_eq!(pacing.shift(1_000_000_000), 5_000_000_000);
        let early = Pacing::new(Speed::Max, 1_000, 10);
        assert_eq!(early.shift(1), 1);
    }
}
