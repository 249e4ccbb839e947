//! Bars and tickers: made by the ingest, which does so only for what somebody listens to.
//!
//! As with books, the first subscriber's snapshot comes from the ingest's state, which may be ahead
//! of this reactor: bars on the ring before the position of that copy are left out. Those who come
//! later get what the others were sent last.

use tickcast_feeds::Tick;

use super::Core;
use super::deliver::News;
use super::market::Entry;
use super::topic::{BarLine, Line};
use crate::books::InstrumentState;
use crate::clock;
use crate::derive::{Bar, Span, Wanted};
use crate::session::subs::{Key, Terms};
use crate::wire::binance::encode::Day;
use crate::wire::encode;
use crate::wire::request::Channel;

impl BarLine {
    /// A line without subscribers, from the ingest's state, which makes bars known from now on.
    fn new(span: Span, state: &mut InstrumentState) -> Self {
        let wanted = Wanted::new(state.demand.get_or_insert_default().clone(), span);
        let mut bars = BarLine { line: Line::default(), bar: None, from: 0, wanted };
        bars.take_over(state);
        if let Some(series) = &mut state.series {
            series.listened(span);
        }
        bars
    }

    /// Takes the newest from the ingest's state.
    pub(super) fn take_over(&mut self, state: &InstrumentState) {
        let newest = state.series.as_ref().map(|series| series.snapshot(self.span()));
        (self.bar, self.line.last) = newest.unwrap_or_default();
        // The last 24 hours are made now.
        if let Some(bar) = self.bar.as_mut().filter(|bar| bar.recv_ns == 0) {
            bar.recv_ns = clock::real_ns();
        }
        for topic in &mut self.line.topics {
            topic.last = self.line.last;
            topic.paced.iter_mut().for_each(|paced| paced.bar = self.bar);
        }
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
        let Entry { heads, bars, last_quote, last_trade, .. } =
            &mut market.entries[tick.instrument.index()];
        let found = bars.iter_mut().find(|bars| bars.span() == bar.span);
        let Some(bars) = found.filter(|bars| position >= bars.from) else { return };
        bars.line.last = tick.seq;
        bars.bar = Some(bar);
        let channel = if bar.span == Span::Rolling { Channel::Ticker } else { Channel::Bar };
        // Of a ticker only the newest counts, of bars each last word does.
        let news = News::of(channel, tick, channel == Channel::Ticker);
        let day = Day { bar: &bar, quote: last_quote.as_ref(), trade: last_trade.as_ref() };
        for topic in &mut bars.line.topics {
            fan_out.tell(encodings, topic, news, |out, form, prev| {
                encode::bar(out, form, heads, &day, tick.seq, Some(prev));
            });
        }
    }

    /// The index of the bars of a span, which are wanted from now on if nobody listened to them.
    pub(super) fn bar_line(&mut self, instrument: u32, span: Span) -> usize {
        let Entry { bars, info, .. } = &mut self.market.entries[instrument as usize];
        if let Some(at) = bars.iter().position(|bars| bars.span() == span) {
            return at;
        }
        let slot = self.state.slot(info.id);
        bars.push(BarLine::new(span, &mut slot.lock()));
        bars.len() - 1
    }

    /// Makes a topic of bars, and writes the newest as snapshot where there is one.
    pub(super) fn join_bars(&mut self, key: &Key, terms: Terms, out: &mut Vec<u8>) {
        let Some(span) = key.channel.span(key.depth) else { return };
        self.flush_gathered(key, terms);
        let at = self.bar_line(key.instrument, span);
        let Entry { heads, bars, last_quote, last_trade, .. } =
            &mut self.market.entries[key.instrument as usize];
        let BarLine { line, bar, .. } = &mut bars[at];
        let place = line.find_or_make(key, terms.cadence);
        let topic = &mut line.topics[place];
        let shown = Entry::bar_at(topic, *bar);
        if let Some(paced) = topic.paced.as_mut().filter(|paced| paced.is_new) {
            paced.is_new = false;
            paced.bar = shown;
        }
        if let Some(bar) = shown {
            let day = Day { bar: &bar, quote: last_quote.as_ref(), trade: last_trade.as_ref() };
            encode::bar(out, key.form, heads, &day, topic.last, None);
        }
    }

    /// The `seq` that the first update's `prev` will be.
    pub(crate) fn newest_bar_seq(&mut self, key: &Key, terms: Terms) -> u64 {
        let Some(span) = key.channel.span(key.depth) else { return 0 };
        let entry = &mut self.market.entries[key.instrument as usize];
        if let Some(bars) = entry.bars.iter_mut().find(|bars| bars.span() == span) {
            let last = bars.line.last;
            return bars.line.find(key, terms.cadence).map_or(last, |topic| topic.last);
        }
        let state = self.state.get(entry.info.id).map(|state| state.lock());
        let series = state.as_ref().and_then(|state| state.series.as_ref());
        series.map_or(0, |series| series.snapshot(span).1)
    }
}
