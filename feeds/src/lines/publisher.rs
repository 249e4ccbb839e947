//! One publisher: its lines are read, counted, bounded, and it is told what is wrong with them.
//! A function of its input; `now` is passed in.

use std::sync::Arc;

use super::split::{Line, Splitter};
use crate::instrument::Instruments;
use crate::sink::Sink;
use crate::venue::native::{Native, Rejected, Rules};

/// The longest line, in bytes: the snapshot of a full book of 20,000 levels a side fits, which is
/// the largest message that a server sends (1.9 MB).
pub const MAX_LINE_BYTES: usize = 2 << 20;

/// Lines of rubbish one after the other that end a publisher: whatever it is, it does not speak
/// the protocol. A typo in a script is told by the first.
pub const MAX_RUBBISH: u32 = 100;

/// Rejected lines that a publisher is told of at once, and per second after those; the others are
/// summed up. More than a person reads, and less than would fill a log or a socket.
pub const TOLD_BURST: u32 = 20;
/// See [`TOLD_BURST`].
pub const TOLD_PER_SECOND: u64 = 10;

const SECOND: u64 = 1_000_000_000;

/// What bounds a publisher.
#[derive(Clone, Debug)]
pub struct Terms {
    /// What its lines may say.
    pub rules: Rules,
    /// Ticks per second, a second's worth of which may come at once. A level of a book is a tick;
    /// a line without any counts as one.
    pub rate: u64,
    /// Silence after which its symbols are stale, nanoseconds; 0 for never.
    pub idle_ns: u64,
}

/// Something that a publisher is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// `rejected`: this line was. `suppressed`: so many were that were not told one by one.
    /// `throttled`: it is read more slowly now. `stale`: it was silent for too long. `closing`: it
    /// is read no further.
    pub kind: &'static str,
    /// The number of the line, from 1, at which it happened.
    pub line: u64,
    /// A short name of the cause, for programs.
    pub code: &'static str,
    /// One line for people.
    pub message: String,
}

impl Told {
    /// As a JSON object.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(self.kind.as_bytes());
        out.extend_from_slice(format!("\",\"line\":{},\"code\":\"", self.line).as_bytes());
        out.extend_from_slice(self.code.as_bytes());
        out.extend_from_slice(b"\",\"message\":\"");
        for character in self.message.chars() {
            match character {
                '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
                '\0'..='\x1f' => {
                    out.extend_from_slice(format!("\\u{:04x}", character as u32).as_bytes());
                }
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        out.extend_from_slice(b"\"}");
    }
}

/// So many per second, a burst of which may come at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    per_second: u64,
    burst_ns: u64,
    /// When all that was taken has been made up for.
    at: u64,
}

impl Bucket {
    pub(super) fn new(per_second: u64, burst: u64) -> Self {
        Bucket { per_second, burst_ns: burst * SECOND / per_second, at: 0 }
    }

    /// Takes so many, whether they are there or not, and answers how long it takes until they are
    /// (0: they are), in nanoseconds.
    pub(super) fn charge(&mut self, count: u64, now: u64) -> u64 {
        self.at = self.at.max(now.saturating_sub(self.burst_ns));
        self.at = self.at.saturating_add(count.saturating_mul(SECOND) / self.per_second);
        self.at.saturating_sub(now)
    }

    /// Takes one if it is there.
    pub(super) fn try_take(&mut self, now: u64) -> bool {
        let before = self.at;
        let there = self.charge(1, now) == 0;
        if !there {
            self.at = before;
        }
        there
    }
}

/// A publisher for as long as it is there.
pub struct Publisher {
    native: Native,
    split: Splitter,
    state: State,
}

/// All but the parser and the splitter, which lend lines out.
struct State {
    /// For whoever looks into what was rejected.
    name: String,
    idle_ns: u64,
    ticks: Bucket,
    telling: Bucket,
    told: Vec<Told>,
    lines: u64,
    accepted: u64,
    rejected: u64,
    /// Rejected and not told of.
    suppressed: u64,
    rubbish: u32,
    /// When a line was last accepted, at first when it came.
    heard: u64,
    resting: bool,
    /// Nanoseconds that are owed for what was read.
    debt: u64,
    throttled: bool,
    closed: bool,
}

impl Publisher {
    /// One that came at `now`.
    pub fn new(name: String, terms: &Terms, instruments: Arc<Instruments>, now: u64) -> Self {
        let state = State {
            name,
            idle_ns: terms.idle_ns,
            ticks: Bucket::new(terms.rate, terms.rate),
            telling: Bucket::new(TOLD_PER_SECOND, u64::from(TOLD_BURST)),
            told: Vec::new(),
            lines: 0,
            accepted: 0,
            rejected: 0,
            suppressed: 0,
            rubbish: 0,
            heard: now,
            resting: false,
            debt: 0,
            throttled: false,
            closed: false,
        };
        let native = Native::new(terms.rules.clone(), instruments);
        Publisher { native, split: Splitter::new(MAX_LINE_BYTES), state }
    }

