//! One client: what it is subscribed to, what waits for it, and how its connection ends.
//!
//! A session belongs to one reactor outright. Idle, it is this struct, a small task that waits
//! for the socket to become readable, and the kernel's socket: no buffer of its own.

mod answer;
mod assembly;
mod binance;
pub mod cause;
pub(crate) mod end;
pub mod guard;
pub(crate) mod held;
pub(crate) mod identity;
pub(crate) mod outbox;
pub mod reader;
pub(crate) mod requests;
pub(crate) mod resume;
pub mod sock_diag;
pub(crate) mod subs;
mod subscribing;
pub(crate) mod symbols;
pub(crate) mod wanted;

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use tokio::task::AbortHandle;

use crate::access::Held as Granted;
use crate::http::addresses::Place;
use crate::limits;
use crate::reactor::lanes::Lane;
use crate::session::end::End;
use crate::session::held::Held;
use crate::session::outbox::Outbox;
use crate::session::reader::Reader;
use crate::session::resume::Begin;
use crate::session::subs::{Key, Subs};
use crate::transport::{Peer, Transport};
use crate::wire::form::Form;
use crate::wire::request::Mode;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The native protocol, `/v1/ws`.
    Native,
    /// Every message comes back, `/v1/echo`: for conformance tests.
    Echo,
    /// Binance's, `/ws` and `/stream`.
    Binance,
}

impl Dialect {
    /// The word for it where operators see it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Dialect::Native => "native",
            Dialect::Echo => "echo",
            Dialect::Binance => "binance",
        }
    }

    /// Whether it has words for what concerns the connection itself: lag, drain, heartbeats.
    pub(crate) fn is_native(self) -> bool {
        self == Dialect::Native
    }
}

/// A snapshot that is still to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Join {
    pub(crate) key: Key,
    /// Not in its topic yet; otherwise the client only asked for another snapshot.
    pub(crate) fresh: bool,
    pub(crate) begin: Begin,
}

/// See the module. Times are milliseconds of the reactor's monotonic clock.
///
/// Here is what every delivery and every send touches: one cache line. All else is behind `rest`.
/// A session with anything unusual about it is `special`, and is looked at whole; one that is not
/// has nothing but shared ranges in its outbox, is not ending, and takes what it is sent.
#[repr(align(64))]
pub(crate) struct Session {
    pub(crate) stream: Rc<Transport>,
    rest: Box<Rest>,
    pub(crate) out: Outbox,
    /// Receive stamp of the oldest pending tick, nanoseconds; 0 while none is pending.
    pub(crate) oldest_ns: u64,
    /// Messages noted and bytes sent since the session was last tended.
    pub(crate) fresh_delivered: u32,
    pub(crate) fresh_bytes: u32,
    /// When the socket last took bytes; wraps.
    pub(crate) sent_ms: u32,
    pub(crate) special: bool,
    /// In a flush queue.
    pub(crate) queued: bool,
    /// The lane it is queued in.
    pub(crate) lane: Lane,
    /// Counts its flushes: queue entries of an earlier turn are stale.
    pub(crate) turn: u8,
}

const _: () = assert!(size_of::<Session>() == 64 && size_of::<Option<Session>>() == 64);

/// The part of a [`Session`] that steady fan-out leaves alone.
pub(crate) struct Rest {
    pub(crate) task: Option<AbortHandle>,
    /// Waits for the socket to take bytes again. It holds the socket: it must end with the session.
    pub(crate) waiter: Option<AbortHandle>,
    pub(crate) peer: Peer,
    /// Its address's place, given back with it.
    pub(crate) place: Place,
    /// Which of its reactor's sessions it is, of all that there ever were.
    pub(crate) serial: u64,
    /// What it may see.
    pub(crate) grant: Granted,
    /// Until when it has to say who it is.
    pub(crate) anonymous_until_ms: Option<u64>,
    /// It asked for something before it had said who it is.
    pub(crate) turned_away: bool,
    /// It was told that its grant ends soon.
    pub(crate) forewarned: bool,
    pub(crate) reader: Reader,
    pub(crate) subs: Subs,
    /// Subscriptions whose snapshot is still to be sent; they are not in their topics yet.
    pub(crate) joins: VecDeque<Join>,
    pub(crate) held: Option<Box<Held>>,
    pub(crate) end: Option<Box<End>>,
    /// Size of a snapshot under way, by which the outbox may be over its bound.
    pub(crate) allowance: usize,
    /// Messages noted, up to the last tending.
    pub(crate) delivered: u64,
    pub(crate) rated_ms: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) connected_ms: u64,
    /// When bytes last came from the client.
    pub(crate) heard_ms: u64,
    /// Since when bytes wait and the socket takes none; 0 while it takes all.
    pub(crate) stuck_ms: u64,
    /// Since when its socket has not had everything; 0 while it has.
    pub(crate) behind_ms: u64,
    /// What the client had not taken of the kernel's when that was looked at last, since then.
    pub(crate) not_taken: Option<u32>,
    /// When the next ping is due.
    pub(crate) ping_ms: u64,
    /// Requests that may come now, in thousandths; below zero, refused ones were answered.
    pub(crate) tokens: i32,
    pub(crate) tokens_ms: u64,
    pub(crate) dialect: Dialect,
    /// In which form it is told things.
    pub(crate) form: Form,
    pub(crate) pinged: bool,
    /// While something is before the ping that the client has not taken: bytes that it had taken when that
    /// was looked at last.
    pub(crate) ping_waits: Option<u64>,
    /// Counted as subscribed to something.
    pub(crate) subscribed: bool,
    /// In the queue of sessions with joins to do.
    pub(crate) joining: bool,
    /// Something did not fit its outbox and was dropped: it must be evicted.
    pub(crate) overflowed: bool,
    /// Moved to conflated delivery, until it has caught up.
    pub(crate) behind: bool,
    /// Counted as holding back a paced replay.
    pub(crate) crowded: bool,
}

