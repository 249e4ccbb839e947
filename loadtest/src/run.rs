//! One run: symbols, plan, threads, schedule, result.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::RunError;
use crate::args::Args;
use crate::control::{Control, Schedule, monotonic_ns, now_ns, stamp_clock};
use crate::engine::{Engine, Setup};
use crate::measure::Measure;
use crate::message::Scanner;
use crate::plan::{self, Dialect, Plan, Profile};
use crate::progress::ProgressLine;
use crate::server::{Cpu, resident_bytes};
use crate::summary::{
    Connecting, GroupSummary, Latency, Parameters, SCHEMA, ServerSummary, StormSummary, Summary,
    ThreadSummary,
};
use crate::symbols;
use crate::target::Target;

/// Descriptors besides the clients': standard streams, epoll instances, files of /proc and the like.
const SPARE_FILES: u64 = 64;
/// How often the main thread looks.
const LOOK: Duration = Duration::from_millis(10);

/// What a run gives.
#[derive(Debug)]
pub struct Outcome {
    /// Everything but the histograms.
    pub summary: Summary,
    /// Latencies in nanoseconds by kind of client; only those that have any.
    pub latencies: Vec<(&'static str, Histogram<u64>)>,
}

/// Runs a load test.
///
/// # Errors
/// See [`RunError`]. Failed thresholds are no error: they are in the summary.
pub fn run(args: &Args) -> Result<Outcome, RunError> {
    args.check()?;
    let target = Target::parse(&args.url)?.with_token(args.token_file.as_deref())?;
    let mut names = plan::named_symbols(args);
    if names.is_empty() && !args.idle {
        names = symbols::ask(&target)?;
    }
    let plan =
        plan::plan(args, names, target.address.ip().is_loopback() && target.address.is_ipv4())?;
    allow_files(plan.clients.len())?;
    Run::new(args, target, plan)?.go()
}

/// Raises the soft limit of open files to the hard one.
fn allow_files(clients: usize) -> Result<(), RunError> {
    let limits = getrlimit(Resource::Nofile);
    let needed = clients as u64 + SPARE_FILES;
    let limit = limits.maximum.unwrap_or(u64::MAX);
    if needed > limit {
        return Err(RunError::OpenFiles { clients, needed, limit });
    }
    if limits.current.is_some_and(|current| current < needed) {
        let raised = Rlimit { current: Some(needed), maximum: limits.maximum };
        setrlimit(Resource::Nofile, raised)
            .map_err(|error| RunError::System("setrlimit", error.into()))?;
    }
    Ok(())
}

struct Run<'a> {
    args: &'a Args,
    target: Target,
    plan: Plan,
    control: Arc<Control>,
    progress: ProgressLine,
    began: u64,
    began_unix: u64,
}

/// What was read of the server at a moment.
struct Reading {
    cpu: Cpu,
    resident: u64,
}

fn read_server(pid: Option<u32>) -> Result<Option<Reading>, RunError> {
    Ok(match pid {
        Some(pid) => Some(Reading { cpu: Cpu::read(pid)?, resident: resident_bytes(pid)? }),
        None => None,
    })
}

