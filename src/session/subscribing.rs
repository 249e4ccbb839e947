//! What a client is subscribed to: how that begins, changes and ends.

use std::collections::HashSet;

use super::Rest;
use super::answer::{Answer, forbidden, too_many};
use super::resume::{Begin, Loss, Start, Starts};
use super::subs::{Key, Sub, Terms};
use super::symbols::{Symbols, Unknown};
use crate::access::Grant;
use crate::limits;
use crate::reactor::Core;
use crate::reactor::cadence::Cadence;
use crate::reactor::lanes::Lane;
use crate::reactor::market::{Entry, Wildcard};
use crate::wire::frame;
use crate::wire::request::{self, Channel, Mode, Seqs, Since, Target};

/// What a request asks for, carried out after the answer, so that its place is before the first snapshot.
struct Asked {
    todo: Vec<Key>,
    wildcards: Vec<Wildcard>,
    /// Symbols that were looked at for wildcards.
    looked: usize,
    /// Subscriptions that the client will have, and wildcards among them.
    have: usize,
    wild: usize,
}

impl Asked {
    /// One more.
    fn count(&mut self, most: usize) -> Result<(), Unknown> {
        if self.have >= most {
            return Err(too_many(most, "subscriptions"));
        }
        self.have += 1;
        Ok(())
    }
}

/// The terms of a subscription as a grant allows them: at most so often. The state of a feed is told at once, or with
/// others in batches: it is seldom, and who is told nothing takes old prices for new ones.
fn held_to(channel: Channel, terms: Terms, grant: &Grant) -> Terms {
    if channel == Channel::Status {
        let gathered = terms.cadence.is_gathered();
        let cadence = if gathered { terms.cadence } else { Cadence::EVERY };
        return Terms { cadence, ..terms };
    }
    let (mode, cadence) = match grant.period_ms() {
        Some(least) if terms.cadence.period_ms() < least => match terms.mode {
            Mode::Batch => (terms.mode, Cadence::gathered_least_ms(least)),
            _ => (Mode::Conflate, Cadence::of_ms(least)),
        },
        _ => (terms.mode, terms.cadence),
    };
    Terms { mode, cadence, ..terms }
}

