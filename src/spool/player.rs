//! Plays a spool again, later: what a delayed market gets instead of feeds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tickcast_feeds::tick::flags;
use tickcast_feeds::{
    FeedState, InstrumentId, Instruments, Kind, SinkClosed, Stamp, Status, Stop, Tick,
};

use super::format::{self, Head, Listed, What};
use super::segments::{Next, Reader};
use crate::clock;
use crate::limits;

/// Takes the ticks of a feed, whole events; may wait until there is room for them.
type Hand<'a> = dyn FnMut(u16, Vec<Tick>) -> Result<(), SinkClosed> + 'a;

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
    /// Waits until what was on the ring at `mono_ns` may be told.
    fn wait(&self, mono_ns: u64, stop: &Stop) -> Result<(), SinkClosed> {
        loop {
            let now_ns = clock::now().mono_ns;
            let rest_ns = rest_ns(mono_ns, self.delay_ns, now_ns);
            if rest_ns == 0 {
                let due_ns = mono_ns.saturating_add(self.delay_ns);
                self.lag_ms.store((now_ns - due_ns) / 1_000_000, Ordering::Relaxed);
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

/// What becomes of records, without a clock.
pub(super) struct Script {
    into: Arc<Instruments>,
    run: Option<u64>,
    /// By the number that an instrument has in the spool.
    cast: Vec<Option<Role>>,
    /// By the number that it has here, whether its numbers and times may go back at its next tick.
    restarts: Vec<bool>,
}

/// An instrument.
#[derive(Clone, Copy)]
struct Role {
    id: InstrumentId,
    /// Nothing is missing of it since its last snapshot.
    whole: bool,
    /// The feed that its newest tick came from, and when it was received.
    last: Option<(u16, u64)>,
}

impl Script {
    pub(super) fn new(into: Arc<Instruments>) -> Self {
        Script { into, run: None, cast: Vec::new(), restarts: Vec::new() }
    }

    /// Plays the records of a frame, each once `wait` returns, which is told its time.
    pub(super) fn frame(
        &mut self,
        mut raw: &[u8],
        wait: &mut dyn FnMut(u64) -> Result<(), SinkClosed>,
        hand: &mut Hand<'_>,
    ) -> Result<(), SinkClosed> {
        while let Some(record) = format::take(&mut raw) {
            // That it goes on in another file, or that something is missing, is no news of the market.
            if !matches!(record.what, What::Head(_) | What::Gap { .. }) {
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
                all.iter().for_each(|listed| self.list(listed, !again));
                Ok(())
            }
            What::Ticks { feed, ticks } => self.ticks(feed, ticks, hand),
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
        self.restarts.iter_mut().for_each(|restarts| *restarts = true);
        Ok(())
    }

    fn list(&mut self, listed: &Listed, whole: bool) {
        let at = listed.id as usize;
        if at >= limits::SPOOL_SYMBOLS {
            return;
        }
        if at >= self.cast.len() {
            self.cast.resize(at + 1, None);
        }
        if self.cast[at].is_none() {
            let id = self.into.list_as(&listed.venue, &listed.listing());
            if id.index() >= self.restarts.len() {
                self.restarts.resize(id.index() + 1, false);
            }
            self.cast[at] = Some(Role { id, whole, last: None });
        }
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
            role.last = Some((feed, tick.ts_recv));
            if std::mem::take(&mut self.restarts[role.id.index()]) {
                tick.flags |= flags::RESTART;
            }
            true
        });
        if ticks.is_empty() { Ok(()) } else { hand(feed, ticks) }
    }

    /// A snapshot, for who needs one.
    fn snapshot(
        &mut self,
        feed: u16,
        ticks: Vec<Tick>,
        hand: &mut Hand<'_>,
    ) -> Result<(), SinkClosed> {
        let first = ticks.first().map_or(0, |tick| tick.instrument.index());
        match self.cast.get_mut(first) {
            Some(Some(role)) if !role.whole => role.whole = true,
            _ => return Ok(()),
        }
        self.ticks(feed, ticks, hand)
    }

    /// Something is missing: what books were is not known, and all are told.
    pub(super) fn lose(&mut self, hand: &mut Hand<'_>) -> Result<(), SinkClosed> {
        let status = Status { state: FeedState::Resync, age_ms: 0 };
        for role in self.cast.iter_mut().flatten() {
            role.whole = false;
            if let Some((feed, recv)) = role.last {
                let stamp = Stamp { event: 0, recv, seq: 0 };
                hand(feed, vec![Tick::status(role.id, stamp, status)])?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tickcast_feeds::{Decimal, Level, Side, Trade};

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
                assert_eq!(feed, FEED);
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
            ticks(&[level(0, 6, 0), trade(0, 4)]),
            snapshot(&[level(0, 7, flags::SNAPSHOT)]),
            ticks(&[level(0, 8, 0), level(1, 1, 0)]),
            ticks(&[level(1, 2, flags::SNAPSHOT), level(1, 3, 0)]),
        ];
        let expected =
            ["A resync", "B resync", "A trade 4", "A book 7", "A book 8", "B book 2", "B book 3"];
        assert_eq!(played(&mut script, gap), expected);
    }

    #[test]
    fn another_start_of_the_server_has_its_own_numbers() {
        let mut script = Script::new(Arc::default());
        // What is read begins in the middle.
        let first = vec![
            head(1),
            listed(true, &[(0, "A"), (1, "B")]),
            ticks(&[level(0, 5, 0), trade(0, 5)]),
            snapshot(&[level(0, 5, flags::SNAPSHOT)]),
        ];
        assert_eq!(played(&mut script, first), ["A trade 5", "A book 5"]);
        let second = vec![
            head(2),
            listed(false, &[(0, "B"), (1, "A")]),
            ticks(&[trade(0, 1), trade(1, 1), level(1, 1, flags::SNAPSHOT), level(1, 2, 0)]),
        ];
        let expected = ["A resync", "B trade 1!", "A trade 1!", "A book 1", "A book 2"];
        assert_eq!(played(&mut script, second), expected);
        assert_eq!(script.into.len(), 2);
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
