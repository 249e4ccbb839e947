//! `/v1/poll`: long polling, for who has neither a WebSocket nor server-sent events
//! (docs/PROTOCOL.md).
//!
//! Nothing is kept between two polls: the cursor is a position of the ring, and the ring is the history.
//! Where the events of the wanted channels lie on it is found as for clients that resume
//! ([`Trails`]), once for all who poll.

mod bars;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tickcast_feeds::tick::TICK_WORDS;
use tickcast_feeds::{Instrument, Tick};
use tokio::time::Instant;

use self::bars::Heard;
use super::addresses::Place;
use super::rest::encode::Object;
use super::rest::query::Query;
use super::rest::{Error, Rest};
use super::socket::Takeover;
use super::sse::Manner;
use super::{Body, Market, Plane, admit, sse, typed};
use crate::access::Grant;
use crate::books::Depth;
use crate::clock;
use crate::derive::{Bar, Span};
use crate::limits;
use crate::reactor::trails::{Spot, Track, Trails};
use crate::ring::Consumer;
use crate::session::resume::{Loss, Start};
use crate::session::subs::Key;
use crate::transport::Peer;
use crate::wire::binance::encode::Day;
use crate::wire::encode::Heads;
use crate::wire::form::Form;
use crate::wire::native::BookHead;
use crate::wire::request::{Channel, Target};

/// Where it is.
pub(super) const PATH: &str = "/v1/poll";

/// What polls are answered from. Of one thread, the control market's.
#[derive(Debug)]
pub(crate) struct Polls {
    ring: RefCell<Consumer<TICK_WORDS>>,
    trails: RefCell<Option<Trails>>,
    heard: Heard,
    /// Connections that poll.
    clients: Cell<usize>,
}

impl Polls {
    pub(crate) fn new(ring: Consumer<TICK_WORDS>) -> Self {
        let (trails, heard, clients) = (RefCell::default(), Heard::default(), Cell::new(0));
        Polls { ring: RefCell::new(ring), trails, heard, clients }
    }

    /// How many connections poll.
    pub(super) fn clients(&self) -> usize {
        self.clients.get()
    }

    /// Up to where the ring goes now.
    fn tail(&self) -> u64 {
        let ring = self.ring.borrow();
        ring.position() + ring.lag()
    }

    /// Drops the places of events where nobody polls any more, or they have become too many.
    fn tidy(&self) {
        let mut trails = self.trails.borrow_mut();
        let now_ms = clock::now().ms;
        if trails.as_ref().is_some_and(|trails| trails.is_old(now_ms)) {
            *trails = None;
        }
    }

    /// Finds the places of all events up to a position, with pauses for others.
    async fn look(&self, to: u64) {
        self.tidy();
        loop {
            {
                let mut trails = self.trails.borrow_mut();
                let trails = trails.get_or_insert_with(|| Trails::new(&self.ring.borrow()));
                trails.used_ms = clock::now().ms;
                if trails.look(to) {
                    return;
                }
            }
            tokio::task::yield_now().await;
        }
    }
}

/// A connection that polls, which counts as a client.
pub(super) struct Seat {
    market: Rc<Market>,
    peer: Peer,
    _place: Place,
}

impl Seat {
    fn take(market: &Rc<Market>, peer: Peer, place: Place) -> Self {
        market.polls.clients.set(market.polls.clients.get() + 1);
        Seat { market: market.clone(), peer, _place: place }
    }

    /// Whose it is.
    pub(super) fn peer(&self) -> Peer {
        self.peer
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.market.polls.clients.set(self.market.polls.clients.get() - 1);
    }
}

/// One thing that a poll wants: one channel of one instrument.
struct Wanted {
    key: Key,
    info: std::sync::Arc<Instrument>,
    heads: Heads,
    /// Of bars and tickers: the ring position from which on they have been made.
    from: u64,
}

impl Wanted {
    fn span(&self) -> Option<Span> {
        self.key.channel.span(self.key.depth)
    }
}

