//! Clients at any pace, held back at any time, against the books that there were: whatever they are
//! told takes them from one true book to another, and in the end to the one that everybody has.

use std::collections::BTreeMap;
use std::io::Read;

use proptest::prelude::*;
use tickcast_feeds::tick::flags;
use tickcast_feeds::{Decimal, FeedState, Level, Side, Tick};

use super::*;
use crate::reactor::cadence::Cadence;
use crate::wire::request::Mode;

type Sides = [BTreeMap<String, String>; 2];

/// What happens.
#[derive(Clone, Debug)]
enum Step {
    /// Bid or ask, price, size.
    Event(Vec<(bool, i64, i64)>),
    Snapshot(Vec<(bool, i64, i64)>),
    /// The book is lost, until the next snapshot.
    Resync,
    /// So many milliseconds pass.
    Pass(u64),
    /// A client's socket takes no more.
    Block(usize),
    Unblock(usize),
    /// A client asks for another snapshot.
    Again(usize),
    Trim,
    /// The reactor is overtaken by the ring's writer.
    Lap,
}

fn levels() -> impl Strategy<Value = Vec<(bool, i64, i64)>> {
    prop::collection::vec((any::<bool>(), 1..9i64, 0..4i64), 1..6)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => levels().prop_map(Step::Event),
        1 => levels().prop_map(Step::Snapshot),
        1 => Just(Step::Resync),
        6 => (0..150u64).prop_map(Step::Pass),
        4 => (0..CLIENTS).prop_map(Step::Block),
        4 => (0..CLIENTS).prop_map(Step::Unblock),
        1 => (0..CLIENTS).prop_map(Step::Again),
        1 => Just(Step::Trim),
        1 => Just(Step::Lap),
    ]
}

/// Mode, cadence, depth and form of each client.
fn clients() -> Vec<(Mode, Cadence, u16, Form)> {
    let mut all = Vec::new();
    for depth in [0, 2, 4] {
        for (mode, cadence) in [
            (Mode::All, Cadence::EVERY),
            (Mode::Auto, Cadence::EVERY),
            (Mode::Conflate, Cadence::EVERY),
            (Mode::Conflate, Cadence::of_ms(10)),
            (Mode::Conflate, Cadence::of_ms(100)),
            (Mode::Batch, Cadence::gathered_ms(50)),
        ] {
            all.push((mode, cadence, depth, Form::NATIVE));
        }
    }
    // Streams without snapshots: `@depth` and `@depth@100ms`. Told at their pace, they fall behind as
    // soon as they are held back at all.
    all.push((Mode::Conflate, Cadence::of_ms(1_000), 0, Form::binance(0)));
    all.push((Mode::Conflate, Cadence::of_ms(100), 0, Form::binance(1)));
    all
}

const CLIENTS: usize = 20;

/// A client as docs/PROTOCOL.md has it.
struct Client {
    id: u32,
    key: Key,
    terms: Terms,
    socket: std::net::TcpStream,
    bytes: Vec<u8>,
    book: Sides,
    last: Option<u64>,
}

impl Client {
    /// Reads what came and follows it. `lapped`: it was told so, and waits for a snapshot.
    fn follow(&mut self, truth: &BTreeMap<u64, Sides>) -> Result<(), String> {
        let mut buffer = [0; 65_536];
        while let Ok(n @ 1..) = self.socket.read(&mut buffer) {
            self.bytes.extend_from_slice(&buffer[..n]);
        }
        let mut rest = &self.bytes[..];
        while let Some((text, after)) = take_frame(rest) {
            rest = after;
            let value: serde_json::Value = serde_json::from_slice(text)
                .map_err(|e| format!("{e}: {}", String::from_utf8_lossy(text)))?;
            match value.as_array() {
                Some(all) => all.iter().try_for_each(|one| {
                    take(self.key, &mut self.book, &mut self.last, one, truth)
                })?,
                None => take(self.key, &mut self.book, &mut self.last, &value, truth)?,
            }
        }
        self.bytes = rest.to_vec();
        Ok(())
    }
}

