//! A client of tickcast that believes nothing: every book that it sees must have been true at the
//! venue, in order, or be marked as not to be trusted.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tickcast_feeds::Decimal;

use super::common::{Client, Server, pause};
use super::local::{LocalVenue, wait_for};
use super::world::{ASK, BID, Book};

/// For the server that a checker looks at, which on a busy machine may be slow: that is not what is tested.
pub const PATIENT: [&str; 6] =
    ["--slow-grace", "60s", "--outbox-bytes", "16MiB", "--ping-timeout", "60s"];

/// What was seen of a symbol.
#[derive(Debug, Default)]
pub struct Seen {
    /// The book; `None` while there is none to be trusted.
    pub book: Option<Book>,
    /// Which of the venue's states it last was.
    state: usize,
    seq: u64,
    /// The states of the feed, in order.
    pub feed: Vec<String>,
    /// How many of them came before the first book.
    before_book: usize,
    /// Trade ids, in order.
    pub trades: Vec<u64>,
    /// Quotes.
    pub quotes: u64,
    /// Books of which every one was true.
    pub books: u64,
    pub snapshots: u64,
    /// Books that never were, where these are not a failure ([`Trust::Lossy`]).
    pub wrong: u64,
    /// Quotes that came while there was no book to be trusted.
    pub quotes_without_book: u64,
    /// Quotes that were not the best of the book at that moment.
    pub quotes_off_book: u64,
    /// Books whose best no quote told before they changed again.
    pub unquoted: u64,
    /// Bid and ask of the last quote; none since the book began anew.
    told: [Option<(Decimal, Decimal)>; 2],
}

impl Seen {
    /// The states since there first was a book, without repetitions: `live` alone where nothing
    /// went wrong.
    pub fn since_live(&self) -> Vec<&str> {
        let later = self.feed[self.before_book..].iter().map(String::as_str);
        let mut states: Vec<&str> = std::iter::once("live").chain(later).collect();
        states.dedup();
        states
    }

    /// Of a venue whose quotes come from its books: whether every quote was the best of the book at
    /// that moment, none came without a book, and none was left out.
    pub fn quotes_are_of_the_book(&self) -> bool {
        self.quotes > 0
            && (self.quotes_without_book, self.quotes_off_book, self.unquoted) == (0, 0, 0)
    }

    /// How often the feed was in a state.
    pub fn times(&self, state: &str) -> usize {
        self.feed.iter().filter(|seen| *seen == state).count()
    }
}

/// What a venue's protocol leaves to chance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Every book was true, in order.
    #[default]
    All,
    /// The same, but that a snapshot may be a little older than what was there: of two connections
    /// that carry a book without numbers nobody can say which is ahead.
    UnnumberedLines,
    /// Not every loss shows: a book that never was is counted ([`Seen::wrong`]), and at the end no
    /// more is waited for than that all is live and the last trade has come. A crossed quote is a
    /// failure all the same.
    Lossy,
}

type Live = Arc<Mutex<HashMap<String, (bool, usize)>>>;

/// The client, on a thread of its own.
pub struct Checker {
    done: Arc<AtomicBool>,
    /// By the venue's name of the symbol: whether its book is there and live, and how often it was
    /// rebuilt.
    live: Live,
    thread: Option<JoinHandle<Result<HashMap<String, Seen>, String>>>,
}

impl Checker {
    /// Subscribes to everything of these symbols (`venue:BASE-QUOTE`, each with the venue's name)
    /// once they are listed, and checks until it is told to stop. Returns when it is subscribed.
    pub fn start(server: &Server, venue: &Arc<LocalVenue>, symbols: &[(&str, &str)]) -> Self {
        Self::start_with(server, venue, symbols, Trust::All)
    }

    /// The same for a protocol that is worth less.
    pub fn start_with(
        server: &Server,
        venue: &Arc<LocalVenue>,
        symbols: &[(&str, &str)],
        trust: Trust,
    ) -> Self {
        let mut client = Client::native(server);
        let symbols: HashMap<String, String> =
            symbols.iter().map(|&(a, b)| (a.to_owned(), b.to_owned())).collect();
        wait_for(|| are_listed(&mut client, &symbols).then_some(()));
        let mut early = Vec::new();
        for channel in ["status", "book", "quote", "trade"] {
            subscribe(&mut client, channel, &symbols, &mut early);
        }
        let (done, venue) = (Arc::new(AtomicBool::new(false)), Arc::clone(venue));
        let live = Live::default();
        let (told, shown) = (done.clone(), live.clone());
        let check = move || check(client, early, &venue, (&symbols, trust), &told, &shown);
        Checker { done, live, thread: Some(std::thread::spawn(check)) }
    }

