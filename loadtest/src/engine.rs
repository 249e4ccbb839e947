//! The epoll loop of one thread: connects, reads, and does what each client's profile asks for.

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
use crate::args::Target;
use crate::client::{Phase, Session, SessionError, upgrade_request};
use crate::control::{Control, Schedule, monotonic_ns, now_ns};
use crate::measure::{ABNORMAL, Arrival, Effort, Measure};
use crate::message::Scanner;
use crate::plan::{Client, Dialect, Profile, Random};
use crate::server::own_runqueue_ns;
use crate::socket;

/// Bytes of the buffer that all connections of a thread are read into.
const BUFFER: usize = 1 << 20;
/// Bytes taken by one read at most, so that one client cannot make the others wait.
const READ: usize = 256 << 10;
/// Events taken by one wait at most.
const EVENTS: usize = 1024;
/// Connections opened in one turn at most: each takes about 15 µs, during which nobody is read.
const OPENS_PER_TURN: usize = 32;
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
}

/// One thread's loop.
pub(crate) struct Engine {
    setup: Setup,
    epoll: OwnedFd,
    peers: Vec<Peer>,
    /// Who is to be connected, in order.
    to_open: VecDeque<usize>,
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
                interest: EventFlags::empty(),
                stage: Stage::None,
            })
            .collect();
        Ok(Engine {
            epoll,
            to_open: (0..peers.len()).collect(),
            peers,
            opening: 0,
            open: 0,
            timers: BinaryHeap::new(),
            buffer: vec![0; BUFFER],
            measure: Measure::default(),
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
            self.storm(now);
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

    fn storm(&mut self, now: u64) {
        for index in 0..self.peers.len() {
            if self.peers[index].client.profile == Profile::Storm
                && self.peers[index].socket.is_some()
            {
                self.drop_connection(index);
                self.peers[index].left_at = Some(now);
                self.to_open.push_back(index);
            }
        }
    }

    fn timeout(&self, now: u64) -> Timespec {
        let wait = match self.timers.peek() {
            _ if self.setup.spin || (!self.to_open.is_empty() && self.may_open()) => 0,
            Some(Reverse((due, ..))) => due.saturating_sub(now).min(LONGEST_WAIT_NS),
            None => LONGEST_WAIT_NS,
        };
        Timespec { tv_sec: 0, tv_nsec: wait as _ }
    }

    /// The first connects are limited; whoever comes back does so at once.
    fn may_open(&self) -> bool {
        self.opening < self.setup.inflight
            || self.to_open.front().is_some_and(|&index| self.peers[index].known)
    }

    fn open_more(&mut self, now: u64) -> bool {
        for opened in 0..OPENS_PER_TURN {
            if !self.may_open() {
                return opened > 0;
            }
            let Some(index) = self.to_open.pop_front() else { return opened > 0 };
            self.open_one(index, now);
        }
        true
    }

    fn set_stage(&mut self, index: usize, stage: Stage) {
        let before = std::mem::replace(&mut self.peers[index].stage, stage);
        for (which, count) in [(Stage::Opening, &mut self.opening), (Stage::Open, &mut self.open)] {
            *count += usize::from(stage == which);
            *count -= usize::from(before == which);
        }
    }

    fn open_one(&mut self, index: usize, now: u64) {
        let peer = &mut self.peers[index];
        peer.carry.clear();
        peer.session.restart();
        let rcvbuf = match peer.client.profile {
            Profile::Stalled | Profile::Slow(_) => self.setup.slow_rcvbuf,
            _ => None,
        };
        let opened = socket::connect(self.setup.target.address, peer.client.source, rcvbuf)
            .and_then(|socket| {
                epoll::add(
                    &self.epoll,
                    &socket,
                    EventData::new_u64(token(index, peer.life)),
                    EventFlags::OUT,
                )?;
                Ok(socket)
            });
        match opened {
            Ok(socket) => {
                peer.socket = Some(socket);
                peer.mode = Mode::Connecting;
                peer.interest = EventFlags::OUT;
                self.set_stage(index, Stage::Opening);
            }
            Err(error) => self.not_opened(
                index,
                RunError::Connect(self.setup.target.address, error.into()),
                now,
            ),
        }
    }

    /// A client that does not get in: fatal the first time, tried again when it comes back.
    fn not_opened(&mut self, index: usize, error: RunError, now: u64) {
        self.drop_connection(index);
        let peer = &self.peers[index];
        if peer.known {
            self.measure.groups[peer.client.profile.group()].failures += 1;
            self.timers.push(Reverse((now + RETRY_NS, index, peer.life)));
        } else {
            self.setup.control.fail(error);
        }
    }

    /// Closes at once, with a reset (see [`socket::connect`]). Events and timers of this connection are void from here on.
    fn drop_connection(&mut self, index: usize) {
        self.set_stage(index, Stage::None);
        let peer = &mut self.peers[index];
        peer.socket = None;
        peer.mode = Mode::Away;
        peer.life = peer.life.wrapping_add(1);
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

    fn come_back(&mut self, index: usize, now: u64) {
        self.drop_connection(index);
        self.peers[index].left_at.get_or_insert(now);
        self.to_open.push_back(index);
    }

    fn event(&mut self, token: u64, flags: EventFlags, schedule: Option<&Schedule>) {
        let (index, life) = ((token & 0xffff_ffff) as usize, (token >> 32) as u32);
        if self.peers[index].life != life || self.peers[index].socket.is_none() {
            return;
        }
        match self.peers[index].mode {
            Mode::Connecting => self.connected(index),
            Mode::Reading | Mode::Remains => {
                if flags.contains(EventFlags::OUT) {
                    self.flush(index);
                }
                if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                    self.read(index, READ, schedule);
                }
            }
            Mode::Stalled => self.read_remains(index),
            Mode::Slow => {
                // It goes on reading at its pace and finds the end for itself; asking the kernel again would spin.
                if let Some(socket) = &self.peers[index].socket {
                    let _ = epoll::delete(&self.epoll, socket);
                }
            }
            Mode::Away => {}
        }
    }

    fn connected(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        let Some(socket) = &peer.socket else { return };
        if let Ok(Err(error)) | Err(error) = rustix::net::sockopt::socket_error(socket) {
            let error = RunError::Connect(self.setup.target.address, error.into());
            return self.not_opened(index, error, monotonic_ns());
        }
        peer.mode = Mode::Reading;
        let request = upgrade_request(&self.setup.target.host, &self.setup.target.path);
        peer.session.out.extend_from_slice(request.as_bytes());
        self.flush(index);
    }

    /// Sends what there is to send, and asks for the next chance when not all of it goes.
    fn flush(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        let Some(socket) = &peer.socket else { return };
        while !peer.session.out.is_empty() {
            match rustix::net::send(
                socket,
                &peer.session.out,
                SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
            ) {
                Ok(sent) => drop(peer.session.out.drain(..sent)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // The connection is gone; reading says how.
                Err(_) => peer.session.out.clear(),
            }
        }
        if peer.session.out.is_empty() {
            peer.session.out.shrink_to(256);
        }
        let mut interest = if peer.mode == Mode::Stalled || peer.mode == Mode::Slow {
            EventFlags::RDHUP
        } else {
            EventFlags::IN
        };
        interest.set(EventFlags::OUT, !peer.session.out.is_empty());
        if interest != peer.interest {
            peer.interest = interest;
            let data = EventData::new_u64(token(index, peer.life));
            // A slow client may have been taken out (see `event`).
            if epoll::modify(&self.epoll, socket, data, interest) == Err(Errno::NOENT) {
                let _ = epoll::add(&self.epoll, socket, data, interest);
            }
        }
    }

    fn read_remains(&mut self, index: usize) {
        self.peers[index].mode = Mode::Remains;
        self.flush(index);
    }

    fn read(&mut self, index: usize, limit: usize, schedule: Option<&Schedule>) {
        let peer = &mut self.peers[index];
        let Some(socket) = &peer.socket else { return };
        let carried = peer.carry.len();
        if self.buffer.len() < carried + READ {
            self.buffer.resize(carried + READ, 0);
        }
        self.buffer[..carried].copy_from_slice(&peer.carry);
        let received = rustix::net::recv(
            socket,
            &mut self.buffer[carried..carried + limit.min(READ)],
            RecvFlags::DONTWAIT,
        );
        let length = match received {
            Err(Errno::AGAIN | Errno::INTR) => return,
            Ok((0, _)) | Err(_) => return self.ended(index, ABNORMAL),
            Ok((length, _)) => carried + length,
        };
        let now = now_ns(self.setup.stamp_clock);
        self.effort.reads += 1;
        let at = match schedule {
            Some(schedule) if peer.mode != Mode::Remains => {
                Arrival { now_ns: now, start_ns: schedule.stamp_start, end_ns: schedule.stamp_end }
            }
            _ => Arrival::unmeasured(now),
        };
        peer.carry.clear();
        let before = peer.session.phase();
        let result = advance(peer, &self.buffer[..length], &self.setup, &at, &mut self.measure);
        let after = peer.session.phase();
        if let Err(error) = result {
            return self.broken(index, error);
        }
        if before == Phase::Upgrading && after != Phase::Upgrading && !peer.known {
            self.setup.control.upgraded.fetch_add(1, Ordering::Relaxed);
            self.setup.control.upgraded_at.fetch_max(monotonic_ns(), Ordering::Relaxed);
        }
        if before != Phase::Live && after == Phase::Live {
            self.live(index);
        }
        if !self.peers[index].session.out.is_empty() {
            self.flush(index);
        }
        if let Phase::Closed(code) = after {
            self.ended(index, code);
        }
    }

    /// A client is subscribed.
    fn live(&mut self, index: usize) {
        self.set_stage(index, Stage::Open);
        let now = monotonic_ns();
        let peer = &mut self.peers[index];
        let group = &mut self.measure.groups[peer.client.profile.group()];
        if let Some(left_at) = peer.left_at.take() {
            group.reconnects += 1;
            group.recovery.saturating_record(now.saturating_sub(left_at));
        }
        if !peer.known {
            peer.known = true;
            self.setup.control.subscribed.fetch_add(1, Ordering::Release);
        }
        match peer.client.profile {
            Profile::Good | Profile::Storm => {}
            Profile::Stalled => {
                peer.mode = Mode::Stalled;
                self.flush(index);
            }
            Profile::Slow(_) => {
                peer.mode = Mode::Slow;
                self.timers.push(Reverse((now + SLOW_INTERVAL_NS, index, peer.life)));
                self.flush(index);
            }
            Profile::Churn(period) => {
                // Between half and one and a half periods, so that they do not all leave together.
                let period = u64::try_from(period.as_nanos())
                    .unwrap_or(u64::MAX)
                    .min(Duration::from_secs(86_400).as_nanos() as u64);
                let stay = period / 2 + self.random.number() % period.max(1);
                self.timers.push(Reverse((now + stay, index, peer.life)));
            }
        }
    }

    /// A connection ended; `code` is the close frame's.
    fn ended(&mut self, index: usize, code: u16) {
        let now = monotonic_ns();
        let peer = &self.peers[index];
        let (known, closing, profile) = (peer.known, peer.session.closing(), peer.client.profile);
        if !known || (peer.left_at.is_some() && !closing) {
            let error = RunError::ClosedEarly(code);
            return self.not_opened(index, error, now);
        }
        if !closing {
            self.measure.groups[profile.group()].closed(code);
        }
        match profile {
            Profile::Churn(_) => self.come_back(index, now),
            _ => self.drop_connection(index),
        }
    }

    /// What the server sent makes no sense, or it refused.
    fn broken(&mut self, index: usize, error: SessionError) {
        match error {
            SessionError::Refused(_) => self.not_opened(index, error.into(), monotonic_ns()),
            _ => self.setup.control.fail(error.into()),
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

/// Takes all whole frames from the buffer and keeps the rest for later.
fn advance(
    peer: &mut Peer,
    bytes: &[u8],
    setup: &Setup,
    at: &Arrival,
    measure: &mut Measure,
) -> Result<(), SessionError> {
    let group = &mut measure.groups[peer.client.profile.group()];
    let mut taken = 0;
    loop {
        taken += peer.session.receive(&bytes[taken..], &setup.scanner, at, group)?;
        if peer.session.phase() != Phase::Upgraded {
            break;
        }
        let (requests, answers) = setup.dialect.requests(&setup.symbols, &peer.client.symbols);
        peer.session.subscribe(&requests, answers);
    }
    peer.carry.extend_from_slice(&bytes[taken..]);
    if peer.client.profile == Profile::Good {
        measure.worst_ns = measure.worst_ns.max(std::mem::take(&mut peer.session.worst_ns));
    }
    Ok(())
}
