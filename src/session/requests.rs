//! What a client says, and what it is answered.

use std::collections::HashSet;
use std::ops::ControlFlow;

use serde_json::json;

use super::end::{CLOSE_POLICY, Reason};
use super::reader::Incoming;
use super::resume::{Begin, Loss, Start, Starts};
use super::subs::{Key, Terms};
use super::symbols::{Names, Symbols, Unknown};
use super::{Dialect, Rest};
use crate::derive::Span;
use crate::limits;
use crate::reactor::Core;
use crate::reactor::cadence::Cadence;
use crate::reactor::lanes::Lane;
use crate::reactor::market::Wildcard;
use crate::wire::frame;
use crate::wire::native::push_int;
use crate::wire::request::{self, Call, Channel, Mode, Refusal, Request, Seqs, Since, Target};

impl Core {
    /// Takes bytes from a client's socket.
    pub(crate) fn received(&mut self, id: u32, bytes: &mut [u8]) {
        let Some(session) = self.sessions.get(id as usize) else { return };
        let ping_interval_ms = self.ping_interval_ms(session.dialect);
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        if session.is_ending() {
            // Nothing is answered any more; the reading goes on for the end of the connection.
            return;
        }
        session.heard_ms = self.now.ms;
        session.pinged = false;
        session.ping_ms = self.now.ms + ping_interval_ms;
        self.report.received_bytes += bytes.len() as u64;
        if session.form.is_stream() {
            // There is nothing to say on a stream of events.
            return;
        }
        let dialect = session.dialect;
        // Taken out while what it reads is acted upon, which may end the session.
        let mut reader = std::mem::take(&mut session.reader);
        let limits = self.read_limits();
        let result =
            reader.feed(bytes, &limits, &mut |incoming| self.incoming(id, dialect, incoming));
        if let Some(session) = self.sessions.get_mut(id as usize) {
            session.reader = reader;
        }
        if let Err(violation) = result {
            self.report.violations += 1;
            self.close(id, Reason::Protocol, Some(violation.code()), &violation.to_string());
        }
    }