impl<'a> Run<'a> {
    fn new(args: &'a Args, target: Target, plan: Plan) -> Result<Run<'a>, RunError> {
        let storm = plan.clients.iter().filter(|client| client.profile == Profile::Storm).count();
        let control = Arc::new(Control::new(args.threads, storm));
        let began_unix =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let progress = ProgressLine::new(Arc::clone(&control), args.quiet, plan.clients.len());
        Ok(Run { args, target, plan, control, progress, began: monotonic_ns(), began_unix })
    }

    fn go(mut self) -> Result<Outcome, RunError> {
        let before = read_server(self.args.server_pid)?;
        self.began = monotonic_ns();
        let threads = self.start()?;
        let outcome = self.phases(before);
        self.control.stop.store(true, Ordering::Release);
        let mut measure = Measure::default();
        for thread in threads {
            match thread.join() {
                Ok(part) => measure.merge(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        let (connecting, server, window_seconds) = outcome?;
        if let Some(failure) = self.control.take_failure() {
            return Err(failure);
        }
        Ok(self.sum_up(measure, connecting, server, window_seconds))
    }

    fn start(&mut self) -> Result<Vec<JoinHandle<Measure>>, RunError> {
        let threads = self.args.threads;
        let mut shares: Vec<Vec<plan::Client>> = vec![Vec::new(); threads];
        for (index, client) in std::mem::take(&mut self.plan.clients).into_iter().enumerate() {
            shares[index % threads].push(client);
        }
        let symbols = Arc::new(self.plan.symbols.clone());
        let mut running = Vec::new();
        for (index, clients) in shares.into_iter().enumerate() {
            let engine = Engine::new(Setup {
                index,
                control: Arc::clone(&self.control),
                target: self.target.clone(),
                clients,
                symbols: Arc::clone(&symbols),
                dialect: Dialect::of(self.args),
                scanner: Scanner::new(self.args.stamp_format(), self.args.contiguous),
                stamp_clock: stamp_clock(self.args.stamp_clock),
                inflight: self.args.connect_inflight.div_ceil(threads),
                spin: self.args.spin,
                zero_mask: self.args.zero_mask,
                slow_rcvbuf: self.args.slow_rcvbuf,
                seed: self.args.seed,
                resume: self.args.resume,
                storm: self.args.storm > 0,
            })?;
            let name = format!("load-{index}");
            let thread = thread::Builder::new().name(name).spawn(move || engine.run());
            running.push(thread.map_err(|error| RunError::System("starting a thread", error))?);
        }
        Ok(running)
    }

    fn phases(
        &mut self,
        before: Option<Reading>,
    ) -> Result<(Connecting, Option<ServerSummary>, f64), RunError> {
        let connecting = self.connect()?;
        self.wait("settling", monotonic_ns() + nanos(self.args.settle))?;
        let connected = read_server(self.args.server_pid)?;
        let schedule = self.schedule();
        self.progress.window_start = Some(schedule.start);
        self.wait("warming up", schedule.start)?;
        let at_start = (read_server(self.args.server_pid)?, monotonic_ns());
        self.wait("measuring", schedule.end)?;
        let window_seconds = (monotonic_ns() - at_start.1) as f64 / 1e9;
        let at_end = read_server(self.args.server_pid)?;
        self.control.draining.store(true, Ordering::Release);
        self.wait("draining", monotonic_ns() + nanos(self.args.drain))?;
        let server = match (before, connected, at_start.0, at_end) {
            (Some(before), Some(connected), Some(start), Some(end)) => {
                Some(self.server(&before, &connected, &start, &end, window_seconds))
            }
            _ => None,
        };
        Ok((connecting, server, window_seconds))
    }

    fn connect(&mut self) -> Result<Connecting, RunError> {
        let clients = self.progress.clients;
        let deadline = self.began + nanos(self.args.connect_timeout);
        while self.control.subscribed.load(Ordering::Acquire) < clients {
            if monotonic_ns() > deadline {
                let subscribed = self.control.subscribed.load(Ordering::Acquire);
                return Err(RunError::Timeout {
                    subscribed,
                    clients,
                    seconds: self.args.connect_timeout.as_secs_f64(),
                });
            }
            self.look("connecting")?;
        }
        let seconds = (self.control.upgraded_at.load(Ordering::Relaxed).saturating_sub(self.began))
            as f64
            / 1e9;
        let subscribed_seconds = (monotonic_ns() - self.began) as f64 / 1e9;
        Ok(Connecting {
            clients,
            seconds,
            per_second: clients as f64 / seconds.max(1e-9),
            subscribed_seconds,
        })
    }

    fn schedule(&self) -> Schedule {
        let (warmup, duration) = (nanos(self.args.warmup), nanos(self.args.duration));
        let start = monotonic_ns() + warmup;
        let stamp_start = now_ns(stamp_clock(self.args.stamp_clock)) + warmup;
        let wanted = Schedule {
            stamp_start,
            stamp_end: stamp_start + duration,
            start,
            end: start + duration,
            storm: start + duration / 2,
            stamp_storm: stamp_start + duration / 2,
        };
        *self.control.schedule.get_or_init(|| wanted)
    }

    /// Waits and shows the progress.
    fn wait(&mut self, phase: &'static str, until: u64) -> Result<(), RunError> {
        while monotonic_ns() < until {
            self.look(phase)?;
        }
        Ok(())
    }

    fn look(&mut self, phase: &'static str) -> Result<(), RunError> {
        if self.control.stop.load(Ordering::Acquire)
            && let Some(failure) = self.control.take_failure()
        {
            return Err(failure);
        }
        self.progress.show(phase);
        #[expect(
            clippy::disallowed_methods,
            reason = "this thread only looks at the others now and then"
        )]
        thread::sleep(LOOK);
        Ok(())
    }

    fn server(
        &self,
        before: &Reading,
        connected: &Reading,
        start: &Reading,
        end: &Reading,
        seconds: f64,
    ) -> ServerSummary {
        let used = end.cpu.since(&start.cpu);
        let share = |ns: u64| ns as f64 / 1e9 / seconds;
        ServerSummary {
            pid: self.args.server_pid.unwrap_or_default(),
            cpu_seconds: used.server_ns as f64 / 1e9,
            generator_cpu_seconds: used.generator_ns as f64 / 1e9,
            cpu_us_per_delivery: None,
            threads: used
                .threads
                .into_iter()
                .map(|(name, ns)| (name, share(ns)))
                .filter(|(_, share)| *share >= 0.001)
                .collect(),
            resident_before: before.resident,
            resident_connected: connected.resident,
            resident_end: end.resident,
            bytes_per_connection: (connected.resident as f64 - before.resident as f64)
                / self.progress.clients as f64,
        }
    }

    fn storm(&self, measure: &Measure) -> Option<StormSummary> {
        let [before, during, after] = measure.groups[0].phases.as_slice() else { return None };
        let schedule = self.control.schedule.get()?;
        let over = self.control.storm_over.load(Ordering::Relaxed);
        let clients = measure.groups[Profile::Storm.group()].clients;
        Some(StormSummary::of(
            clients,
            clients - self.control.away.load(Ordering::Relaxed) as u64,
            (over != u64::MAX).then(|| over.saturating_sub(schedule.stamp_storm) as f64 / 1e9),
            [before, during, after].map(Latency::of),
        ))
    }

    fn sum_up(
        self,
        measure: Measure,
        connecting: Connecting,
        mut server: Option<ServerSummary>,
        window_seconds: f64,
    ) -> Outcome {
        let args = self.args;
        let reference = measure.all_streams();
        let groups: Vec<GroupSummary> = (measure.groups.iter().enumerate())
            .filter(|(_, group)| group.clients > 0)
            .map(|(index, group)| {
                GroupSummary::of(index, group, &reference, args.duration.as_secs_f64())
            })
            .collect();
        if let (Some(server), arrived @ 1..) = (&mut server, measure.arrived()) {
            server.cpu_us_per_delivery = Some(server.cpu_seconds * 1e6 / arrived as f64);
        }
        let threads: Vec<ThreadSummary> = measure.efforts.iter().map(ThreadSummary::of).collect();
        let mut summary = Summary {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            title: args.title.clone(),
            began_unix: self.began_unix,
            parameters: Parameters::of(args, self.plan.symbols.len()),
            connecting,
            window_seconds,
            reach_by_rate: None,
            storm: self.storm(&measure),
            groups,
            server,
            warnings: Vec::new(),
            threads,
            seconds: self.progress.seconds,
            failed: Vec::new(),
        };
        summary.reach_by_rate = reach_by_rate(args, &summary);
        summary.warnings = warnings(&summary);
        summary.judge(args);
        let latencies = Profile::GROUPS.into_iter().zip(measure.groups);
        let latencies = latencies
            .filter(|(_, group)| !group.latency.is_empty())
            .map(|(name, group)| (name, group.latency))
            .collect();
        Outcome { summary, latencies }
    }
}

/// The good clients' share of the feed: each gets the ticks of its symbols, and the feed spreads them evenly.
fn reach_by_rate(args: &Args, summary: &Summary) -> Option<f64> {
    let good = summary.good()?;
    let parameters = &summary.parameters;
    let share = parameters.per as f64 / parameters.symbols as f64;
    let expected = args.expect_rate? * parameters.duration * share * good.clients as f64;
    (expected > 0.0).then(|| good.deliveries as f64 / expected)
}

fn warnings(summary: &Summary) -> Vec<String> {
    let mut warnings: Vec<String> = summary
        .threads
        .iter()
        .enumerate()
        .filter_map(|(number, thread)| thread.warning(number, summary.parameters.spin))
        .collect();
    for group in &summary.groups {
        if group.stamped_ahead > 0 {
            warnings.push(format!(
                "{} clients: {} updates were stamped later than they arrived (counted as 0): the clocks differ",
                group.name, group.stamped_ahead
            ));
        }
        if group.unstamped > 0 && summary.parameters.stamps {
            warnings.push(format!(
                "{} clients: {} updates had no stamp and are in no latency",
                group.name, group.unstamped
            ));
        }
        if group.unnumbered > 0 {
            warnings.push(format!(
                "{} clients: {} updates had no seq and prev and were not checked",
                group.name, group.unnumbered
            ));
        }
        if group.name == "good"
            && group.deliveries == 0
            && group.bytes_per_second > 0.0
            && !summary.parameters.idle
        {
            warnings.push(
                "updates came, but none was stamped within the window: is the feed a replay with original times? (try --stamp recv)".to_string(),
            );
        }
        let closed: u64 = group.closes.values().sum();
        if group.name == "good" && closed > 0 {
            warnings.push(format!("{closed} good clients were closed by the server"));
        }
    }
    warnings
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4)
}