    /// Takes the next bytes, however they are cut.
    pub fn take(&mut self, bytes: &[u8], now: u64, sink: &mut dyn Sink) {
        let Publisher { native, split, state } = self;
        split.take(bytes, &mut |line| state.line(native, line, now, sink));
        state.throttle();
    }

    /// The end of a message or of the stream: its last line may lack its end.
    pub fn end(&mut self, now: u64, sink: &mut dyn Sink) {
        let Publisher { native, split, state } = self;
        split.end(&mut |line| state.line(native, line, now, sink));
    }

    /// Looks at the clock, a few times a second.
    pub fn tend(&mut self, now: u64, sink: &mut dyn Sink) {
        let Publisher { native, state, .. } = self;
        let silent = now.saturating_sub(state.heard);
        if !state.resting && state.idle_ns != 0 && silent >= state.idle_ns {
            state.resting = true;
            native.rest(now, silent / 1_000_000, sink);
            let message =
                format!("no good line for {} ms: its symbols are stale", silent / 1_000_000);
            state.tell("stale", "idle", message);
        }
        state.debt = state.ticks.charge(0, now);
        state.throttled &= state.debt > 0;
        if state.suppressed > 0 && state.telling.try_take(now) {
            state.sum_up();
        }
    }

    /// It has gone: its symbols are stale until somebody publishes them again.
    pub fn leave(&mut self, now: u64, sink: &mut dyn Sink) {
        let silent = now.saturating_sub(self.state.heard);
        self.native.rest(now, silent / 1_000_000, sink);
    }

    /// How long nothing more is to be read from it, in nanoseconds, because it is over its rate.
    pub fn debt(&self) -> u64 {
        self.state.debt
    }

    /// Whether nothing more is to be read from it at all: it sent rubbish.
    pub fn is_closed(&self) -> bool {
        self.state.closed
    }

    /// Lines that were accepted and that were rejected so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.state.accepted, self.state.rejected)
    }

    /// What it is to be told since this was asked last.
    pub fn told(&mut self) -> std::vec::Drain<'_, Told> {
        self.state.told.drain(..)
    }

    /// Begins a message of its own, whose lines are counted from 1, and of which as much is told
    /// as of a stream at once.
    pub(super) fn begin(&mut self) {
        self.state.lines = 0;
        self.state.rubbish = 0;
        self.state.closed = false;
        self.state.suppressed = 0;
        self.state.telling = Bucket::new(TOLD_PER_SECOND, u64::from(TOLD_BURST));
    }
}

impl State {
    /// Takes a line; whether to go on.
    fn line(&mut self, native: &mut Native, line: Line<'_>, now: u64, sink: &mut dyn Sink) -> bool {
        if self.closed {
            return false;
        }
        self.lines += 1;
        let (text, result) = match line {
            Line::Whole(text) => (text, native.line(text, now, sink)),
            Line::TooLong(start) => (start, Err(too_long())),
        };
        let cost = *result.as_ref().unwrap_or(&1);
        self.debt = self.ticks.charge(cost.max(1) as u64, now);
        match result {
            Ok(_) => {
                (self.heard, self.rubbish) = (now, 0);
                self.accepted += 1;
                if std::mem::take(&mut self.resting) {
                    native.wake(now, sink);
                }
            }
            Err(rejected) => self.reject(rejected, text, now, sink),
        }
        !self.closed
    }

    fn reject(&mut self, rejected: Rejected, text: &[u8], now: u64, sink: &mut dyn Sink) {
        let Rejected { code, message, rubbish } = rejected;
        let detail = format!("{} line {}: {message}", self.name, self.lines);
        sink.reject(code, &detail, text);
        self.rejected += 1;
        self.rubbish += u32::from(rubbish);
        if self.telling.try_take(now) {
            self.tell("rejected", code, message);
        } else {
            self.suppressed += 1;
        }
        if self.rubbish >= MAX_RUBBISH {
            self.closed = true;
            self.sum_up();
            let message = format!("{MAX_RUBBISH} lines one after the other were no messages");
            self.tell("closing", "rubbish", message);
        }
    }

    /// Tells it once that it is over its rate.
    fn throttle(&mut self) {
        if self.debt > 0 && !std::mem::replace(&mut self.throttled, true) {
            let message = format!(
                "over {} ticks a second: read no faster than that (key `rate`)",
                self.ticks.per_second
            );
            self.tell("throttled", "rate_limited", message);
        }
    }

    fn sum_up(&mut self) {
        let count = std::mem::take(&mut self.suppressed);
        if count > 0 {
            let message = format!("{count} more lines were rejected");
            self.tell("suppressed", "rejected", message);
        }
    }

    fn tell(&mut self, kind: &'static str, code: &'static str, message: String) {
        self.told.push(Told { kind, line: self.lines, code, message });
    }
}

fn too_long() -> Rejected {
    Rejected {
        code: "too_long",
        message: format!("a line of over {MAX_LINE_BYTES} bytes"),
        rubbish: true,
    }
}

#[cfg(test)]
#[path = "publisher_tests.rs"]
mod tests;
