//! What becomes of the records of a spool, without a clock: what is known behind a gap, and what a delayed market is told.

use std::sync::Arc;

use tickcast_feeds::tick::flags;
use tickcast_feeds::{FeedState, InstrumentId, Instruments, Kind, SinkClosed, Stamp, Status, Tick};

use super::format::{self, Head, Listed, What};
use crate::limits;

/// Takes the ticks of a feed, whole events; may wait until there is room for them.
pub(super) type Hand<'a> = dyn FnMut(u16, Vec<Tick>) -> Result<(), SinkClosed> + 'a;

/// See the module.
pub(super) struct Script {
    into: Arc<Instruments>,
    /// Which start of the server wrote what is played, by when it was.
    run: Option<u64>,
    /// By the number that an instrument has in the spool.
    cast: Vec<Option<Role>>,
    /// By the number that it has here.
    told: Vec<Told>,
    /// By feed, when the newest of it that was played was received.
    clocks: Vec<u64>,
}

/// An instrument.
#[derive(Clone, Copy)]
struct Role {
    id: InstrumentId,
    /// Nothing is missing of it since its last snapshot.
    whole: bool,
}

/// What the market was told of an instrument, whichever start of the server brought it.
#[derive(Clone, Copy, Default)]
struct Told {
    /// The feed that its newest tick came from.
    feed: u16,
    /// Its numbers and times may go back at its next tick.
    restarts: bool,
    /// That something is missing, and since then not what state its feed is in.
    lost: bool,
}

impl Script {
    pub(super) fn new(into: Arc<Instruments>) -> Self {
        Script { into, run: None, cast: Vec::new(), told: Vec::new(), clocks: Vec::new() }
    }

    /// Plays the records of a frame, each once `wait` returns, which is told its time.
    pub(super) fn frame(
        &mut self,
        mut raw: &[u8],
        wait: &mut dyn FnMut(u64) -> Result<(), SinkClosed>,
        hand: &mut Hand<'_>,
    ) -> Result<(), SinkClosed> {
        while let Some(record) = format::take(&mut raw) {
            // That it goes on in another file is no news of the market.
            if !matches!(record.what, What::Head(_)) {
                wait(record.mono_ns)?;
            }
            self.play(record.what, hand)?;
        }
        if !raw.is_empty() {
            // Of another version, for its checksum is right.
            return self.lose(hand);
        }
        Ok(())
    }

    fn play(&mut self, what: What, hand: &mut Hand<'_>) -> Result<(), SinkClosed> {
        match what {
            What::Head(head) => self.head(&head, hand),
            What::Listed { again, all } => {
                all.iter().try_for_each(|listed| self.list(listed, again, hand))
            }
            What::Ticks { feed, ticks } => {
                self.note_time(feed, &ticks);
                self.ticks(feed, ticks, hand)
            }
            What::Snapshot { feed, ticks } => self.snapshot(feed, ticks, hand),
            What::Gap { .. } => self.lose(hand),
        }
    }

    /// Another start of the server has numbers and instruments of its own.
    fn head(&mut self, head: &Head, hand: &mut Hand<'_>) -> Result<(), SinkClosed> {
        let before = self.run.replace(head.run);
        if before.is_none_or(|run| run == head.run) {
            return Ok(());
        }
        self.lose(hand)?;
        self.cast.clear();
        self.told.iter_mut().for_each(|told| told.restarts = true);
        Ok(())
    }

    fn list(
        &mut self,
        listed: &Listed,
        again: bool,
        hand: &mut Hand<'_>,
    ) -> Result<(), SinkClosed> {
        let at = listed.id as usize;
        if at >= limits::SPOOL_SYMBOLS {
            return Ok(());
        }
        if at >= self.cast.len() {
            self.cast.resize(at + 1, None);
        }
        if self.cast[at].is_some() {
            return Ok(());
        }
        let id = self.into.list_as(&listed.venue, &listed.listing());
        if id.index() >= self.told.len() {
            self.told.resize(id.index() + 1, Told::default());
        }
        self.cast[at] = Some(Role { id, whole: !again });
        let told = &mut self.told[id.index()];
        if !again && std::mem::take(&mut told.lost) {
            // All of it follows from here on, and a feed that has said nothing of its state yet is live.
            let recv = self.run.unwrap_or(0);
            return hand(told.feed, vec![status(id, recv, FeedState::Live)]);
        }
        Ok(())
    }

