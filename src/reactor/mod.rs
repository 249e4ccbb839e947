//! A reactor: one thread, one core, a share of the sessions, and the turn that serves them.
//!
//! A turn takes a bounded number of ticks from the ring, encodes each at most once (not at all
//! when nobody here listens), notes it as pending for its subscribers, and flushes sessions, each
//! with everything that is pending at that moment in one write. Then tokio gets its turn: reads,
//! new sessions, sockets that became writable.
//!
//! Invariant: everything of a session is touched by its reactor's thread alone; there is no lock
//! and no reference count per delivery. Invariant: a turn's work is bounded, whatever is in the
//! ring: an unbounded drain never ends once fan-out is slower than arrival.

mod admission;
mod arrays;
mod arrivals;
pub(crate) mod asked;
mod bars;
pub(crate) mod bench;
pub(crate) mod cadence;
mod deliver;
pub(crate) mod encodings;
mod failed;
mod flush;
mod gate;
mod hub;
mod joins;
pub(crate) mod lanes;
mod laps;
pub(crate) mod market;
mod moves;
mod pace;
mod relief;
mod resume;
pub(crate) mod runs;
mod sse;
mod strokes;
mod tend;
#[cfg(test)]
mod tests;
mod ticks;
mod timer;
pub(crate) mod topic;
mod traced;
pub(crate) mod trails;
pub(crate) mod wake;

pub(crate) use hub::{Adopt, Command, Hub, Link, Others, Settings, Stream, least_busy};
pub(crate) use moves::Stays;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use slab::Slab;
use tickcast_feeds::tick;
use tickcast_feeds::tick::TICK_WORDS;

use crate::books::{self, Assembler, Changes};
use crate::budget::Share;
use crate::clock::{self, Now};
use crate::limits;
use crate::reactor::admission::Admission;
use crate::reactor::arrivals::Mail;
use crate::reactor::cadence::Cadences;
use crate::reactor::encodings::Encodings;
use crate::reactor::gate::Gate;
use crate::reactor::lanes::Lanes;
use crate::reactor::market::Market;
use crate::reactor::pace::Pace;
use crate::reactor::tend::Paced;
use crate::reactor::timer::Timer;
use crate::reactor::trails::Trails;
use crate::ring::Consumer;
use crate::session::end::Reason;
use crate::session::reader::ReadLimits;
use crate::session::{Dialect, Session, cause};
use crate::stats::Report;
use crate::wire::deflate::Inflater;
use crate::wire::form::{Form, Framing};

/// What a turn left.
enum Left {
    /// There may be more to do at once.
    More,
    /// Nothing before this time, nanoseconds of the monotonic clock, but for what others ask.
    Until(u64),
    /// Nothing.
    Nothing,
}

/// The part of the reactor that turns and tasks borrow in turn, never across an await.
pub(crate) struct Core {
    pub(crate) me: Weak<Reactor>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) link: Arc<Link>,
    pub(crate) now: Now,
    pub(crate) sessions: Slab<Session>,
    pub(crate) market: Market,
    pub(crate) encodings: Encodings,
    /// Inflates what clients send compressed.
    pub(crate) inflater: Inflater,
    pub(crate) queue: Lanes,
    /// Topics that are told less often than things happen.
    pub(crate) cadences: Cadences,
    /// Sessions with something that does not wait for company: answers, control frames.
    pub(crate) urgent: VecDeque<u32>,
    /// Sessions whose outbox is full, to be dealt with after the fan-out that found out.
    pub(crate) overflowing: Vec<u32>,
    /// Sessions that have joins to do.
    pub(crate) joiners: VecDeque<u32>,
    /// Of these, those whose next join waits for ticks that this reactor has not taken yet.
    pub(crate) parked: Vec<u32>,
    /// How many sessions hold back a paced feed.
    pub(crate) crowd: usize,
    pub(crate) report: Report,
    /// Bytes of clients' unfinished messages.
    pub(crate) reading: usize,
    /// What the budget of memory knows of this reactor.
    share: Arc<Share>,
    /// What those who arrive may use of the time.
    pub(crate) admission: Admission,
    pace: Pace,
    paced: Paced,
    /// The ingest's books and last values.
    pub(crate) state: books::Reader,
    diag: cause::Diag,
    draining: bool,
    /// A tick of the sample that is on its way.
    traced: Option<Box<traced::Traced>>,
    /// Sessions that go to another market.
    pub(crate) movers: Vec<moves::Mover>,
    /// A client has asked for the panic of a drill.
    pub(crate) drilled: bool,
    consumer: Consumer<TICK_WORDS>,
    words: Vec<[u64; TICK_WORDS]>,
    assembler: Assembler,
    /// The same for bars: an event of theirs may come behind half a book event that was lost.
    bar_parts: Assembler,
    changes: Changes,
    scratch: Vec<u8>,
    /// Where the next round of tending starts.
    tended: usize,
    /// When the last one was.
    tended_ms: u64,
    /// Where events lie on the ring, while somebody asks for that.
    trails: Option<Box<Trails>>,
    /// Scratch for ticks of the past.
    past: Vec<tick::Tick>,
}

