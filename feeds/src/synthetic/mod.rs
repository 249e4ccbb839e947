//! The synthetic feed: a believable market that needs no network.
//!
//! `market` decides what happens, `schedule` when; this module puts the one to the other's times.

mod book;
mod market;
mod names;
mod rng;
mod schedule;

pub use market::{Market, VENUE};
pub use schedule::Schedule;

use crate::clock::{Clock, LONGEST_SLEEP_NS, SystemClock};
use crate::feed::{Feed, FeedError, RunContext};
use crate::instrument::Instruments;
use crate::sink::{Sink, SinkClosed};
use crate::spec::SyntheticSpec;

/// The feed wakes no more often than this: at high rates events come a few at a time, as packets
/// of a real venue do, and the wake-ups take no core that the fan-out could use.
const WAKE_EVERY_NS: u64 = 250_000;

/// Flush at least after so many events.
const FLUSH_EVENTS: usize = 256;

/// Snapshots are put no faster than this many ticks...
const SNAPSHOT_TICKS: usize = 256;
/// ...per this many nanoseconds: the first thing the readers see must not be a lap.
const SNAPSHOT_PAUSE_NS: u64 = 250_000;

/// The synthetic feed, its instruments listed and its books filled.
#[derive(Clone, Debug)]
pub struct SyntheticFeed {
    spec: SyntheticSpec,
    market: Market,
}

impl SyntheticFeed {
    /// Makes the market of this spec.
    pub fn open(spec: SyntheticSpec, instruments: &Instruments) -> Self {
        let market = Market::new(&spec, instruments);
        SyntheticFeed { spec, market }
    }

    /// Runs by this clock: first every instrument's snapshot, then the events, each with the
    /// time it was due as `ts_event` and the time it was really put as `ts_recv`.
    ///
    /// A feed that is late does not skip or shift anything: it puts all that is due, with the
    /// times it was due at, so that latency measured from `ts_event` shows the lateness.
    ///
    /// # Errors
    /// [`SinkClosed`] when the sink takes no more.
    pub fn run_by(
        mut self,
        clock: &impl Clock,
        sink: &mut dyn Sink,
        context: &RunContext,
    ) -> Result<(), SinkClosed> {
        self.put_snapshots(clock, sink, context)?;
        let mut schedule = Schedule::new(&self.spec, clock.now());
        let mut woken = 0;
        while !context.stop.is_stopped() {
            let now = clock.now();
            for _ in 0..FLUSH_EVENTS {
                if schedule.due() > now {
                    break;
                }
                for tick in self.market.next_event() {
                    let mut tick = *tick;
                    tick.ts_event = schedule.due();
                    tick.ts_recv = now;
                    sink.put(&tick);
                }
                schedule.advance();
            }
            sink.flush()?;
            if schedule.due() > now {
                let wake = schedule.due().max(woken + WAKE_EVERY_NS);
                clock.sleep_until(wake.min(now + LONGEST_SLEEP_NS));
                woken = clock.now();
            }
        }
        Ok(())
    }

    fn put_snapshots(
        &mut self,
        clock: &impl Clock,
        sink: &mut dyn Sink,
        context: &RunContext,
    ) -> Result<(), SinkClosed> {
        let mut put = 0;
        for index in 0..self.market.len() {
            if context.stop.is_stopped() {
                break;
            }
            let now = clock.now();
            let ticks = self.market.snapshot(index);
            for tick in ticks {
                let mut tick = *tick;
                tick.ts_event = now;
                tick.ts_recv = now;
                sink.put(&tick);
            }
            put += ticks.len();
            if put >= SNAPSHOT_TICKS {
                put = 0;
                sink.flush()?;
                clock.sleep_until(now + SNAPSHOT_PAUSE_NS);
            }
        }
        sink.flush()
    }
}

impl Feed for SyntheticFeed {
    fn name(&self) -> String {
        self.spec.to_string()
    }

    fn thread_name(&self) -> String {
        "gen".to_owned()
    }

    fn lossless(&self) -> bool {
        false
    }

    fn run(self: Box<Self>, sink: &mut dyn Sink, context: &RunContext) -> Result<(), FeedError> {
        SystemClock::sharpen_this_thread();
        // A closed sink is how a stop looks from here.
        let _ = self.run_by(&SystemClock::new(), sink, context);
        Ok(())
    }
}
