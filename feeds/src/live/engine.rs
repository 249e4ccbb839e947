//! What the connections of one feed share: the parser, the sink, the budgets, who carries what.
//!
//! All of it is on the feed's thread, and every connection is a future there: nothing is locked, and
//! a message goes from the socket's buffer to the parser without a copy or a queue between.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::budget::Budget;
use super::recovery::Recovery;
use super::shard::{Shard, is_primary};
use super::stats::{LiveStats, add, bump};
use super::tap::Tap;
use crate::clock::{Clock, SystemClock};
use crate::dial::{Dialer, Endpoint};
use crate::instrument::{InstrumentId, Instruments};
use crate::rest::{self, Bounds};
use crate::sink::Sink;
use crate::spec::{Kinds, LiveSpec};
use crate::venue::rules::{Ask, Get, Limits};
use crate::venue::{Heard, How, Input, Rules, Venue, Want};

/// Flush at least after so many messages.
const FLUSH_MESSAGES: usize = 256;

/// So many incomplete books are looked at in every tick of the clock, more of them less often.
const WANTS_PER_TICK: usize = 100;

/// So many books are fetched at a time: enough to use up any venue's weight (Binance: 20 books of 100
/// levels a second) when an answer takes half a second, and not so many connections that they harm.
const MAX_FETCHES: usize = 16;

/// Something to be done beside what is being done.
pub(super) enum Task {
    /// Keep a shard's connection; the one that it replaces is told when it may go.
    Keep(Rc<Shard>, Option<Rc<Notify>>),
    /// Fetch the full book of a symbol.
    Fetch(Box<str>, Get),
    /// Look now and then whether the venue lists more that the spec names than is known.
    Relist,
}

/// An open connection, as the rest of the feed sees it.
pub(super) struct Link {
    /// Which symbols it carries.
    pub(super) shard: Rc<Shard>,
    /// The symbols whose books are to be subscribed to anew, all together as soon as the venue's
    /// pace allows it.
    pub(super) broken: RefCell<Vec<Box<str>>>,
    /// When something was last heard over it.
    pub(super) heard_ns: Cell<u64>,
    /// Rung when there is something in `broken`.
    pub(super) bell: Notify,
    /// Whether a subscription of it was confirmed: what it carries may be live by it.
    pub(super) is_up: Cell<bool>,
    /// Whether it carries all that the connection before it did.
    pub(super) is_whole: Cell<bool>,
    /// Symbols of its that the venue has refused.
    refused: RefCell<HashSet<Box<str>>>,
}

impl Link {
    /// The book of this symbol is to be subscribed to anew; says whether that is news.
    fn is_broken(&self, native: &str) -> bool {
        let mut broken = self.broken.borrow_mut();
        let is_news = !broken.iter().any(|known| **known == *native);
        if is_news {
            broken.push(native.into());
            self.bell.notify_one();
        }
        is_news
    }
}

impl Link {
    /// Whether the state of a symbol hangs on it, and it carries its data.
    fn is_up_for(&self, native: &str) -> bool {
        self.is_up.get()
            && self.shard.is_primary
            && self.shard.carries(native)
            && !self.refused.borrow().contains(native)
    }
}

/// The parser between its inputs and the sink.
pub(super) struct Core<'a> {
    venue: Box<dyn Venue>,
    sink: &'a mut dyn Sink,
    tap: Option<Box<dyn Tap>>,
    last_ns: u64,
    unflushed: usize,
    refused: Vec<InstrumentId>,
    wants: Vec<Want>,
    closed: bool,
}

/// One feed's connections; see the module.
pub(super) struct Engine<'a> {
    pub(super) rules: Box<dyn Rules>,
    pub(super) limits: Limits,
    pub(super) spec: LiveSpec,
    pub(super) clock: SystemClock,
    pub(super) dialer: Dialer,
    pub(super) ws: Endpoint,
    pub(super) rest: Endpoint,
    pub(super) stats: Arc<LiveStats>,
    pub(super) connects: RefCell<Budget>,
    pub(super) weight: RefCell<Budget>,
    pub(super) request_id: Cell<u64>,
    pub(super) instruments: Arc<Instruments>,
    /// The paths of the routes on all of which the state of a symbol hangs.
    primaries: Vec<&'static str>,
    recovery: RefCell<Recovery>,
    core: RefCell<Core<'a>>,
    links: RefCell<HashMap<u16, Rc<Link>>>,
    next_link: Cell<u16>,
    /// Ticks of the clock that nothing is done at.
    skip: Cell<usize>,
    tasks: RefCell<Vec<Task>>,
    /// The symbols whose books are being fetched.
    fetching: RefCell<HashSet<Box<str>>>,
    /// The symbols that are subscribed to.
    known: RefCell<HashSet<Box<str>>>,
    /// Rung when there are new tasks.
    pub(super) bell: Notify,
}