fn take(
    key: Key,
    book: &mut Sides,
    last: &mut Option<u64>,
    value: &serde_json::Value,
    truth: &BTreeMap<u64, Sides>,
) -> Result<(), String> {
    if value["channel"] == "status" {
        if value["policy"] == "resync" {
            *last = None;
        }
        return Ok(());
    }
    if value["e"] == "depthUpdate" {
        return take_diff(book, last, value, truth);
    }
    let seq = value["seq"].as_u64().ok_or("a seq")?;
    if value["type"] == "snapshot" {
        *book = Sides::default();
    } else if last.is_none() {
        return Ok(());
    } else if value["prev"].as_u64() != *last {
        return Err(format!("{value} after {last:?}"));
    }
    *last = Some(seq);
    for (side, name) in book.iter_mut().zip(["bids", "asks"]) {
        for level in value[name].as_array().ok_or("levels")? {
            let [price, size] = [0, 1].map(|i| level[i].as_str().unwrap_or("").to_owned());
            if size == "0" {
                side.remove(&price)
            } else {
                side.insert(price, size)
            };
        }
    }
    let (_, true_book) = truth.range(..=seq).next_back().ok_or("a truth")?;
    let expected = top(true_book, key.depth);
    if *book != expected {
        return Err(format!("{book:?} at {seq}, expected {expected:?}: {value}"));
    }
    Ok(())
}

/// A message of a stream without snapshots: from its first one on nothing may be missing.
fn take_diff(
    book: &mut Sides,
    last: &mut Option<u64>,
    value: &serde_json::Value,
    truth: &BTreeMap<u64, Sides>,
) -> Result<(), String> {
    let [first, seq] = ["U", "u"].map(|name| value[name].as_u64().unwrap_or(0));
    let at = |seq: u64| truth.range(..=seq).next_back().map(|(_, book)| book.clone());
    match *last {
        Some(last) if first != last + 1 => return Err(format!("{value} after {last}")),
        Some(_) => {}
        // Where the subscription began.
        None => *book = at(first - 1).ok_or("a truth")?,
    }
    *last = Some(seq);
    for (side, name) in book.iter_mut().zip(["b", "a"]) {
        for level in value[name].as_array().ok_or("levels")? {
            let [price, size] = [0, 1].map(|i| level[i].as_str().unwrap_or("").to_owned());
            let [price, size] = [price, size].map(|text| text.replace(".00000000", ""));
            if size == "0" {
                side.remove(&price)
            } else {
                side.insert(price, size)
            };
        }
    }
    let expected = at(seq).ok_or("a truth")?;
    if *book != expected {
        return Err(format!("{book:?} at {seq}, expected {expected:?}: {value}"));
    }
    Ok(())
}

/// The best levels of a book whose prices have three digits.
fn top(book: &Sides, depth: u16) -> Sides {
    let most = if depth == 0 { usize::MAX } else { depth.into() };
    let [bids, asks] = book;
    let own = |(price, size): (&String, &String)| (price.clone(), size.clone());
    [bids.iter().rev().take(most).map(own).collect(), asks.iter().take(most).map(own).collect()]
}

/// The payload of the first frame, and what is behind it.
fn take_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = crate::wire::frame::len_at(bytes).filter(|&len| len <= bytes.len())?;
    let head = match bytes[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    Some((&bytes[head..len], &bytes[len..]))
}

struct World {
    bench: Bench,
    clients: Vec<Client>,
    truth: BTreeMap<u64, Sides>,
    book: Sides,
    seq: u64,
    status: u64,
    known: bool,
}

impl World {
    fn new() -> Self {
        let mut bench = Bench::new();
        let settings = &mut Arc::get_mut(&mut bench.core.hub).expect("the only one").settings;
        settings.outbox_bytes = 4_000;
        settings.max_subscriptions = 100;
        let mut world = World {
            bench,
            clients: Vec::new(),
            truth: BTreeMap::new(),
            book: Sides::default(),
            seq: 0,
            status: 0,
            known: false,
        };
        world.event(true, &[(true, 1, 1), (false, 1, 1)]);
        for (mode, cadence, depth, form) in clients() {
            let (id, socket) = world.bench.connect(Lane::SERVERS);
            socket.set_nonblocking(true).unwrap();
            world.bench.core.leave_all(id);
            let key = Key { form, ..key(Channel::Book, depth) };
            let terms = Terms { mode, cadence, lane: Lane::SERVERS };
            world.bench.core.subscribe(id, key, terms, false);
            let book = Sides::default();
            world.clients.push(Client {
                id,
                key,
                terms,
                socket,
                bytes: Vec::new(),
                book,
                last: None,
            });
        }
        // Newcomers are let in as the real clock has it. A stream without snapshots that begins while
        // the book is being rebuilt begins with no book that a client could know.
        while !world.bench.core.joiners.is_empty() {
            world.turn();
        }
        world
    }

