//! What a client of the Binance dialect says, and what it is answered: `wire::binance` has the words.

use super::end::{CLOSE_POLICY, Reason};
use super::subs::{Key, Terms};
use crate::access::Denied;
use crate::limits;
use crate::reactor::Core;
use crate::reactor::cadence::Cadence;
use crate::reactor::lanes::Lane;
use crate::reactor::market::Wildcard;
use crate::wire::binance::encode::{Envelope, SHUTDOWN_STREAM, server_shutdown};
use crate::wire::binance::form::{self, Served};
use crate::wire::binance::request::{self, Call, Refusal, Request};
use crate::wire::binance::streams::{Kind, NotServed, Stream};
use crate::wire::encode;
use crate::wire::form::{Form, Language};
use crate::wire::frame;
use crate::wire::request::{Channel, Mode, distinct};

/// What a name of a stream stands for.
enum Wanted {
    One(Key, Terms),
    /// The quotes of everything.
    Quotes(Form),
    /// The tickers of everything, in arrays.
    Array(Form),
    /// A symbol that is not listed: it may be, later.
    Later,
}

impl Core {
    /// The streams that a connection's URL names; those that there are not are passed over, as Binance
    /// does.
    pub(crate) fn binance_open(&mut self, id: u32, streams: Vec<String>) {
        self.list_new();
        let most = self.max_subscriptions(id);
        let (mut denied, mut first) = (0, String::new());
        // A URL cannot be answered.
        for name in distinct(streams).into_iter().take(most) {
            if let Ok(Some(why)) = self.open_stream(id, &name) {
                if denied == 0 {
                    first = why.to_string();
                }
                denied += 1;
            }
        }
        self.note_denied(id, denied, &first);
        self.count_subscriber(id);
    }

    pub(super) fn binance_request(&mut self, id: u32, text: &[u8]) {
        self.report.requests += 1;
        let over_rate = self.over_rate(id);
        if over_rate == Some(true) {
            return self.close(id, Reason::RequestRate, Some(CLOSE_POLICY), "Too many requests");
        }
        let mut answer = Vec::new();
        match request::parse(text) {
            Err(refusal) => self.refused(&refusal, &mut answer),
            Ok(Request { id: of, .. }) if over_rate.is_some() => {
                self.refused(&Refusal::too_many_requests(Some(of)), &mut answer);
            }
            Ok(Request { id: of, call }) => self.binance_call(id, &of, call, &mut answer),
        }
        if !answer.is_empty() {
            self.push_own(id, |out| frame::text(&answer, out));
        }
        self.count_subscriber(id);
    }

    fn refused(&mut self, refusal: &Refusal, answer: &mut Vec<u8>) {
        self.report.refused += 1;
        refusal.write_to(answer);
    }

    fn binance_call(&mut self, id: u32, of: &str, call: Call, answer: &mut Vec<u8>) {
        let Some(session) = self.sessions.get(id as usize) else { return };
        let is_combined =
            matches!(session.form.language(), Language::Binance(v) if form::is_combined(v));
        match call {
            Call::Subscribe(names) => {
                let names = distinct(names);
                self.charge(id, names.len() / limits::SYMBOLS_PER_REQUEST);
                self.list_new();
                // All or nothing.
                if let Some(refusal) = self.unfit(id, of, &names) {
                    return self.refused(&refusal, answer);
                }
                // Answered first: what comes after it is of these streams.
                request::done(answer, of);
                self.push_own(id, |out| frame::text(&*answer, out));
                answer.clear();
                for name in &names {
                    // They were looked at above.
                    let _ = self.open_stream(id, name);
                }
            }
            Call::Unsubscribe(names) => {
                let names = distinct(names);
                self.charge(id, names.len() / limits::SYMBOLS_PER_REQUEST);
                for name in &names {
                    self.close_stream(id, name);
                }
                request::done(answer, of);
            }
            Call::ListSubscriptions => {
                let names = self.streams_of(id);
                let names = names.iter().map(String::as_str).chain(self.market.wanted.of(id));
                request::list(answer, of, names);
            }
            Call::SetCombined(combined) => {
                if combined != is_combined {
                    self.set_combined(id, combined);
                }
                request::done(answer, of);
            }
            Call::GetCombined => request::value(answer, of, is_combined),
        }
    }

    /// Says that the server ends.
    pub(crate) fn binance_shutdown(&mut self, id: u32) {
        let Some(session) = self.sessions.get(id as usize) else { return };
        let Language::Binance(variant) = session.form.language() else { return };
        let (now_ns, unit) = (self.now.ns, form::unit(variant));
        let mut message = Vec::new();
        if form::is_combined(variant) {
            let envelope = Envelope::new(SHUTDOWN_STREAM);
            envelope.around(&mut message, |out| server_shutdown(out, now_ns, unit));
        } else {
            server_shutdown(&mut message, now_ns, unit);
        }
        self.push_own(id, |out| frame::text(&message, out));
    }

