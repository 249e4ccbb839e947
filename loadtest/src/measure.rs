//! Counters and histograms: one set per kind of client and thread, added up at the end.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::message::{Kind, Message};
use crate::plan::Profile;
use crate::stream::{Link, StreamTotals, Streams};

/// The close code of a connection that ended without a close frame (RFC 6455, 7.4.1: never on the wire).
pub const ABNORMAL: u16 = 1006;
/// The close code of a close frame without one (RFC 6455, 7.4.1: never on the wire).
pub const NO_CODE: u16 = 1005;

/// Nanoseconds from 1 µs to an hour at 3 significant digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 3_600_000_000_000, 3)
        .expect("the bounds are constants within the range that hdrhistogram takes")
}

/// When a message was read, and what is measured then.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// The stamp's clock just after the read, nanoseconds.
    pub now_ns: u64,
    /// The window's start by the same clock; `u64::MAX` before it is known.
    pub start_ns: u64,
    /// The window's end, exclusive.
    pub end_ns: u64,
    /// The storm's begin and end by the same clock; `u64::MAX` while it is not known.
    pub storm_ns: [u64; 2],
}

/// Parts of a window with a storm: before it, until the last is back, and after.
pub const STORM_PHASES: usize = 3;

impl Arrival {
    /// Nothing is measured.
    pub fn unmeasured(now_ns: u64) -> Self {
        Arrival { now_ns, start_ns: u64::MAX, end_ns: u64::MAX, storm_ns: [u64::MAX; 2] }
    }

    /// Which part of the window a stamp falls into. Whoever is back has been so before the end is known,
    /// so a tick that was stamped during the storm is never counted to the calm after it.
    fn phase(&self, stamp_ns: u64) -> usize {
        self.storm_ns.iter().filter(|&&edge| stamp_ns >= edge).count()
    }

    fn within(&self, time_ns: u64) -> bool {
        (self.start_ns..self.end_ns).contains(&time_ns)
    }
}

/// What clients of one kind saw.
#[derive(Debug)]
pub struct Group {
    /// Clients of this kind.
    pub clients: u64,
    /// Nanoseconds from stamp to arrival of the updates stamped within the window.
    pub latency: Histogram<u64>,
    /// The same by [part of a window with a storm](STORM_PHASES); empty without one.
    pub phases: Vec<Histogram<u64>>,
    /// Updates stamped within the window.
    pub deliveries: u64,
    /// Updates that arrived within the window, whatever their stamp: what the server's CPU is divided by.
    pub arrived: u64,
    /// Updates of the whole run.
    pub updates: u64,
    /// Bytes of payload and frame heads that arrived within the window.
    pub bytes: u64,
    /// Snapshots of the whole run.
    pub snapshots: u64,
    /// Streams that clients who came back asked to resume, of the whole run.
    pub resumes: u64,
    /// Heartbeats of the whole run.
    pub heartbeats: u64,
    /// Notices that an eviction follows.
    pub lag_notices: u64,
    /// Notices that the server stops.
    pub drain_notices: u64,
    /// Breaks of the `seq`/`prev` chain in the whole run.
    pub gaps: u64,
    /// Updates of checked clients without numbers.
    pub unnumbered: u64,
    /// Updates without a stamp.
    pub unstamped: u64,
    /// Updates stamped later than they arrived: the clocks differ.
    pub ahead: u64,
    /// How connections ended that this program did not end, by close code.
    pub closes: BTreeMap<u16, u64>,
    /// Times that a client came back.
    pub reconnects: u64,
    /// Attempts to come back that failed and were repeated.
    pub failures: u64,
    /// Nanoseconds from leaving (or being dropped) to being subscribed again.
    pub recovery: Histogram<u64>,
    /// Clients that are subscribed at the end.
    pub open: u64,
    /// Streams of the clients whose numbers were checked.
    pub streams: StreamTotals,
}

impl Default for Group {
    fn default() -> Self {
        Group {
            clients: 0,
            latency: histogram(),
            phases: Vec::new(),
            deliveries: 0,
            arrived: 0,
            updates: 0,
            bytes: 0,
            snapshots: 0,
            resumes: 0,
            heartbeats: 0,
            lag_notices: 0,
            drain_notices: 0,
            gaps: 0,
            unnumbered: 0,
            unstamped: 0,
            ahead: 0,
            closes: BTreeMap::new(),
            reconnects: 0,
            failures: 0,
            recovery: histogram(),
            open: 0,
            streams: StreamTotals::default(),
        }
    }
}