/// A reactor's thread-local part.
pub(crate) struct Reactor {
    pub(crate) core: RefCell<Core>,
    link: Arc<Link>,
    gate: Gate,
    /// All sessions are read into this one buffer.
    read_buffer: RefCell<Vec<u8>>,
    /// A task of it has panicked.
    failed: Cell<bool>,
}

/// How the turns ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Stopped,
    Failed,
}

/// Runs a reactor on this thread until it is told to stop. After a panic its clients are closed, and the
/// thread hands on whom it is sent ([`failed`]).
///
/// # Errors
/// The kernel's; that it has panicked.
pub(crate) fn run(
    hub: Arc<Hub>,
    link: Arc<Link>,
    consumer: Consumer<TICK_WORDS>,
    state: books::Reader,
) -> std::io::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let local = tokio::task::LocalSet::new();
    let reactor = Rc::new_cyclic(|me| Reactor {
        core: RefCell::new(Core::new(me.clone(), hub, link.clone(), consumer, state)),
        link,
        gate: Gate::default(),
        read_buffer: RefCell::new(vec![0; limits::READ_BUFFER_BYTES]),
        failed: Cell::new(false),
    });
    let turns = AssertUnwindSafe(|| local.block_on(&runtime, reactor.clone().turns()));
    match catch_unwind(turns) {
        Ok(Ok(Ended::Stopped)) => return Ok(()),
        Ok(Err(error)) => return Err(error),
        Ok(Ok(Ended::Failed)) | Err(_) => {}
    }
    drop(local);
    failed::run(&reactor, &runtime)
}

impl Reactor {
    async fn turns(self: Rc<Self>) -> std::io::Result<Ended> {
        let timer = Timer::new()?;
        let tend_every = Duration::from_millis(limits::TEND_MS);
        let mut tend_at = std::pin::pin!(tokio::time::sleep(tend_every));
        loop {
            if self.failed.get() {
                return Ok(Ended::Failed);
            }
            let mut left = self.core.borrow_mut().turn();
            match self.mail() {
                Mail::Read => {}
                Mail::Left => left = Left::More,
                Mail::Stop => return Ok(Ended::Stopped),
            }
            if self.core.borrow_mut().see_off() {
                left = Left::More;
            }
            // Asked of the clock, not of the timer, which nobody polls under load.
            if tokio::time::Instant::now() >= tend_at.deadline() {
                self.core.borrow_mut().tend();
                tend_at.as_mut().reset(tokio::time::Instant::now() + tend_every);
            }
            if self.gate.waiting() > 0 {
                left = Left::More;
                self.let_in();
                self.core.borrow_mut().admission.put_off();
            }
            if self.core.borrow().admission.is_waiting() {
                // The ingest may share this core: its ticks come before more newcomers.
                std::thread::yield_now();
            }
            match left {
                // Polls the sockets too: reads and writable sockets get their turn.
                Left::More => tokio::task::yield_now().await,
                // New ticks need not wake us: the head of the queue is due before them.
                Left::Until(at_ns) => tokio::select! {
                    biased;
                    () = self.link.wake.knocked() => {}
                    result = timer.until(at_ns) => result?,
                    () = tend_at.as_mut() => {}
                },
                Left::Nothing => tokio::select! {
                    biased;
                    () = self.link.wake.sleep(|| self.has_work()) => {}
                    () = tend_at.as_mut() => {}
                },
            }
        }
    }

    fn has_work(&self) -> bool {
        self.failed.get() || !self.link.mailbox.is_empty() || self.core.borrow().has_work()
    }
}

impl Core {
    fn new(
        me: Weak<Reactor>,
        hub: Arc<Hub>,
        link: Arc<Link>,
        consumer: Consumer<TICK_WORDS>,
        state: books::Reader,
    ) -> Self {
        let report = Report { reactor: link.id, ..Report::default() };
        let share = hub.budget.join();
        let pace = Pace::new(hub.settings.max_age_ns);
        link.position.store(consumer.position(), Ordering::Release);
        Core {
            me,
            hub,
            link,
            now: clock::now(),
            sessions: Slab::new(),
            market: Market::default(),
            encodings: Encodings::new(),
            inflater: Inflater::default(),
            queue: Lanes::new(),
            cadences: Cadences::new(),
            urgent: VecDeque::new(),
            admission: Admission::default(),
            pace,
            paced: Paced::default(),
            overflowing: Vec::new(),
            joiners: VecDeque::new(),
            parked: Vec::new(),
            trails: None,
            past: Vec::new(),
            crowd: 0,
            reading: 0,
            share,
            report,
            state,
            diag: cause::Diag::default(),
            draining: false,
            traced: None,
            movers: Vec::new(),
            drilled: false,
            consumer,
            words: vec![[0; TICK_WORDS]; limits::TICKS_PER_TURN],
            assembler: Assembler::new(),
            bar_parts: Assembler::new(),
            changes: Changes::new(),
            scratch: Vec::new(),
            tended: 0,
            tended_ms: 0,
        }
    }

