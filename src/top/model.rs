//! What is known of a server: the newest sample, and what changed since the one before it.

use std::time::{Duration, Instant};

use super::sample::{Connection, Feed, Latency, Reactor, Sample};

/// See the module.
#[derive(Debug)]
pub(super) struct Model {
    /// Where the server is.
    pub(super) url: String,
    newest: Sample,
    at: Option<Instant>,
    before: Option<(Sample, Duration)>,
    /// Why it did not answer the last time.
    pub(super) trouble: Option<String>,
    revision: u64,
}

/// A reactor's row: rates are unknown until there are two samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ReactorRow {
    pub(super) id: u64,
    /// It has panicked, and serves nobody.
    pub(super) failed: bool,
    pub(super) clients: u64,
    pub(super) subscriptions: u64,
    pub(super) deliveries_s: Option<f64>,
    pub(super) sends_s: Option<f64>,
    /// From a tick's receipt to its write, of the writes since the sample before.
    pub(super) p99_us: Option<f64>,
    pub(super) ring_lag: u64,
    pub(super) lapped: u64,
    /// Share of a core that its thread had.
    pub(super) busy: Option<f64>,
}

/// A feed's row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct FeedRow {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) ticks_s: Option<f64>,
    pub(super) idle_ms: Option<u64>,
    pub(super) rejected: u64,
}

/// What is true of all of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Totals {
    pub(super) version: String,
    pub(super) uptime_s: f64,
    pub(super) clients: u64,
    pub(super) subscriptions: u64,
    pub(super) symbols: u64,
    pub(super) ticks_s: Option<f64>,
    pub(super) deliveries_s: Option<f64>,
    pub(super) bytes_s: Option<f64>,
}

impl Model {
    pub(super) fn new(url: &str) -> Self {
        Model {
            url: url.to_owned(),
            newest: Sample::default(),
            at: None,
            before: None,
            trouble: None,
            revision: 0,
        }
    }

    /// Counts changes, so that what has not changed need not be drawn again.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// The server has answered.
    pub(super) fn looked(&mut self, sample: Sample, now: Instant) {
        self.revision += 1;
        self.trouble = None;
        let before = std::mem::replace(&mut self.newest, sample);
        let since = self.at.replace(now).map(|at| now.saturating_duration_since(at));
        // A server that was started anew counts from nothing.
        let same = before.stats.epoch == self.newest.stats.epoch;
        self.before = since.filter(|since| same && !since.is_zero()).map(|since| (before, since));
    }

    /// It has not.
    pub(super) fn failed(&mut self, why: &str) {
        self.revision += 1;
        self.trouble = Some(why.to_owned());
    }

    /// How much something that only grows has grown in a second.
    fn rate(&self, of: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        let (before, since) = self.before.as_ref()?;
        Some((of(&self.newest)? - of(before)?).max(0.0) / since.as_secs_f64())
    }

    fn reactor_rate(&self, id: u64, of: impl Fn(&Reactor) -> f64) -> Option<f64> {
        self.rate(|sample| sample.stats.reactors.iter().find(|r| r.id == id).map(&of))
    }

    pub(super) fn totals(&self) -> Totals {
        let stats = &self.newest.stats;
        let sum = |of: fn(&Reactor) -> u64| {
            self.rate(|sample| Some(sample.stats.reactors.iter().map(of).sum::<u64>() as f64))
        };
        Totals {
            version: stats.version.clone(),
            uptime_s: stats.uptime_s,
            clients: stats.clients,
            subscriptions: stats.subscriptions,
            symbols: stats.symbols,
            ticks_s: self.rate(|sample| Some(sample.stats.ticks as f64)),
            deliveries_s: sum(|r| r.deliveries),
            bytes_s: sum(|r| r.sent_bytes),
        }
    }

    pub(super) fn reactors(&self) -> Vec<ReactorRow> {
        let row = |r: &Reactor| ReactorRow {
            id: r.id,
            failed: r.state == "failed",
            clients: r.clients,
            subscriptions: r.subscriptions,
            deliveries_s: self.reactor_rate(r.id, |r| r.deliveries as f64),
            sends_s: self.reactor_rate(r.id, |r| r.sends as f64),
            p99_us: self.p99_us(r),
            ring_lag: r.ring_lag,
            lapped: r.lapped,
            busy: self.reactor_rate(r.id, |r| r.cpu_s),
        };
        self.newest.stats.reactors.iter().map(row).collect()
    }

    /// The 99th percentile of what came since the sample before: the upper bound of its bucket.
    fn p99_us(&self, reactor: &Reactor) -> Option<f64> {
        let (before, _) = self.before.as_ref()?;
        let before = before.stats.reactors.iter().find(|r| r.id == reactor.id)?;
        let fresh = fresh(&reactor.latency_us, &before.latency_us);
        let all: u64 = fresh.iter().map(|(_, count)| count).sum();
        let mut left = all - all / 100;
        for (bound, count) in fresh {
            if count > 0 && left <= count {
                return Some(bound);
            }
            left -= count.min(left);
        }
        None
    }

    pub(super) fn feeds(&self) -> Vec<FeedRow> {
        let feeds = self.newest.stats.feeds.iter().enumerate();
        let row = |(at, feed): (usize, &Feed)| FeedRow {
            name: feed.name.clone(),
            state: feed.state.clone(),
            ticks_s: self.rate(|sample| sample.stats.feeds.get(at).map(|f| f.ticks as f64)),
            idle_ms: feed.idle_ms,
            rejected: feed.rejected,
        };
        feeds.map(row).collect()
    }

    /// Those who lag, the longest first.
    pub(super) fn slowest(&self) -> impl Iterator<Item = &Connection> {
        self.newest.connections.iter().filter(|one| one.lag_ms > 0 || one.closing.is_some())
    }
}

/// What is in each bucket that was not before. Buckets are named by their bounds, and grow in number.
fn fresh(now: &Latency, before: &Latency) -> Vec<(f64, u64)> {
    let was = |bound: f64| before.buckets.iter().find(|(b, _)| *b == bound).map_or(0, |(_, n)| *n);
    now.buckets.iter().map(|(bound, n)| (*bound, n.saturating_sub(was(*bound)))).collect()
}
