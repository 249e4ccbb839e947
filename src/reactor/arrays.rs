//! Messages of all instruments at once: the tickers that changed, once a second.

use super::Core;
use super::cadence::{Cadence, Dirty};
use super::deliver::Message;
use super::lanes::Lane;
use crate::derive::{Bar, Span};
use crate::session::subs::Key;
use crate::wire::binance::encode::Day;
use crate::wire::encode;
use crate::wire::form::Form;
use crate::wire::request::Channel;

/// Who gets the tickers of all instruments in one form.
#[derive(Debug)]
pub(crate) struct Array {
    pub(crate) form: Form,
    pub(crate) subs: Vec<u32>,
    /// By instrument, what tells one ticker from the next: its first minute, newest trade and count.
    told: Vec<[u64; 3]>,
}

/// In place of an instrument: all of them.
pub(super) const ALL: u32 = u32::MAX;

const PERIOD_MS: u64 = 1_000;

impl Core {
    /// Takes a session in; false where it is in already.
    pub(crate) fn join_array(&mut self, id: u32, form: Form) -> bool {
        if !self.may_see_all(id) {
            return false;
        }
        let at = self.market.arrays.iter().position(|array| array.form == form);
        let at = at.unwrap_or_else(|| {
            self.market.arrays.push(Array { form, subs: Vec::new(), told: Vec::new() });
            self.note_array(form);
            self.market.arrays.len() - 1
        });
        let subs = &mut self.market.arrays[at].subs;
        let joins = !subs.contains(&id);
        if joins {
            subs.push(id);
        }
        joins
    }

    /// Whether a session may see the tickers of everything: they are in one message for all.
    pub(crate) fn may_see_all(&self, id: u32) -> bool {
        self.sessions.get(id as usize).is_some_and(|session| {
            session.grant.has_all() && session.grant.allows_channel(Channel::Ticker).is_ok()
        })
    }

    /// Takes a session out; false where it is not in.
    pub(crate) fn leave_array(&mut self, id: u32, form: Form) -> bool {
        let Some(array) = self.market.arrays.iter_mut().find(|array| array.form == form) else {
            return false;
        };
        let before = array.subs.len();
        array.subs.retain(|&session| session != id);
        before != array.subs.len()
    }

    pub(crate) fn leave_arrays(&mut self, id: u32) {
        for array in &mut self.market.arrays {
            array.subs.retain(|&session| session != id);
        }
    }

    fn note_array(&mut self, form: Form) {
        let key = Key { channel: Channel::Ticker, instrument: ALL, depth: 0, form };
        let dirty = Dirty { key, cadence: Cadence::of_ms(PERIOD_MS) };
        self.cadences.note(dirty, self.now.mono_ns);
    }

    /// Tells what changed, and comes back in a second; an array that nobody listens to ends.
    pub(super) fn tell_array(&mut self, form: Form) {
        let Some(at) = self.market.arrays.iter().position(|array| array.form == form) else {
            return;
        };
        let mut array = self.market.arrays.swap_remove(at);
        if array.subs.is_empty() {
            return;
        }
        array.told.resize(self.market.entries.len(), [0; 3]);
        let mut days = Vec::new();
        for (index, entry) in self.market.entries.iter().enumerate() {
            let Some(state) = self.state.get(entry.info.id) else { break };
            let state = state.lock();
            let bar = state.series.as_ref().and_then(|series| series.snapshot(Span::Rolling).0);
            let Some(bar) = bar else { continue };
            let now = [bar.start_s, bar.event_ns, bar.trades];
            if std::mem::replace(&mut array.told[index], now) != now {
                let bar = Bar { recv_ns: self.now.ns, ..bar };
                days.push((index, bar, state.last_quote, state.last_trade));
            }
        }
        if !days.is_empty() {
            let now = self.now;
            let (market, encodings, mut fan_out) = self.split();
            let range = encodings.message(form, |out| {
                let days = days.iter().map(|(index, bar, quote, trade)| {
                    let day = Day { bar, quote: quote.as_ref(), trade: trade.as_ref() };
                    (&market.entries[*index].heads, day)
                });
                encode::tickers(out, form, days);
            });
            let message = Message { range, recv_ns: now.ns, hold: None, snapshot: false };
            for &id in &array.subs {
                fan_out.deliver(encodings, id, Lane::SERVERS, now.mono_ns, message);
            }
        }
        self.market.arrays.push(array);
        self.note_array(form);
    }
}
