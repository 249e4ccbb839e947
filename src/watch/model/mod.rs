//! What the screen knows: messages, keys and the connection's ups and downs go in, requests come
//! out. No clock is read and no socket touched, so that tests can say what happens.

mod book;
mod chain;
mod market;
mod open;
mod table;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::answer::Answer;
use super::keys::Action;
use super::message::{self, Message};
use book::Applied;
pub(super) use book::Level;
pub(super) use market::{Feed, Market, Markets};
pub(super) use open::{Entry, Open};
pub(super) use table::Table;

/// Depths that books are subscribed to: the smallest that fills the screen, so that few sizes of a
/// window mean another subscription.
const DEPTHS: [usize; 6] = [10, 25, 50, 100, 250, 1000];
/// How long what has happened stays on the screen.
const NOTICE: Duration = Duration::from_secs(8);

/// The numbers of requests, by which their answers are known.
const QUOTE: u64 = 0;
const TICKER: u64 = 1;
const STATUS: u64 = 2;
const TRADE: u64 = 3;
const BOOK: u64 = 4;
const NOTHING: u64 = 5;
const PING: u64 = 6;

/// The state of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Connected,
    /// Waiting to try again, or trying.
    Reconnecting {
        /// What became of the last one.
        why: String,
        /// When the next try begins.
        at: Instant,
        /// Tries so far.
        tries: u32,
    },
}

