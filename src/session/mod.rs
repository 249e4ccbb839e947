//! One client: what it is subscribed to, what waits for it, and how its connection ends.
//!
//! A session belongs to one reactor outright. Idle, it is this struct, a small task that waits
//! for the socket to become readable, and the kernel's socket: no buffer of its own.

mod assembly;
pub mod cause;
pub(crate) mod end;
pub mod guard;
pub(crate) mod outbox;
pub mod reader;
pub(crate) mod requests;
pub mod sock_diag;
pub(crate) mod symbols;

use std::collections::HashMap;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::session::end::End;
use crate::session::outbox::Outbox;
use crate::session::reader::Reader;
use crate::wire::request::{Channel, Mode};

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The native protocol, `/v1/ws`.
    Native,
    /// Every message comes back, `/v1/echo`: for conformance tests.
    Echo,
}

/// One subscription: a few bytes and no strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sub {
    pub(crate) instrument: u32,
    /// Levels a side for a book, 0 for all of them and for other channels.
    pub(crate) depth: u16,
    pub(crate) channel: Channel,
    pub(crate) mode: Mode,
    /// Comes from a wildcard, which counts as one subscription.
    pub(crate) wild: bool,
}

const _: () = assert!(size_of::<Sub>() <= 12);

impl Sub {
    /// Whether it is the same subscription, whatever its mode.
    pub(crate) fn same(&self, other: &Sub) -> bool {
        (self.instrument, self.depth, self.channel)
            == (other.instrument, other.depth, other.channel)
    }
}

/// A snapshot that is still to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Join {
    pub(crate) sub: Sub,
    /// Not in its topic yet; otherwise the client only asked for another snapshot.
    pub(crate) fresh: bool,
}

/// What only clients that fall behind on conflated quotes need.
#[derive(Debug, Default)]
pub(crate) struct Conflated {
    /// Instrument to the `prev` of the first quote that was held back.
    pub(crate) held: HashMap<u32, u64>,
    /// Quotes that were replaced by later ones since the client was last told.
    pub(crate) skipped: u64,
}

/// See the module. Times are milliseconds of the reactor's monotonic clock.
pub(crate) struct Session {
    pub(crate) stream: Rc<TcpStream>,
    pub(crate) task: Option<AbortHandle>,
    pub(crate) peer: SocketAddr,
    pub(crate) reader: Reader,
    pub(crate) subs: Vec<Sub>,
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
    pub(crate) sent_bytes: u64,
    pub(crate) connected_ms: u64,
    /// When bytes last came from the client.
    pub(crate) heard_ms: u64,
    /// When the socket last took bytes.
    pub(crate) sent_ms: u64,
    /// When the next ping is due.
    pub(crate) ping_ms: u64,
    /// Requests that may come now, in thousandths; below zero, refused ones were answered.
    pub(crate) tokens: i32,
    pub(crate) tokens_ms: u64,
    pub(crate) dialect: Dialect,
    pub(crate) pinged: bool,
    /// In the flush queue.
    pub(crate) queued: bool,
    /// In the queue of sessions with joins to do.
    pub(crate) joining: bool,
    /// Counted as holding back a paced replay.
    pub(crate) crowded: bool,
    /// Counted as a subscriber, for which a replay may wait.
    pub(crate) subscriber: bool,
}

impl Session {
    /// Whether nothing new may be pushed: the close frame is in the outbox or sent.
    pub(crate) fn is_ending(&self) -> bool {
        self.end.is_some()
    }

    /// Whether quotes of this instrument may be conflated for this client.
    pub(crate) fn conflates(&self, instrument: u32) -> bool {
        self.subs.iter().any(|sub| {
            sub.instrument == instrument
                && sub.channel == Channel::Quote
                && sub.mode == Mode::Conflate
        })
    }
}