/// What an [`Engine`] is made of.
pub(super) struct Parts<'a> {
    pub(super) rules: Box<dyn Rules>,
    pub(super) venue: Box<dyn Venue>,
    pub(super) spec: LiveSpec,
    pub(super) dialer: Dialer,
    pub(super) ws: Endpoint,
    pub(super) rest: Endpoint,
    pub(super) stats: Arc<LiveStats>,
    pub(super) instruments: Arc<Instruments>,
    pub(super) sink: &'a mut dyn Sink,
    pub(super) tap: Option<Box<dyn Tap>>,
}

impl<'a> Engine<'a> {
    pub(super) fn new(parts: Parts<'a>) -> Self {
        let clock = SystemClock::new();
        let mut limits = parts.rules.limits();
        if let Some(life) = parts.spec.life {
            limits.life = Some(Duration::from_secs(life.into()));
        }
        if let Some(silence) = parts.spec.silence {
            limits.silence = Duration::from_secs(silence.into());
        }
        // A venue that can be asked for a book is.
        let how = match parts.rules.snapshot("") {
            Some(_) => How::Fetch,
            None => How::Resubscribe,
        };
        let has_books = parts.spec.channels.book;
        let mut routes = parts.rules.routes();
        routes.retain(|route| is_primary(route, has_books));
        Engine {
            limits,
            primaries: routes.iter().map(|route| route.path).collect(),
            spec: parts.spec,
            dialer: parts.dialer,
            ws: parts.ws,
            rest: parts.rest,
            stats: parts.stats,
            connects: RefCell::new(Budget::new(limits.connects)),
            weight: RefCell::new(Budget::new(limits.rest)),
            request_id: Cell::new(1),
            instruments: parts.instruments,
            recovery: RefCell::new(Recovery::new(how, clock.now())),
            core: RefCell::new(Core {
                venue: parts.venue,
                sink: parts.sink,
                tap: parts.tap,
                last_ns: 0,
                unflushed: 0,
                refused: Vec::new(),
                wants: Vec::new(),
                closed: false,
            }),
            links: RefCell::default(),
            next_link: Cell::new(0),
            skip: Cell::new(0),
            tasks: RefCell::default(),
            fetching: RefCell::default(),
            known: RefCell::default(),
            bell: Notify::new(),
            rules: parts.rules,
            clock,
        }
    }

    /// Gives something to the parser, and to whoever keeps it.
    pub(super) fn input(&self, input: &Input<'_>) -> Heard {
        let mut core = self.core.borrow_mut();
        let core = &mut *core;
        // Two readings on one thread: never back.
        core.last_ns = core.last_ns.max(self.clock.now());
        if let Some(tap) = &mut core.tap {
            tap.keep(core.last_ns, input);
        }
        let heard = input.apply(&mut *core.venue, core.last_ns, core.sink);
        core.unflushed += 1;
        if core.unflushed >= FLUSH_MESSAGES {
            core.flush();
        }
        heard
    }

    /// A message from a socket.
    pub(super) fn message(&self, link: u16, text: &[u8]) -> Heard {
        bump(&self.stats.messages);
        add(&self.stats.bytes, text.len() as u64);
        self.input(&Input::Message { link, text })
    }

    /// Hands over what was put: nothing more is at hand.
    pub(super) fn flush(&self) {
        self.core.borrow_mut().flush();
    }

    /// Shows instruments that are going to be subscribed to, to whoever keeps what is received.
    pub(super) fn listed(&self, listings: &[crate::instrument::Listing]) {
        if let Some(tap) = &mut self.core.borrow_mut().tap {
            tap.listed(listings);
        }
    }

    /// Whether nobody takes ticks any more.
    pub(super) fn is_closed(&self) -> bool {
        self.core.borrow().closed
    }

    /// Has something done.
    pub(super) fn begin(&self, task: Task) {
        self.tasks.borrow_mut().push(task);
        self.bell.notify_one();
    }

    pub(super) fn take_tasks(&self) -> Vec<Task> {
        std::mem::take(&mut self.tasks.borrow_mut())
    }

    /// Whether a symbol is not subscribed to yet; it counts as being so from here on.
    pub(super) fn is_new(&self, native: &str) -> bool {
        self.known.borrow_mut().insert(native.into())
    }

