//! The wiring: feeds, ingest, reactors and the control plane, from start to end.

mod doors;
mod markets;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use parking_lot::Mutex;
use rustix::thread::{CpuSet, sched_setaffinity};
use tickcast_feeds::feed::Feed;
use tickcast_feeds::lines::{self, Inbox};
use tickcast_feeds::record::Recorder;
use tickcast_feeds::spec::LinesSource;
use tickcast_feeds::{FeedSpec, Instruments, LinesSpec};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::access::{self, Access};
use crate::budget::Budget;
use crate::clock;
use crate::config::{Config, SlowConsumer};
use crate::drill::Drill;
use crate::http::{self, Plane};
use crate::ingest::Ingest;
use crate::logging::Filter;
use crate::reactor::{Command, Hub, Others, Settings};
use crate::record;
use crate::trace::{Traces, otlp};
use doors::Doors;
use markets::{Delayed, Floor};

/// Runs the server until SIGINT or SIGTERM, then drains it.
///
/// # Errors
/// What keeps it from starting: a feed that cannot be opened, an address that cannot be listened
/// on.
pub fn run(config: Config, filter: Filter) -> anyhow::Result<()> {
    let instruments = Arc::new(Instruments::new());
    let (feeds, inbox) = open_feeds(&config, &instruments)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, serve(config, filter, instruments, feeds, inbox))
}

/// Opens what the configuration names: the feeds, and the one `publish` with where to hand in, if anybody may.
pub(crate) type Feeds = (Vec<Box<dyn Feed>>, Option<(LinesSpec, Inbox)>);

pub(crate) fn open_feeds(config: &Config, instruments: &Arc<Instruments>) -> anyhow::Result<Feeds> {
    let mut published = None;
    let open = |spec: &FeedSpec| match spec.clone() {
        FeedSpec::Lines(spec) if spec.source == LinesSource::Publish => {
            let (inbox, feed) = lines::inbox(spec.clone(), instruments);
            published = Some((spec, inbox));
            Ok(feed)
        }
        spec => Ok(spec.open(instruments)?),
    };
    let feeds = config.feeds.iter().map(open).collect::<anyhow::Result<_>>()?;
    Ok((feeds, published))
}

async fn serve(
    config: Config,
    filter: Filter,
    instruments: Arc<Instruments>,
    feeds: Vec<Box<dyn Feed>>,
    published: Option<(LinesSpec, Inbox)>,
) -> anyhow::Result<()> {
    // Signals count from here on: one during the start is not lost.
    let mut stop = stop_signals()?;
    let access = match &config.access {
        Some(path) => Access::load(path).context("--access")?,
        None => Access::open(),
    };
    let doors = Doors::open(&config, &access)?;
    let recorder = record::start(&config.record)?;
    // Resolves when something has ended that the server cannot do without: all reactors of a market, or an ingest.
    let (alive, mut ended) = mpsc::channel(1);
    let others = markets::others(&config, &access);
    let (live, producer) =
        Floor::open(&config, new_hub(&config, &access, &instruments, &others), &alive)?;
    let delayed = Delayed::start(&config, &access, &live, &alive)?;
    let taps = recorder.as_ref().map(Recorder::taps);
    let (writer, ends) = (live.state.writer(), Ends(alive));
    let ingest = Ingest::start(&live.hub, producer, writer, feeds, taps.as_ref(), ends)?;
    let plane = Rc::new(Plane {
        live: live.market(&config, &ingest),
        delayed: delayed.as_ref().map_or(Vec::new(), |delayed| delayed.markets(&config)),
        spool: delayed.as_ref().map(Delayed::spool),
        feeds: ingest.feeds.clone(),
        ingest: ingest.report.clone(),
        to_ring: ingest.to_ring.clone(),
        certificates: doors.certificates.clone(),
        recording: recorder.as_ref().map(Recorder::stats),
        started: Instant::now(),
        admin: config.admin.clone().map(|admin| http::admin::Door::new(admin, filter)),
        max_clients: config.max_clients,
        addresses: http::addresses::Addresses::new(config.addresses.clone()),
        proxies: http::proxies::Proxies::new(config.proxies.clone()),
        handshake_timeout: config.handshake_timeout,
        max_handshakes: config.max_handshakes,
        echoes: config.echo,
        draining: AtomicBool::new(false),
        counters: http::Counters::default(),
        rates: Mutex::default(),
        publish: config.publish_token.clone().zip(published).map(|(token, (spec, inbox))| {
            http::Door::new(
                token,
                inbox,
                spec.publishers,
                [config.ping_interval, config.ping_timeout],
            )
        }),
    });
    access::remote::first(&access).await;
    doors.announce();
    let mut accepting = doors.accept(&plane);
    yield_to_reactors();
    if let Some(collector) = config.traced.collector.clone() {
        tokio::task::spawn_local(otlp::export(live.hub.traces.clone(), collector));
    }

    tokio::select! {
        name = signalled(&mut stop) => tracing::info!(signal = name, "draining"),
        // Clients are told to come back, to a server that is whole.
        _ = ended.recv() => tracing::error!("the ingest or the last reactor ended, draining"),
        () = drain_wanted(&plane) => tracing::info!("draining"),
    }
    plane.draining.store(true, Ordering::Relaxed);
    accepting.no_more_clients();
    if let Some(door) = &plane.publish {
        door.close().await;
    }
    let hubs = std::iter::once(&live.hub).chain(delayed.iter().flat_map(Delayed::hubs)).cloned();
    drain(&hubs.collect::<Vec<_>>(), config.drain_deadline, &mut stop).await;
    if let Some(door) = &plane.admin {
        door.close().await;
    }
    let mut whole = ingest.stop();
    if let Some(recorder) = recorder {
        recorder.close();
    }
    if let Some(delayed) = delayed {
        whole &= delayed.close()?;
    }
    live.close()?;
    anyhow::ensure!(whole, "a thread of the ingest panicked");
    tracing::info!("stopped");
    Ok(())
}

