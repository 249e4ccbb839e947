//! What one feed's inputs and ticks add up to.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use tickcast_feeds::record::{Hole, utc};
use tickcast_feeds::tick::flags;
use tickcast_feeds::venue::Input;
use tickcast_feeds::{FeedState, Instruments, Kind, Sink, SinkClosed, Tick};

use super::report::{self, Feed, Link, Reject, Symbol};
use crate::limits;

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;

/// Holes that are told singly: a disk that rots has thousands.
pub(super) const MOST_HOLES: usize = 100;

/// What an input is, without its content.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape<'a> {
    Message { link: u16, bytes: usize },
    Reply { bytes: usize },
    Confirmed,
    Lost { link: u16 },
    Distrusted,
    Hole(&'a Hole),
}

impl Shape<'_> {
    pub(super) fn of(input: &Input<'_>) -> Self {
        match *input {
            Input::Message { link, text } => Shape::Message { link, bytes: text.len() },
            Input::Reply { text, .. } => Shape::Reply { bytes: text.len() },
            Input::Expect { .. } => Shape::Confirmed,
            Input::Lost { link, .. } => Shape::Lost { link },
            Input::Distrust { .. } => Shape::Distrusted,
        }
    }
}

/// The sums of one feed. As a [`Sink`] it takes the ticks of the input that was begun.
pub(super) struct Tally {
    pub(super) name: String,
    recv: u64,
    first: Option<u64>,
    messages: u64,
    bytes: u64,
    replies: u64,
    confirmed: u64,
    distrusted: u64,
    dropped: u64,
    holes: Vec<String>,
    more_holes: u64,
    rate: Rate,
    kinds: [report::Kind; 4],
    links: BTreeMap<u16, OneLink>,
    /// By instrument.
    symbols: Vec<OneSymbol>,
    rejects: Rejects,
    /// Bytes of the message under way; `None` for another input.
    message: Option<u64>,
    /// What its first tick is of.
    found: Option<(Kind, usize)>,
}

#[derive(Default)]
struct OneLink {
    messages: u64,
    lost: u64,
    last: Option<u64>,
    silence: u64,
    silence_at: u64,
}

#[derive(Clone, Default)]
struct OneSymbol {
    seen: Symbol,
    /// Since when it is stale or its book unknown.
    down_since: Option<u64>,
    down: u64,
}

/// Where a kind of tick stands among the kinds of messages.
fn place(kind: Kind) -> usize {
    match kind {
        Kind::Trade => 0,
        Kind::Quote => 1,
        Kind::Level => 2,
        // No feed makes bars: they are derived behind it.
        Kind::Status | Kind::Bar | Kind::Cut => 3,
    }
}

impl Tally {
    pub(super) fn new(name: String) -> Self {
        let kind = |kind| report::Kind { kind, ..Default::default() };
        Tally {
            name,
            recv: 0,
            first: None,
            messages: 0,
            bytes: 0,
            replies: 0,
            confirmed: 0,
            distrusted: 0,
            dropped: 0,
            holes: Vec::new(),
            more_holes: 0,
            rate: Rate::new(),
            kinds: ["trade", "quote", "book", "none"].map(kind),
            links: BTreeMap::new(),
            symbols: Vec::new(),
            rejects: Rejects::default(),
            message: None,
            found: None,
        }
    }

    /// An input was received at `recv_ns`; its ticks follow.
    pub(super) fn begin(&mut self, shape: Shape<'_>, recv_ns: u64) {
        self.recv = self.recv.max(recv_ns);
        self.first.get_or_insert(recv_ns);
        (self.message, self.found) = (None, None);
        match shape {
            Shape::Message { link, bytes } => {
                self.links.entry(link).or_default().heard(self.recv);
                self.count(bytes);
            }
            Shape::Reply { bytes } => {
                self.replies += 1;
                self.count(bytes);
            }
            Shape::Confirmed => self.confirmed += 1,
            Shape::Lost { link } => {
                let link = self.links.entry(link).or_default();
                link.lost += 1;
                link.last = None;
            }
            Shape::Distrusted => self.distrusted += 1,
            Shape::Hole(hole) => self.hole(hole),
        }
    }

    fn count(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
        self.rate.count(self.recv);
        self.message = Some(bytes as u64);
    }

    fn hole(&mut self, hole: &Hole) {
        if let Hole::Dropped(inputs) = hole {
            self.dropped += inputs;
        }
        match self.holes.len() < MOST_HOLES {
            true => self.holes.push(format!("{}: {hole}", utc(self.recv))),
            false => self.more_holes += 1,
        }
    }

    /// The ticks of the input that was begun have all come.
    pub(super) fn end(&mut self) {
        let Some(bytes) = self.message.take() else { return };
        let kind = self.found.map_or(Kind::Status, |(kind, _)| kind);
        let kind = &mut self.kinds[place(kind)];
        kind.messages += 1;
        kind.bytes += bytes;
        if let Some((_, symbol)) = self.found {
            let seen = &mut self.symbols[symbol].seen;
            seen.messages += 1;
            seen.bytes += bytes;
        }
    }

    /// When the first and the last input were received.
    pub(super) fn span(&self) -> (u64, u64) {
        (self.first.unwrap_or(0), self.recv)
    }