/// Answers a poll, when there is something to say.
pub(super) async fn answer(
    plane: &Plane,
    market: &Rc<Market>,
    request: &Request<Incoming>,
    peer: Peer,
    grant: &Grant,
    door: &Takeover,
) -> Response<Body> {
    let origins = &market.rest.origins;
    let mut response = match *request.method() {
        Method::OPTIONS => return sse::preflight(request, origins),
        Method::GET | Method::HEAD => {
            let place = match door.seats(peer) {
                true => Ok(Place::default()),
                false => admit(plane, peer),
            };
            let place = match place {
                Ok(place) => place,
                Err(response) => return *response,
            };
            poll(plane, market, request, grant, (peer, place), door)
                .await
                .unwrap_or_else(Error::into_response)
        }
        _ => sse::not_allowed(request.method()),
    };
    origins.apply(request.headers(), response.headers_mut(), false);
    response
}

async fn poll(
    plane: &Plane,
    market: &Rc<Market>,
    request: &Request<Incoming>,
    grant: &Grant,
    (peer, place): (Peer, Place),
    door: &Takeover,
) -> Result<Response<Body>, Error> {
    if grant.max_hz().is_some() {
        let message =
            format!("{} is held to a rate, which polls have not: use /v1/sse", grant.name);
        return Err(Error::new(StatusCode::FORBIDDEN, "forbidden", message));
    }
    let mut query = Query::parse(request.uri().query())?;
    let targets = sse::targets(market, &mut query, &Manner::default(), grant).await?;
    let cursor = query.take("cursor").unwrap_or_default();
    let start = sse::position(&market.hub.epoch, "cursor", &cursor)?;
    let timeout = query.number("timeout", 0..=limits::POLL_SECONDS_MAX)?;
    query.finish(&["subscribe", "cursor", "timeout"])?;
    let all = wanted(market, &targets, grant)?;
    bars::tend(market);
    // From here on it is a client, and no handshake that keeps others from theirs.
    door.sit(|| Seat::take(market, peer, place));
    let timeout = Duration::from_secs(timeout.unwrap_or(limits::POLL_SECONDS));
    let until = Instant::now() + timeout.min(plane.handshake_timeout * (limits::HTTP_TIMEOUTS - 1));
    let position = match start {
        Some(Start::At(position)) => position,
        Some(_) => return Ok(anew(market, &all, Some(Loss::Epoch)).await),
        None => return Ok(anew(market, &all, None).await),
    };
    if position > market.polls.tail() {
        return Ok(anew(market, &all, Some(Loss::Ahead)).await);
    }
    news(plane, market, grant, &targets, all, position, until).await
}

/// The answer once something has come after a position, or it is time.
async fn news(
    plane: &Plane,
    market: &Market,
    grant: &Grant,
    targets: &[Target],
    mut all: Vec<Wanted>,
    mut here: u64,
    until: Instant,
) -> Result<Response<Body>, Error> {
    let names = &market.rest.names;
    let mut listed = names.len();
    loop {
        // Before anything else: nothing that came after that is shown.
        if grant.is_over(clock::real_ns() / 1_000_000) {
            return Err(Error::over());
        }
        let tail = market.polls.tail();
        if tail > here {
            market.polls.look(tail).await;
            // What was listed meanwhile, before its first tick.
            names.catch_up(&market.hub.instruments).await;
            if names.len() > listed {
                listed = names.len();
                all = wanted(market, targets, grant)?;
            }
            let Some(Found { end, messages }) = since(market, &all, here, tail) else {
                return Ok(anew(market, &all, Some(Loss::TooOld)).await);
            };
            // Up to here there was nothing.
            here = tail;
            if !messages.is_empty() {
                return Ok(body(market, end, Some(None), &messages));
            }
        }
        let draining = plane.draining.load(std::sync::atomic::Ordering::Relaxed);
        if Instant::now() >= until || draining {
            return Ok(body(market, here, Some(None), &[]));
        }
        tokio::time::sleep(limits::POLL_LOOK.min(until - Instant::now())).await;
    }
}