/// Waits until an operator wants the server to drain, if there are operators.
async fn drain_wanted(plane: &Plane) {
    match &plane.admin {
        Some(door) => door.drain_wanted().await,
        None => std::future::pending().await,
    }
}

/// What all threads of the live market share.
pub(crate) fn new_hub(
    config: &Config,
    access: &Arc<Access>,
    instruments: &Arc<Instruments>,
    others: &Arc<Others>,
) -> Arc<Hub> {
    Arc::new(Hub {
        access: access.clone(),
        budget: Budget::new(config.memory_budget),
        settings: settings(config),
        epoch: epoch(),
        delay_ms: 0,
        others: others.clone(),
        instruments: instruments.clone(),
        paced: AtomicBool::new(false),
        subscribers: Arc::new(AtomicUsize::new(0)),
        traces: Arc::new(Traces::new(config.traced.sample, config.traced.collector.is_some())),
        links: markets::links(others, 0),
    })
}

/// Tells that its thread has ended, also by a panic.
#[derive(Debug)]
struct Ends(mpsc::Sender<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        // Full: somebody has told already.
        let _ = self.0.try_send(());
    }
}

/// Where the control plane shares a core with a reactor, a storm of handshakes must not hold up the
/// ticks of those who are connected. Only this thread: the others have been started.
fn yield_to_reactors() {
    // More politeness needs no privilege; without it all is well, only less so.
    let _ = rustix::process::setpriority_process(None, CONTROL_NICE);
}

/// Niceness of the control plane: a tenth of a reactor's share of a core they compete for.
const CONTROL_NICE: i32 = 10;

fn settings(config: &Config) -> Settings {
    let ms = |duration: Duration| duration.as_millis() as u64;
    Settings {
        outbox_bytes: config.outbox_bytes,
        max_age_ns: config.max_age.as_nanos() as u64,
        conflate: config.slow_consumer == SlowConsumer::Conflate,
        slow_grace_ms: ms(config.slow_grace),
        max_subscriptions: config.max_subscriptions,
        request_rate: config.request_rate.get(),
        max_message_bytes: config.max_message_bytes,
        compress: config.compress,
        ping_interval_ms: ms(config.ping_interval),
        ping_timeout_ms: ms(config.ping_timeout),
        drain_spread_ms: [ms(config.drain_spread.from), ms(config.drain_spread.to)],
        drill: Drill::from_env(),
    }
}

/// Differs from one start to the next.
fn epoch() -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut millis = clock::real_ns() / 1_000_000;
    let mut text = Vec::new();
    while millis > 0 {
        text.push(char::from(DIGITS[(millis % 36) as usize]));
        millis /= 36;
    }
    text.iter().rev().collect()
}

fn pin(core: Option<usize>) {
    let Some(core) = core else { return };
    let mut set = CpuSet::new();
    set.set(core);
    if let Err(error) = sched_setaffinity(None, &set) {
        tracing::warn!(core, %error, "cannot bind a reactor to its core");
    }
}

/// The signals that end the process in order.
pub(crate) fn stop_signals() -> std::io::Result<[Signal; 2]> {
    Ok([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?])
}

/// Waits for a signal to stop; its name.
pub(crate) async fn signalled(stop: &mut [Signal; 2]) -> &'static str {
    let [terminate, interrupt] = stop;
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// Tells every client to come back later and waits for them to go, until the deadline or a
/// second signal.
async fn drain(hubs: &[Arc<Hub>], deadline: Duration, stop: &mut [Signal; 2]) {
    let links = || hubs.iter().flat_map(|hub| &hub.links);
    for link in links() {
        link.send(Command::Drain);
    }
    let clients = || links().map(|link| link.sessions.load(Ordering::Relaxed)).sum::<usize>();
    let gone = async {
        while clients() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = gone => {}
        () = tokio::time::sleep(deadline) => tracing::warn!(clients = clients(), "drain deadline passed"),
        name = signalled(stop) => tracing::warn!(clients = clients(), signal = name, "drain cut short"),
    }
}