    fn turn(&mut self) {
        let now = self.bench.core.now;
        while self.bench.core.take_ticks() > 0 {}
        while self.bench.core.tell_due() > 0 {}
        self.bench.core.admission.turn(now.mono_ns, false);
        self.bench.core.do_joins();
        self.bench.core.deal_with_overflow();
        self.bench.core.pace.set_window(0);
        self.bench.core.flush_due(1_000);
        // It has looked at the real clock.
        self.bench.core.now = now;
    }

    fn event(&mut self, snapshot: bool, levels: &[(bool, i64, i64)]) {
        let ticks = self.ticks(snapshot, levels);
        self.bench.apply(&ticks);
        self.bench.publish(&ticks);
    }

    fn ticks(&mut self, snapshot: bool, levels: &[(bool, i64, i64)]) -> Vec<Tick> {
        self.seq += 1;
        if snapshot {
            self.book = Sides::default();
        }
        let kind = if snapshot { flags::SNAPSHOT } else { 0 };
        let mut ticks: Vec<Tick> = Vec::new();
        for &(bid, price, size) in levels {
            let (side, price) =
                if bid { (Side::Buy, 110 - price) } else { (Side::Sell, 110 + price) };
            let of = Level {
                side,
                price: Decimal::new(price, 0),
                size: Decimal::new(size, 0),
                first: 0,
            };
            ticks.push(Tick::level(ID, stamp(self.seq), kind, &of));
            let side = &mut self.book[usize::from(!bid)];
            match size {
                0 => side.remove(&price.to_string()),
                size => side.insert(price.to_string(), size.to_string()),
            };
        }
        ticks.first_mut().unwrap().flags |= flags::FIRST;
        ticks.last_mut().unwrap().flags |= flags::LAST;
        self.truth.insert(self.seq, self.book.clone());
        self.known = true;
        ticks
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Event(levels) if self.known => self.event(false, &levels),
            Step::Event(_) => {}
            Step::Snapshot(levels) => self.event(true, &levels),
            Step::Resync => {
                self.status += 1;
                self.known = false;
                let tick = [status(self.status, FeedState::Resync)];
                self.bench.apply(&tick);
                self.bench.publish(&tick);
            }
            Step::Pass(ms) => self.bench.core.now.mono_ns += ms * 1_000_000,
            Step::Block(client) => {
                let client = &self.clients[client];
                // Who wants every tick would be closed.
                if matches!(client.terms.mode, Mode::Auto | Mode::Conflate)
                    && let Some(session) = self.bench.core.sessions.get_mut(client.id as usize)
                    && !session.out.is_blocked()
                {
                    session.special = true;
                    session.out.push_own(&mut self.bench.core.encodings, |_| {});
                    session.out.sent_some(0, &mut self.bench.core.encodings);
                }
            }
            Step::Unblock(client) => self.unblock(client),
            Step::Again(client) => {
                let client = &self.clients[client];
                self.bench.core.rejoin(client.id, client.key);
            }
            Step::Trim => self.bench.core.trim_journals(),
            Step::Lap if !self.known => {}
            Step::Lap => {
                let ticks: Vec<Tick> =
                    (0..600).flat_map(|i| self.ticks(false, &[(true, i % 8 + 1, i % 3)])).collect();
                self.bench.apply(&ticks);
                self.bench.publish(&ticks);
                let more: Vec<Tick> = (0..600)
                    .flat_map(|i| self.ticks(false, &[(false, i % 8 + 1, i % 3)]))
                    .collect();
                self.bench.apply(&more);
                self.bench.publish(&more);
            }
        }
        self.turn();
    }

    fn unblock(&mut self, client: usize) {
        let id = self.clients[client].id;
        if let Some(session) = self.bench.core.sessions.get_mut(id as usize)
            && session.out.is_blocked()
        {
            session.out.unblock();
            self.bench.core.flush(id);
        }
    }

    /// Everybody takes bytes again, and time passes: all have the book that there is.
    fn end(&mut self) -> Result<(), String> {
        if !self.known {
            self.event(true, &[(true, 5, 2), (false, 5, 2)]);
        }
        let mut rounds = 0;
        while rounds < 5 || !self.bench.core.joiners.is_empty() && rounds < 1_000 {
            rounds += 1;
            (0..CLIENTS).for_each(|client| self.unblock(client));
            self.bench.core.now.mono_ns += 10_000_000_000;
            self.turn();
        }
        for client in &mut self.clients {
            client.follow(&self.truth).map_err(|e| format!("{:?}: {e}", client.terms))?;
            let session = self.bench.core.sessions.get(client.id as usize);
            if session.is_none_or(|session| session.is_ending()) {
                return Err(format!("{:?} was closed", client.terms));
            }
            let nothing_happened = client.last.is_none() && client.key.form != Form::NATIVE;
            if !nothing_happened && client.book != top(&self.book, client.key.depth) {
                return Err(format!("{:?} {:?} has {:?}", client.terms, client.key, client.book));
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_pace_leads_over_true_books_to_the_same_one(steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _runtime = runtime.enter();
        let mut world = World::new();
        for step in steps {
            let shown = format!("{step:?}");
            world.step(step);
            for client in &mut world.clients {
                let followed = client.follow(&world.truth);
                prop_assert!(followed.is_ok(), "{:?} {:?}: {:?} after {}", client.terms, client.key, followed, shown);
            }
        }
        let end = world.end();
        prop_assert!(end.is_ok(), "{:?}", end);
    }
}

/// Who follows a stream without snapshots from a time on at which there is no book goes on from the first
/// snapshot that it can get elsewhere, which ends where a message of the stream does.
#[test]
fn a_stream_that_is_joined_while_its_book_is_rebuilt_goes_on_from_the_next_snapshot() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _runtime = runtime.enter();
    let mut world = World::new();
    world.step(Step::Resync);
    let mut followers: Vec<_> = [(0, 1_000), (1, 100)]
        .map(|(variant, ms)| {
            let (id, socket) = world.bench.connect(Lane::SERVERS);
            socket.set_nonblocking(true).unwrap();
            world.bench.core.leave_all(id);
            // Nobody else follows it: the topic is made now.
            let form = Form::binance(variant | 0b0100);
            let key = Key { form, ..key(Channel::Book, 0) };
            let cadence = Cadence::of_ms(ms);
            let terms = Terms { mode: Mode::Auto, cadence, lane: Lane::SERVERS };
            world.bench.core.subscribe(id, key, terms, false);
            let book = Sides::default();
            Client { id, key, terms, socket, bytes: Vec::new(), book, last: None }
        })
        .into();
    world.turn();
    world.step(Step::Snapshot(vec![(true, 7, 3), (false, 2, 1)]));
    world.step(Step::Event(vec![(true, 6, 3)]));
    world.step(Step::Pass(2_000));
    world.step(Step::Event(vec![(true, 5, 1)]));
    // As the REST endpoint does: at the mark every stream ends a message.
    world.bench.core.cut(0);
    world.turn();
    for follower in &mut followers {
        let mut buffer = [0; 65_536];
        let n = follower.socket.read(&mut buffer).expect("messages");
        let mut rest = &buffer[..n];
        let mut last = None;
        while let Some((text, after)) = take_frame(rest) {
            let value: serde_json::Value = serde_json::from_slice(text).expect("JSON");
            last = value["u"].as_u64();
            rest = after;
        }
        assert_eq!(last, Some(world.seq), "{:?}", follower.key);
        (follower.last, follower.book) = (last, world.book.clone());
    }
    world.step(Step::Event(vec![(false, 4, 2)]));
    world.step(Step::Pass(2_000));
    for follower in &mut followers {
        follower.follow(&world.truth).expect("an unbroken chain");
        assert_eq!((follower.last, &follower.book), (Some(world.seq), &world.book));
        assert!(!world.bench.core.sessions[follower.id as usize].is_ending());
    }
}