    /// Enters a connection that has just been opened.
    pub(super) fn open(&self, shard: &Rc<Shard>) -> (u16, Rc<Link>) {
        let mut links = self.links.borrow_mut();
        let mut number = self.next_link.get();
        // The last one is nobody's.
        while links.contains_key(&number) || number == u16::MAX {
            number = number.wrapping_add(1);
        }
        self.next_link.set(number.wrapping_add(1));
        let link = Rc::new(Link {
            shard: shard.clone(),
            broken: RefCell::default(),
            heard_ns: Cell::new(0),
            bell: Notify::new(),
            is_up: Cell::new(false),
            is_whole: Cell::new(false),
            refused: RefCell::default(),
        });
        links.insert(number, link.clone());
        bump(&self.stats.connects);
        (number, link)
    }

    /// The venue has confirmed a connection's subscriptions, or the first of them.
    pub(super) fn confirmed(&self, link: &Link) {
        if link.is_up.replace(true) {
            return;
        }
        self.count_links();
        if !link.shard.is_primary {
            return;
        }
        let natives = self.carried(&link.shard, false, true);
        let book = self.spec.channels.book;
        self.input(&Input::Expect { natives: &natives, book });
        if book {
            self.recovery.borrow_mut().expect(&natives, self.clock.now());
        }
    }

    /// The venue refuses these over a connection: nothing will come, so nobody may take what there
    /// is of them for live.
    pub(super) fn refuse(&self, link: &Link, natives: &[Box<str>]) {
        if natives.is_empty() || !link.shard.is_primary {
            return;
        }
        link.refused.borrow_mut().extend(natives.iter().cloned());
        let orphans = natives.iter().filter(|native| !self.is_carried(native, true));
        let orphans: Vec<Box<str>> = orphans.cloned().collect();
        self.input(&Input::Lost { link: u16::MAX, orphans: &orphans });
        self.trouble(&format!("the venue refuses to send {}", natives.join(", ")));
    }

    /// A connection is gone. Also one that was not confirmed yet may have brought books.
    pub(super) fn lost(&self, number: u16) {
        let Some(link) = self.links.borrow_mut().remove(&number) else { return };
        self.count_links();
        let orphans = match link.shard.is_primary {
            true => self.carried(&link.shard, true, false),
            false => Vec::new(),
        };
        self.input(&Input::Lost { link: number, orphans: &orphans });
        self.flush();
    }

    /// The symbols of a shard that are carried, or those that are not; see [`Engine::is_carried`].
    fn carried(&self, shard: &Shard, wholly: bool, yes: bool) -> Vec<Box<str>> {
        let natives = shard.natives.iter().filter(|native| self.is_carried(native, wholly) == yes);
        natives.cloned().collect()
    }

    /// Whether every connection that a symbol needs is up, or even carries all that the one before
    /// it did: a book that is stale by mistake is live again with its next change, one that is live by
    /// mistake would be so for ever. Without books nothing but a subscription makes live.
    fn is_carried(&self, native: &str, wholly: bool) -> bool {
        let links = self.links.borrow();
        let wholly = wholly && self.spec.channels.book;
        self.primaries.iter().all(|path| {
            links.values().any(|link| {
                link.shard.path == *path
                    && link.is_up_for(native)
                    && (!wholly || link.is_whole.get())
            })
        })
    }

    fn count_links(&self) {
        let up = self.links.borrow().values().filter(|link| link.is_up.get()).count();
        self.stats.links.store(up as u64, Ordering::Relaxed);
    }

    /// What is done by the clock, some times a second: books that are not complete are asked for.
    pub(super) fn tick(&self) {
        // While thousands of books wait for their turn, looking at all of them can wait too.
        let skip = self.skip.get();
        self.skip.set(skip.saturating_sub(1));
        if skip > 0 {
            return self.flush();
        }
        let (refused, wants) = self.core.borrow_mut().troubles();
        self.skip.set(wants.len() / WANTS_PER_TICK);
        for id in &refused {
            if let Some(info) = self.instruments.get(*id) {
                self.input(&Input::Distrust { native: &info.native });
            }
        }
        self.stats.incomplete.store(wants.len() as u64, Ordering::Relaxed);
        self.recover(&wants);
        self.core.borrow_mut().give_back(refused, wants);
        self.flush();
    }

    /// Asks for what the recovery decides, no faster than it can be asked for: what would have to
    /// wait is decided upon again when there is room.
    fn recover(&self, wants: &[Want]) {
        let now = self.clock.now();
        let links = self.links.borrow();
        let mut is_full = false;
        self.recovery.borrow_mut().decide(now, wants, |want| {
            if want.how == How::Fetch && (is_full || self.fetching.borrow().contains(&want.native))
            {
                return false;
            }
            let carriers = links.values().filter(|link| link.is_up_for(&want.native));
            // Of two lines one may be dead, and nobody knows it yet.
            let carrier = carriers.max_by_key(|link| link.heard_ns.get());
            let Some(link) = carrier else { return false };
            let asked = match (want.how, self.rules.snapshot(&want.native)) {
                (How::Fetch, Some(get)) => {
                    is_full = !self.begin_fetch(now, &want.native, get);
                    !is_full
                }
                _ => link.is_broken(&want.native),
            };
            if asked {
                bump(&self.stats.recoveries);
            }
            asked
        });
    }