    fn incoming(&mut self, id: u32, dialect: Dialect, incoming: Incoming<'_>) -> ControlFlow<()> {
        match (incoming, dialect) {
            (Incoming::Ping(payload), _) => {
                self.push_own(id, |out| frame::pong(payload, out));
            }
            (Incoming::Pong(_), _) => {}
            (Incoming::Close { code, .. }, _) => {
                // Answered with the same code, then the server ends the connection first
                // (RFC 6455 sections 5.5.1 and 7.1.1).
                self.close(id, Reason::ClosedByPeer, code, "");
            }
            (Incoming::Text(text), Dialect::Echo) => {
                self.push_own(id, |out| frame::text(text, out));
            }
            (Incoming::Binary(bytes), Dialect::Echo) => {
                self.push_own(id, |out| frame::binary(bytes, out));
            }
            (Incoming::Text(text), Dialect::Native) => self.request(id, text),
            (Incoming::Text(text), Dialect::Binance) => self.binance_request(id, text.as_bytes()),
            // Some clients send their JSON so.
            (Incoming::Binary(bytes), Dialect::Binance) => self.binance_request(id, bytes),
            (Incoming::Binary(_), Dialect::Native) => {
                self.report.violations += 1;
                self.close(id, Reason::Protocol, Some(1003), "binary message, expected text");
            }
        }
        self.answered(id);
        match self.sessions.get(id as usize) {
            Some(session) if !session.is_ending() => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }

    fn request(&mut self, id: u32, text: &str) {
        let time_in = self.now.ns;
        self.report.requests += 1;
        let refused_by_rate = self.over_rate(id);
        let parsed = request::parse(text);
        if let Some(hopeless) = refused_by_rate {
            if hopeless {
                return self.close(
                    id,
                    Reason::RequestRate,
                    Some(CLOSE_POLICY),
                    "too many requests",
                );
            }
            let (req_id, method) = match parsed {
                Ok(request) => (request.req_id, Some(request.call.method().to_owned())),
                Err(refusal) => (refusal.req_id, refusal.method),
            };
            let rate = self.hub.settings.request_rate;
            let message = format!("over {rate} requests per second, this one was not carried out");
            return self.refuse(id, &Refusal { method, req_id, code: "rate_limited", message });
        }
        match parsed {
            Err(refusal) => self.refuse(id, &refusal),
            Ok(Request { req_id, call }) => match call {
                Call::Subscribe(target) => {
                    self.subscribe_to(id, req_id.as_deref(), &target, Start::Now);
                }
                Call::Unsubscribe(target) => self.unsubscribe_from(id, req_id.as_deref(), &target),
                Call::ListSubscriptions => self.list_subscriptions(id, req_id.as_deref()),
                Call::ListSymbols { venue } => {
                    self.list_symbols(id, req_id.as_deref(), venue.as_deref());
                }
                Call::Ping { t } => self.pong(id, req_id.as_deref(), t, time_in),
            },
        }
    }

    /// Whether a request is over the rate; `Some(true)` when the client goes on and on.
    pub(super) fn over_rate(&mut self, id: u32) -> Option<bool> {
        let burst = self.burst();
        let rate = self.hub.settings.request_rate;
        let session = self.sessions.get_mut(id as usize)?;
        let earned = (self.now.ms - session.tokens_ms.min(self.now.ms)).saturating_mul(rate.into());
        session.tokens_ms = self.now.ms;
        let earned = i32::try_from(earned).unwrap_or(i32::MAX);
        session.tokens = session.tokens.saturating_add(earned).min(burst) - 1000;
        if session.tokens >= 0 {
            return None;
        }
        self.report.rate_limited += 1;
        Some(session.tokens < -burst)
    }

    /// Charges a request that costs far more than others as so many more of them. What is owed at
    /// once is half a burst, so that the next request is refused but does not end the session.
    fn charge(&mut self, id: u32, requests: usize) {
        let owed = -self.burst() / 2;
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        let cost = i32::try_from(requests.saturating_mul(1000)).unwrap_or(i32::MAX);
        session.tokens = session.tokens.saturating_sub(cost).max(owed.min(session.tokens));
    }

    fn refuse(&mut self, id: u32, refusal: &Refusal) {
        self.report.refused += 1;
        let mut answer =
            opening(refusal.method.as_deref().unwrap_or(""), refusal.req_id.as_deref());
        let error = json!({"code": refusal.code, "message": refusal.message});
        answer.extend_from_slice(format!(",\"success\":false,\"error\":{error}}}").as_bytes());
        self.push_own(id, |out| frame::text(&answer, out));
    }

    fn pong(&mut self, id: u32, req_id: Option<&str>, t: Option<i64>, time_in: u64) {
        let mut answer = opening("pong", req_id);
        if let Some(t) = t {
            answer.extend_from_slice(format!(",\"t\":{t}").as_bytes());
        }
        answer.extend_from_slice(b",\"time_in\":");
        push_int(&mut answer, time_in / 1000);
        answer.extend_from_slice(b",\"time_out\":");
        push_int(&mut answer, crate::clock::real_ns() / 1000);
        answer.push(b'}');
        self.push_own(id, |out| frame::text(&answer, out));
    }

    /// Carries out a `subscribe`. `others`: where those begin of which the target does not say it.
    pub(crate) fn subscribe_to(
        &mut self,
        id: u32,
        req_id: Option<&str>,
        target: &Target,
        others: Start,
    ) {
        self.list_new();
        let depth = target.variant();
        let terms = self.terms(target);
        let Some(form) = self.sessions.get(id as usize).map(|session| session.form) else {
            return;
        };
        let mut answer = Answer::new();
        let mut starts = Starts { others, history: target.history, ..Starts::default() };
        if let Some(since) = &target.since {
            self.starts_of(since, target, &mut starts, &mut answer);
        }
        // Carried out after the answer, so that its place is before the first snapshot.
        let mut todo = Vec::new();
        let mut wildcards = Vec::new();
        let most = self.hub.settings.max_subscriptions;
        let mut have = self.explicit_subscriptions(id);
        let mut wild = self.wildcards_of(id).count();
        for name in &target.symbols {
            match self.market.symbols.resolve(name) {
                Ok(Symbols::One(instrument)) => {
                    let key = Key { channel: target.channel, instrument, depth, form };
                    if !self.is_subscribed(id, &key) && !todo.contains(&key) {
                        if have >= most {
                            answer.error(name, &too_many(most, "subscriptions"));
                            continue;
                        }
                        have += 1;
                    }
                    let seq = self.newest_seq(&key, terms);
                    let symbol = &self.market.entries[instrument as usize].info.symbol;
                    answer.subscribed(symbol, target, terms, &self.hub.epoch, &[("seq", seq)]);
                    if !todo.contains(&key) {
                        todo.push(key);
                    }
                }
                Ok(Symbols::All(venue)) => {
                    let channel = target.channel;
                    let wildcard = Wildcard { session: id, channel, depth, form, terms, venue };
                    let known = wildcards.iter().chain(self.wildcards_of(id));
                    if !known.into_iter().any(|known| known.same(&wildcard)) {
                        if have >= most {
                            answer.error(name, &too_many(most, "subscriptions"));
                            continue;
                        }
                        if wild >= limits::WILDCARDS {
                            answer.error(name, &too_many(limits::WILDCARDS, "wildcards"));
                            continue;
                        }
                        have += 1;
                        wild += 1;
                    }
                    let matched = self
                        .market
                        .entries
                        .iter()
                        .filter(|entry| wildcard.matches(&entry.info))
                        .count();
                    let extra = [("matched", matched as u64)];
                    answer.subscribed(&wildcard.pattern(), target, terms, &self.hub.epoch, &extra);
                    if !wildcards.contains(&wildcard) {
                        wildcards.push(wildcard);
                    }
                }
                Err(unknown) => answer.unknown(name, unknown, &self.market.symbols),
            }
        }
        self.charge(id, answer.suggested * limits::REQUESTS_PER_SUGGESTION);
        let answer = answer.finish("subscribe", req_id);
        self.push_own(id, |out| form.frame(&answer, out));
        for key in todo {
            self.subscribe_at(id, key, terms, false, starts.of(key.instrument));
        }
        for wildcard in wildcards {
            self.add_wildcard_at(wildcard, &starts);
        }
        self.count_subscriber(id);
    }

    /// Where a client's subscriptions begin that says where it was.
    fn starts_of(&self, since: &Since, target: &Target, starts: &mut Starts, answer: &mut Answer) {
        let known = since.epoch == self.hub.epoch;
        let start = |seq| if known { Start::After(seq) } else { Start::Lost(Loss::Epoch) };
        let names = &self.market.symbols;
        let each = match &since.seq {
            Seqs::One(seq) => {
                starts.others = start(*seq);
                return;
            }
            Seqs::Each(each) => each,
        };
        let mut asked = HashSet::new();
        let mut venues = Vec::new();
        for name in &target.symbols {
            match names.resolve(name) {
                Ok(Symbols::One(instrument)) => {
                    asked.insert(instrument);
                }
                Ok(Symbols::All(venue)) => venues.push(venue),
                Err(_) => {}
            }
        }
        for (name, seq) in each {
            let instrument = match names.resolve(name) {
                Ok(Symbols::One(instrument)) => instrument,
                Ok(Symbols::All(_)) => {
                    let message =
                        format!("`since.seq` of {}, expected symbols", request::cut(name));
                    answer.error(name, &Unknown { code: "bad_value", message, near: Vec::new() });
                    continue;
                }
                Err(unknown) => {
                    answer.unknown(name, unknown, names);
                    continue;
                }
            };
            let venue = &self.market.entries[instrument as usize].info.venue;
            let matched = |of: &Option<String>| of.as_ref().is_none_or(|of| of == venue);
            if asked.contains(&instrument) || venues.iter().any(matched) {
                starts.each.insert(instrument, start(*seq));
            } else {
                let cut = request::cut(name);
                let message = format!("`since.seq` has {cut}, which is not in `symbol`");
                answer.error(name, &Unknown { code: "bad_value", message, near: Vec::new() });
            }
        }
    }

    fn wildcards_of(&self, id: u32) -> impl Iterator<Item = &Wildcard> {
        self.market.wildcards.iter().filter(move |wildcard| wildcard.session == id)
    }

    pub(super) fn explicit_subscriptions(&self, id: u32) -> usize {
        let session = self.sessions.get(id as usize);
        self.wildcards_of(id).count()
            + session.map_or(0, |session| session.subs.iter().filter(|(_, sub)| !sub.wild).count())
    }

    pub(super) fn is_subscribed(&self, id: u32, key: &Key) -> bool {
        self.sessions.get(id as usize).is_some_and(|session| session.subs.contains(key))
    }

    /// Subscribes, or sends another snapshot of what is subscribed.
    pub(super) fn subscribe_anew(&mut self, id: u32, key: Key, terms: Terms, wild: bool) {
        self.subscribe_at(id, key, terms, wild, Begin::NOW);
    }

    /// The same, beginning so.
    fn subscribe_at(&mut self, id: u32, key: Key, terms: Terms, wild: bool, begin: Begin) {
        if self.is_subscribed(id, &key) {
            self.resubscribe(id, key, terms, wild, begin);
        } else {
            self.subscribe_from(id, key, terms, wild, begin);
        }
    }

    fn resubscribe(&mut self, id: u32, key: Key, terms: Terms, wild: bool, begin: Begin) {
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        let Some(have) = session.subs.get_mut(&key) else { return };
        have.wild &= wild;
        let before = std::mem::replace(&mut have.terms, terms);
        let waits = have.waits;
        if begin.start != Start::Now {
            // What it missed goes before what it would be told from now on.
            self.market.entries[key.instrument as usize].leave(id, &key, before);
            return self.join_anew(id, key, begin);
        }
        if (before.lane, before.cadence) == (terms.lane, terms.cadence) {
            return self.rejoin_from(id, key, begin);
        }
        // It goes over to another topic, or another place in it; of what has no snapshot it is in one
        // at once.
        let entry = &mut self.market.entries[key.instrument as usize];
        let was_in = entry.topic(&key, before).is_some_and(|topic| topic.leave(id));
        if key.channel == Channel::Trade && waits && !was_in {
            self.join_anew(id, key, begin);
        } else if key.channel == Channel::Trade {
            entry.trade.join(id, &key, terms.cadence, terms.lane);
            entry.leave(id, &key, before);
        } else if waits && !was_in {
            // Its first snapshot is still to come, on the new terms.
        } else {
            self.join_anew(id, key, begin);
            self.market.entries[key.instrument as usize].leave(id, &key, before);
        }
    }

    pub(super) fn add_wildcard(&mut self, wildcard: Wildcard) {
        self.add_wildcard_at(wildcard, &Starts::default());
    }

    fn add_wildcard_at(&mut self, wildcard: Wildcard, starts: &Starts) {
        for index in 0..self.market.entries.len() {
            if wildcard.matches(&self.market.entries[index].info) {
                let key = wildcard.key(index as u32);
                let begin = starts.of(index as u32);
                self.subscribe_at(wildcard.session, key, wildcard.terms, true, begin);
            }
        }
        match self.market.wildcards.iter_mut().find(|known| known.same(&wildcard)) {
            Some(known) => *known = wildcard,
            None => self.market.wildcards.push(wildcard),
        }
    }

    /// On which terms a subscription is served that asks for this.
    fn terms(&self, target: &Target) -> Terms {
        let unsaid = if self.hub.settings.conflate { Mode::Auto } else { Mode::All };
        let mode = target.mode.unwrap_or(unsaid);
        let cadence = match (mode, target.period_ms) {
            (Mode::Batch, ms) => Cadence::gathered_ms(ms.unwrap_or(limits::BATCH_MS)),
            (_, Some(ms)) => Cadence::of_ms(ms),
            // Trades are summed up over a time.
            (Mode::Conflate, None) if target.channel == Channel::Trade => {
                Cadence::of_ms(limits::TRADES_SUMMED_MS)
            }
            (_, None) => Cadence::EVERY,
        };
        Terms { mode, cadence, lane: target.max_age_ms.map_or(Lane::SERVERS, Lane::of) }
    }

    /// The `seq` that the first update's `prev` will be.
    fn newest_seq(&mut self, key: &Key, terms: Terms) -> u64 {
        if key.channel.span(key.depth).is_some() {
            return self.newest_bar_seq(key, terms);
        }
        let entry = &mut self.market.entries[key.instrument as usize];
        if let Some(topic) = entry.topic(key, terms) {
            return topic.last;
        }
        match (key.channel, &entry.book) {
            (Channel::Book, Some(book)) => book.seq(),
            (Channel::Book, None) => {
                self.state.get(entry.info.id).map_or(0, |state| state.lock().book.seq())
            }
            (channel, _) => entry.line(channel, key.depth).map_or(0, |line| line.last),
        }
    }

    fn unsubscribe_from(&mut self, id: u32, req_id: Option<&str>, target: &Target) {
        let mut answer = Answer::new();
        let mut any_gone = false;
        for name in &target.symbols {
            let resolved = match self.market.symbols.resolve(name) {
                Ok(resolved) => resolved,
                Err(unknown) => {
                    answer.unknown(name, unknown, &self.market.symbols);
                    continue;
                }
            };
            let venue = match &resolved {
                Symbols::All(venue) => Some(venue.clone()),
                Symbols::One(_) => None,
            };
            let gone = self.take_subs(id, target, &resolved);
            any_gone |= gone > 0;
            let wild = venue.is_some_and(|venue| {
                let before = self.market.wildcards.len();
                self.market.wildcards.retain(|wildcard| {
                    wildcard.session != id
                        || wildcard.channel != target.channel
                        || target.depth.is_some_and(|depth| depth != wildcard.depth)
                        || (venue.is_some() && wildcard.venue != venue)
                });
                before != self.market.wildcards.len()
            });
            if gone == 0 && !wild {
                let message = format!("not subscribed to {} of {}", target.channel.as_str(), name);
                answer.error(name, &Unknown { code: "not_subscribed", message, near: Vec::new() });
            } else {
                let symbol = match &resolved {
                    Symbols::One(i) => self.market.entries[*i as usize].info.symbol.clone(),
                    Symbols::All(_) => name.clone(),
                };
                answer.unsubscribed(&symbol, target);
            }
        }
        if any_gone && let Some(session) = self.sessions.get_mut(id as usize) {
            let Rest { joins, subs, .. } = &mut **session;
            joins.retain(|join| subs.contains(&join.key));
        }
        self.count_subscriber(id);
        self.charge(id, answer.suggested * limits::REQUESTS_PER_SUGGESTION);
        let answer = answer.finish("unsubscribe", req_id);
        self.push_own(id, |out| frame::text(&answer, out));
    }

    /// Ends the subscriptions that match; says how many. Joins of theirs are left to the caller.
    fn take_subs(&mut self, id: u32, target: &Target, which: &Symbols) -> usize {
        let Some(session) = self.sessions.get_mut(id as usize) else { return 0 };
        let entries = &mut self.market.entries;
        let (instrument, venue) = match which {
            Symbols::One(instrument) => (Some(*instrument), None),
            Symbols::All(venue) => (None, venue.as_ref()),
        };
        let gone: Vec<Key> = session
            .subs
            .of(target.channel, instrument)
            .filter(|key| target.depth.is_none_or(|depth| depth == key.depth))
            .filter(|key| venue.is_none_or(|v| *v == entries[key.instrument as usize].info.venue))
            .collect();
        for key in &gone {
            if let Some(sub) = session.subs.remove(key) {
                entries[key.instrument as usize].leave(id, key, sub.terms);
            }
        }
        if let Some(held) = &mut session.held {
            held.forget(gone.iter());
        }
        self.report.subscriptions -= gone.len() as u64;
        gone.len()
    }

    fn list_subscriptions(&mut self, id: u32, req_id: Option<&str>) {
        let Some(session) = self.sessions.get(id as usize) else { return };
        let one = |channel: Channel, symbol: &str, depth: u16, terms: Terms| {
            let mode = terms.mode.as_str();
            let mut one = json!({"channel": channel.as_str(), "symbol": symbol, "mode": mode});
            if let Some(max_age_ms) = terms.lane.max_age_ms() {
                one["max_age_ms"] = json!(max_age_ms);
            }
            if let Some((name, value)) = pace(terms) {
                one[name] = value;
            }
            match channel {
                Channel::Book if depth == 0 => one["depth"] = json!("full"),
                Channel::Book => one["depth"] = json!(depth),
                Channel::Bar => one["interval"] = json!(channel.span(depth).map(Span::as_str)),
                _ => {}
            }
            one
        };
        let explicit = session.subs.iter().filter(|(_, sub)| !sub.wild).map(|(key, sub)| {
            let symbol = &self.market.entries[key.instrument as usize].info.symbol;
            one(key.channel, symbol, key.depth, sub.terms)
        });
        let wild = self.wildcards_of(id).map(|w| one(w.channel, &w.pattern(), w.depth, w.terms));
        let result: Vec<_> = explicit.chain(wild).collect();
        self.answer_list(id, "list_subscriptions", req_id, &result);
    }

    fn list_symbols(&mut self, id: u32, req_id: Option<&str>, venue: Option<&str>) {
        self.list_new();
        let entries = self.market.entries.iter().map(|entry| &entry.info);
        let result: Vec<_> = entries
            .filter(|info| venue.is_none_or(|venue| venue.eq_ignore_ascii_case(&info.venue)))
            .map(|info| {
                let mut symbol = json!({"symbol": info.symbol, "venue": info.venue,
                    "native": info.native, "base": info.base, "quote": info.quote});
                for (name, step) in [("tick_size", info.tick_size), ("lot_size", info.lot_size)] {
                    if let Some(step) = step {
                        symbol[name] = json!(step.to_string());
                    }
                }
                symbol
            })
            .collect();
        self.charge(id, result.len() / limits::SYMBOLS_PER_REQUEST);
        self.answer_list(id, "list_symbols", req_id, &result);
    }

    fn answer_list(
        &mut self,
        id: u32,
        method: &str,
        req_id: Option<&str>,
        result: &[serde_json::Value],
    ) {
        let mut answer = opening(method, req_id);
        answer.extend_from_slice(b",\"success\":true,\"result\":");
        // Writing values into memory cannot fail.
        let _ = serde_json::to_writer(&mut answer, result);
        answer.push(b'}');
        self.push_own(id, |out| frame::text(&answer, out));
    }
}

/// How often a subscription is told, as the client is: its field and what holds.
fn pace(terms: Terms) -> Option<(&'static str, serde_json::Value)> {
    let ms = terms.cadence.period_ms();
    match (terms.mode, ms) {
        (_, 0) => None,
        (Mode::Batch, ms) => Some(("batch_ms", json!(ms))),
        (_, ms) if 1_000 % ms == 0 => Some(("max_hz", json!(1_000 / ms))),
        (_, ms) => Some(("max_hz", json!(1_000.0 / ms as f64))),
    }
}

fn too_many(most: usize, of: &str) -> Unknown {
    let message = format!("more than {most} {of} (a wildcard counts as one subscription)");
    Unknown { code: "too_many_subscriptions", message, near: Vec::new() }
}

/// The beginning of every answer.
fn opening(method: &str, req_id: Option<&str>) -> Vec<u8> {
    let mut out = format!("{{\"method\":{}", json!(method)).into_bytes();
    if let Some(req_id) = req_id {
        out.extend_from_slice(b",\"req_id\":");
        out.extend_from_slice(req_id.as_bytes());
    }
    out
}

/// The answer to `subscribe` and `unsubscribe`: a result or an error per symbol.
struct Answer {
    result: Vec<u8>,
    errors: Vec<u8>,
    suggested: usize,
}

impl Answer {
    fn new() -> Self {
        Answer { result: Vec::new(), errors: Vec::new(), suggested: 0 }
    }

