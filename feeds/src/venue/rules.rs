//! What a venue demands of those who connect to it: pure, so that every rule is tested without a
//! socket. `live/` does what is said here.

use std::time::Duration;

use thiserror::Error;

use crate::instrument::Listing;
use crate::spec::Kinds;

/// How often something may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many times (or so much weight) ...
    pub count: u32,
    /// ... in any such time.
    pub per: Duration,
}

impl Rate {
    /// `count` in every `seconds`.
    pub const fn new(count: u32, seconds: u64) -> Self {
        Rate { count, per: Duration::from_secs(seconds) }
    }
}

/// A venue's numbers, each with the page that it is from where the venue is implemented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// New connections, over all of a feed's.
    pub connects: Rate,
    /// Messages that a client may send over one connection.
    pub requests: Rate,
    /// The weight of REST requests, over all of a feed's; [`Page::rest`] may correct it.
    pub rest: Rate,
    /// The venue wants to hear a ping so often, whatever else is sent ([`Rules::ping`]); `None`
    /// where nothing is demanded.
    pub ping: Option<Duration>,
    /// Nothing received for so long, and a ping is sent; nothing for so long again, and the
    /// connection is dead. At least twice the venue's heartbeat where there is one.
    pub silence: Duration,
    /// The venue closes a connection at this age; `None` where it does not say so.
    pub life: Option<Duration>,
}

/// One of a venue's endpoints with what it carries; most venues have one for everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// What follows the base URL: `/stream`.
    pub path: &'static str,
    /// The channels to subscribe to there, of those that were asked for.
    pub channels: Kinds,
    /// How many symbols one connection takes with these channels.
    pub symbols: usize,
}

/// A request for data over REST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Get {
    /// Path and query, which follow the REST base URL.
    pub path: String,
    /// What it costs of [`Limits::rest`].
    pub weight: u32,
}

/// A page of a venue's list of instruments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Those that are traded now.
    pub listings: Vec<Listing>,
    /// Where the list goes on.
    pub next: Option<Get>,
    /// The venue's own word on how much REST weight is allowed.
    pub rest: Option<Rate>,
}

/// To begin or to end a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Begin.
    Subscribe,
    /// End.
    Unsubscribe,
}

/// What a feed wants of a venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which kinds of data.
    pub channels: Kinds,
    /// Levels a side of the book; `None` for the venue's default.
    pub depth: Option<u16>,
}

/// Why a venue's list of instruments cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("list of instruments: {0}")]
pub struct ListingError(pub String);

/// A venue's rules, for one feed's [`Options`].
pub trait Rules: Send {
    /// The base URL of its WebSocket: `wss://stream.binance.com:9443`.
    fn ws(&self) -> &'static str;

    /// The base URL of its REST API: `https://api.binance.com`.
    fn rest(&self) -> &'static str;

    /// Its numbers.
    fn limits(&self) -> Limits;

    /// Its endpoints, with only those channels that the options name; none without a channel.
    fn routes(&self) -> Vec<Route>;

    /// The first pages of its list of instruments, at least one.
    fn listing(&self) -> Vec<Get>;

    /// Reads a page of that list.
    ///
    /// # Errors
    /// [`ListingError`], naming what is wrong with it.
    fn read_listing(&self, reply: &[u8]) -> Result<Page, ListingError>;

    /// The messages that begin or end the subscriptions of a route for these symbols, by the
    /// venue's names; each no longer and of no more parts than the venue takes. `id` is the next
    /// request id, to be moved on: by one a message, where the venue's requests have ids.
    fn ask(&self, ask: Ask, channels: Kinds, natives: &[Box<str>], id: &mut u64) -> Vec<String>;

    /// What is asked for instead of the `nth` message (from 0) of a subscription by [`Rules::ask`],
    /// which the venue has refused as a whole ([`Heard::RefusedAll`](super::Heard::RefusedAll)):
    /// each of its parts in a message of its own, so that a bad one costs nothing but itself.
    /// Nothing where it has but one part, or where the venue serves the good parts of a request
    /// whatever the others are.
    fn singly(
        &self,
        channels: Kinds,
        natives: &[Box<str>],
        nth: usize,
        id: &mut u64,
    ) -> Vec<String> {
        let _ = (channels, natives, nth, id);
        Vec::new()
    }

    /// The symbols that a message of [`Rules::ask`] or [`Rules::singly`] names, where one that the
    /// venue refuses would pass for live all the same: its book is fetched, and changes of it never
    /// come.
    fn named(&self, request: &str) -> Vec<Box<str>> {
        let _ = request;
        Vec::new()
    }

    /// How many messages answer to a subscription to these, where that is not one to each request.
    fn answers(&self, channels: Kinds, natives: &[Box<str>]) -> Option<usize> {
        let _ = (channels, natives);
        None
    }

    /// The request for a full book; `None` where snapshots come in the stream.
    fn snapshot(&self, native: &str) -> Option<Get> {
        let _ = native;
        None
    }

    /// The text of the venue's own ping; `None`: a WebSocket ping.
    fn ping(&self, id: &mut u64) -> Option<String> {
        let _ = id;
        None
    }
}