    fn note_time(&mut self, feed: u16, ticks: &[Tick]) {
        let at = usize::from(feed);
        if at >= self.clocks.len() {
            self.clocks.resize(at + 1, 0);
        }
        self.clocks[at] = ticks.last().map_or(self.clocks[at], |tick| tick.ts_recv);
    }

    /// What time it is for a feed.
    fn time(&self, feed: u16) -> u64 {
        let clock = self.clocks.get(usize::from(feed)).copied();
        clock.filter(|recv| *recv > 0).or(self.run).unwrap_or(0)
    }

    /// Ticks as they were, but for diffs of books that are not whole.
    fn ticks(
        &mut self,
        feed: u16,
        mut ticks: Vec<Tick>,
        hand: &mut Hand<'_>,
    ) -> Result<(), SinkClosed> {
        ticks.retain_mut(|tick| {
            let Some(Some(role)) = self.cast.get_mut(tick.instrument.index()) else { return false };
            if tick.kind == Kind::Level && !role.whole {
                // All ticks of a snapshot have the flag.
                if !tick.has(flags::SNAPSHOT) {
                    return false;
                }
                role.whole = tick.has(flags::LAST);
            }
            tick.instrument = role.id;
            let told = &mut self.told[role.id.index()];
            told.feed = feed;
            told.lost &= tick.kind != Kind::Status;
            if std::mem::take(&mut told.restarts) {
                tick.flags |= flags::RESTART;
            }
            true
        });
        if ticks.is_empty() { Ok(()) } else { hand(feed, ticks) }
    }

    /// A snapshot, as much of it as is not known.
    fn snapshot(
        &mut self,
        feed: u16,
        mut ticks: Vec<Tick>,
        hand: &mut Hand<'_>,
    ) -> Result<(), SinkClosed> {
        let now = self.time(feed);
        let at = ticks.first().map_or(0, |tick| tick.instrument.index());
        let Some(Some(role)) = self.cast.get_mut(at) else { return Ok(()) };
        let is_new = !std::mem::replace(&mut role.whole, true);
        let told = &mut self.told[role.id.index()];
        let newest = ticks.iter().map(|tick| tick.ts_recv).max().unwrap_or(0);
        // Of what has never come it is not known where from.
        let feed = if newest > 0 { feed } else { told.feed };
        ticks.retain_mut(|tick| {
            if tick.kind != Kind::Status {
                return is_new;
            }
            if !told.lost {
                // A feed that has said nothing is shown as live already.
                return is_new && tick.ts_recv > 0;
            }
            if tick.ts_recv == 0 {
                tick.ts_recv = newest.max(now);
            }
            // What is rebuilt is shown as that already.
            told.lost = tick.as_status().state != FeedState::Resync;
            told.lost
        });
        if ticks.is_empty() { Ok(()) } else { self.ticks(feed, ticks, hand) }
    }

    /// Something is missing: what books were is not known, nor what states feeds are in, and all are told, once.
    pub(super) fn lose(&mut self, hand: &mut Hand<'_>) -> Result<(), SinkClosed> {
        self.cast.iter_mut().flatten().for_each(|role| role.whole = false);
        for at in 0..self.told.len() {
            if !std::mem::replace(&mut self.told[at].lost, true) {
                let feed = self.told[at].feed;
                let id = InstrumentId(at as u32);
                hand(feed, vec![status(id, self.time(feed), FeedState::Resync)])?;
            }
        }
        Ok(())
    }
}

