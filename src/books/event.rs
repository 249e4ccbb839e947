//! Gathers the ticks of one event.

use tickcast_feeds::Tick;
use tickcast_feeds::tick::flags;

/// The longest event that is gathered, in ticks. The largest that a venue sends is a full
/// snapshot (tens of thousands of levels on Coinbase Exchange); this is far above it and bounds
/// the memory of a stream that never says `LAST` to 16 MiB.
pub const MAX_EVENT_TICKS: usize = 1 << 18;

/// What is kept of the buffer after a large event, in ticks.
const KEPT_TICKS: usize = 1024;

/// Puts ticks together to events: consecutive ticks of one instrument from
/// [`flags::FIRST`] to [`flags::LAST`].
///
/// One serves all instruments of a stream, because events do not interleave. What does not begin
/// with `FIRST` (a reader that joined or was lapped in the middle of an event) or does not go on
/// as it began is left out whole and counted.
#[derive(Debug, Default)]
pub struct Assembler {
    ticks: Vec<Tick>,
    /// Whether `ticks` is an event that was handed out.
    complete: bool,
    /// Whether the rest of a broken event is being left out.
    skipping: bool,
    broken: u64,
}

impl Assembler {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the stream's next tick; returns the event when this was its last one.
    pub fn push(&mut self, tick: &Tick) -> Option<&[Tick]> {
        if self.complete {
            self.reset();
        }
        if tick.has(flags::FIRST) {
            self.broken += u64::from(!self.ticks.is_empty());
            self.ticks.clear();
            self.skipping = false;
        } else if self.skipping || !self.goes_on(tick) {
            self.broken += u64::from(!self.skipping);
            self.ticks.clear();
            self.skipping = !tick.has(flags::LAST);
            return None;
        }
        self.ticks.push(*tick);
        self.complete = tick.has(flags::LAST);
        self.complete.then_some(&self.ticks)
    }

    fn goes_on(&self, tick: &Tick) -> bool {
        self.ticks.len() < MAX_EVENT_TICKS
            && self
                .ticks
                .first()
                .is_some_and(|first| first.instrument == tick.instrument && first.kind == tick.kind)
    }

    /// Forgets an unfinished event: for a reader that was lapped.
    pub fn reset(&mut self) {
        self.ticks.clear();
        self.ticks.shrink_to(KEPT_TICKS);
        self.complete = false;
    }

    /// Whether an event has begun and not ended.
    pub fn is_unfinished(&self) -> bool {
        !self.complete && !self.ticks.is_empty()
    }

    /// How many events were left out because they were not whole.
    pub fn broken(&self) -> u64 {
        self.broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tickcast_feeds::{InstrumentId, Stamp};

    fn tick(instrument: u32, event: u8) -> Tick {
        Tick::no_level(InstrumentId(instrument), Stamp::default(), event, 0)
    }

    const FIRST: u8 = flags::FIRST;
    const LAST: u8 = flags::LAST;

    #[test]
    fn an_event_is_from_first_to_last() {
        let mut all = Assembler::new();
        assert!(all.push(&tick(1, FIRST)).is_none());
        assert!(all.push(&tick(1, 0)).is_none());
        assert!(all.is_unfinished());
        assert_eq!(all.push(&tick(1, LAST)).map(<[_]>::len), Some(3));
        assert!(!all.is_unfinished());
        assert_eq!(all.push(&tick(2, FIRST | LAST)).map(<[_]>::len), Some(1));
        assert_eq!(all.broken(), 0);
    }

    #[test]
    fn what_is_not_whole_is_left_out() {
        let mut all = Assembler::new();
        // Joined in the middle.
        assert!(all.push(&tick(1, 0)).is_none());
        assert!(all.push(&tick(1, LAST)).is_none());
        assert_eq!(all.broken(), 1);
        // Cut by another instrument's event.
        assert!(all.push(&tick(1, FIRST)).is_none());
        assert_eq!(all.push(&tick(2, FIRST | LAST)).map(<[_]>::len), Some(1));
        assert_eq!(all.broken(), 2);
        // Mixed.
        assert!(all.push(&tick(1, FIRST)).is_none());
        assert!(all.push(&tick(2, LAST)).is_none());
        assert_eq!(all.broken(), 3);
        assert_eq!(all.push(&tick(2, FIRST | LAST)).map(<[_]>::len), Some(1));
    }

    #[test]
    fn an_event_without_end_is_bounded() {
        let mut all = Assembler::new();
        all.push(&tick(1, FIRST));
        for _ in 1..=MAX_EVENT_TICKS {
            assert!(all.push(&tick(1, 0)).is_none());
        }
        assert_eq!(all.broken(), 1);
        assert!(!all.is_unfinished());
        all.reset();
        assert!(all.ticks.capacity() <= KEPT_TICKS);
    }
}