impl Group {
    /// Keeps latencies before, during and after a storm apart.
    pub fn expect_storm(&mut self) {
        self.phases = (0..STORM_PHASES).map(|_| histogram()).collect();
    }

    /// Counts one message of `frame_len` bytes. The latency is returned when it has one.
    #[inline]
    pub fn message(
        &mut self,
        message: &Message,
        frame_len: usize,
        at: &Arrival,
        streams: Option<&mut Streams>,
    ) -> Option<u64> {
        let arrived = at.within(at.now_ns);
        if arrived {
            self.bytes += frame_len as u64;
        }
        match message.kind {
            Kind::Update => return self.update(message, arrived, at, streams),
            Kind::Snapshot => {
                self.snapshots += 1;
                if let Some(streams) = streams {
                    streams.snapshot(message);
                }
            }
            // A stream that is not resumed begins with a snapshot, or with a gap that counts by itself.
            Kind::Resume => self.resumes += 1,
            Kind::Heartbeat => self.heartbeats += 1,
            Kind::Lag => self.lag_notices += 1,
            Kind::Drain => self.drain_notices += 1,
            Kind::Status => {}
        }
        None
    }

    #[inline]
    fn update(
        &mut self,
        message: &Message,
        arrived: bool,
        at: &Arrival,
        streams: Option<&mut Streams>,
    ) -> Option<u64> {
        self.updates += 1;
        self.arrived += u64::from(arrived);
        // Without a stamp, an update belongs to the window that it arrives in.
        let measured = message.stamp_ns.map_or(arrived, |stamp| at.within(stamp));
        let latency = message.stamp_ns.map(|stamp| at.now_ns.saturating_sub(stamp));
        match message.stamp_ns {
            None => self.unstamped += 1,
            Some(stamp) => self.ahead += u64::from(stamp > at.now_ns),
        }
        if measured {
            self.deliveries += 1;
            if let Some(latency) = latency {
                self.latency.saturating_record(latency);
                let phase = message.stamp_ns.map_or(0, |stamp| at.phase(stamp));
                if let Some(phase) = self.phases.get_mut(phase) {
                    phase.saturating_record(latency);
                }
            }
        }
        if let Some(streams) = streams {
            match streams.update(message, measured) {
                Link::Follows => {}
                Link::Gap => self.gaps += 1,
                Link::Unnumbered => self.unnumbered += 1,
            }
        }
        latency
    }

    /// Counts the end of a connection.
    pub fn closed(&mut self, code: u16) {
        *self.closes.entry(code).or_default() += 1;
    }

    fn merge(&mut self, other: &Group) {
        add(&mut self.latency, &other.latency);
        if self.phases.is_empty() {
            self.phases.clone_from(&other.phases);
        } else {
            self.phases.iter_mut().zip(&other.phases).for_each(|(sum, part)| add(sum, part));
        }
        add(&mut self.recovery, &other.recovery);
        for (sum, part) in [
            (&mut self.clients, other.clients),
            (&mut self.deliveries, other.deliveries),
            (&mut self.arrived, other.arrived),
            (&mut self.updates, other.updates),
            (&mut self.bytes, other.bytes),
            (&mut self.snapshots, other.snapshots),
            (&mut self.resumes, other.resumes),
            (&mut self.heartbeats, other.heartbeats),
            (&mut self.lag_notices, other.lag_notices),
            (&mut self.drain_notices, other.drain_notices),
            (&mut self.gaps, other.gaps),
            (&mut self.unnumbered, other.unnumbered),
            (&mut self.unstamped, other.unstamped),
            (&mut self.ahead, other.ahead),
            (&mut self.reconnects, other.reconnects),
            (&mut self.failures, other.failures),
            (&mut self.open, other.open),
        ] {
            *sum += part;
        }
        for (code, count) in &other.closes {
            *self.closes.entry(*code).or_default() += count;
        }
        self.streams.merge(&other.streams);
    }
}

fn add(sum: &mut Histogram<u64>, part: &Histogram<u64>) {
    sum.add(part).expect("histograms of equal bounds can be added");
}

/// What one reading thread did within the window.
#[derive(Debug, Clone)]
pub struct Effort {
    /// The window, nanoseconds.
    pub wall_ns: u64,
    /// CPU time of the thread.
    pub cpu_ns: u64,
    /// Time between two waits, in which something was ready.
    pub busy_ns: u64,
    /// Time in which the thread could have run and had no core (`/proc/thread-self/schedstat`).
    pub runqueue_ns: u64,
    /// Nanoseconds per turn: what the last client of a turn waited for this program at most.
    pub turns: Histogram<u64>,
    /// Reads that gave bytes.
    pub reads: u64,
}