/// What the targets stand for: each symbol, and all that wildcards match now.
fn wanted(market: &Market, targets: &[Target], grant: &Grant) -> Result<Vec<Wanted>, Error> {
    let names = &market.rest.names;
    let mut all: Vec<Wanted> = Vec::new();
    for target in targets {
        if (target.channel, target.variant()) == (Channel::Book, 0) {
            let book = format!("book:{}", target.symbols[0]);
            return Err(Error::bad_value("subscribe", &book, "a depth behind it, such as :10"));
        }
        let depth = target.variant();
        let named = target.symbols.iter().map(|name| names.matching(name, grant));
        for info in named.collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
            let channel = target.channel;
            grant.allows(&info, channel, depth).map_err(|denied| Error::denied(&denied))?;
            let key = Key { channel, instrument: info.id.0, depth, form: Form::NATIVE };
            if all.iter().any(|known| known.key == key) {
                continue;
            }
            if all.len() >= limits::POLL_SUBSCRIPTIONS {
                let most = limits::POLL_SUBSCRIPTIONS;
                let message = format!(
                    "more than {most} symbols of channels in one poll, all that wildcards match included"
                );
                return Err(Error::bad("too_many_subscriptions", message));
            }
            let from = key.channel.span(depth).map_or(0, |span| {
                let (polls, reader) = (&market.polls, &mut market.rest.reader.borrow_mut());
                polls.heard.listen(reader, info.id, span, polls.tail())
            });
            all.push(Wanted { key, heads: Heads::new(&info, ""), info, from });
        }
    }
    Ok(all)
}

/// What came since a cursor.
struct Found {
    /// The next cursor.
    end: u64,
    /// Messages with commas between.
    messages: Vec<u8>,
}

impl Found {
    fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.messages.len();
        if before > 0 {
            self.messages.push(b',');
        }
        let begun = self.messages.len();
        write(&mut self.messages);
        if self.messages.len() == begun {
            self.messages.truncate(before);
        }
    }
}

/// What came between two ring positions, as much of it as an answer holds; `None` where it is not known
/// any more.
fn since(market: &Market, wanted: &[Wanted], from: u64, to: u64) -> Option<Found> {
    let mut trails = market.polls.trails.borrow_mut();
    let trails = trails.as_mut()?;
    if !trails.reaches(from) {
        return None;
    }
    let most = limits::POLL_MESSAGES;
    let mut events: Vec<(Spot, usize)> = Vec::new();
    let mut prevs = vec![None; wanted.len()];
    let mut found = Found { end: to, messages: Vec::new() };
    for (at, one) in wanted.iter().enumerate() {
        if one.from > from {
            // Nobody listened, and they were not made.
            newest_bar(&market.rest, one, &mut found);
            continue;
        }
        let (prev, mut spots) = trails.between(Track::of(&one.key), from, to);
        prevs[at] = prev;
        if one.key.channel == Channel::Book {
            // Only what it has come to counts.
            events.extend(spots.next_back().map(|spot| (spot, at)));
        } else {
            events.extend(spots.take(most).map(|spot| (spot, at)));
        }
    }
    events.sort_by_key(|(spot, _)| spot.end);
    let mut ticks = Vec::new();
    let mut last_end = from;
    for (count, (spot, at)) in events.into_iter().enumerate() {
        let full = count >= most || found.messages.len() >= limits::POLL_BYTES;
        // Two depths of one book have the same place, and belong to one answer.
        if full && spot.end != last_end {
            found.end = last_end;
            break;
        }
        let one = &wanted[at];
        if one.key.channel == Channel::Book {
            book(&market.rest, one, &mut found);
        } else if !trails.read(spot, &mut ticks) {
            return None;
        } else if let Some(tick) = ticks.last() {
            event(market, one, &ticks, prevs[at], &mut found);
            prevs[at] = Some(tick.seq);
        }
        last_end = spot.end;
    }
    Some(found)
}

/// The message of an event, of which these are all ticks.
fn event(market: &Market, one: &Wanted, ticks: &[Tick], prev: Option<u64>, found: &mut Found) {
    use crate::wire::encode as wire;
    let (form, heads) = (one.key.form, &one.heads);
    let Some(tick) = ticks.last() else { return };
    match one.key.channel {
        Channel::Trade => {
            let prev = prev.or_else(|| before(market, one, tick.seq)).unwrap_or(0);
            found.push(|out| wire::trade(out, form, heads, tick, prev));
        }
        Channel::Quote => found.push(|out| wire::quote(out, form, heads, tick, prev)),
        Channel::Status => {
            let of = tick.as_status();
            found.push(|out| wire::feed_status(out, form, heads, of.state, of.age_ms));
        }
        Channel::Bar | Channel::Ticker => {
            if let Some(bar) = Bar::from_ticks(ticks) {
                // They are counted.
                found.push(|out| bar_message(out, one, &bar, tick.seq, tick.seq.checked_sub(1)));
            }
        }
        Channel::Book => {}
    }
}

