//! The result of a run, as it is written to JSON and shown in every report.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::args::{Args, Clock};
use crate::measure::{Effort, Group};
use crate::message::StampKey;
use crate::plan::Profile;
use crate::stream::StreamTotals;

/// The name and version of the JSON's form.
pub const SCHEMA: &str = "tickcast-loadtest/1";
/// Above this share of busy time, a reading thread may itself be what is slow.
const TOO_BUSY: f64 = 0.8;
/// Above this share of time without a core, too.
const TOO_LONG_WITHOUT_CORE: f64 = 0.1;

/// Latencies, microseconds.
#[derive(Debug, Clone, Serialize)]
#[allow(
    missing_docs,
    reason = "the names say it all: quantiles in microseconds, and how many there are"
)]
pub struct Latency {
    pub count: u64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub p99_99: f64,
    pub max: f64,
}

impl Latency {
    /// `None` of an empty histogram (of nanoseconds).
    pub fn of(histogram: &Histogram<u64>) -> Option<Latency> {
        let at = |quantile: f64| micros(histogram.value_at_quantile(quantile));
        (!histogram.is_empty()).then(|| Latency {
            count: histogram.len(),
            mean: histogram.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: micros(histogram.max()),
        })
    }
}

fn micros(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// What the run was asked for.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "each is the flag of the same name; durations in seconds")]
pub struct Parameters {
    pub url: String,
    pub clients: usize,
    pub idle: bool,
    pub symbols: usize,
    pub per: usize,
    pub channels: Vec<&'static str>,
    pub depth: Option<u16>,
    pub seed: u64,
    pub stalled: usize,
    pub slow: Option<(usize, u64)>,
    pub churn: Option<(usize, f64)>,
    pub storm: usize,
    pub warmup: f64,
    pub duration: f64,
    pub drain: f64,
    pub threads: usize,
    pub spin: bool,
    pub check_every: usize,
    pub part: Option<(usize, usize)>,
    pub expect_rate: Option<f64>,
    pub stamp_clock: &'static str,
    pub stamps: bool,
}

impl Parameters {
    /// From the flags and the number of symbols that there are.
    pub fn of(args: &Args, symbols: usize) -> Parameters {
        Parameters {
            url: args.url.clone(),
            clients: args.clients,
            idle: args.idle,
            symbols,
            per: if args.idle { 0 } else { args.per },
            channels: if args.idle {
                Vec::new()
            } else {
                args.channels.iter().map(|channel| channel.name()).collect()
            },
            depth: args.depth,
            seed: args.seed,
            stalled: args.stalled,
            slow: args.slow,
            churn: args.churn.map(|(count, period)| (count, period.as_secs_f64())),
            storm: args.storm,
            warmup: args.warmup.as_secs_f64(),
            duration: args.duration.as_secs_f64(),
            drain: args.drain.as_secs_f64(),
            threads: args.threads,
            spin: args.spin,
            check_every: args.check_every,
            part: args.part,
            expect_rate: args.expect_rate,
            stamp_clock: match args.stamp_clock {
                Clock::Real => "realtime",
                Clock::Mono => "monotonic",
            },
            stamps: args.stamp_format().key != StampKey::None,
        }
    }
}

/// How the clients came in.
#[derive(Debug, Clone, Serialize)]
pub struct Connecting {
    /// Clients of every kind.
    pub clients: usize,
    /// Seconds from the first connect to the last upgrade.
    pub seconds: f64,
    /// Upgrades per second in that time.
    pub per_second: f64,
    /// Seconds from the first connect until all were subscribed.
    pub subscribed_seconds: f64,
}

/// What a storm did to the good clients. A tick belongs to the part of the window that it was stamped in.
#[derive(Debug, Clone, Serialize)]
pub struct StormSummary {
    /// Clients that were dropped.
    pub clients: u64,
    /// Of these, how many are back: subscribed, with as many snapshots as before.
    pub back: u64,
    /// Seconds until the last was; `None` when not all are.
    pub seconds: Option<f64>,
    /// The good clients' latency in the window before the storm.
    pub before_us: Option<Latency>,
    /// From the storm's begin until the last is back.
    pub during_us: Option<Latency>,
    /// From then to the end of the window.
    pub after_us: Option<Latency>,
    /// p99 during the storm / p99 before it.
    pub p99_ratio: Option<f64>,
}

impl StormSummary {
    /// From the good clients' latencies before, during and after.
    pub fn of(
        clients: u64,
        back: u64,
        seconds: Option<f64>,
        [before_us, during_us, after_us]: [Option<Latency>; 3],
    ) -> StormSummary {
        let p99_ratio = before_us
            .as_ref()
            .zip(during_us.as_ref())
            .map(|(before, during)| during.p99 / before.p99.max(f64::MIN_POSITIVE));
        StormSummary { clients, back, seconds, before_us, during_us, after_us, p99_ratio }
    }
}

/// What clients of one kind saw.
#[derive(Debug, Clone, Serialize)]
pub struct GroupSummary {
    /// One of [`Profile::GROUPS`].
    pub name: &'static str,
    /// How many there are in this process.
    pub clients: u64,
    /// How many of them were subscribed at the end.
    pub open_at_end: u64,
    /// Updates stamped within the window.
    pub deliveries: u64,
    /// Per second of the window.
    pub deliveries_per_second: f64,
    /// Updates that arrived within the window, whatever their stamp.
    pub arrived: u64,
    /// Bytes per second that arrived within the window.
    pub bytes_per_second: f64,
    /// What the checked clients should have received: see [`StreamTotals::delivered_and_expected`].
    pub expected: Option<u64>,
    /// Received / expected of the checked clients. Only of kinds that stay connected and read.
    pub reach: Option<f64>,
    /// Breaks of the `seq`/`prev` chain, whole run.
    pub gaps: u64,
    /// Latency, microseconds.
    pub latency_us: Option<Latency>,
    /// Updates without stamp.
    pub unstamped: u64,
    /// Updates stamped later than they arrived.
    pub stamped_ahead: u64,
    /// Updates of checked clients without `seq` and `prev`.
    pub unnumbered: u64,
    /// Snapshots, whole run.
    pub snapshots: u64,
    /// Heartbeats, whole run.
    pub heartbeats: u64,
    /// `lag` notices.
    pub lag_notices: u64,
    /// `drain` notices.
    pub drain_notices: u64,
    /// Connections that the server ended, by close code; 1006 without a close frame, 1005 with an empty one.
    pub closes: BTreeMap<u16, u64>,
    /// Times that a client came back.
    pub reconnects: u64,
    /// Streams of theirs that they asked to resume, in the whole run.
    pub resumes: u64,
    /// Attempts at it that failed and were repeated.
    pub reconnect_failures: u64,
    /// From leaving to being subscribed again, microseconds.
    pub recovery_us: Option<Latency>,
}

impl GroupSummary {
    /// Sums up a kind; `reference` are the streams of all kinds.
    pub fn of(
        profile_index: usize,
        group: &Group,
        reference: &StreamTotals,
        window_seconds: f64,
    ) -> GroupSummary {
        let (delivered, expected) = group.streams.delivered_and_expected(reference);
        // Whoever leaves, or does not read, is owed nothing that could be counted.
        let stays = matches!(Profile::GROUPS[profile_index], "good" | "slow") && expected > 0;
        GroupSummary {
            name: Profile::GROUPS[profile_index],
            clients: group.clients,
            open_at_end: group.open,
            deliveries: group.deliveries,
            deliveries_per_second: group.deliveries as f64 / window_seconds,
            arrived: group.arrived,
            bytes_per_second: group.bytes as f64 / window_seconds,
            expected: stays.then_some(expected),
            reach: stays.then(|| delivered as f64 / expected as f64),
            gaps: group.gaps,
            latency_us: Latency::of(&group.latency),
            unstamped: group.unstamped,
            stamped_ahead: group.ahead,
            unnumbered: group.unnumbered,
            snapshots: group.snapshots,
            heartbeats: group.heartbeats,
            lag_notices: group.lag_notices,
            drain_notices: group.drain_notices,
            closes: group.closes.clone(),
            reconnects: group.reconnects,
            resumes: group.resumes,
            reconnect_failures: group.failures,
            recovery_us: Latency::of(&group.recovery),
        }
    }
}

/// The server's process.
#[derive(Debug, Clone, Serialize)]
pub struct ServerSummary {
    /// The process.
    pub pid: u32,
    /// CPU seconds within the window, threads named `gen*` left out.
    pub cpu_seconds: f64,
    /// CPU seconds of the threads named `gen*`.
    pub generator_cpu_seconds: f64,
    /// CPU microseconds per update that arrived within the window, over all kinds of clients.
    pub cpu_us_per_delivery: Option<f64>,
    /// Share of one core by thread, the busiest first.
    pub threads: Vec<(String, f64)>,
    /// Resident bytes before the first connect.
    pub resident_before: u64,
    /// Resident bytes when all were subscribed and `--settle` was over.
    pub resident_connected: u64,
    /// Resident bytes at the end of the window.
    pub resident_end: u64,
    /// Growth by connection, bytes.
    pub bytes_per_connection: f64,
}

/// One reading thread of this program, within the window.
#[derive(Debug, Clone, Serialize)]
pub struct ThreadSummary {
    /// Share of one core.
    pub cpu_share: f64,
    /// Share of the time between waits: 1 means that it never waited for the server.
    pub busy_share: f64,
    /// Share of the time in which it had no core although it could have run.
    pub without_core_share: f64,
    /// Length of a turn, microseconds: by so much at most this program is to blame for a latency.
    pub turn_us: Option<Latency>,
    /// Reads per second.
    pub reads_per_second: f64,
}

impl ThreadSummary {
    /// Sums up one thread.
    pub fn of(effort: &Effort) -> ThreadSummary {
        let wall = effort.wall_ns.max(1) as f64;
        ThreadSummary {
            cpu_share: effort.cpu_ns as f64 / wall,
            busy_share: effort.busy_ns as f64 / wall,
            without_core_share: effort.runqueue_ns as f64 / wall,
            turn_us: Latency::of(&effort.turns),
            reads_per_second: effort.reads as f64 * 1e9 / wall,
        }
    }

    /// Why its result is not to be trusted. A thread that spins uses its core whatever comes, so that its CPU says nothing.
    pub fn warning(&self, number: usize, spin: bool) -> Option<String> {
        let busy = if spin { self.busy_share } else { self.busy_share.max(self.cpu_share) };
        if busy > TOO_BUSY {
            return Some(format!(
                "reading thread {number} was busy for {:.0} % of the window: the latencies may be this program's; use more --threads or fewer \
                 clients",
                busy * 100.0
            ));
        }
        (self.without_core_share > TOO_LONG_WITHOUT_CORE).then(|| {
            format!(
                "reading thread {number} waited for a core for {:.0} % of the window: give it one of its own (taskset)",
                self.without_core_share * 100.0
            )
        })
    }
}

/// One second of the run.
#[derive(Debug, Clone, Serialize)]
pub struct Second {
    /// Seconds since the window began; negative before.
    pub at: f64,
    /// The good clients' updates per second.
    pub good_per_second: f64,
    /// All others' updates per second.
    pub other_per_second: f64,
    /// The good clients' worst latency of that second, microseconds.
    pub worst_us: f64,
    /// Connections that are subscribed.
    pub open: usize,
    /// The busiest reading thread's share of busy time.
    pub busy_share: f64,
}

/// The whole result.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Of this program.
    pub version: &'static str,
    /// `--title`.
    pub title: String,
    /// When the run began, seconds since the Unix epoch.
    pub began_unix: u64,
    /// What was asked for.
    pub parameters: Parameters,
    /// How the clients came in.
    pub connecting: Connecting,
    /// Length of the window, seconds.
    pub window_seconds: f64,
    /// Before, during and after the storm, when there was one.
    pub storm: Option<StormSummary>,
    /// By kind of client; kinds without clients are left out.
    pub groups: Vec<GroupSummary>,
    /// Good clients' deliveries / what `--expect-rate` promises them.
    pub reach_by_rate: Option<f64>,
    /// The server, when `--server-pid` is given.
    pub server: Option<ServerSummary>,
    /// The threads of this program.
    pub threads: Vec<ThreadSummary>,
    /// Second by second.
    pub seconds: Vec<Second>,
    /// What to mind when reading the result.
    pub warnings: Vec<String>,
    /// Thresholds that failed.
    pub failed: Vec<String>,
}