    /// Why not all of these streams can be opened, where that is so.
    fn unfit(&self, id: u32, of: &str, names: &[String]) -> Option<Refusal> {
        for name in names {
            match Stream::parse(name) {
                Ok(_) => {}
                Err(NotServed::Malformed) => return Some(Refusal::no_stream(of.to_owned())),
                Err(NotServed::Missing) => return Some(Refusal::not_served(of.to_owned(), name)),
            }
            if let Some(denied) = self.denied_stream(id, name) {
                let why = denied.to_string();
                self.note_denied(id, 1, &why);
                return Some(Refusal::forbidden(of.to_owned(), name, &why));
            }
        }
        let most = self.max_subscriptions(id);
        let have = self.streams_count(id);
        (have + names.len() > most).then(|| Refusal::too_many_streams(of.to_owned(), most))
    }

    /// Why a stream may not be opened, where that is so.
    fn denied_stream(&self, id: u32, name: &str) -> Option<Denied> {
        let stream = Stream::parse(name).ok()?;
        let grant = &self.sessions.get(id as usize)?.grant;
        let served = Served::of(stream.kind);
        let denied = match self.wanted(id, &stream)? {
            Wanted::One(key, _) => {
                let info = &self.market.entries.get(key.instrument as usize)?.info;
                grant.allows(info, key.channel, key.depth)
            }
            Wanted::Quotes(_) | Wanted::Later => grant.allows_kind(served.channel, served.depth),
            Wanted::Array(_) => {
                grant.allows_all(served.channel).and_then(|()| grant.allows_hz(1.0))
            }
        };
        let denied = denied.and_then(|()| grant.allows_unsummed(served.channel));
        denied.err()
    }

    fn streams_count(&self, id: u32) -> usize {
        self.explicit_subscriptions(id) + self.market.wanted.count(id)
    }

    /// What serves a stream of this connection.
    fn wanted(&self, id: u32, stream: &Stream<'_>) -> Option<Wanted> {
        let session = self.sessions.get(id as usize)?;
        let (form, grant) = (session.form, &session.grant);
        let served = Served::of(stream.kind);
        let form = form.with(served.stream | if stream.long { form::LONG } else { 0 });
        Some(match (stream.symbol, stream.kind) {
            (None, Kind::BookTicker) => Wanted::Quotes(form.with(form::QUOTES_OF_ALL)),
            (None, _) => Wanted::Array(form),
            (Some(symbol), _) => match self.market.binance.resolve(symbol) {
                Some(instrument) => {
                    let Served { channel, depth, .. } = served;
                    let least = grant.period_ms().unwrap_or(0);
                    let cadence = Cadence::of_ms(served.period_ms.max(least));
                    let terms = Terms { mode: Mode::Auto, cadence, lane: Lane::SERVERS };
                    Wanted::One(Key { channel, instrument, depth, form }, terms)
                }
                None => Wanted::Later,
            },
        })
    }

    /// Opens a stream, or says why it may not be had.
    fn open_stream(&mut self, id: u32, name: &str) -> Result<Option<Denied>, NotServed> {
        let stream = Stream::parse(name)?;
        if let Some(denied) = self.denied_stream(id, name) {
            return Ok(Some(denied));
        }
        match self.wanted(id, &stream) {
            Some(Wanted::One(key, _)) if self.is_subscribed(id, &key) => {}
            Some(Wanted::One(key, terms)) => self.subscribe_anew(id, key, terms, false),
            Some(Wanted::Quotes(form)) => {
                let least = self.sessions.get(id as usize).and_then(|s| s.grant.period_ms());
                let cadence = Cadence::of_ms(least.unwrap_or(0));
                let terms = Terms { mode: Mode::Auto, cadence, lane: Lane::SERVERS };
                let channel = Channel::Quote;
                let all = Wildcard { session: id, channel, depth: 0, form, terms, venue: None };
                if !self.wildcards_of(id).any(|known| known.same(&all)) {
                    self.add_wildcard(all);
                }
            }
            Some(Wanted::Array(form)) => {
                self.join_array(id, form);
            }
            Some(Wanted::Later) => self.market.wanted.insert(id, name),
            None => {}
        }
        Ok(None)
    }

    /// Opens the streams of an instrument that has just been listed.
    pub(crate) fn open_wanted(&mut self, instrument: u32) {
        if self.market.wanted.is_empty() {
            return;
        }
        let Some(entry) = self.market.entries.get(instrument as usize) else { return };
        for symbol in self.market.binance.names_of(&entry.info) {
            // Several may list it: then it stays nobody's.
            if self.market.binance.resolve(&symbol) == Some(instrument) {
                for (id, name) in self.market.wanted.take(&symbol) {
                    // It was understood when it came.
                    let _ = self.open_stream(id, &name);
                }
            }
        }
    }