/// What a message asks of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Nothing,
    /// Not one symbol was granted; why.
    Refused(String),
    /// The server stops and names the time to come back.
    Drain(Option<[u64; 2]>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Model {
    /// The symbols and wildcards of the command line.
    pub(super) wanted: Vec<String>,
    pub(super) link: Link,
    /// A ping's way there and back, this program's own queue included.
    pub(super) latency: Option<Duration>,
    pub(super) markets: Markets,
    pub(super) table: Table,
    /// The ladder in front of the table.
    pub(super) open: Option<Open>,
    /// Breaks of chains since the start.
    pub(super) gaps: u64,
    /// Messages in the last second.
    pub(super) rate: u64,
    /// By how much what is shown is delayed, as the server said last.
    pub(super) delay_ms: u64,
    notice: Option<(String, Instant)>,
    /// The cause of the last lag that the server told of, by its name in the protocol.
    lag: Option<(String, Instant)>,
    /// Answers that are missing, what was granted so far, and what was not.
    unanswered: usize,
    granted: usize,
    refusals: Vec<String>,
    messages: u64,
    depth: usize,
    /// Rows of the table that fit the screen.
    page: isize,
    started: Instant,
    requests: Vec<String>,
    revision: u64,
}

impl Model {
    /// A model of these symbols and wildcards, whose connection is about to come.
    pub(super) fn new(wanted: &[String], now: Instant) -> Self {
        let mut model = Model {
            wanted: wanted.to_vec(),
            link: Link::Connected,
            latency: None,
            markets: Markets::default(),
            table: Table::default(),
            open: None,
            gaps: 0,
            rate: 0,
            delay_ms: 0,
            notice: None,
            lag: None,
            unanswered: 0,
            granted: 0,
            refusals: Vec::new(),
            messages: 0,
            depth: DEPTHS[0],
            page: 1,
            started: now,
            requests: Vec::new(),
            revision: 0,
        };
        model.open = model.single().map(|symbol| Open::new(symbol, model.depth));
        model
    }

    /// The only symbol that is wanted: it has no table.
    fn single(&self) -> Option<String> {
        match self.wanted.as_slice() {
            [symbol] if !symbol.contains('*') => Some(symbol.clone()),
            _ => None,
        }
    }

    /// Whether there is a table behind the ladder.
    pub(super) fn has_table(&self) -> bool {
        self.single().is_none()
    }

    /// Rises with everything that may show.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// What is to be sent.
    pub(super) fn take_requests(&mut self) -> Vec<String> {
        std::mem::take(&mut self.requests)
    }

    pub(super) fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Whether the server has agreed to anything on this connection.
    pub(super) fn is_subscribed(&self) -> bool {
        self.granted > 0
    }

    /// What has just happened, for as long as it is news.
    pub(super) fn notice(&self, now: Instant) -> Option<&str> {
        fresh(self.notice.as_ref(), now)
    }

    /// Why the connection lags, for as long as it has just done so.
    pub(super) fn lagging(&self, now: Instant) -> Option<&str> {
        fresh(self.lag.as_ref(), now)
    }

    fn tell(&mut self, text: String, now: Instant) {
        self.notice = Some((text, now));
    }

    /// A connection has come about: subscribes to everything.
    pub(super) fn connected(&mut self) {
        self.revision += 1;
        self.link = Link::Connected;
        self.latency = None;
        self.markets.unchain();
        (self.unanswered, self.granted) = (3, 0);
        self.refusals.clear();
        self.requests.clear();
        let mode = if self.has_table() { "conflate" } else { "all" };
        self.subscribe(QUOTE, &json!({"channel": "quote", "symbol": self.wanted, "mode": mode}));
        self.subscribe(TICKER, &json!({"channel": "ticker", "symbol": self.wanted}));
        self.subscribe(STATUS, &json!({"channel": "status", "symbol": self.wanted}));
        if let Some(open) = &mut self.open {
            open.reconnected();
            self.subscribe_open();
        }
    }

    /// The connection is lost, and the next try begins at this time.
    pub(super) fn lost(&mut self, why: &str, at: Instant, tries: u32) {
        self.revision += 1;
        self.granted = 0;
        self.requests.clear();
        self.link = Link::Reconnecting { why: why.to_owned(), at, tries };
    }

    fn subscribe(&mut self, id: u64, params: &Value) {
        self.request("subscribe", id, params);
    }

    fn request(&mut self, method: &str, id: u64, params: &Value) {
        // While there is no connection, everything is asked for once there is one.
        if self.link == Link::Connected {
            let request = json!({"method": method, "req_id": id, "params": params});
            self.requests.push(request.to_string());
        }
    }

    fn subscribe_open(&mut self) {
        let Some(open) = &self.open else { return };
        let params = json!({"channel": "trade", "symbol": open.symbol});
        self.subscribe(TRADE, &params);
        self.subscribe_book();
    }

    fn subscribe_book(&mut self) {
        let Some(open) = &self.open else { return };
        let params = json!({"channel": "book", "symbol": open.symbol, "depth": open.book.depth});
        self.subscribe(BOOK, &params);
    }

    /// Once a second: asks how far away the server is.
    pub(super) fn second(&mut self, now: Instant) {
        self.revision += 1;
        self.rate = std::mem::take(&mut self.messages);
        let t = now.saturating_duration_since(self.started).as_micros() as u64;
        self.request("ping", PING, &json!({ "t": t }));
    }

    /// Takes a message of the server.
    pub(super) fn apply(&mut self, text: &[u8], now: Instant) -> Heard {
        self.revision += 1;
        self.messages += 1;
        match Message::parse(text) {
            Ok(Message::Quote(quote)) => {
                if !self.markets.of(&quote.symbol).quoted(&quote) {
                    self.missed("quotes", &quote.symbol, now);
                }
            }
            Ok(Message::Ticker(ticker)) => {
                let trades_come = self.is_open(&ticker.symbol);
                if !self.markets.of(&ticker.symbol).ticked(&ticker, trades_come) {
                    self.missed("tickers", &ticker.symbol, now);
                }
            }
            Ok(Message::Feed(feed)) => self.markets.of(&feed.symbol).stated(&feed),
            Ok(Message::Trade(trade)) => self.traded(&trade, now),
            Ok(Message::Book(book)) => self.booked(&book, now),
            Ok(Message::Lag(lag)) => self.lagged(&lag, now),
            Ok(Message::TokenEnds) => self.tell(super::TOKEN_ENDS.to_owned(), now),
            Ok(Message::Drain(spread)) => return Heard::Drain(spread),
            Ok(Message::Pong(t)) => self.ponged(t, now),
            Ok(Message::Answer(answer)) => return self.answered(answer, now),
            Ok(Message::Other) => {}
            Err(error) => self.tell(format!("a message was not understood: {error}"), now),
        }
        Heard::Nothing
    }

    fn is_open(&self, symbol: &str) -> bool {
        self.open.as_ref().is_some_and(|open| open.symbol == symbol)
    }

    fn traded(&mut self, trade: &message::Trade<'_>, now: Instant) {
        let Some(open) = self.open.as_mut().filter(|open| open.symbol == trade.symbol) else {
            return;
        };
        let linked = open.traded(trade);
        self.markets.of(&trade.symbol).traded(&trade.price);
        if !linked {
            self.missed("trades", &trade.symbol, now);
        }
    }

    fn booked(&mut self, book: &message::Book<'_>, now: Instant) {
        let Some(open) = self.open.as_mut().filter(|open| open.symbol == book.symbol) else {
            return;
        };
        match (open.booked(book), book.prev) {
            (Applied::Broken, Some(_)) => {
                self.missed("the book", &book.symbol, now);
                self.subscribe_book();
            }
            // Asking for another one would not end.
            (Applied::Broken, None) => {
                self.tell(format!("the book of {} is not understood", book.symbol), now);
            }
            _ => {}
        }
    }

    /// Quotes and tickers are whole in each message, and lost trades are lost: only a book is asked
    /// for again.
    fn missed(&mut self, what: &str, symbol: &str, now: Instant) {
        self.gaps += 1;
        self.tell(format!("gap in {what} of {symbol}: messages are missing"), now);
    }

    fn lagged(&mut self, lag: &message::Lag<'_>, now: Instant) {
        let who = match lag.cause.as_deref() {
            Some("peer_window") => "this terminal did not read",
            Some("network") => "the network loses segments",
            Some("server") => "the server fell behind",
            Some(other) => other,
            None => "no cause given",
        };
        let skipped = lag.skipped.map_or_else(String::new, |n| format!(", {n} skipped"));
        self.tell(format!("lagging: {who} ({}{skipped})", lag.policy), now);
        self.lag = Some((lag.cause.as_deref().unwrap_or("unknown").to_owned(), now));
        if lag.policy == "resync" {
            // Snapshots follow; nothing before them is to be applied.
            self.markets.unchain();
            if let Some(open) = &mut self.open {
                open.book.void();
            }
        }
    }

    fn ponged(&mut self, t: Option<u64>, now: Instant) {
        let sent = t.and_then(|t| self.started.checked_add(Duration::from_micros(t)));
        self.latency = sent.map(|sent| now.saturating_duration_since(sent));
    }

    fn answered(&mut self, mut answer: Answer, now: Instant) -> Heard {
        // It stays over a lost connection, as what is shown does.
        self.delay_ms = answer.delay_ms().unwrap_or(self.delay_ms);
        let granted = answer.result.first();
        let id = answer.req_id.unwrap_or(NOTHING);
        if let (Some(granted), false) = (granted, self.has_table())
            && let (Some(open), Some(symbol)) = (&mut self.open, &granted.symbol)
        {
            open.symbol.clone_from(symbol);
        }
        if let (Some(granted), Some(open), TRADE) = (granted, &mut self.open, id)
            && granted.symbol.as_ref() == Some(&open.symbol)
        {
            open.trades_after(granted.seq);
        }
        let count = answer.result.len();
        if let Some(refusals) = answer.refusals() {
            self.tell(refusals.clone(), now);
            if !self.refusals.contains(&refusals) {
                self.refusals.push(refusals);
            }
        }
        if id <= STATUS && self.unanswered > 0 {
            self.unanswered -= 1;
            self.granted += count;
            if self.unanswered == 0 && self.granted == 0 {
                return Heard::Refused(self.refusals.join("; "));
            }
        }
        Heard::Nothing
    }

    /// The screen has so many rows.
    pub(super) fn resized(&mut self, rows: u16) {
        self.page = isize::try_from(rows.saturating_sub(3).max(1)).unwrap_or(1);
        let needed = usize::from(rows / 2);
        let depth = DEPTHS.into_iter().find(|&depth| depth >= needed).unwrap_or(1000);
        if depth == self.depth {
            return;
        }
        self.depth = depth;
        let Some(open) = &mut self.open else { return };
        let before = json!({"channel": "book", "symbol": open.symbol, "depth": open.book.depth});
        open.book.depth = depth;
        open.book.void();
        self.request("unsubscribe", NOTHING, &before);
        self.subscribe_book();
    }

    /// Before it is drawn.
    pub(super) fn prepare(&mut self) {
        self.table.refresh(self.markets.all());
    }

    /// Does what the user wants; true if that is to quit.
    pub(super) fn act(&mut self, action: Action) -> bool {
        self.revision += 1;
        match action {
            Action::Quit => return true,
            Action::Open if self.open.is_none() => self.open_selected(),
            Action::Back => self.back(),
            _ if self.open.is_some() => {}
            Action::Step(by) => self.table.step(by),
            Action::Page(by) => self.table.step(by * self.page),
            Action::First => self.table.step(isize::MIN),
            Action::Last => self.table.step(isize::MAX),
            Action::Filter => self.table.editing = true,
            Action::Accept => self.table.editing = false,
            Action::Type(typed) => self.table.filter.extend(typed.to_lowercase()),
            Action::Erase => drop(self.table.filter.pop()),
            Action::Open => {}
        }
        false
    }

    fn open_selected(&mut self) {
        let Some(selected) = self.table.selected() else { return };
        let symbol = self.markets.all()[selected].symbol.to_string();
        self.open = Some(Open::new(symbol, self.depth));
        self.subscribe_open();
    }

    /// From the ladder to the table, from a filter to all rows.
    fn back(&mut self) {
        if !self.has_table() {
            return;
        }
        let Some(open) = self.open.take() else {
            self.table.editing = false;
            self.table.filter.clear();
            return;
        };
        for channel in ["trade", "book"] {
            let params = json!({"channel": channel, "symbol": open.symbol});
            self.request("unsubscribe", NOTHING, &params);
        }
    }
}

/// What was told less than [`NOTICE`] ago.
fn fresh(told: Option<&(String, Instant)>, now: Instant) -> Option<&str> {
    told.filter(|(_, at)| now.saturating_duration_since(*at) < NOTICE)
        .map(|(text, _)| text.as_str())
}
