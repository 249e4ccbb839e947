//! The epoll loop of one thread: connects, reads, and does what each client's profile asks for.

mod io;
mod life;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::time::{ClockId, Timespec};

use crate::RunError;
use crate::client::{Phase, Session, SessionError, upgrade_request};
use crate::control::{Control, Schedule, monotonic_ns, now_ns};
use crate::measure::{ABNORMAL, Arrival, Effort, Measure};
use crate::message::Scanner;
use crate::plan::{Client, Dialect, Profile, Random};
use crate::server::own_runqueue_ns;
use crate::socket;
use crate::target::Target;

/// Bytes of the buffer that all connections of a thread are read into.
const BUFFER: usize = 1 << 20;
/// Bytes taken by one read at most, so that one client cannot make the others wait.
const READ: usize = 256 << 10;
/// Events taken by one wait at most.
const EVENTS: usize = 1024;
/// Connections opened in one turn at most: each takes about 15 µs, during which nobody is read.
const OPENS_PER_TURN: usize = 32;
/// Connections dropped in one turn at most: each takes about 10 µs.
const DROPS_PER_TURN: usize = 32;
/// The longest wait, so that the schedule and the stop are noticed.
const LONGEST_WAIT_NS: u64 = 20_000_000;
/// A slow client reads this often.
const SLOW_INTERVAL_NS: u64 = 50_000_000;
/// A leaving client waits this long for the server's close.
const CLOSE_DEADLINE_NS: u64 = 1_000_000_000;
/// After a failed attempt to come back, the next one.
const RETRY_NS: u64 = 100_000_000;

/// How a connection is handled at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// There is none.
    Away,
    /// The connect is under way.
    Connecting,
    /// What comes is read.
    Reading,
    /// Nothing is read; the kernel says when the server gives up.
    Stalled,
    /// A bit is read every [`SLOW_INTERVAL_NS`].
    Slow,
    /// A stalled one reads what is left, to learn how the server took its leave. Nothing of it is measured.
    Remains,
}

struct Peer {
    client: Client,
    socket: Option<OwnedFd>,
    session: Session,
    /// The beginning of a frame whose rest is yet to come.
    carry: Vec<u8>,
    mode: Mode,
    /// Tells events and timers of this connection from those of the one before it.
    life: u32,
    /// Whether it has ever been subscribed.
    known: bool,
    /// When it left or was dropped, to come back.
    left_at: Option<u64>,
    /// Snapshots that make it whole again when it comes back.
    owed: usize,
    interest: EventFlags,
    stage: Stage,
}

/// How far a connection is, for the counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    None,
    /// Between connect and subscription.
    Opening,
    /// Subscribed.
    Open,
}

/// Everything that a thread needs to begin.
pub(crate) struct Setup {
    pub(crate) index: usize,
    pub(crate) control: Arc<Control>,
    pub(crate) target: Target,
    pub(crate) clients: Vec<Client>,
    pub(crate) symbols: Arc<Vec<String>>,
    pub(crate) dialect: Dialect,
    pub(crate) scanner: Scanner,
    pub(crate) stamp_clock: ClockId,
    pub(crate) inflight: usize,
    pub(crate) spin: bool,
    pub(crate) zero_mask: bool,
    pub(crate) slow_rcvbuf: Option<usize>,
    pub(crate) seed: u64,
    /// Who comes back resumes.
    pub(crate) resume: bool,
    /// Whether there will be a storm, in this thread or another.
    pub(crate) storm: bool,
}

/// One thread's loop.
pub(crate) struct Engine {
    setup: Setup,
    epoll: OwnedFd,
    peers: Vec<Peer>,
    /// Who is to be connected, in order.
    to_open: VecDeque<usize>,
    /// Who is to be dropped by the storm.
    to_drop: VecDeque<usize>,
    /// Who is between connect and subscription.
    opening: usize,
    /// Who is subscribed.
    open: usize,
    timers: BinaryHeap<Reverse<(u64, usize, u32)>>,
    buffer: Vec<u8>,
    measure: Measure,
    effort: Effort,
    busy_ns: u64,
    random: Random,
    storm_over: bool,
    drained: bool,
}