    /// Ends a stream; one that is not open is none.
    fn close_stream(&mut self, id: u32, name: &str) {
        let Ok(stream) = Stream::parse(name) else { return };
        match self.wanted(id, &stream) {
            Some(Wanted::One(key, _)) => self.end_sub(id, &key),
            Some(Wanted::Quotes(form)) => {
                self.market.wildcards.retain(|w| w.session != id || w.form != form);
                let Some(session) = self.sessions.get(id as usize) else { return };
                let wild: Vec<Key> = session
                    .subs
                    .iter()
                    .filter(|(key, sub)| {
                        sub.wild && key.channel == Channel::Quote && key.form == form
                    })
                    .map(|(key, _)| key)
                    .collect();
                wild.iter().for_each(|key| self.end_sub(id, key));
            }
            Some(Wanted::Array(form)) => {
                self.leave_array(id, form);
            }
            Some(Wanted::Later) => self.market.wanted.remove(id, name),
            None => {}
        }
    }

    pub(super) fn end_sub(&mut self, id: u32, key: &Key) {
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        let Some(sub) = session.subs.remove(key) else { return };
        session.joins.retain(|join| join.key != *key);
        if let Some(held) = &mut session.held {
            held.forget(std::iter::once(key));
        }
        self.market.entries[key.instrument as usize].leave(id, key, sub.terms);
        self.report.subscriptions -= 1;
    }

    /// The names of a connection's streams, but for those of symbols that are not listed.
    fn streams_of(&self, id: u32) -> Vec<String> {
        let Some(session) = self.sessions.get(id as usize) else { return Vec::new() };
        let mut names = Vec::new();
        for (key, _) in session.subs.iter().filter(|(_, sub)| !sub.wild) {
            let Language::Binance(variant) = key.form.language() else { continue };
            if let Some(kind) = Served::kind(key.channel, key.depth, variant) {
                let symbol = Some(self.market.binance.symbol_of(key.instrument));
                let long = form::is_long(variant);
                names.push(Stream { symbol, kind, long }.to_string());
            }
        }
        if self.market.wildcards.iter().any(|wildcard| wildcard.session == id) {
            names.push(Stream { symbol: None, kind: Kind::BookTicker, long: false }.to_string());
        }
        for array in self.market.arrays.iter().filter(|array| array.subs.contains(&id)) {
            let Language::Binance(variant) = array.form.language() else { continue };
            if let Some(kind) = Served::kind(Channel::Ticker, 0, variant) {
                names.push(Stream { symbol: None, kind, long: false }.to_string());
            }
        }
        names
    }

    /// Puts the messages of a connection into envelopes from now on, or takes them out of them: all its
    /// streams go over to others, at a place where both end a message.
    fn set_combined(&mut self, id: u32, combined: bool) {
        let names = self.streams_of(id);
        let Some(session) = self.sessions.get(id as usize) else { return };
        let before = session.form;
        let Language::Binance(variant) = before.language() else { return };
        let mut books: Vec<u32> =
            session.subs.of(Channel::Book, None).map(|key| key.instrument).collect();
        books.sort_unstable();
        books.dedup();
        // Each stream ends and begins.
        self.charge(id, names.len() / limits::SYMBOLS_PER_REQUEST);
        let after = form::of_connection(combined, form::unit(variant)).framed(before.framing());
        for instrument in books {
            self.cut(instrument as usize);
        }
        // The new before the old ones end: a book that nobody listens to would be forgotten, with what
        // this client may still have to be told of it.
        self.set_form(id, after);
        for name in &names {
            // They are open.
            let _ = self.open_stream(id, name);
        }
        self.hold_as(id, before, after);
        self.set_form(id, before);
        for name in &names {
            self.close_stream(id, name);
        }
        self.set_form(id, after);
    }

    fn set_form(&mut self, id: u32, form: Form) {
        if let Some(session) = self.sessions.get_mut(id as usize) {
            session.form = form;
        }
    }

    /// What is held back of books' streams in one form is held back in the other.
    fn hold_as(&mut self, id: u32, before: Form, after: Form) {
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        let Some(held) = &mut session.held else { return };
        let stands: Vec<_> = held
            .books()
            .filter(|(key, _)| encode::is_unbegun(key.form))
            .filter_map(|(key, _)| {
                let form = key.form.instead_of(before, after);
                Some((Key { form, ..*key }, held.stand(key)?))
            })
            .collect();
        for (key, stand) in stands {
            held.hold(key, stand);
        }
    }
}
