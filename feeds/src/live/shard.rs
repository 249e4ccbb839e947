//! Some symbols over one connection, for as long as the feed runs: connect, subscribe, watch, back
//! off, connect again; and a younger connection before the venue ends an old one.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::backoff::{Backoff, Jitter};
use super::engine::{Engine, Task};
use super::link::{self, End};
use super::socket;
use super::stats::bump;
use crate::clock::Clock;
use crate::spec::Kinds;
use crate::venue::rules::Route;

/// Dialling, the handshake of TLS and the upgrade together may take so long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// The waits between tries to connect. The first is short: most connections that end do so because
/// one machine of the venue went.
const FIRST_WAIT_NS: u64 = 250_000_000;
const MOST_WAIT_NS: u64 = 30_000_000_000;

/// A connection that held so long was good: the next failure is a new story.
const GOOD_NS: u64 = 30_000_000_000;

/// What one connection is to carry.
#[derive(Debug)]
pub(super) struct Shard {
    /// The endpoint's path.
    pub(super) path: &'static str,
    /// The channels that are subscribed to.
    pub(super) channels: Kinds,
    /// The symbols, by the venue's names, in order.
    pub(super) natives: Vec<Box<str>>,
    /// See [`is_primary`].
    pub(super) is_primary: bool,
    /// How many refusals the last connection got to whose subscriptions all was answered.
    refused: Cell<Option<usize>>,
}

impl Shard {
    /// Cuts symbols into what one connection of the route takes.
    pub(super) fn cut(route: &Route, natives: &[Box<str>], has_books: bool) -> Vec<Rc<Shard>> {
        natives
            .chunks(route.symbols.max(1))
            .map(|natives| {
                let mut natives = natives.to_vec();
                natives.sort();
                Rc::new(Shard {
                    path: route.path,
                    channels: route.channels,
                    natives,
                    is_primary: is_primary(route, has_books),
                    refused: Cell::new(None),
                })
            })
            .collect()
    }

    /// Whether a connection that got so many refusals carries what the one before it did. What the
    /// venue has ceased to serve, none does.
    pub(super) fn is_served_as_before(&self, refused: usize) -> bool {
        self.refused.replace(Some(refused)).is_none_or(|before| refused <= before)
    }

    /// Whether a symbol is among its.
    pub(super) fn carries(&self, native: &str) -> bool {
        self.natives.binary_search_by(|own| (**own).cmp(native)).is_ok()
    }
}

/// Whether the state of a route's symbols hangs on it: it has their books, or there are none.
pub(super) fn is_primary(route: &Route, has_books: bool) -> bool {
    route.channels.book || !has_books
}

/// Keeps a shard's connection until the feed ends or a younger connection has taken over.
/// `predecessor` is the connection that this one replaces, to be told when it may go.
pub(super) async fn keep(
    engine: &Engine<'_>,
    shard: &Rc<Shard>,
    mut predecessor: Option<Rc<Notify>>,
) {
    let mut backoff = Backoff::new(FIRST_WAIT_NS, MOST_WAIT_NS);
    let mut jitter = Jitter::new(engine.clock.now() ^ (Rc::as_ptr(shard) as u64));
    loop {
        engine.spend(&engine.connects, 1).await;
        let connecting = socket::connect(&engine.dialer, &engine.ws, shard.path);
        let why = match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(socket)) => {
                let (number, link) = engine.open(shard);
                let began = engine.clock.now();
                let end = link::converse(engine, number, &link, socket, &mut predecessor).await;
                engine.lost(number);
                match end {
                    End::Replaced => {
                        bump(&engine.stats.replaced);
                        break;
                    }
                    End::Succeeded(why, replaced) => {
                        bump(&engine.stats.losses);
                        engine.trouble(&why);
                        if predecessor.is_some() {
                            replaced.notified().await;
                        }
                        break;
                    }
                    End::Lost(why) => {
                        bump(&engine.stats.losses);
                        if engine.clock.now() - began >= GOOD_NS {
                            backoff.reset();
                        }
                        why
                    }
                }
            }
            Ok(Err(error)) => {
                bump(&engine.stats.connect_failures);
                format!("cannot connect to {}: {error}", engine.ws)
            }
            Err(_) => {
                bump(&engine.stats.connect_failures);
                let seconds = CONNECT_TIMEOUT.as_secs();
                format!("cannot connect to {}: no answer within {seconds} s", engine.ws)
            }
        };
        engine.trouble(&why);
        sleep(Duration::from_nanos(backoff.next(&mut jitter))).await;
    }
    // One that it was to replace and had not yet goes now that a third carries the data.
    if let Some(old) = predecessor {
        old.notify_one();
    }
}

/// Has a younger connection opened for a shard; the old one is to go when the handle rings.
pub(super) fn replace(engine: &Engine<'_>, shard: &Rc<Shard>) -> Rc<Notify> {
    let leave = Rc::new(Notify::new());
    engine.begin(Task::Keep(shard.clone(), Some(leave.clone())));
    leave
}