    /// Has a book fetched, if the venue's limits and ours have room for it now.
    fn begin_fetch(&self, now: u64, native: &str, get: Get) -> bool {
        let mut fetching = self.fetching.borrow_mut();
        let has_room =
            fetching.len() < MAX_FETCHES && self.weight.borrow_mut().take(now, get.weight).is_ok();
        if has_room {
            fetching.insert(native.into());
            self.begin(Task::Fetch(native.into(), get));
        }
        has_room
    }

    /// The requests that begin all of a link's subscriptions.
    pub(super) fn subscriptions(&self, link: &Link) -> VecDeque<String> {
        let shard = &link.shard;
        let mut id = self.request_id.get();
        let texts = self.rules.ask(Ask::Subscribe, shard.channels, &shard.natives, &mut id);
        self.request_id.set(id);
        texts.into()
    }

    /// The requests that end and begin the subscriptions to a link's broken books, so that their
    /// snapshots are sent.
    pub(super) fn resubscribe(&self, link: &Link) -> VecDeque<String> {
        let book = Kinds { trade: false, quote: false, book: true };
        let natives = std::mem::take(&mut *link.broken.borrow_mut());
        let mut id = self.request_id.get();
        let asks = [Ask::Unsubscribe, Ask::Subscribe];
        let texts = asks.into_iter().flat_map(|ask| self.rules.ask(ask, book, &natives, &mut id));
        let texts = texts.collect();
        self.request_id.set(id);
        texts
    }

    /// Fetches a full book, whose weight has been spent, and gives it to the parser.
    pub(super) async fn fetch(&self, native: &str, get: &Get) {
        let answer = rest::get(&self.dialer, &self.rest, &get.path, Bounds::VENUE).await;
        self.fetched(native, get, answer);
    }

    fn fetched(&self, native: &str, get: &Get, answer: Result<Bytes, rest::RestError>) {
        self.fetching.borrow_mut().remove(native);
        match answer {
            Ok(text) if self.is_carried(native, false) => {
                self.input(&Input::Reply { url: &get.path, text: &text });
                self.flush();
            }
            // A book that nothing follows is not live; the next connection needs a newer one.
            Ok(_) => {}
            Err(error) => {
                bump(&self.stats.recovery_failures);
                self.rest_failed(&error);
                self.trouble(&format!("book of {native}: {error}"));
            }
        }
        self.recovery.borrow_mut().answered(native, self.clock.now());
    }

    /// A REST request failed: where the venue wants to be left alone, it is.
    pub(super) fn rest_failed(&self, error: &rest::RestError) {
        if let Some(wait) = error.wait() {
            let wait = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
            self.weight.borrow_mut().block_until(self.clock.now().saturating_add(wait));
        }
    }

    /// Waits until the budget has room, and takes it.
    pub(super) async fn spend(&self, budget: &RefCell<Budget>, weight: u32) {
        loop {
            let now = self.clock.now();
            let taken = budget.borrow_mut().take(now, weight);
            match taken {
                Ok(()) => return,
                Err(at) => tokio::time::sleep(Duration::from_nanos(at - now)).await,
            }
        }
    }

    /// Notes what is wrong, for whoever looks; a log line, at most one for the same words in a row.
    pub(super) fn trouble(&self, why: &str) {
        let mut last = self.stats.last_error.lock();
        if *last != why {
            tracing::warn!(venue = self.core.borrow().venue.name(), why, "feed");
            why.clone_into(&mut last);
        }
    }

    /// Publishes what the parser left out on purpose.
    pub(super) fn publish_ignored(&self) {
        let core = self.core.borrow();
        let mut ignored = self.stats.ignored.lock();
        ignored.clear();
        ignored.extend(core.venue.ignored().iter().map(|(name, n)| (name.to_owned(), n)));
    }
}

impl Core<'_> {
    fn flush(&mut self) {
        self.unflushed = 0;
        self.closed |= self.sink.flush().is_err();
    }

    /// Which books were refused, and which are not complete; the buffers are to be given back.
    fn troubles(&mut self) -> (Vec<InstrumentId>, Vec<Want>) {
        self.refused.clear();
        self.wants.clear();
        self.sink.refused(&mut self.refused);
        self.venue.wants(&mut self.wants);
        (std::mem::take(&mut self.refused), std::mem::take(&mut self.wants))
    }

    fn give_back(&mut self, refused: Vec<InstrumentId>, wants: Vec<Want>) {
        (self.refused, self.wants) = (refused, wants);
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