    /// One turn.
    fn turn(&mut self) -> Left {
        self.now = clock::now();
        assert!(!self.drilled, "a drill");
        let due = self.queue.due(self.pace.window_ns());
        let head_due = due.is_some_and(|(_, due_ns)| due_ns <= self.now.mono_ns);
        self.admission.turn(self.now.mono_ns, head_due || self.consumer.lag() > 0);
        let mut sends = 0;
        loop {
            let ticks = self.take_ticks();
            let told = self.tell_due();
            let joined = self.do_joins();
            self.deal_with_overflow();
            let flushed = self.flush_due(limits::SENDS_PER_POLL);
            sends += flushed;
            if ticks + told + joined + flushed == 0 {
                if !self.joiners.is_empty() {
                    return Left::More;
                }
                let flush = self.queue.due(self.pace.window_ns()).map(|(_, due_ns)| due_ns);
                let first = flush.into_iter().chain(self.cadences.due()).min();
                return first.map_or(Left::Nothing, Left::Until);
            }
            if sends >= limits::SENDS_PER_TURN || ticks == limits::TICKS_PER_TURN {
                return Left::More;
            }
            self.now = clock::now();
        }
    }

    fn has_work(&self) -> bool {
        let ticks = self.consumer.lag() > 0 && !self.holds_back();
        let told = !self.queue.is_empty() || !self.cadences.is_empty();
        ticks || told || !self.urgent.is_empty() || !self.joiners.is_empty()
    }

    /// Whether the ring is left alone, so that clients that keep reading lose nothing of a feed
    /// that waits for us.
    pub(crate) fn holds_back(&self) -> bool {
        self.crowd > 0 && self.hub.paced.load(Ordering::Relaxed)
    }

    pub(crate) fn burst(&self) -> i32 {
        (self.hub.settings.request_rate * limits::REQUEST_BURST_SECONDS * 1000) as i32
    }

    /// Limits for what a client may send that is told things in this form.
    pub(crate) fn read_limits(&self, form: Form) -> ReadLimits {
        let deflate = form.framing() == Framing::Deflated;
        ReadLimits { max_message_bytes: self.hub.settings.max_message_bytes, deflate }
    }

    /// How long a client may be silent before it is pinged. Clients of Binance's take a connection for
    /// dead that does not ping for a minute, and are used to 20 seconds.
    pub(crate) fn ping_interval_ms(&self, dialect: Dialect) -> u64 {
        let ms = self.hub.settings.ping_interval_ms;
        if dialect == Dialect::Binance { ms.min(limits::BINANCE_PING_MS) } else { ms }
    }

    /// Takes a session out of all topics; what is pending for it stays.
    pub(crate) fn leave_all(&mut self, id: u32) {
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        let subs = std::mem::take(&mut session.subs);
        session.joins = VecDeque::new();
        session.held = None;
        self.report.subscriptions -= subs.len() as u64;
        for (key, sub) in subs.iter() {
            if let Some(entry) = self.market.entries.get_mut(key.instrument as usize) {
                entry.leave(id, &key, sub.terms);
            }
        }
        self.market.wildcards.retain(|wildcard| wildcard.session != id);
        self.market.wanted.leave(id);
        self.leave_arrays(id);
        self.count_subscriber(id);
    }

    /// Keeps the number of clients that are subscribed to something; a wildcard counts also while
    /// nothing matches it.
    pub(crate) fn count_subscriber(&mut self, id: u32) {
        let wild = self.market.wildcards.iter().any(|wildcard| wildcard.session == id)
            || self.market.arrays.iter().any(|array| array.subs.contains(&id));
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        let subscribed = wild || !session.subs.is_empty();
        if std::mem::replace(&mut session.subscribed, subscribed) != subscribed {
            match subscribed {
                true => self.hub.subscribers.fetch_add(1, Ordering::Relaxed),
                false => self.hub.subscribers.fetch_sub(1, Ordering::Relaxed),
            };
        }
    }

    /// Ends a session at once: its socket is dropped.
    pub(crate) fn remove(&mut self, id: u32, reason: Reason) {
        self.leave_all(id);
        let Some(mut session) = self.sessions.try_remove(id as usize) else { return };
        self.set_crowded(&mut session, false);
        session.out.cut(&mut self.encodings);
        self.reading -= session.reader.held();
        let reason = session.end.as_ref().map_or(reason, |end| end.reason);
        self.report.ended[reason as usize] += 1;
        for task in session.task.take().into_iter().chain(session.waiter.take()) {
            task.abort();
        }
        self.link.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    fn set_crowded(&mut self, session: &mut Session, crowded: bool) {
        if session.crowded != crowded {
            session.crowded = crowded;
            if crowded { self.crowd += 1 } else { self.crowd -= 1 }
        }
    }
}

const _: () = assert!(size_of::<tick::Tick>() == TICK_WORDS * 8);
