//! Numbers the ticks of each channel: strictly rising, the venue's own numbers where it has some.

use tickcast_feeds::tick::flags;
use tickcast_feeds::{InstrumentId, Kind, Tick};

/// Venue numbers from here on are taken for none: JSON readers that keep numbers as doubles are
/// exact up to it (RFC 8259, section 6), and it would take a thousand steps back of this size
/// before a sum left 64 bits.
const SEQ_LIMIT: u64 = 1 << 53;

/// What a tick's sequence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequenced {
    /// To be published with this sequence.
    Seq(u64),
    /// A trade or quote whose venue number is not above the last one's: sent twice or out of
    /// order (Coinbase repeats the last match after every subscription, Binance may repeat a
    /// `bookTicker` update id). To be dropped and counted.
    Duplicate {
        /// The venue's number.
        venue: u64,
        /// The venue's number that came before it.
        last: u64,
    },
}

/// One channel of one instrument.
#[derive(Clone, Copy, Debug, Default)]
struct Channel {
    /// The last sequence given out, 0 before the first.
    last: u64,
    /// The last venue number, 0 before the first.
    venue: u64,
    /// What is added to venue numbers, because they went back.
    offset: u64,
    /// Whether the source started over and the next venue number may be any.
    restarted: bool,
}

impl Channel {
    fn count(&mut self) -> Sequenced {
        self.last = self.last.saturating_add(1);
        Sequenced::Seq(self.last)
    }

    /// The sequence for the venue's number (0: none); numbers that do not rise are duplicates
    /// where the channel `drops` them.
    fn next(&mut self, venue: u64, drops: bool) -> Sequenced {
        if venue == 0 || venue >= SEQ_LIMIT {
            return self.count();
        }
        let restarted = std::mem::take(&mut self.restarted);
        if venue <= self.venue && !restarted && drops {
            return Sequenced::Duplicate { venue, last: self.venue };
        }
        if venue > self.last {
            // Nothing to hide: the venue's own number, whatever was added before.
            self.offset = 0;
        } else if venue.saturating_add(self.offset) <= self.last {
            self.offset = self.last.saturating_add(1) - venue;
        }
        self.venue = venue;
        self.last = venue.saturating_add(self.offset);
        Sequenced::Seq(self.last)
    }
}

/// Gives the ticks of one instrument their sequences: pure, one channel per kind of tick.
///
/// - The venue's number while it rises; one more than the last where the venue has none.
/// - All ticks of one book event have one sequence.
/// - After [`Sequencer::restart`] venue numbers may go back: an offset is added so that the
///   sequence does not, and the jumps between them stay as they are.
/// - Without a restart, a number that does not rise is a [`Sequenced::Duplicate`] for a trade or a
///   quote. For a book it is a new start as after a restart: the feed has checked the chain and
///   sends such a number only with a snapshot that begins a new one.
/// - Status ticks are counted.
/// - Bars keep the number that they have.
#[derive(Clone, Debug, Default)]
pub struct Sequencer {
    trade: Channel,
    quote: Channel,
    book: Channel,
    status: Channel,
}

impl Sequencer {
    /// One whose channels all begin at 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// The sequence of `tick`, whose `seq` is the venue's number or 0. Ticks of one book event
    /// are given in order; only the first ([`flags::FIRST`]) moves the channel on.
    pub fn next(&mut self, tick: &Tick) -> Sequenced {
        match tick.kind {
            Kind::Trade => self.trade.next(tick.seq, true),
            Kind::Quote => self.quote.next(tick.seq, true),
            Kind::Level if tick.has(flags::FIRST) => self.book.next(tick.seq, false),
            Kind::Level => Sequenced::Seq(self.book.last),
            Kind::Status => self.status.count(),
            // Numbered where they are made.
            Kind::Bar | Kind::Cut => Sequenced::Seq(tick.seq),
        }
    }

    /// The same of a tick that has had a sequence: it keeps it. That of a snapshot may be that of the event before
    /// it; one that would go back otherwise is counted on.
    pub fn keep(&mut self, tick: &Tick) -> Sequenced {
        let channel = match tick.kind {
            Kind::Level if tick.has(flags::FIRST) => &mut self.book,
            Kind::Status => &mut self.status,
            _ => return self.next(tick),
        };
        let again = tick.kind == Kind::Level && tick.has(flags::SNAPSHOT);
        if again && tick.seq == channel.last && !channel.restarted {
            return Sequenced::Seq(tick.seq);
        }
        channel.next(tick.seq, false)
    }