    fn entry(&mut self, symbol: &str, channel: Channel, depth: Option<u16>) {
        if !self.result.is_empty() {
            self.result.push(b',');
        }
        self.result.extend_from_slice(b"{\"channel\":\"");
        self.result.extend_from_slice(channel.as_str().as_bytes());
        self.result.extend_from_slice(b"\",\"symbol\":");
        self.result.extend_from_slice(json!(symbol).to_string().as_bytes());
        match depth {
            None => {}
            Some(depth) if channel == Channel::Bar => {
                let interval = channel.span(depth).map_or("", Span::as_str);
                let field = format!(",\"interval\":\"{interval}\"");
                self.result.extend_from_slice(field.as_bytes());
            }
            Some(0) => self.result.extend_from_slice(b",\"depth\":\"full\""),
            Some(depth) => {
                self.result.extend_from_slice(b",\"depth\":");
                push_int(&mut self.result, depth.into());
            }
        }
    }

    fn subscribed(
        &mut self,
        symbol: &str,
        target: &Target,
        terms: Terms,
        epoch: &str,
        extra: &[(&str, u64)],
    ) {
        let has_variants = matches!(target.channel, Channel::Book | Channel::Bar);
        let depth = has_variants.then_some(target.variant());
        self.entry(symbol, target.channel, depth);
        let mode = terms.mode.as_str();
        self.result.extend_from_slice(format!(",\"mode\":\"{mode}\"").as_bytes());
        if let Some((name, value)) = pace(terms) {
            self.result.extend_from_slice(format!(",\"{name}\":{value}").as_bytes());
        }
        if let Some(max_age_ms) = terms.lane.max_age_ms() {
            self.result.extend_from_slice(format!(",\"max_age_ms\":{max_age_ms}").as_bytes());
        }
        self.result.extend_from_slice(format!(",\"epoch\":\"{epoch}\"").as_bytes());
        for (name, value) in extra {
            self.result.extend_from_slice(format!(",\"{name}\":{value}").as_bytes());
        }
        self.result.push(b'}');
    }