    /// Whether the client has a book of this symbol that it may trust, after at least so many
    /// repairs: all that was lost before has been noticed and mended.
    pub fn is_mended(&self, native: &str, repairs: usize) -> bool {
        self.live.lock().get(native).is_some_and(|&(live, resyncs)| live && resyncs >= repairs)
    }

    /// Whether the client has a book of this symbol that it may trust.
    pub fn is_live(&self, native: &str) -> bool {
        self.is_mended(native, 0)
    }

    /// How often the client was told that this book is being rebuilt, up to now.
    pub fn resyncs(&self, native: &str) -> usize {
        self.live.lock().get(native).map_or(0, |(_, resyncs)| *resyncs)
    }

    /// Whether it was told so often of every one of these books.
    pub fn all_resynced(&self, natives: &[&str], times: usize) -> bool {
        natives.iter().all(|native| self.resyncs(native) >= times)
    }

    /// Waits until every book is what it is at the venue, and answers what was seen. Fails where a
    /// book was ever wrong.
    pub fn finish(self) -> HashMap<String, Seen> {
        self.verdict().unwrap_or_else(|why| panic!("{why}"))
    }

    /// The same, for what is known to show a wrong book.
    pub fn verdict(mut self) -> Result<HashMap<String, Seen>, String> {
        self.done.store(true, Ordering::SeqCst);
        let thread = self.thread.take().expect("is running");
        thread.join().expect("the checker does not panic")
    }
}

/// Whether tickcast lists all of these.
fn are_listed(client: &mut Client, symbols: &HashMap<String, String>) -> bool {
    pause();
    client.send(&json!({"method": "list_symbols"}));
    let answer = client.message().to_string();
    symbols.keys().all(|symbol| answer.contains(&format!("\"{symbol}\"")))
}

/// Subscribes; what else comes before the answer is kept.
fn subscribe(
    client: &mut Client,
    channel: &str,
    symbols: &HashMap<String, String>,
    early: &mut Vec<Value>,
) {
    let names: Vec<&String> = symbols.keys().collect();
    client.send(&json!({"method": "subscribe", "params": {"channel": channel, "symbol": names}}));
    loop {
        let message = client.message();
        if message["method"] == "subscribe" {
            assert!(message.get("errors").is_none(), "{message}");
            return;
        }
        early.push(message);
    }
}

fn check(
    mut client: Client,
    early: Vec<Value>,
    venue: &LocalVenue,
    (symbols, trust): (&HashMap<String, String>, Trust),
    done: &AtomicBool,
    live: &Live,
) -> Result<HashMap<String, Seen>, String> {
    let mut seen: HashMap<String, Seen> =
        symbols.keys().map(|symbol| (symbol.clone(), Seen::default())).collect();
    let mut since_done = None;
    let mut early = early.into_iter();
    loop {
        let message = early.next().unwrap_or_else(|| client.message());
        if let Some(symbol) = message["symbol"].as_str()
            && let Some(seen) = seen.get_mut(symbol)
        {
            take(seen, &message, venue, &symbols[symbol], trust)
                .map_err(|why| format!("{symbol}: {why}: {message}; feed: {:?}", seen.feed))?;
            let is_live = seen.book.is_some() && seen.feed.last().is_some_and(|s| s == "live");
            live.lock().insert(symbols[symbol].clone(), (is_live, seen.times("resync")));
            // While more comes, this client is behind, which it may be.
            since_done = None;
        }
        if !done.load(Ordering::SeqCst) {
            continue;
        }
        let until =
            *since_done.get_or_insert_with(|| std::time::Instant::now() + super::common::PATIENCE);
        let behind: Vec<&str> = seen
            .iter()
            .filter(|(symbol, seen)| !is_right(seen, venue, &symbols[*symbol], trust))
            .map(|(symbol, _)| symbol.as_str())
            .collect();
        if behind.is_empty() {
            return Ok(seen);
        }
        // A heartbeat comes each second, so that this is looked at.
        if std::time::Instant::now() > until {
            let states: Vec<_> =
                behind.iter().map(|&symbol| (symbol, &seen[symbol].feed)).collect();
            return Err(format!("books that did not become right: {states:?}"));
        }
    }
}

