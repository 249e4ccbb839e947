//! A parser with what it puts.

use std::sync::Arc;

use tickcast_feeds::venue::{self, Context, Heard, Venue, Want};
use tickcast_feeds::{FeedState, Instruments, Kind, Tick, VecSink};

use crate::model::{Book, SYMBOL};

pub(crate) const RECV: u64 = 1_696_613_755_440_295_000;

/// A parser with what it puts.
pub(crate) struct Rig {
    pub(crate) instruments: Arc<Instruments>,
    pub(crate) parser: Box<dyn Venue>,
    pub(crate) sink: VecSink,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let instruments = Arc::new(Instruments::new());
        let parser = venue::find("kraken").unwrap().parser(&instruments);
        Rig { instruments, parser, sink: VecSink::default() }
    }

    /// Gives it a message; returns what it meant and what it put.
    pub(crate) fn on(&mut self, link: u16, text: &str) -> (Heard, Vec<Tick>) {
        let before = self.sink.ticks.len();
        let context = Context { link, ..Context::default() };
        let heard = self.parser.message(text.as_bytes(), RECV, context, &mut self.sink);
        (heard, self.sink.ticks[before..].to_vec())
    }

    pub(crate) fn send(&mut self, text: &str) -> Vec<Tick> {
        self.on(0, text).1
    }

    pub(crate) fn wants(&self) -> Vec<Want> {
        let mut wants = Vec::new();
        self.parser.wants(&mut wants);
        wants
    }

    /// The status that clients saw last.
    pub(crate) fn state(&self) -> Option<FeedState> {
        let last = self.sink.ticks.iter().rev().find(|tick| tick.kind == Kind::Status)?;
        Some(last.as_status().state)
    }

    /// The book that clients have.
    pub(crate) fn book(&self) -> Book {
        let mut book = Book::default();
        let levels = self.sink.ticks.iter().filter(|tick| tick.kind == Kind::Level);
        levels.for_each(|tick| book.apply(tick));
        book
    }

    pub(crate) fn ignored(&self, name: &str) -> u64 {
        self.parser.ignored().get(name)
    }
}

pub(crate) fn states(ticks: &[Tick]) -> Vec<FeedState> {
    let states = ticks.iter().filter(|tick| tick.kind == Kind::Status);
    states.map(|tick| tick.as_status().state).collect()
}

pub(crate) fn confirmed(depth: u16) -> String {
    format!(
        r#"{{"method":"subscribe","result":{{"channel":"book","depth":{depth},"snapshot":true,"symbol":"{SYMBOL}"}},"success":true,"time_in":"2023-10-06T17:35:55.1Z","time_out":"2023-10-06T17:35:55.2Z","req_id":1}}"#
    )
}