impl Core {
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
        let Some(session) = self.sessions.get(id as usize) else { return };
        let (form, grant) = (session.form, session.grant.shared());
        let terms = self.terms(target, &grant);
        let mut answer = Answer::new(&grant);
        let mut starts = Starts { others, history: target.history, ..Starts::default() };
        if let Some(since) = &target.since {
            self.starts_of(since, target, &mut starts, &mut answer);
        }
        if grant.max_hz().is_some() {
            starts = starts.summed();
            // Single ones, as fast as they are asked for.
            starts.history = 0;
        }
        let mut asked = Asked {
            have: self.explicit_subscriptions(id),
            wild: self.wildcards_of(id).count(),
            todo: Vec::new(),
            wildcards: Vec::new(),
            looked: 0,
        };
        for name in &target.symbols {
            let channel = target.channel;
            let subscribed = match self.market.symbols.resolve(name, &grant) {
                Ok(Symbols::One(instrument)) => {
                    let key = Key { channel, instrument, depth, form };
                    self.ask_one(id, key, terms, &mut asked)
                }
                Ok(Symbols::All(venue)) => {
                    let wildcard = Wildcard { session: id, channel, depth, form, terms, venue };
                    self.ask_all(wildcard, &mut asked)
                }
                Err(unknown) => {
                    answer.unknown(name, unknown, &self.market.symbols);
                    continue;
                }
            };
            match subscribed {
                Ok((symbol, extra)) => {
                    answer.subscribed(&symbol, target, terms, &self.hub.epoch, &[extra]);
                }
                Err(too_many) => answer.error(name, &too_many),
            }
        }
        let Asked { todo, wildcards, looked, .. } = asked;
        self.charge(id, answer.suggested * limits::REQUESTS_PER_SUGGESTION);
        self.charge_looks(id, &grant, looked);
        self.note_denied(id, answer.denied, &answer.first_denied);
        let answer = answer.finish("subscribe", req_id, self.hub.delay_ms);
        self.push_own(id, |out| form.frame(&answer, out));
        for key in todo {
            self.subscribe_at(id, key, terms, false, starts.of(key.instrument));
        }
        for wildcard in wildcards {
            self.add_wildcard_at(wildcard, &starts);
        }
        self.count_subscriber(id);
    }

    /// One instrument of a request: its symbol, and what else is answered.
    fn ask_one(
        &mut self,
        id: u32,
        key: Key,
        terms: Terms,
        asked: &mut Asked,
    ) -> Result<(String, (&'static str, u64)), Unknown> {
        let Some(session) = self.sessions.get(id as usize) else {
            return Err(too_many(0, "subscriptions"));
        };
        let info = &self.market.entries[key.instrument as usize].info;
        let allowed = session.grant.allows(info, key.channel, key.depth);
        allowed.map_err(|denied| forbidden(&denied))?;
        let is_asked = asked.todo.contains(&key);
        if !is_asked && !self.is_subscribed(id, &key) {
            asked.count(self.max_subscriptions(id))?;
        }
        if !is_asked {
            asked.todo.push(key);
        }
        let seq = self.newest_seq(&key, terms);
        let symbol = &self.market.entries[key.instrument as usize].info.symbol;
        Ok((symbol.clone(), ("seq", seq)))
    }

    /// A wildcard of a request, likewise.
    fn ask_all(
        &self,
        wildcard: Wildcard,
        asked: &mut Asked,
    ) -> Result<(String, (&'static str, u64)), Unknown> {
        let Some(session) = self.sessions.get(wildcard.session as usize) else {
            return Err(too_many(0, "subscriptions"));
        };
        let allowed = session.grant.allows_kind(wildcard.channel, wildcard.depth);
        allowed.map_err(|denied| forbidden(&denied))?;
        let most = self.max_subscriptions(wildcard.session);
        let known = asked.wildcards.iter().chain(self.wildcards_of(wildcard.session));
        let is_known = known.into_iter().any(|known| known.same(&wildcard));
        if !is_known {
            if asked.have < most && asked.wild >= limits::WILDCARDS {
                return Err(too_many(limits::WILDCARDS, "wildcards"));
            }
            asked.count(most)?;
            asked.wild += 1;
        }
        asked.looked += self.market.entries.len();
        let entries = self.market.entries.iter();
        let may = |entry: &&Entry| session.grant.has(&entry.info);
        let matched = entries.filter(may).filter(|entry| wildcard.matches(&entry.info)).count();
        let pattern = wildcard.pattern();
        if !asked.wildcards.contains(&wildcard) {
            asked.wildcards.push(wildcard);
        }
        Ok((pattern, ("matched", matched as u64)))
    }

    /// Notes what a request was refused, in one line however much that was: a client must not be able to
    /// have this thread write thousands.
    pub(super) fn note_denied(&self, id: u32, count: usize, first: &str) {
        if count == 0 {
            return;
        }
        if let Some(session) = self.sessions.get(id as usize) {
            tracing::info!(target: "audit", peer = %session.peer, who = session.grant.name, count, first, "refused");
        }
    }

    /// Subscriptions that a client may have.
    pub(super) fn max_subscriptions(&self, id: u32) -> usize {
        let servers = self.hub.settings.max_subscriptions;
        let session = self.sessions.get(id as usize);
        session.map_or(servers, |session| session.grant.max_subscriptions(servers))
    }

    /// Where a client's subscriptions begin that says where it was.
    fn starts_of(&self, since: &Since, target: &Target, starts: &mut Starts, answer: &mut Answer) {
        let known = since.epoch == self.hub.epoch;
        let start = |seq| if known { Start::After(seq) } else { Start::Lost(Loss::Epoch) };
        let (names, grant) = (&self.market.symbols, &answer.grant.clone());
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
            match names.resolve(name, grant) {
                Ok(Symbols::One(instrument)) => {
                    asked.insert(instrument);
                }
                Ok(Symbols::All(venue)) => venues.push(venue),
                Err(_) => {}
            }
        }
        for (name, seq) in each {
            let instrument = match names.resolve(name, grant) {
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

    pub(super) fn wildcards_of(&self, id: u32) -> impl Iterator<Item = &Wildcard> {
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
        // What nobody is in any more is dropped; before the joining, which may be of the same topic.
        entry.leave(id, &key, before);
        match (key.channel, waits && !was_in) {
            (Channel::Trade, false) => entry.trade.join(id, &key, terms.cadence, terms.lane),
            (Channel::Trade, true) | (_, false) => self.join_anew(id, key, begin),
            // Its first snapshot is still to come, on the new terms.
            (_, true) => {}
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
    fn terms(&self, target: &Target, grant: &Grant) -> Terms {
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
        let lane = target.max_age_ms.map_or(Lane::SERVERS, Lane::of);
        held_to(target.channel, Terms { mode, cadence, lane }, grant)
    }

    /// Holds what a client has to another grant: its rate, and how many subscriptions it may have.
    pub(super) fn hold_to(&mut self, id: u32, grant: &Grant) {
        let Some(session) = self.sessions.get(id as usize) else { return };
        let all: Vec<(Key, Sub)> = session.subs.iter().collect();
        for wildcard in self.market.wildcards.iter_mut().filter(|one| one.session == id) {
            wildcard.terms = held_to(wildcard.channel, wildcard.terms, grant);
        }
        for (key, sub) in all {
            let terms = held_to(key.channel, sub.terms, grant);
            if terms != sub.terms {
                self.resubscribe(id, key, terms, sub.wild, Begin::NOW);
            }
        }
        self.end_beyond(id, self.max_subscriptions(id));
    }

    /// Ends the subscriptions that are too many, wildcards last.
    fn end_beyond(&mut self, id: u32, most: usize) {
        let over = self.explicit_subscriptions(id).saturating_sub(most);
        let Some(session) = self.sessions.get(id as usize).filter(|_| over > 0) else { return };
        let named = session.subs.iter().filter(|(_, sub)| !sub.wild).map(|(key, _)| key);
        let named: Vec<Key> = named.take(over).collect();
        for key in &named {
            self.end_sub(id, key);
        }
        for _ in named.len()..over {
            let Some(wildcard) = self.wildcards_of(id).last().cloned() else { return };
            self.market.wildcards.retain(|one| !one.same(&wildcard));
            let Some(session) = self.sessions.get(id as usize) else { return };
            let of_it = |key: &Key| {
                let info = &self.market.entries[key.instrument as usize].info;
                wildcard.matches(info) && wildcard.key(key.instrument) == *key
            };
            let wild = session.subs.iter().filter(|(_, sub)| sub.wild).map(|(key, _)| key);
            let gone: Vec<Key> = wild.filter(of_it).collect();
            gone.iter().for_each(|key| self.end_sub(id, key));
        }
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

    pub(super) fn unsubscribe_from(&mut self, id: u32, req_id: Option<&str>, target: &Target) {
        let Some(session) = self.sessions.get(id as usize) else { return };
        let grant = session.grant.shared();
        let mut answer = Answer::new(&grant);
        let mut any_gone = false;
        for name in &target.symbols {
            let resolved = match self.market.symbols.resolve(name, &grant) {
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
        let answer = answer.finish("unsubscribe", req_id, self.hub.delay_ms);
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
}
