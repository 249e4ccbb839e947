//! A reactor whose turns are called for: see [`crate::bench`].

use std::rc::Rc;
use std::sync::Arc;

use super::pace::{Observed, Pace};
use super::{Adopt, Core};
use crate::access::Held;
use crate::bench::FeedSide;
use crate::clock;
use crate::limits;
use crate::session::Dialect;
use crate::session::subs::{Key, Terms};
use crate::stats::Report;
use crate::transport::{Detached, Peer};
use crate::wire::form::Form;
use crate::wire::request::Channel;

/// The reactor of a [`FeedSide`].
pub struct Reactor {
    runtime: tokio::runtime::Runtime,
    tasks: tokio::task::LocalSet,
    reactor: Rc<super::Reactor>,
}

impl Reactor {
    /// A reactor without clients that reads the ring of `feed` from now on.
    pub fn new(feed: &FeedSide) -> std::io::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let link = feed.hub.links[0].clone();
        let (hub, consumer, state) = (feed.hub.clone(), feed.ring.consumer(), feed.state.reader());
        let reactor = Rc::new_cyclic(|me| super::Reactor {
            core: Core::new(me.clone(), hub, Arc::clone(&link), consumer, state).into(),
            link,
            gate: Default::default(),
            read_buffer: vec![0; limits::READ_BUFFER_BYTES].into(),
            failed: false.into(),
        });
        reactor.core.borrow_mut().list_new();
        Ok(Reactor { runtime, tasks: tokio::task::LocalSet::new(), reactor })
    }

    /// A client behind this socket, whose handshake is done; its number.
    pub fn connect(&mut self, stream: std::net::TcpStream) -> std::io::Result<u32> {
        let adopt = Adopt {
            peer: Peer::Tcp(stream.peer_addr()?),
            stream: stream.into(),
            place: Default::default(),
            grant: Held::everything(),
            anonymous_ms: None,
            dialect: Dialect::Native,
            form: Form::NATIVE,
            streams: Vec::new(),
            events: None,
            early: Vec::new(),
            greeting: Vec::new(),
            tokens: None,
        };
        self.tasks.block_on(&self.runtime, async {
            self.reactor.core.borrow_mut().adopt(adopt, Vec::new());
            // A new socket takes nothing before tokio has looked at it.
            tokio::task::yield_now().await;
        });
        Ok(self.reactor.core.borrow().sessions.len() as u32 - 1)
    }

    /// Clients that [`Reactor::gather`] serves, their numbers: they share this one socket, and
    /// nothing is written to it.
    pub fn connect_in_memory(
        &mut self,
        stream: std::net::TcpStream,
        clients: usize,
    ) -> std::io::Result<Vec<u32>> {
        let peer = Peer::Tcp(stream.peer_addr()?);
        let _runtime = self.runtime.enter();
        let stream = Rc::new(Detached::from(stream).attach()?);
        let mut core = self.reactor.core.borrow_mut();
        let ids = (0..clients).map(|_| {
            let session = core.session(stream.clone(), peer, Held::everything(), Dialect::Native);
            core.sessions.insert(session) as u32
        });
        Ok(ids.collect())
    }

    /// Subscribes a client to a channel of an instrument by its number; `depth` as on the wire, 0
    /// for the whole book and for other channels.
    pub fn subscribe(&mut self, client: u32, channel: Channel, instrument: u32, depth: u16) {
        let key = Key { channel, instrument, depth, form: Form::NATIVE };
        self.reactor.core.borrow_mut().subscribe(client, key, Terms::EVERY, false);
    }

    /// So many whole turns (ticks, snapshots, sends), with tokio's after each; `before` is called
    /// ahead of each, with its number from 0.
    pub fn turns(&mut self, count: u64, mut before: impl FnMut(u64)) {
        self.tasks.block_on(&self.runtime, async {
            for number in 0..count {
                before(number);
                self.reactor.core.borrow_mut().turn();
                self.reactor.let_in();
                tokio::task::yield_now().await;
            }
        });
    }

    /// The half of a turn before the sends: takes ticks, encodes them, notes them as pending. Says
    /// how many ticks.
    pub fn take_ticks(&mut self) -> usize {
        let mut core = self.reactor.core.borrow_mut();
        core.now = clock::now();
        core.take_ticks()
    }

    /// The other half, but for the system call: what is pending for each client is gathered and
    /// given to `sink` as it would be to its socket. Says how many clients.
    pub fn gather(&mut self, mut sink: impl FnMut(&[u8])) -> usize {
        let mut core = self.reactor.core.borrow_mut();
        let Core { queue, sessions, encodings, scratch, .. } = &mut *core;
        let mut clients = 0;
        while let Some((lane, _)) = queue.due(0) {
            let Some(pending) = queue.pop(lane) else { break };
            let Some(session) = sessions.get_mut(pending.session as usize) else { continue };
            session.queued = false;
            session.turn = session.turn.wrapping_add(1);
            sink(session.out.gather(encodings, scratch));
            session.out.sent_all(encodings);
            session.oldest_ns = 0;
            clients += 1;
        }
        encodings.reset();
        clients
    }

    /// What the reactor has counted.
    pub fn report(&self) -> Report {
        self.reactor.core.borrow().report.clone()
    }
}

/// The controller of the window in which ticks wait for company.
pub struct Window(Pace);

impl Window {
    /// A window of 0, to grow up to so many nanoseconds.
    pub fn new(max_age_ns: u64) -> Self {
        Window(Pace::new(max_age_ns))
    }

    /// Takes in what a tenth of a second brought: messages noted, sends and the time they took,
    /// nanoseconds, and messages a second to one client. The window then, nanoseconds.
    pub fn observe(&mut self, deliveries: u64, sends: u64, send_ns: u64, rate: f64) -> u64 {
        let span_ns = limits::TEND_MS * 1_000_000;
        self.0.observe(&Observed { span_ns, deliveries, sends, send_ns, rate });
        self.0.window_ns()
    }
}