    fn unsubscribed(&mut self, symbol: &str, target: &Target) {
        // Without a depth or interval, every one is gone.
        self.entry(symbol, target.channel, target.depth);
        self.result.push(b'}');
    }

    fn unknown(&mut self, symbol: &str, mut unknown: Unknown, names: &Names) {
        // A thousand typos in one request get a few suggestions.
        if unknown.near.is_empty() && self.suggested < limits::SUGGESTIONS_PER_REQUEST {
            self.suggested += 1;
            unknown.near = names.near(symbol);
        }
        self.error(symbol, &unknown);
    }

    fn error(&mut self, symbol: &str, unknown: &Unknown) {
        let mut error = json!({"symbol": request::cut(symbol), "code": unknown.code, "message": unknown.message});
        if !unknown.near.is_empty() {
            error["did_you_mean"] = json!(unknown.near);
        }
        if !self.errors.is_empty() {
            self.errors.push(b',');
        }
        self.errors.extend_from_slice(error.to_string().as_bytes());
    }

    fn finish(self, method: &str, req_id: Option<&str>) -> Vec<u8> {
        let mut out = opening(method, req_id);
        let success = !self.result.is_empty();
        out.extend_from_slice(if success { b",\"success\":true" } else { b",\"success\":false" });
        out.extend_from_slice(b",\"result\":[");
        out.extend_from_slice(&self.result);
        out.push(b']');
        if !self.errors.is_empty() {
            out.extend_from_slice(b",\"errors\":[");
            out.extend_from_slice(&self.errors);
            out.push(b']');
        }
        out.push(b'}');
        out
    }
}