impl Summary {
    /// The good clients, when there are any.
    pub fn good(&self) -> Option<&GroupSummary> {
        self.groups.iter().find(|group| group.name == Profile::GROUPS[0])
    }

    /// Checks the thresholds.
    pub fn judge(&mut self, args: &Args) {
        let mut failed = Vec::new();
        let good = self.good();
        if let Some(least) = args.assert_reach {
            match good.and_then(|good| good.reach) {
                Some(reach) if reach >= least => {}
                Some(reach) => {
                    failed.push(format!("reach {reach:.6} is below --assert-reach {least}"))
                }
                None => failed.push(
                    "--assert-reach: nothing was delivered, or nobody was checked".to_string(),
                ),
            }
        }
        if let (Some(least), Some(reach)) = (args.assert_rate_reach, self.reach_by_rate)
            && reach < least
        {
            failed.push(format!("reach by rate {reach:.6} is below --assert-rate-reach {least}"));
        }
        let gaps = good.map_or(0, |good| good.gaps);
        if args.assert_no_gaps && gaps > 0 {
            failed.push(format!("{gaps} gaps (--assert-no-gaps)"));
        }
        let closed: u64 = good.map_or(0, |good| good.closes.values().sum());
        if args.assert_no_closes && closed > 0 {
            failed.push(format!("{closed} good clients were closed (--assert-no-closes)"));
        }
        if let Some(most) = args.assert_p99 {
            match good.and_then(|good| good.latency_us.as_ref()) {
                Some(latency) if latency.p99 <= most * 1e3 => {}
                Some(latency) => failed.push(format!(
                    "p99 of {:.3} ms is over --assert-p99 {most}",
                    latency.p99 / 1e3
                )),
                None => failed.push("--assert-p99: there is no latency".to_string()),
            }
        }
        if let Some(most) = args.assert_storm {
            match self.storm.as_ref().map(|storm| (storm.seconds, storm.p99_ratio)) {
                Some((Some(_), Some(ratio))) if ratio <= most => {}
                Some((Some(_), Some(ratio))) => failed.push(format!(
                    "p99 during the storm is {ratio:.2} times that before, over --assert-storm {most}"
                )),
                Some((None, _)) => {
                    failed.push("--assert-storm: not everybody came back in the window".to_string());
                }
                _ => failed.push("--assert-storm: there is no latency to compare".to_string()),
            }
        }
        self.failed = failed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(cpu_share: f64, busy_share: f64, without_core_share: f64) -> ThreadSummary {
        ThreadSummary {
            cpu_share,
            busy_share,
            without_core_share,
            turn_us: None,
            reads_per_second: 0.0,
        }
    }

    #[test]
    fn a_thread_that_may_be_the_bottleneck_says_so() {
        assert_eq!(thread(0.5, 0.79, 0.05).warning(0, false), None);
        assert!(
            thread(0.5, 0.81, 0.0)
                .warning(3, false)
                .is_some_and(|text| text.contains("thread 3 was busy for 81 %"))
        );
        assert!(
            thread(0.9, 0.6, 0.0).warning(0, false).is_some_and(|text| text.contains("90 %")),
            "the waits themselves cost"
        );
        assert_eq!(thread(1.0, 0.6, 0.0).warning(0, true), None, "who spins always uses its core");
        assert!(
            thread(0.3, 0.3, 0.2)
                .warning(0, false)
                .is_some_and(|text| text.contains("waited for a core for 20 %"))
        );
    }
}