    pub(super) fn report(&self, instruments: &Instruments) -> Feed {
        let mut holes = self.holes.clone();
        if self.more_holes > 0 {
            holes.push(format!("and {} more", self.more_holes));
        }
        let symbols = self.symbols.iter().zip(instruments.since(0));
        let mut symbols: Vec<Symbol> = symbols
            .filter(|(symbol, _)| *symbol != &OneSymbol::default())
            .map(|(symbol, listed)| symbol.report(listed.symbol.clone(), self.recv))
            .collect();
        symbols.sort_by(|a, b| b.messages.cmp(&a.messages).then_with(|| a.symbol.cmp(&b.symbol)));
        Feed {
            name: self.name.clone(),
            messages: self.messages,
            bytes: self.bytes,
            rate: self.rate.report(self.messages, self.span()),
            kinds: self.kinds.iter().map(|k| report::Kind { ..*k }).collect(),
            replies: self.replies,
            confirmed: self.confirmed,
            distrusted: self.distrusted,
            dropped: self.dropped,
            holes,
            links: self.links.iter().map(|(&link, seen)| seen.report(link, self.recv)).collect(),
            symbols,
            rejects: self.rejects.report(),
        }
    }
}

impl Sink for Tally {
    fn put(&mut self, tick: &Tick) {
        let at = tick.instrument.index();
        if self.symbols.len() <= at {
            self.symbols.resize(at + 1, OneSymbol::default());
        }
        if tick.kind != Kind::Status {
            self.found.get_or_insert((tick.kind, at));
        }
        self.symbols[at].count(tick, self.recv, self.message.is_some());
    }

    fn flush(&mut self) -> Result<(), SinkClosed> {
        Ok(())
    }

    fn reject(&mut self, kind: &'static str, detail: &str, text: &[u8]) {
        self.rejects.note(kind, detail, text);
    }

    fn restart(&mut self) {}
}

impl OneLink {
    fn heard(&mut self, recv: u64) {
        self.messages += 1;
        let last = self.last.replace(recv).unwrap_or(recv);
        if recv - last > self.silence {
            (self.silence, self.silence_at) = (recv - last, last);
        }
    }

    fn report(&self, link: u16, end: u64) -> Link {
        // It may be silent at the end.
        let last = self.last.unwrap_or(end);
        let at_end = (end - last, last);
        let (silence, at) = at_end.max((self.silence, self.silence_at));
        Link {
            link,
            messages: self.messages,
            lost: self.lost,
            silence_ms: silence / MILLISECOND,
            silence_at: utc(at),
        }
    }
}

impl PartialEq for OneSymbol {
    fn eq(&self, other: &Self) -> bool {
        self.seen == other.seen
    }
}

impl OneSymbol {
    fn count(&mut self, tick: &Tick, recv: u64, in_message: bool) {
        match tick.kind {
            Kind::Bar | Kind::Cut => {}
            Kind::Trade => self.seen.trades += 1,
            Kind::Quote => self.seen.quotes += 1,
            Kind::Level => {
                self.seen.books += u64::from(tick.has(flags::LAST));
                self.seen.snapshots += u64::from(tick.has(flags::LAST | flags::SNAPSHOT));
            }
            Kind::Status => match tick.as_status().state {
                FeedState::Live => self.down += self.down_since.take().map_or(0, |at| recv - at),
                state => {
                    self.down_since.get_or_insert(recv);
                    let resync = state == FeedState::Resync;
                    self.seen.resyncs += u64::from(resync);
                    // What breaks in a message is a chain; other inputs say so themselves.
                    self.seen.gaps += u64::from(resync && in_message);
                }
            },
        }
    }

    fn report(&self, symbol: String, end: u64) -> Symbol {
        let down = self.down + self.down_since.map_or(0, |at| end - at);
        let seen = &self.seen;
        let (down_ms, down) = (down / MILLISECOND, self.down_since.is_some());
        Symbol { symbol, down_ms, down, ..seen.clone() }
    }
}

/// Messages a second, by the second of their receipt.
struct Rate {
    seconds: Histogram<u64>,
    /// The second that is counted, and its messages.
    second: u64,
    count: u64,
    peak: u64,
    peak_at: u64,
}

impl Rate {
    fn new() -> Self {
        // Three digits are a valid precision.
        let seconds = Histogram::new(3).expect("a valid precision");
        Rate { seconds, second: 0, count: 0, peak: 0, peak_at: 0 }
    }

    fn count(&mut self, recv: u64) {
        let second = recv / SECOND;
        if second > self.second {
            if self.count > 0 {
                self.seconds.saturating_record(self.count);
                self.seconds.saturating_record_n(0, second - self.second - 1);
            }
            (self.second, self.count) = (second, 0);
        }
        self.count += 1;
        if self.count > self.peak {
            (self.peak, self.peak_at) = (self.count, self.second);
        }
    }

    fn report(&self, messages: u64, (first, last): (u64, u64)) -> report::Rate {
        let mut seconds = self.seconds.clone();
        seconds.saturating_record(self.count);
        // Less than a second says nothing of a second.
        let span = (last - first).max(SECOND) as f64 / SECOND as f64;
        report::Rate {
            mean: (messages as f64 / span * 10.0).round() / 10.0,
            p99: seconds.value_at_quantile(0.99).min(self.peak),
            peak: self.peak,
            peak_at: utc(self.peak_at * SECOND),
        }
    }
}

/// How many messages were rejected for which cause, and the first of each.
#[derive(Default)]
pub(super) struct Rejects(Vec<(&'static str, u64, String, String)>);

impl Rejects {
    pub(super) fn note(&mut self, kind: &'static str, detail: &str, text: &[u8]) {
        if let Some(known) = self.0.iter_mut().find(|known| known.0 == kind) {
            known.1 += 1;
            return;
        }
        let text = &text[..text.len().min(limits::LOG_TEXT_BYTES)];
        let text = String::from_utf8_lossy(text).into_owned();
        self.0.push((kind, 1, detail.to_owned(), text));
    }

    pub(super) fn report(&self) -> Vec<Reject> {
        let rejects = self.0.iter().cloned();
        rejects.map(|(kind, count, detail, text)| Reject { kind, count, detail, text }).collect()
    }
}