    /// The source starts over: the venue's numbers may go back once, on each channel.
    pub fn restart(&mut self) {
        for channel in [&mut self.trade, &mut self.quote, &mut self.book] {
            channel.restarted = true;
        }
    }
}

/// A [`Sequencer`] for each instrument of a feed.
#[derive(Clone, Debug, Default)]
pub struct Sequencers {
    by_id: Vec<Sequencer>,
}

impl Sequencers {
    /// No instrument yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The sequence of `tick`: see [`Sequencer::next`].
    pub fn next(&mut self, tick: &Tick) -> Sequenced {
        self.of(tick.instrument).next(tick)
    }

    /// The sequence that `tick` keeps: see [`Sequencer::keep`].
    pub fn keep(&mut self, tick: &Tick) -> Sequenced {
        self.of(tick.instrument).keep(tick)
    }

    fn of(&mut self, id: InstrumentId) -> &mut Sequencer {
        let index = id.index();
        if index >= self.by_id.len() {
            self.by_id.resize_with(index + 1, Sequencer::new);
        }
        &mut self.by_id[index]
    }

    /// The source of all instruments starts over.
    pub fn restart(&mut self) {
        self.by_id.iter_mut().for_each(Sequencer::restart);
    }

    /// The source of one instrument starts over.
    pub fn restart_one(&mut self, id: InstrumentId) {
        if let Some(sequencer) = self.by_id.get_mut(id.index()) {
            sequencer.restart();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tickcast_feeds::{Decimal, FeedState, Level, Side, Stamp, Status, Trade};

    const ID: InstrumentId = InstrumentId(0);

    fn stamp(seq: u64) -> Stamp {
        Stamp { seq, ..Stamp::default() }
    }

    fn trade(seq: u64) -> Tick {
        let trade = Trade { price: Decimal::ZERO, size: Decimal::ZERO, id: seq, side: Side::Buy };
        Tick::trade(ID, stamp(seq), &trade)
    }

    fn level(seq: u64, event: u8) -> Tick {
        let zero = Decimal::ZERO;
        let level = Level { side: Side::Buy, price: zero, size: zero, first: 0 };
        Tick::level(ID, stamp(seq), event, &level)
    }

    fn run(sequencer: &mut Sequencer, venue: &[u64]) -> Vec<Option<u64>> {
        let next = |&seq| match sequencer.next(&trade(seq)) {
            Sequenced::Seq(seq) => Some(seq),
            Sequenced::Duplicate { .. } => None,
        };
        venue.iter().map(next).collect()
    }

    #[test]
    fn the_venues_numbers_while_they_rise() {
        let mut all = Sequencer::new();
        assert_eq!(run(&mut all, &[7, 8, 20]), [Some(7), Some(8), Some(20)]);
        assert_eq!(run(&mut all, &[20, 19, 21]), [None, None, Some(21)]);
        assert_eq!(
            all.next(&trade(21)),
            Sequenced::Duplicate { venue: 21, last: 21 },
            "names both numbers"
        );
    }

    #[test]
    fn numbers_that_were_given_are_kept_and_never_go_back() {
        let mut all = Sequencer::new();
        let mut keep = |tick: &Tick| match all.keep(tick) {
            Sequenced::Seq(seq) => Some(seq),
            Sequenced::Duplicate { .. } => None,
        };
        let status =
            |seq| Tick::status(ID, stamp(seq), Status { state: FeedState::Live, age_ms: 0 });
        assert_eq!(
            [3, 9, 9, 8, 10].map(|seq| keep(&trade(seq))),
            [Some(3), Some(9), None, None, Some(10)]
        );
        // One that was made in between counts on, and those behind it go before nothing.
        assert_eq!([4, 5, 0, 6, 9].map(|seq| keep(&status(seq))), [4, 5, 6, 7, 9].map(Some));
        let (diff, snapshot) = (flags::FIRST, flags::FIRST | flags::SNAPSHOT);
        let book = [(7, snapshot), (8, diff), (8, snapshot), (9, diff), (11, snapshot)];
        assert_eq!(book.map(|(seq, event)| keep(&level(seq, event))), [7, 8, 8, 9, 11].map(Some));
    }

    #[test]
    fn counted_where_the_venue_has_none() {
        let mut all = Sequencer::new();
        assert_eq!(run(&mut all, &[0, 0, 0]), [Some(1), Some(2), Some(3)]);
        // And where it sends nonsense; the channel lives on.
        assert_eq!(run(&mut all, &[u64::MAX, 0, 2, 3]), [Some(4), Some(5), Some(6), Some(7)]);
        assert_eq!(run(&mut all, &[100]), [Some(100)]);
    }

    #[test]
    fn a_replay_that_loops_never_goes_back_and_keeps_its_jumps() {
        let mut all = Sequencer::new();
        assert_eq!(run(&mut all, &[10, 12, 15]), [Some(10), Some(12), Some(15)]);
        all.restart();
        assert_eq!(run(&mut all, &[10, 12, 12, 15]), [Some(16), Some(18), None, Some(21)]);
        all.restart();
        assert_eq!(run(&mut all, &[10, 12, 15]), [Some(22), Some(24), Some(27)]);
        // A restart that did not go back needs no offset.
        let mut all = Sequencer::new();
        run(&mut all, &[10]);
        all.restart();
        assert_eq!(run(&mut all, &[11, 11]), [Some(11), None]);
    }

    #[test]
    fn one_sequence_per_book_event_and_no_event_is_dropped() {
        let mut all = Sequencer::new();
        let mut of = |seq, event| all.next(&level(seq, event));
        assert_eq!(of(50, flags::FIRST), Sequenced::Seq(50));
        assert_eq!(of(50, 0), Sequenced::Seq(50));
        assert_eq!(of(50, flags::LAST), Sequenced::Seq(50));
        // A snapshot at the same number or below it, after a gap that the feed repaired.
        assert_eq!(of(50, flags::FIRST | flags::LAST), Sequenced::Seq(51));
        assert_eq!(of(40, flags::FIRST), Sequenced::Seq(52));
        assert_eq!(of(40, flags::LAST), Sequenced::Seq(52));
        assert_eq!(of(45, flags::FIRST | flags::LAST), Sequenced::Seq(57));
        // The venue's own number again as soon as it is above.
        assert_eq!(of(60, flags::FIRST | flags::LAST), Sequenced::Seq(60));
    }

    #[test]
    fn channels_and_instruments_are_apart() {
        let mut all = Sequencers::new();
        let status = Tick::status(ID, stamp(99), Status { state: FeedState::Live, age_ms: 0 });
        assert_eq!(all.next(&trade(5)), Sequenced::Seq(5));
        assert_eq!(all.next(&level(3, flags::FIRST)), Sequenced::Seq(3));
        assert_eq!(all.next(&status), Sequenced::Seq(1));
        assert_eq!(all.next(&status), Sequenced::Seq(2));
        let mut other = trade(2);
        other.instrument = InstrumentId(4);
        assert_eq!(all.next(&other), Sequenced::Seq(2));
        all.restart_one(other.instrument);
        assert_eq!(all.next(&other), Sequenced::Seq(3));
        assert!(matches!(all.next(&trade(5)), Sequenced::Duplicate { .. }));
        all.restart();
        assert_eq!(all.next(&trade(5)), Sequenced::Seq(6));
    }

    proptest! {
        /// Whatever comes, what goes out rises strictly.
        #[test]
        fn rises_strictly(steps in prop::collection::vec(
            (prop_oneof![0u64..30, Just(SEQ_LIMIT - 1), any::<u64>()], 0u8..8), 1..60
        )) {
            let mut all = Sequencer::new();
            let (mut trades, mut books) = (0, 0);
            for (seq, what) in steps {
                let (tick, last) = match what {
                    0 => {
                        all.restart();
                        continue;
                    }
                    1..4 => (level(seq, flags::FIRST | flags::LAST), &mut books),
                    _ => (trade(seq), &mut trades),
                };
                match all.next(&tick) {
                    Sequenced::Seq(seq) => {
                        prop_assert!(seq > *last, "{seq} after {last}");
                        *last = seq;
                    }
                    Sequenced::Duplicate { .. } => prop_assert_eq!(tick.kind, Kind::Trade),
                }
            }
        }
    }
}
