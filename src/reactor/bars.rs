//! Bars and tickers: made by the ingest, which does so only for what somebody listens to.
//!
//! As with books, the first subscriber's snapshot comes from the ingest's state, which may be ahead
//! of this reactor: bars on the ring before the position of that copy are left out. Those who come
//! later get what the others were sent last.

use tickcast_feeds::Tick;

use super::Core;
use super::deliver::Message;
use super::joins::join_topic;
use super::lanes::Lane;
use super::market::{BarTopic, Topic};
use crate::books::InstrumentState;
use crate::derive::{Bar, Span, Wanted};
use crate::session::subs::Key;
use crate::wire::native::{self, Heads};

impl BarTopic {
    /// A topic without subscribers, from the ingest's state, which makes bars known from now on.
    fn new(span: Span, state: &mut InstrumentState) -> Self {
        let wanted = Wanted::new(state.demand.get_or_insert_default().clone(), span);
        let mut bars = BarTopic { topic: Topic::default(), bar: None, from: 0, wanted };
        bars.take_over(state);
        bars
    }

    /// Takes the newest from the ingest's state.
    pub(super) fn take_over(&mut self, state: &InstrumentState) {
        let newest = state.series.as_ref().map(|series| series.snapshot(self.span()));
        (self.bar, self.topic.last) = newest.unwrap_or_default();
        self.from = state.position;
    }
}

impl Core {
    /// A tick of a bar's event.
    pub(super) fn bar_part(&mut self, position: u64, tick: &Tick) {
        let bar = self.bar_parts.push(tick).and_then(Bar::from_ticks);
        if let Some(bar) = bar {
            self.bar(position, tick, bar);
        }
    }

    fn bar(&mut self, position: u64, tick: &Tick, bar: Bar) {
        let (market, encodings, mut fan_out) = self.split();
        let entry = &mut market.entries[tick.instrument.index()];
        let found = entry.bars.iter_mut().find(|bars| bars.span() == bar.span);
        let Some(bars) = found.filter(|bars| position >= bars.from) else { return };
        let prev = std::mem::replace(&mut bars.topic.last, tick.seq);
        bars.bar = Some(bar);
        let range = encodings.text(|out| write(out, &entry.heads, &bar, tick.seq, Some(prev)));
        let message = Message { range, recv_ns: tick.ts_recv, quote: None, snapshot: false };
        fan_out.send(encodings, &mut bars.topic, message);
    }

    /// Enters a topic of bars, with the newest as snapshot where there is one.
    pub(super) fn join_bars(&mut self, id: u32, key: Key, lane: Option<Lane>, out: &mut Vec<u8>) {
        let Some(span) = key.channel.span(key.depth) else { return };
        let entry = &mut self.market.entries[key.instrument as usize];
        let at = match entry.bars.iter().position(|bars| bars.span() == span) {
            Some(at) => at,
            None => {
                let slot = self.state.slot(entry.info.id);
                entry.bars.push(BarTopic::new(span, &mut slot.lock()));
                entry.bars.len() - 1
            }
        };
        let bars = &mut entry.bars[at];
        join_topic(&mut bars.topic, id, lane);
        if let Some(bar) = &bars.bar {
            write(out, &entry.heads, bar, bars.topic.last, None);
        }
    }

    /// The `seq` that the first update's `prev` will be.
    pub(crate) fn newest_bar_seq(&mut self, key: &Key) -> u64 {
        let Some(span) = key.channel.span(key.depth) else { return 0 };
        let entry = &self.market.entries[key.instrument as usize];
        if let Some(bars) = entry.bars.iter().find(|bars| bars.span() == span) {
            return bars.topic.last;
        }
        let state = self.state.get(entry.info.id).map(|state| state.lock());
        let series = state.as_ref().and_then(|state| state.series.as_ref());
        series.map_or(0, |series| series.snapshot(span).1)
    }
}

fn write(out: &mut Vec<u8>, heads: &Heads, bar: &Bar, seq: u64, prev: Option<u64>) {
    match bar.span {
        Span::Rolling => native::ticker(out, heads, bar, seq, prev),
        _ => native::bar(out, heads, bar, seq, prev),
    }
}