impl Default for Effort {
    fn default() -> Self {
        Effort { wall_ns: 0, cpu_ns: 0, busy_ns: 0, runqueue_ns: 0, turns: histogram(), reads: 0 }
    }
}

/// What one thread, or all of them, measured.
#[derive(Debug, Default)]
pub struct Measure {
    /// By [`Profile::group`].
    pub groups: [Group; Profile::GROUPS.len()],
    /// The good clients' worst latency since this was last taken, nanoseconds.
    pub worst_ns: u64,
    /// One per thread.
    pub efforts: Vec<Effort>,
}

impl Measure {
    /// Adds another thread's.
    pub fn merge(&mut self, other: Measure) {
        for (sum, part) in self.groups.iter_mut().zip(&other.groups) {
            sum.merge(part);
        }
        self.efforts.extend(other.efforts);
    }

    /// Updates that arrived within the window, over all kinds.
    pub fn arrived(&self) -> u64 {
        self.groups.iter().map(|group| group.arrived).sum()
    }

    /// Streams of all kinds: the reference for what each client was owed.
    pub fn all_streams(&self) -> StreamTotals {
        let mut all = StreamTotals::default();
        for group in &self.groups {
            all.merge(&group.streams);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(stamp_ns: Option<u64>) -> Message {
        Message { kind: Kind::Update, stream: Some(1), seq: None, prev: None, stamp_ns }
    }

    #[test]
    fn the_stamp_decides_what_is_measured_however_late_it_comes() {
        let mut group = Group::default();
        let at = |now_ns| Arrival {
            start_ns: 1_000_000,
            end_ns: 2_000_000,
            ..Arrival::unmeasured(now_ns)
        };
        for (stamp, now) in [
            (999_999, 1_500_000),
            (1_000_000, 1_400_000),
            (1_999_999, 9_000_000),
            (2_000_000, 2_000_001),
        ] {
            group.message(&update(Some(stamp)), 100, &at(now), None);
        }
        assert_eq!(group.deliveries, 2, "stamped at or after the start and before the end");
        assert_eq!(group.arrived, 2, "arrived within the window");
        assert_eq!((group.updates, group.bytes), (4, 200));
        assert!(
            group.latency.max() >= 7_000_000,
            "a late one is charged in full: {}",
            group.latency.max()
        );
    }

    #[test]
    fn without_a_stamp_the_arrival_decides_and_no_latency_is_made_up() {
        let mut group = Group::default();
        let at = Arrival { start_ns: 0, end_ns: 10, ..Arrival::unmeasured(5) };
        assert_eq!(group.message(&update(None), 1, &at, None), None);
        assert_eq!((group.deliveries, group.unstamped, group.latency.len()), (1, 1, 0));
    }

    #[test]
    fn a_storm_parts_the_window_by_the_stamps() {
        let mut group = Group::default();
        group.expect_storm();
        let mut at = Arrival { start_ns: 0, end_ns: 9_000, ..Arrival::unmeasured(8_000) };
        at.storm_ns = [3_000, u64::MAX];
        for stamp in [2_999, 3_000, 3_001] {
            group.message(&update(Some(stamp)), 1, &at, None);
        }
        // The last is back: what was stamped before that and comes only now is the storm's.
        at.storm_ns[1] = 5_000;
        for stamp in [4_999, 5_000] {
            group.message(&update(Some(stamp)), 1, &at, None);
        }
        let counts: Vec<u64> = group.phases.iter().map(Histogram::len).collect();
        assert_eq!((counts, group.latency.len()), (vec![1, 3, 1], 5));
    }

    #[test]
    fn merging_adds_everything() {
        let mut parts = [Measure::default(), Measure::default()];
        for part in &mut parts {
            let at = Arrival { start_ns: 0, end_ns: 10_000, ..Arrival::unmeasured(5_000) };
            part.groups[0].expect_storm();
            part.groups[0].message(&update(Some(6_000)), 7, &at, None);
            part.groups[1].closed(4008);
            part.efforts.push(Effort::default());
        }
        let [mut sum, other] = parts;
        sum.merge(other);
        assert_eq!(
            (sum.groups[0].deliveries, sum.groups[0].ahead, sum.groups[0].bytes),
            (2, 2, 14)
        );
        assert_eq!(sum.groups[0].latency.len(), 2);
        assert_eq!(sum.groups[0].phases[0].len(), 2);
        assert_eq!(sum.groups[1].closes, BTreeMap::from([(4008, 2)]));
        assert_eq!((sum.efforts.len(), sum.arrived()), (2, 2));
    }
}