impl Deref for Session {
    type Target = Rest;

    fn deref(&self) -> &Rest {
        &self.rest
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Rest {
        &mut self.rest
    }
}

impl Session {
    /// A session at its beginning, `now_ms`, with so many thousandths of requests to make.
    pub(crate) fn new(
        stream: Rc<Transport>,
        peer: Peer,
        grant: Granted,
        dialect: Dialect,
        now_ms: u64,
        tokens: i32,
    ) -> Self {
        let rest = Rest {
            task: None,
            waiter: None,
            peer,
            place: Place::default(),
            serial: 0,
            grant,
            anonymous_until_ms: None,
            turned_away: false,
            forewarned: false,
            reader: Reader::new(),
            subs: Subs::default(),
            joins: VecDeque::new(),
            held: None,
            end: None,
            allowance: 0,
            delivered: 0,
            rated_ms: now_ms,
            sent_bytes: 0,
            connected_ms: now_ms,
            heard_ms: now_ms,
            stuck_ms: 0,
            behind_ms: 0,
            not_taken: None,
            ping_ms: 0,
            tokens,
            tokens_ms: now_ms,
            dialect,
            form: Form::NATIVE,
            behind: false,
            pinged: false,
            ping_waits: None,
            subscribed: false,
            joining: false,
            overflowed: false,
            crowded: false,
        };
        Session {
            stream,
            rest: Box::new(rest),
            out: Outbox::default(),
            oldest_ns: 0,
            fresh_delivered: 0,
            fresh_bytes: 0,
            sent_ms: now_ms as u32,
            special: false,
            queued: false,
            lane: Lane::SERVERS,
            turn: 0,
        }
    }

    /// Whether it must be looked at whole before it is delivered or sent to.
    pub(crate) fn is_special(&self) -> bool {
        !self.out.is_plain()
            || self.end.is_some()
            || self.held.is_some()
            || self.behind
            || self.allowance != 0
            || self.stuck_ms != 0
            || self.overflowed
            || self.crowded
            || self.form.is_stream()
            || !self.joins.is_empty() && !self.joining
    }

    /// Milliseconds since the socket last took bytes.
    pub(crate) fn silent_ms(&self, now_ms: u64) -> u64 {
        u64::from((now_ms as u32).wrapping_sub(self.sent_ms))
    }

    /// Whether nothing new may be pushed: the close frame is in the outbox or sent.
    pub(crate) fn is_ending(&self) -> bool {
        self.end.is_some()
    }

    /// Whether a message of this subscription waits until the socket takes bytes again, and what it says
    /// is then said with all that comes until then.
    pub(crate) fn holds_back(&self, key: &Key) -> bool {
        // What is held already is not overtaken.
        self.held.as_ref().is_some_and(|held| held.holds(key))
            || self.out.is_blocked()
                && match self.subs.get(key).map(|sub| sub.terms.mode) {
                    Some(Mode::Conflate) => true,
                    Some(Mode::Auto) => self.behind,
                    _ => false,
                }
    }

    /// Whether it falls behind with this message, and is from now on to be told sums only.
    pub(crate) fn falls_behind(&self, key: &Key, limit: usize) -> bool {
        !self.behind
            && self.out.is_blocked()
            && self.out.len() > limit / limits::BEHIND_SHARE
            && self.subs.get(key).is_some_and(|sub| sub.terms.mode == Mode::Auto)
    }

    /// Heap bytes held for what waits to be sent, and for TLS.
    pub(crate) fn held(&self) -> usize {
        let held = self.held.as_ref().map_or(0, |held| held.bytes());
        self.out.held() + held + self.stream.held()
    }
}
