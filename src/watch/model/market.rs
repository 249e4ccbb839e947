//! What is known of one symbol in the table, and of all of them.

use std::cmp::Ordering;
use std::collections::HashMap;

use tickcast_feeds::Decimal;

use super::chain::Chain;
use crate::watch::message;

/// Best bid and ask, as the server wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::watch) struct Quote {
    pub(in crate::watch) bid: Box<str>,
    pub(in crate::watch) bid_qty: Box<str>,
    pub(in crate::watch) ask: Box<str>,
    pub(in crate::watch) ask_qty: Box<str>,
}

/// The last 24 hours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::watch) struct Ticker {
    pub(in crate::watch) high: Box<str>,
    pub(in crate::watch) low: Box<str>,
    pub(in crate::watch) change: Option<Box<str>>,
    pub(in crate::watch) change_percent: Option<Box<str>>,
    pub(in crate::watch) volume: Option<Box<str>>,
}

/// The price of the newest trade.
#[derive(Clone, Debug)]
pub(in crate::watch) struct Last {
    pub(in crate::watch) price: Box<str>,
    /// Of the ladder's row that is marked; `None` where it is no number.
    pub(in crate::watch) value: Option<Decimal>,
    /// How it compares with the price before that was another one.
    pub(in crate::watch) moved: Ordering,
}

/// What the server says of a symbol's feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::watch) enum Feed {
    /// Nothing yet.
    #[default]
    Unknown,
    Live,
    Stale,
    Resync,
    Halted,
}

impl Feed {
    fn parse(text: &str) -> Self {
        match text {
            "live" => Feed::Live,
            "stale" => Feed::Stale,
            "resync" => Feed::Resync,
            "halted" => Feed::Halted,
            _ => Feed::Unknown,
        }
    }

    /// As the protocol names it.
    pub(in crate::watch) fn as_str(self) -> &'static str {
        match self {
            Feed::Unknown => "",
            Feed::Live => "live",
            Feed::Stale => "stale",
            Feed::Resync => "resync",
            Feed::Halted => "halted",
        }
    }
}

/// One symbol.
#[derive(Debug, Default)]
pub(in crate::watch) struct Market {
    pub(in crate::watch) symbol: Box<str>,
    pub(in crate::watch) quote: Option<Quote>,
    pub(in crate::watch) ticker: Option<Ticker>,
    pub(in crate::watch) last: Option<Last>,
    pub(in crate::watch) feed: Feed,
    quotes: Chain,
    tickers: Chain,
}

impl Market {
    /// Takes a quote; false where one before it is missing.
    pub(super) fn quoted(&mut self, quote: &message::Quote<'_>) -> bool {
        self.quote = Some(Quote {
            bid: (&*quote.bid).into(),
            bid_qty: (&*quote.bid_qty).into(),
            ask: (&*quote.ask).into(),
            ask_qty: (&*quote.ask_qty).into(),
        });
        self.quotes.link(quote.prev, quote.seq)
    }

    /// Takes a ticker; false where one before it is missing. It tells of the last trade too, unless
    /// the trades themselves come.
    pub(super) fn ticked(&mut self, ticker: &message::Ticker<'_>, trades_come: bool) -> bool {
        let text = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(Box::from);
        self.ticker = Some(Ticker {
            high: (&*ticker.high).into(),
            low: (&*ticker.low).into(),
            change: text(&ticker.change),
            change_percent: text(&ticker.change_percent),
            volume: text(&ticker.volume),
        });
        if !trades_come || self.last.is_none() {
            self.traded(&ticker.last);
        }
        self.tickers.link(ticker.prev, ticker.seq)
    }

    /// Takes the price of the newest trade.
    pub(super) fn traded(&mut self, price: &str) {
        let value = Decimal::parse(price.as_bytes()).ok();
        let moved = match (&self.last, value) {
            (Some(Last { value: Some(before), moved, .. }), Some(value)) => {
                value.cmp(before).then(*moved)
            }
            _ => Ordering::Equal,
        };
        self.last = Some(Last { price: price.into(), value, moved });
    }

    pub(super) fn stated(&mut self, feed: &message::Feed<'_>) {
        self.feed = Feed::parse(&feed.state);
    }

    /// Snapshots come: what is known stays to be looked at, and nothing is to follow it.
    pub(super) fn unchain(&mut self) {
        (self.quotes, self.tickers) = (Chain::default(), Chain::default());
    }
}

/// All symbols, in the order of their first messages.
#[derive(Debug, Default)]
pub(in crate::watch) struct Markets {
    all: Vec<Market>,
    by_symbol: HashMap<Box<str>, usize>,
}

impl Markets {
    /// The number of a symbol, new where it was not known.
    pub(super) fn find_or_add(&mut self, symbol: &str) -> usize {
        if let Some(&at) = self.by_symbol.get(symbol) {
            return at;
        }
        let at = self.all.len();
        self.all.push(Market { symbol: symbol.into(), ..Market::default() });
        self.by_symbol.insert(symbol.into(), at);
        at
    }

    pub(super) fn of(&mut self, symbol: &str) -> &mut Market {
        let at = self.find_or_add(symbol);
        &mut self.all[at]
    }

    pub(in crate::watch) fn get(&self, symbol: &str) -> Option<&Market> {
        self.by_symbol.get(symbol).map(|&at| &self.all[at])
    }

    pub(in crate::watch) fn all(&self) -> &[Market] {
        &self.all
    }

    pub(super) fn unchain(&mut self) {
        self.all.iter_mut().for_each(Market::unchain);
    }
}