fn bar_message(out: &mut Vec<u8>, one: &Wanted, bar: &Bar, seq: u64, prev: Option<u64>) {
    let day = Day { bar, quote: None, trade: None };
    crate::wire::encode::bar(out, one.key.form, &one.heads, &day, seq, prev);
}

/// The bar or ticker as it is, where a trade has come.
fn newest_bar(rest: &Rest, one: &Wanted, found: &mut Found) {
    let Some(span) = one.span() else { return };
    if let Some((bar, seq)) = bars::newest(&mut rest.reader.borrow_mut(), one.info.id, span) {
        found.push(|out| bar_message(out, one, &bar, seq, None));
    }
}

/// The sequence of the trade before another one, where it is kept.
fn before(market: &Market, one: &Wanted, seq: u64) -> Option<u64> {
    let mut reader = market.rest.reader.borrow_mut();
    let state = reader.get(one.info.id)?.lock();
    let mut newest = Vec::new();
    let before = state.history.as_ref()?.trades(Some(seq), 1, &mut newest);
    Some(newest.first().map_or(before, |tick| tick.seq))
}

/// The book as it is, where it is known.
fn book(rest: &Rest, one: &Wanted, found: &mut Found) {
    let Ok(depth) = Depth::top(one.key.depth.into()) else { return };
    let mut reader = rest.reader.borrow_mut();
    let Some(state) = reader.get(one.info.id).map(|state| state.lock()) else { return };
    let known = &state.book;
    if !known.is_known() {
        return;
    }
    let (bids, asks): (Vec<_>, Vec<_>) = (depth.bids(known).collect(), depth.asks(known).collect());
    let head = BookHead {
        depth: Some(one.key.depth),
        seq: known.seq(),
        prev: None,
        ts_event: known.ts_event(),
        ts_recv: known.ts_recv(),
    };
    drop(state);
    let (form, heads) = (one.key.form, &one.heads);
    found.push(|out| {
        crate::wire::encode::book(out, form, heads, &head, bids.into_iter(), asks.into_iter());
    });
}

/// What is now, and the cursor from which on it goes on.
async fn anew(market: &Market, wanted: &[Wanted], loss: Option<Loss>) -> Response<Body> {
    // Before the copies: what comes in between comes again, and nothing is missing.
    let mut found = Found { end: market.polls.tail(), messages: Vec::new() };
    for (at, one) in wanted.iter().enumerate() {
        if at % 16 == 15 {
            tokio::task::yield_now().await;
        }
        let (form, heads) = (one.key.form, &one.heads);
        match one.key.channel {
            Channel::Book => book(&market.rest, one, &mut found),
            Channel::Quote | Channel::Status => {
                let mut reader = market.rest.reader.borrow_mut();
                let Some(state) = reader.get(one.info.id).map(|state| state.lock()) else {
                    continue;
                };
                let (quote, feed, since) = (state.last_quote, state.feed, state.feed_since);
                drop(state);
                if one.key.channel == Channel::Status {
                    let age_ms = match since {
                        0 => 0,
                        since => clock::real_ns().saturating_sub(since) / 1_000_000,
                    };
                    found.push(|out| {
                        crate::wire::encode::feed_status(out, form, heads, feed, age_ms);
                    });
                } else if let Some(tick) = quote {
                    found.push(|out| crate::wire::encode::quote(out, form, heads, &tick, None));
                }
            }
            Channel::Bar | Channel::Ticker => newest_bar(&market.rest, one, &mut found),
            Channel::Trade => {}
        }
    }
    body(market, found.end, loss.map(Some), &found.messages)
}

/// An answer. `recovered`: where a cursor was given, why it was of no use, if it was not.
fn body(
    market: &Market,
    cursor: u64,
    recovered: Option<Option<Loss>>,
    messages: &[u8],
) -> Response<Body> {
    let mut out = Vec::with_capacity(messages.len() + 128);
    let mut object = Object::open(&mut out);
    let epoch = &market.hub.epoch;
    object.text("epoch", epoch).text("cursor", &format!("{epoch}-{cursor}"));
    if let Some(loss) = recovered {
        object.bool("recovered", loss.is_none());
        if let Some(loss) = loss {
            object.text("reason", loss.as_str());
        }
    }
    let list = object.field("messages");
    list.push(b'[');
    list.extend_from_slice(messages);
    list.push(b']');
    object.close();
    typed(StatusCode::OK, "application/json", out)
}