/// Whether the book is what it is at the venue, and said to be, and the last trade has come.
fn is_right(seen: &Seen, venue: &LocalVenue, native: &str, trust: Trust) -> bool {
    let (hash, trade) = venue.world(|world| {
        let truth = &world.truths[native];
        (truth.hash(), truth.trades.last().copied())
    });
    seen.book.as_ref().is_some_and(|book| trust == Trust::Lossy || book.hash() == hash)
        && seen.feed.last().is_some_and(|state| state == "live")
        && seen.trades.last().copied() == trade
}

fn take(
    seen: &mut Seen,
    message: &Value,
    venue: &LocalVenue,
    native: &str,
    trust: Trust,
) -> Result<(), String> {
    match message["channel"].as_str() {
        Some("status") => {
            let state = message["state"].as_str().unwrap_or_default();
            seen.feed.push(state.to_owned());
            if state == "resync" {
                seen.book = None;
                seen.told = [None, None];
            }
            Ok(())
        }
        Some("trade") => {
            let id = message["id"].as_u64().ok_or("no id")?;
            if seen.trades.contains(&id) {
                return Err("a trade came twice".to_owned());
            }
            seen.trades.push(id);
            Ok(())
        }
        Some("quote") => {
            let part = |name: &str| message[name].as_str().and_then(|text| text.parse().ok());
            let level = |price: &str, size: &str| part(price).zip(part(size));
            let quote: [Option<(Decimal, Decimal)>; 2] =
                [level("bid", "bid_qty"), level("ask", "ask_qty")];
            seen.quotes += 1;
            seen.told = quote;
            match &seen.book {
                None => seen.quotes_without_book += 1,
                Some(book) if [BID, ASK].map(|side| book.best(side)) != quote => {
                    seen.quotes_off_book += 1;
                }
                Some(_) => {}
            }
            match quote {
                [Some((bid, _)), Some((ask, _))] if bid >= ask => Err("a crossed quote".to_owned()),
                _ => Ok(()),
            }
        }
        Some("book") => match take_book(seen, message, venue, native, trust)? {
            true => Ok(()),
            false if trust == Trust::Lossy => {
                seen.wrong += 1;
                Ok(())
            }
            false => Err(format!("a book that never was, after state {}", seen.state)),
        },
        _ => Ok(()),
    }
}

/// Takes a book or what has changed in it; whether it was true.
fn take_book(
    seen: &mut Seen,
    message: &Value,
    venue: &LocalVenue,
    native: &str,
    trust: Trust,
) -> Result<bool, String> {
    let seq = message["seq"].as_u64().ok_or("no seq")?;
    if message["type"] == "update"
        && seen.quotes > 0
        && seen.book.as_ref().is_some_and(|book| [BID, ASK].map(|s| book.best(s)) != seen.told)
    {
        seen.unquoted += 1;
    }
    if message["type"] == "snapshot" {
        if seen.snapshots == 0 {
            seen.before_book = seen.feed.len();
        }
        seen.book = Some(Book::default());
        seen.snapshots += 1;
        if trust == Trust::UnnumberedLines {
            seen.state = 0;
        }
    } else if message["prev"].as_u64() != Some(seen.seq) {
        return Err(format!("does not follow {}", seen.seq));
    }
    seen.seq = seq;
    let Some(book) = &mut seen.book else {
        return Err("an update of a book that is being rebuilt".to_owned());
    };
    for (side, name) in [(BID, "bids"), (ASK, "asks")] {
        for level in message[name].as_array().ok_or("no levels")? {
            let part = |at: usize| level[at].as_str().and_then(|text| text.parse().ok());
            let (price, size): (Option<Decimal>, Option<Decimal>) = (part(0), part(1));
            let (price, size) = price.zip(size).ok_or("no level")?;
            book.set((side, price, size));
        }
    }
    seen.books += 1;
    let hash = book.hash();
    let state = venue.world(|world| world.truths[native].when(hash, seen.state));
    seen.state = state.unwrap_or(seen.state);
    Ok(state.is_some())
}
