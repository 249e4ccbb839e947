//! One client: what it is subscribed to, what waits for it, and how its connection ends.
//!
//! A session belongs to one reactor outright. Idle, it is this struct, a small task that waits
//! for the socket to become readable, and the kernel's socket: no buffer of its own.

mod assembly;
pub mod cause;
pub(crate) mod conflated;
pub(crate) mod end;
pub mod guard;
pub(crate) mod outbox;
pub mod reader;
pub(crate) mod requests;
pub mod sock_diag;
pub(crate) mod subs;
pub(crate) mod symbols;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::session::conflated::Conflated;
use crate::session::end::End;
use crate::session::outbox::Outbox;
use crate::session::reader::Reader;
use crate::session::subs::{Key, Subs};
use crate::wire::request::{Channel, Mode};

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The native protocol, `/v1/ws`.
    Native,
    /// Every message comes back, `/v1/echo`: for conformance tests.
    Echo,
}

/// A snapshot that is still to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Join {
    pub(crate) key: Key,
    /// Not in its topic yet; otherwise the client only asked for another snapshot.
    pub(crate) fresh: bool,
}

/// See the module. Times are milliseconds of the reactor's monotonic clock.
pub(crate) struct Session {
    pub(crate) stream: Rc<TcpStream>,
    pub(crate) task: Option<AbortHandle>,
    /// Waits for the socket to take bytes again. It holds the socket: it must end with the session.
    pub(crate) waiter: Option<AbortHandle>,
    pub(crate) peer: SocketAddr,
    pub(crate) reader: Reader,
    pub(crate) subs: Subs,
    /// Subscriptions whose snapshot is still to be sent; they are not in their topics yet.
    pub(crate) joins: VecDeque<Join>,
    pub(crate) out: Outbox,
    pub(crate) conflated: Option<Box<Conflated>>,
    pub(crate) end: Option<Box<End>>,
    /// Receive stamp of the oldest pending tick, nanoseconds; 0 while none is pending.
    pub(crate) oldest_ns: u64,
    /// Size of a snapshot under way, by which the outbox may be over its bound.
    pub(crate) allowance: usize,
    pub(crate) delivered: u64,
    /// `delivered` when the rate was last looked at, and when that was.
    pub(crate) rated: u64,
    pub(crate) rated_ms: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) connected_ms: u64,
    /// When bytes last came from the client.
    pub(crate) heard_ms: u64,
    /// When the socket last took bytes.
    pub(crate) sent_ms: u64,
    /// Since when bytes wait and the socket takes none; 0 while it takes all.
    pub(crate) stuck_ms: u64,
    /// When the next ping is due.
    pub(crate) ping_ms: u64,
    /// Requests that may come now, in thousandths; below zero, refused ones were answered.
    pub(crate) tokens: i32,
    pub(crate) tokens_ms: u64,
    pub(crate) dialect: Dialect,
    pub(crate) pinged: bool,
    /// Counted as subscribed to something.
    pub(crate) subscribed: bool,
    /// In the flush queue.
    pub(crate) queued: bool,
    /// In the queue of sessions with joins to do.
    pub(crate) joining: bool,
    /// Something did not fit its outbox and was dropped: it must be evicted.
    pub(crate) overflowed: bool,
    /// Counted as holding back a paced replay.
    pub(crate) crowded: bool,
}

impl Session {
    /// Whether nothing new may be pushed: the close frame is in the outbox or sent.
    pub(crate) fn is_ending(&self) -> bool {
        self.end.is_some()
    }

    /// Whether a quote of this instrument waits until the socket takes bytes again, to be replaced
    /// by later ones until then. `all`: the server does so for all quotes.
    pub(crate) fn holds_back(&self, instrument: u32, all: bool) -> bool {
        // What is held already is not overtaken.
        self.conflated.as_ref().is_some_and(|conflated| conflated.holds(instrument))
            || self.out.is_blocked() && (all || self.conflates(instrument))
    }

    /// Whether the client asked for the quotes of this instrument to be conflated.
    fn conflates(&self, instrument: u32) -> bool {
        let key = Key { channel: Channel::Quote, instrument, depth: 0 };
        self.subs.get(&key).is_some_and(|sub| sub.mode == Mode::Conflate)
    }

    /// Heap bytes held for what waits to be sent.
    pub(crate) fn held(&self) -> usize {
        self.out.held() + self.conflated.as_ref().map_or(0, |conflated| conflated.bytes())
    }
}
