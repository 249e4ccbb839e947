//! What a reactor shares with the rest of the process: settings, its mailbox, its bell, its report.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crossbeam::queue::SegQueue;
use crossbeam::utils::CachePadded;
use parking_lot::Mutex;
use tickcast_feeds::Instruments;
use tokio::sync::oneshot;

use super::asked::{Closed, Goodbye, Wanted};
use super::wake::Wake;
use crate::access::{Access, Held};
use crate::budget::Budget;
use crate::clock;
use crate::drill::Drill;
use crate::http::addresses::Place;
use crate::session::Dialect;
use crate::session::resume::Start;
use crate::stats::{ConnectionInfo, Report, SessionId};
use crate::trace::Traces;
use crate::transport::{Detached, Peer};
use crate::wire::form::Form;
use crate::wire::request::Target;

/// What the reactors are told at the start.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) outbox_bytes: usize,
    pub(crate) max_age_ns: u64,
    /// Clients that fall behind are moved to conflated delivery, unless they asked for every tick.
    pub(crate) conflate: bool,
    pub(crate) slow_grace_ms: u64,
    pub(crate) max_subscriptions: usize,
    pub(crate) request_rate: u32,
    pub(crate) max_message_bytes: usize,
    /// Clients that offer it get permessage-deflate.
    pub(crate) compress: bool,
    pub(crate) ping_interval_ms: u64,
    pub(crate) ping_timeout_ms: u64,
    pub(crate) drain_spread_ms: [u64; 2],
    /// The faults that clients may provoke.
    pub(crate) drill: Option<Drill>,
}

/// By delay in milliseconds, the reactors of each market.
pub(crate) type Others = Vec<(u64, Vec<Arc<Link>>)>;

/// What all reactors of a market share.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) settings: Settings,
    /// Changes when the server restarts: sequences of another epoch do not go on.
    pub(crate) epoch: String,
    /// How much later than it comes this market sees what there is; 0 where it is not delayed.
    pub(crate) delay_ms: u64,
    /// The reactors of all markets.
    pub(crate) others: Arc<Others>,
    pub(crate) instruments: Arc<Instruments>,
    /// Who may see what.
    pub(crate) access: Arc<Access>,
    /// What all clients may make the server hold.
    pub(crate) budget: Arc<Budget>,
    /// A feed paces itself on the reactors: they in turn wait for clients that keep reading.
    pub(crate) paced: AtomicBool,
    /// Clients with at least one subscription, on all reactors.
    pub(crate) subscribers: Arc<AtomicUsize>,
    pub(crate) links: Vec<Arc<Link>>,
    /// Ticks of a sample on their way.
    pub(crate) traces: Arc<Traces>,
}

impl Hub {
    /// How long ago something came, less what this market is delayed by.
    pub(crate) fn age_ns(&self, recv_ns: u64) -> u64 {
        clock::real_ns().saturating_sub(recv_ns.saturating_add(self.delay_ms * 1_000_000))
    }
}

/// What other threads see of one reactor.
#[derive(Debug, Default)]
pub(crate) struct Link {
    pub(crate) id: usize,
    pub(crate) wake: Wake,
    pub(crate) mailbox: SegQueue<Command>,
    /// Ring position that it has dealt with.
    pub(crate) position: CachePadded<AtomicU64>,
    /// Sessions, those on the way to it included.
    pub(crate) sessions: AtomicUsize,
    pub(crate) report: Mutex<Report>,
    /// It has panicked, and serves nobody any more.
    pub(crate) failed: AtomicBool,
}

impl Link {
    pub(crate) fn new(id: usize) -> Self {
        // The number must be there before the reactor's first report, or two have the same.
        let report = Mutex::new(Report { reactor: id, ..Report::default() });
        Link { id, report, ..Link::default() }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    pub(crate) fn send(&self, command: Command) {
        self.mailbox.push(command);
        self.wake.knock();
    }
}

/// The reactor with the fewest sessions, so that they are spread evenly; `None` when all have failed.
pub(crate) fn least_busy(links: &[Arc<Link>]) -> Option<Arc<Link>> {
    let living = links.iter().filter(|link| !link.has_failed());
    living.min_by_key(|link| link.sessions.load(Ordering::Relaxed)).cloned()
}

/// What the control plane asks of a reactor.
#[derive(Debug)]
pub(crate) enum Command {
    /// A connection that was upgraded.
    Adopt(Box<Adopt>),
    /// Who is connected.
    Connections(Wanted, oneshot::Sender<Vec<ConnectionInfo>>),
    /// Close one of them.
    Close(SessionId, Goodbye, oneshot::Sender<Closed>),
    /// Close all sessions with 1012.
    Drain,
    /// End the thread.
    Stop,
}

/// A connection after its upgrade.
#[derive(Debug)]
pub(crate) struct Adopt {
    pub(crate) stream: Detached,
    pub(crate) peer: Peer,
    /// Its address's place.
    pub(crate) place: Place,
    /// What it may see.
    pub(crate) grant: Held,
    /// It has not said who it is, and has so many milliseconds to do so.
    pub(crate) anonymous_ms: Option<u64>,
    pub(crate) dialect: Dialect,
    /// In which form it is told things.
    pub(crate) form: Form,
    /// What its URL asks for.
    pub(crate) streams: Vec<String>,
    /// Bytes that came right behind the handshake.
    pub(crate) early: Vec<u8>,
    /// What it is told first.
    pub(crate) greeting: Vec<u8>,
    /// What it had left of its rate of requests where it was before, in thousandths.
    pub(crate) tokens: Option<i32>,
    /// Of a stream of events: how it begins.
    pub(crate) events: Option<Box<Stream>>,
}

/// How a stream of server-sent events begins.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The head of the HTTP response.
    pub(crate) head: Vec<u8>,
    pub(crate) targets: Vec<Target>,
    /// Where the client was before.
    pub(crate) start: Start,
}