/// Where the own effort stood when the window began.
struct EffortStart {
    at: u64,
    cpu_ns: u64,
    busy_ns: u64,
    runqueue_ns: u64,
}

impl Engine {
    /// Opens the epoll instance; connects nobody yet.
    pub(crate) fn new(mut setup: Setup) -> Result<Engine, RunError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|error| RunError::System("epoll_create", error.into()))?;
        let mut random = Random::new(setup.seed ^ ((setup.index as u64 + 1) << 48));
        let peers: Vec<Peer> = std::mem::take(&mut setup.clients)
            .into_iter()
            .map(|client| Peer {
                session: Session::new(
                    client.streams(),
                    if setup.zero_mask { [0; 4] } else { (random.number() as u32).to_ne_bytes() },
                ),
                client,
                socket: None,
                carry: Vec::new(),
                mode: Mode::Away,
                life: 0,
                known: false,
                left_at: None,
                owed: 0,
                interest: EventFlags::empty(),
                stage: Stage::None,
            })
            .collect();
        let mut measure = Measure::default();
        if setup.storm {
            measure.groups[Profile::Good.group()].expect_storm();
        }
        Ok(Engine {
            epoll,
            to_open: (0..peers.len()).collect(),
            to_drop: VecDeque::new(),
            peers,
            opening: 0,
            open: 0,
            timers: BinaryHeap::new(),
            buffer: vec![0; BUFFER],
            measure,
            effort: Effort::default(),
            busy_ns: 0,
            random,
            storm_over: false,
            drained: false,
            setup,
        })
    }

    /// Runs until the control says stop.
    pub(crate) fn run(mut self) -> Measure {
        let control = Arc::clone(&self.setup.control);
        let mut events = Vec::with_capacity(EVENTS);
        let mut effort_start = None;
        let mut measured = false;
        let mut turn_began = monotonic_ns();
        let mut worked = false;
        while !control.stop.load(Ordering::Acquire) {
            if let Some(schedule) = control.schedule.get() {
                self.scheduled(schedule, turn_began, &mut effort_start, &mut measured);
            }
            worked |= self.fire(turn_began);
            worked |= self.drop_more(turn_began);
            worked |= self.open_more(turn_began);
            let before_wait = monotonic_ns();
            if worked {
                self.busy_ns += before_wait - turn_began;
                if effort_start.is_some() && !measured {
                    self.effort.turns.saturating_record(before_wait - turn_began);
                }
            }
            self.report_progress();
            events.clear();
            // A signal interrupts the wait; the next turn does what this one would have.
            let timeout = self.timeout(before_wait);
            let _ = epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&timeout),
            );
            turn_began = monotonic_ns();
            let schedule = control.schedule.get();
            for event in &events {
                // Copied out: the kernel's struct is packed.
                let (data, flags) = (event.data, event.flags);
                self.event(data.u64(), flags, schedule);
            }
            worked = !events.is_empty();
        }
        self.finish()
    }

    /// What the schedule asks for at this time.
    fn scheduled(
        &mut self,
        schedule: &Schedule,
        now: u64,
        start: &mut Option<EffortStart>,
        measured: &mut bool,
    ) {
        if start.is_none() && now >= schedule.start {
            *start = Some(EffortStart {
                at: now,
                cpu_ns: now_ns(ClockId::ThreadCPUTime),
                busy_ns: self.busy_ns,
                runqueue_ns: own_runqueue_ns(),
            });
            self.effort.reads = 0;
        }
        if let Some(start) = start
            && !*measured
            && now >= schedule.end
        {
            *measured = true;
            self.effort.wall_ns = now - start.at;
            self.effort.cpu_ns = now_ns(ClockId::ThreadCPUTime).saturating_sub(start.cpu_ns);
            self.effort.busy_ns = self.busy_ns - start.busy_ns;
            self.effort.runqueue_ns = own_runqueue_ns().saturating_sub(start.runqueue_ns);
        }
        if !self.storm_over && now >= schedule.storm {
            self.storm_over = true;
            self.storm();
        }
        if !self.drained && self.setup.control.draining.load(Ordering::Acquire) {
            self.drained = true;
            for index in 0..self.peers.len() {
                if matches!(self.peers[index].mode, Mode::Stalled | Mode::Slow) {
                    self.read_remains(index);
                }
            }
        }
    }

    fn timeout(&self, now: u64) -> Timespec {
        let wait = match self.timers.peek() {
            _ if self.setup.spin
                || !self.to_drop.is_empty()
                || (!self.to_open.is_empty() && self.may_open()) =>
            {
                0
            }
            Some(Reverse((due, ..))) => due.saturating_sub(now).min(LONGEST_WAIT_NS),
            None => LONGEST_WAIT_NS,
        };
        Timespec { tv_sec: 0, tv_nsec: wait as _ }
    }

    fn fire(&mut self, now: u64) -> bool {
        let mut fired = false;
        while let Some(&Reverse((due, index, life))) = self.timers.peek() {
            if due > now {
                break;
            }
            self.timers.pop();
            if self.peers[index].life == life {
                self.timer(index, now);
                fired = true;
            }
        }
        fired
    }

    fn timer(&mut self, index: usize, now: u64) {
        let peer = &mut self.peers[index];
        match (peer.mode, peer.client.profile) {
            (Mode::Away, _) => self.to_open.push_back(index),
            (Mode::Slow, Profile::Slow(rate)) => {
                self.timers.push(Reverse((now + SLOW_INTERVAL_NS, index, peer.life)));
                // Rates below one byte per interval are rounded up to it.
                let allowance = (rate * SLOW_INTERVAL_NS / 1_000_000_000).max(1) as usize;
                let control = Arc::clone(&self.setup.control);
                self.read(index, allowance, control.schedule.get());
            }
            (Mode::Reading, Profile::Churn(_)) if peer.session.closing() => {
                self.come_back(index, now)
            }
            (Mode::Reading, Profile::Churn(_)) => {
                peer.session.close();
                peer.left_at = Some(now);
                self.timers.push(Reverse((now + CLOSE_DEADLINE_NS, index, peer.life)));
                self.flush(index);
            }
            _ => {}
        }
    }

    fn report_progress(&mut self) {
        let progress = &self.setup.control.progress[self.setup.index];
        let [good, others @ ..] = &self.measure.groups;
        progress.updates.store(good.updates, Ordering::Relaxed);
        progress
            .other_updates
            .store(others.iter().map(|group| group.updates).sum(), Ordering::Relaxed);
        progress.gaps.store(good.gaps, Ordering::Relaxed);
        progress.busy_ns.store(self.busy_ns, Ordering::Relaxed);
        progress.open.store(self.open, Ordering::Relaxed);
        progress.worst_ns.fetch_max(std::mem::take(&mut self.measure.worst_ns), Ordering::Relaxed);
    }

    /// Says goodbye to whoever is left and adds up the streams.
    fn finish(mut self) -> Measure {
        for index in 0..self.peers.len() {
            let peer = &mut self.peers[index];
            let group = &mut self.measure.groups[peer.client.profile.group()];
            group.clients += 1;
            if peer.stage == Stage::Open {
                group.open += 1;
                peer.session.close();
            }
            if let Some(streams) = &peer.session.streams {
                group.streams.add(streams);
            }
            self.flush(index);
        }
        self.measure.efforts.push(self.effort);
        self.measure
    }
}

fn token(index: usize, life: u32) -> u64 {
    index as u64 | (u64::from(life) << 32)
}