/// That a feed is in a state since then.
fn status(id: InstrumentId, recv: u64, state: FeedState) -> Tick {
    Tick::status(id, Stamp { event: 0, recv, seq: 0 }, Status { state, age_ms: 0 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tickcast_feeds::{Decimal, Level, Side, Trade};

    use super::*;

    const FEED: u16 = 2;

    fn trade(id: u32, seq: u64) -> Tick {
        let (price, size) = (Decimal::new(1, 0), Decimal::new(1, 0));
        let trade = Trade { price, size, id: seq, side: Side::Buy };
        Tick::trade(InstrumentId(id), Stamp { event: 0, recv: seq, seq }, &trade)
    }

    fn level(id: u32, seq: u64, more: u8) -> Tick {
        let (price, size) = (Decimal::new(1, 0), Decimal::new(1, 0));
        let level = Level { side: Side::Buy, price, size, first: 0 };
        let stamp = Stamp { event: 0, recv: seq, seq };
        Tick::level(InstrumentId(id), stamp, flags::FIRST | flags::LAST | more, &level)
    }

    fn head(run: u64) -> What {
        What::Head(Head { boot: String::new(), run })
    }

    fn listed(again: bool, names: &[(u32, &str)]) -> What {
        let one = |(id, name): &(u32, &str)| {
            let all = Instruments::new();
            all.list("sim", name, name, "USD");
            let mut listed = Listed::from(&*all.since(0)[0]);
            listed.id = *id;
            listed
        };
        What::Listed { again, all: names.iter().map(one).collect() }
    }

    fn ticks(ticks: &[Tick]) -> What {
        What::Ticks { feed: FEED, ticks: ticks.to_vec() }
    }

    fn snapshot(ticks: &[Tick]) -> What {
        What::Snapshot { feed: FEED, ticks: ticks.to_vec() }
    }

    /// What is handed over: symbols and what of them, in order.
    fn played(script: &mut Script, all: Vec<What>) -> Vec<String> {
        let mut out = Vec::new();
        for what in all {
            let hand = &mut |feed: u16, ticks: Vec<Tick>| {
                let is_status = |tick: &Tick| tick.kind == Kind::Status;
                assert!(feed == FEED || ticks.iter().all(is_status), "{feed}");
                out.extend(ticks);
                Ok(())
            };
            script.play(what, hand).expect("taken");
        }
        let name = |tick: &Tick| {
            let info = script.into.get(tick.instrument).expect("listed");
            let kind = match tick.kind {
                Kind::Trade => format!("trade {}", tick.seq),
                Kind::Level => format!("book {}", tick.seq),
                _ => tick.as_status().state.as_str().to_owned(),
            };
            let restart = if tick.has(flags::RESTART) { "!" } else { "" };
            format!("{} {kind}{restart}", info.base)
        };
        out.iter().map(name).collect()
    }

    #[test]
    fn a_gap_makes_books_unknown_until_a_snapshot() {
        let mut script = Script::new(Arc::default());
        let first = vec![
            head(1),
            listed(false, &[(0, "A"), (1, "B")]),
            ticks(&[level(0, 1, flags::SNAPSHOT), level(0, 2, 0), trade(1, 1)]),
            // Nothing is missing: it says nothing new.
            snapshot(&[level(0, 2, flags::SNAPSHOT)]),
            head(1),
            listed(true, &[(0, "A"), (1, "B")]),
        ];
        assert_eq!(played(&mut script, first), ["A book 1", "A book 2", "B trade 1"]);
        let gap = vec![
            What::Gap { missing: 3 },
            // It is the same one.
            What::Gap { missing: 1 },
            ticks(&[level(0, 6, 0), trade(0, 4)]),
            snapshot(&[level(0, 7, flags::SNAPSHOT)]),
            ticks(&[level(0, 8, 0), level(1, 1, 0)]),
            ticks(&[level(1, 2, flags::SNAPSHOT), level(1, 3, 0)]),
        ];
        let expected =
            ["A resync", "B resync", "A trade 4", "A book 7", "A book 8", "B book 2", "B book 3"];
        assert_eq!(played(&mut script, gap), expected);
    }

    fn state(id: u32, recv: u64, state: FeedState) -> Tick {
        status(InstrumentId(id), recv, state)
    }

    /// The live market is live where a feed says nothing of its state, and so is this one where it goes on.
    #[test]
    fn behind_a_gap_feeds_are_in_the_states_that_they_are_in_there() {
        use FeedState::{Halted, Live, Resync, Stale};
        let names = [(0, "A"), (1, "B"), (2, "C"), (3, "D"), (4, "E")];
        let mut script = Script::new(Arc::default());
        let first = vec![
            head(1),
            listed(false, &names),
            ticks(&[level(0, 1, flags::SNAPSHOT), trade(1, 1), trade(2, 1), trade(3, 5)]),
        ];
        played(&mut script, first);
        let gap = vec![What::Gap { missing: 1 }];
        let expected = ["A resync", "B resync", "C resync", "D resync", "E resync"];
        assert_eq!(played(&mut script, gap), expected);
        let behind = vec![
            // Its feed has sent a book before the copy is there, which then says the state and no more.
            ticks(&[level(0, 4, flags::SNAPSHOT), state(1, 9, Stale)]),
            snapshot(&[level(0, 4, flags::SNAPSHOT), state(0, 0, Live)]),
            snapshot(&[trade(1, 3), state(1, 9, Stale)]),
            snapshot(&[trade(2, 3), state(2, 8, Halted)]),
            snapshot(&[trade(3, 6), state(3, 7, Resync)]),
            // Nothing has come of it ever.
            snapshot(&[state(4, 0, Live)]),
            // All is known.
            snapshot(&[trade(2, 3), state(2, 8, Halted)]),
            snapshot(&[state(4, 0, Live)]),
        ];
        let expected = [
            "A book 4",
            "B stale",
            "A live",
            "B trade 3",
            "B stale",
            "C trade 3",
            "C halted",
            "D trade 6",
            "E live",
        ];
        assert_eq!(played(&mut script, behind), expected);
    }

    /// What a market is told that begins where reading begins.
    #[test]
    fn where_reading_begins_states_are_those_of_the_snapshots() {
        let mut script = Script::new(Arc::default());
        let all = vec![
            head(1),
            listed(true, &[(0, "A"), (1, "B"), (2, "C")]),
            snapshot(&[trade(0, 3), state(0, 0, FeedState::Live)]),
            snapshot(&[trade(1, 3), state(1, 5, FeedState::Resync)]),
            snapshot(&[state(2, 0, FeedState::Live)]),
        ];
        assert_eq!(played(&mut script, all), ["A trade 3", "B trade 3", "B resync"]);
    }

    #[test]
    fn another_start_of_the_server_has_its_own_numbers() {
        let mut script = Script::new(Arc::default());
        // What is read begins in the middle.
        let first = vec![
            head(1),
            listed(true, &[(0, "A"), (1, "B"), (2, "C")]),
            ticks(&[level(0, 5, 0), trade(0, 5)]),
            snapshot(&[level(0, 5, flags::SNAPSHOT)]),
        ];
        assert_eq!(played(&mut script, first), ["A trade 5", "A book 5"]);
        let second = vec![
            head(2),
            listed(false, &[(0, "B"), (1, "A")]),
            ticks(&[trade(0, 1), trade(1, 1), level(1, 1, flags::SNAPSHOT), level(1, 2, 0)]),
        ];
        // From its listing on it is as live as in the market that it is of; C is there no more.
        let expected = [
            "A resync",
            "B resync",
            "C resync",
            "B live",
            "A live",
            "B trade 1!",
            "A trade 1!",
            "A book 1",
            "A book 2",
        ];
        assert_eq!(played(&mut script, second), expected);
        assert_eq!(script.into.len(), 3);
    }

    proptest! {
        /// No record makes it fail, whatever it names.
        #[test]
        fn any_records_are_played(
            ids in prop::collection::vec((any::<bool>(), 0_u32..4, 0_u8..6), 0..40),
        ) {
            let mut script = Script::new(Arc::default());
            let what = ids.iter().map(|(again, id, kind)| match kind {
                0 => listed(*again, &[(*id, "A")]),
                1 => listed(*again, &[(u32::MAX - *id, "B")]),
                2 => head(u64::from(*id)),
                3 => ticks(&[trade(*id, 1), level(*id, 1, 0)]),
                4 => snapshot(&[level(*id, 2, flags::SNAPSHOT)]),
                _ => What::Gap { missing: 1 },
            });
            played(&mut script, what.collect());
        }
    }
}
