//! What becomes of a tick of the sample in a reactor: how long it took to encode, and when whom it was for
//! had been written to.

use std::collections::HashSet;

use tickcast_feeds::{Kind, Tick};

use super::Core;
use crate::clock;
use crate::limits;
use crate::trace::{Trace, word};

/// The one that is on its way.
#[derive(Debug)]
pub(super) struct Traced {
    trace: Trace,
    /// Sessions that have it in their outbox.
    waiting: HashSet<u32>,
    until_ms: u64,
}

impl Core {
    /// Deals with a tick of the sample, unless one before it is still on its way.
    pub(super) fn sampled_tick(&mut self, position: u64, tick: &Tick) {
        // Bars are told by parts, and nobody is told of a cut.
        if self.traced.is_some() || matches!(tick.kind, Kind::Bar | Kind::Cut) {
            return self.tick(position, tick);
        }
        let read_ns = clock::real_ns();
        let before = (self.report.encoded, self.report.deliveries);
        self.tick(position, tick);
        let messages = self.report.encoded - before.0;
        // Nobody here listens, or only to sums.
        if messages == 0 {
            return;
        }
        let entry = &self.market.entries[tick.instrument.index()];
        let trace = Trace {
            reactor: self.link.id,
            symbol: entry.info.symbol.clone(),
            kind: word(tick.kind),
            position,
            seq: tick.seq,
            event_ns: tick.ts_event,
            recv_ns: tick.ts_recv,
            ingest: None,
            read_ns,
            encoded_ns: clock::real_ns(),
            messages,
            recipients: self.report.deliveries - before.1,
            writes: None,
            written: 0,
            blocked: 0,
        };
        let until_ms = self.now.ms + limits::TRACE_TIME.as_millis() as u64;
        let (waiting, blocked) = self.told(tick);
        let trace = Trace { blocked, ..trace };
        self.traced = Some(Box::new(Traced { trace, waiting, until_ms }));
        self.end_trace_if_done();
    }

    /// The sessions that were told of a tick just now and whose sockets take bytes, and how many others there
    /// are.
    fn told(&self, tick: &Tick) -> (HashSet<u32>, u64) {
        let entry = &self.market.entries[tick.instrument.index()];
        let topics = match tick.kind {
            Kind::Trade => &entry.trade.topics[..],
            Kind::Quote => &entry.quote.topics,
            Kind::Status => &entry.status.topics,
            Kind::Level => &entry.books.topics,
            Kind::Cut | Kind::Bar => &[],
        };
        let told = topics.iter().filter(|topic| topic.paced.is_none() && topic.last == tick.seq);
        let takes = |id: &u32| {
            self.sessions.get(*id as usize).is_some_and(|session| !session.out.is_blocked())
        };
        let (waiting, others): (HashSet<u32>, HashSet<u32>) =
            told.flat_map(|topic| topic.sessions()).partition(takes);
        (waiting, others.len() as u64)
    }

    /// A session was flushed while a trace is under way.
    pub(super) fn note_write(&mut self, id: u32) {
        let Some(traced) = &mut self.traced else { return };
        if !traced.waiting.remove(&id) {
            return;
        }
        let session = self.sessions.get(id as usize);
        if session.is_none_or(|session| session.out.is_blocked()) {
            traced.trace.blocked += 1;
        } else {
            let now_ns = clock::real_ns();
            let (first_ns, _) = traced.trace.writes.unwrap_or((now_ns, now_ns));
            traced.trace.writes = Some((first_ns, now_ns));
            traced.trace.written += 1;
        }
        self.end_trace_if_done();
    }

    /// Ends a trace whose last write has been made, or whose time is over.
    pub(super) fn end_trace_if_done(&mut self) {
        let is_done = |traced: &Traced| traced.waiting.is_empty() || self.now.ms >= traced.until_ms;
        if !self.traced.as_deref().is_some_and(is_done) {
            return;
        }
        let Some(mut traced) = self.traced.take() else { return };
        traced.trace.blocked += traced.waiting.len() as u64;
        traced.trace.ingest = self.hub.traces.ingest(traced.trace.position);
        self.hub.traces.finished(traced.trace);
    }
}
