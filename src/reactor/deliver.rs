//! From messages to the outboxes: each is noted as pending for every subscriber of its topic.

use std::collections::VecDeque;

use slab::Slab;
use tickcast_feeds::Tick;

use super::Core;
use super::cadence::{Cadences, Dirty};
use super::encodings::{Encodings, Range};
use super::lanes::{Lane, Lanes, Pending};
use super::market::Market;
use super::topic::Topic;
use crate::clock::Now;
use crate::limits;
use crate::session::Session;
use crate::session::end::{CLOSE_SLOW, Reason};
use crate::session::held::Stand;
use crate::session::subs::Key;
use crate::stats::Report;
use crate::wire::form::Form;
use crate::wire::native::{self, Lag};
use crate::wire::request::Channel;

/// What delivering one message needs of the core, but for the encodings.
pub(super) struct FanOut<'a> {
    sessions: &'a mut Slab<Session>,
    queue: &'a mut Lanes,
    cadences: &'a mut Cadences,
    urgent: &'a mut VecDeque<u32>,
    overflowing: &'a mut Vec<u32>,
    crowd: &'a mut usize,
    report: &'a mut Report,
    limit: usize,
    now: Now,
    max_age_ns: u64,
    /// How much later than it was received all here is told.
    delay_ns: u64,
    /// Somebody was held back: where it stands is to be kept.
    pub(super) held: bool,
}

/// One message on its way to the subscribers of its topic.
#[derive(Clone, Copy)]
pub(super) struct Message {
    pub(super) range: Range,
    pub(super) recv_ns: u64,
    /// Where a client stands that is not sent it: for what may be held back and made up for later.
    pub(super) hold: Option<(Key, Stand)>,
    /// A snapshot, which may exceed the outbox.
    pub(super) snapshot: bool,
}

/// What happened in a topic.
#[derive(Clone, Copy)]
pub(super) struct News {
    pub(super) channel: Channel,
    pub(super) instrument: u32,
    pub(super) seq: u64,
    pub(super) recv_ns: u64,
    /// Only the newest counts: a client that falls behind may be spared the others.
    pub(super) may_hold: bool,
}

impl FanOut<'_> {
    /// Tells the subscribers of a topic what happened: at once, or at the next stroke of its cadence.
    /// `write` appends the message that follows a sequence.
    pub(super) fn tell(
        &mut self,
        encodings: &mut Encodings,
        topic: &mut Topic,
        news: News,
        write: impl FnOnce(&mut Vec<u8>, Form, u64),
    ) {
        let key = Key {
            channel: news.channel,
            instrument: news.instrument,
            depth: topic.depth,
            form: topic.form,
        };
        if topic.paced.is_none() {
            let prev = std::mem::replace(&mut topic.last, news.seq);
            let form = topic.form;
            let range = encodings.message(form, |out| write(out, form, prev));
            let hold = news.may_hold.then_some((key, Stand::at(prev)));
            let message = Message { range, recv_ns: news.recv_ns, hold, snapshot: false };
            return self.send(encodings, topic, message);
        }
        if topic.cadence.is_gathered() {
            let prev = std::mem::replace(&mut topic.last, news.seq);
            let form = topic.form;
            let Some(paced) = &mut topic.paced else { return };
            paced.gather(|out| write(out, form, prev));
        }
        self.note_dirty(topic, key);
        if topic.paced.as_ref().is_some_and(|paced| paced.gathered.len() > limits::GATHERED_BYTES) {
            self.send_gathered(encodings, topic);
        }
    }

    /// Puts a topic on the list of those to tell at the next stroke.
    pub(super) fn note_dirty(&mut self, topic: &mut Topic, key: Key) {
        let Some(paced) = &mut topic.paced else { return };
        if !std::mem::replace(&mut paced.dirty, true) {
            self.cadences.note(Dirty { key, cadence: topic.cadence }, self.now.mono_ns);
        }
    }

    /// Sends what was gathered as one array.
    pub(super) fn send_gathered(&mut self, encodings: &mut Encodings, topic: &mut Topic) {
        let Some(paced) = topic.paced.as_mut().filter(|paced| !paced.gathered.is_empty()) else {
            return;
        };
        let recv_ns = self.now.ns;
        let range = encodings.message(topic.form, |out| {
            out.push(b'[');
            out.extend_from_slice(&paced.gathered);
            out.push(b']');
        });
        paced.gathered.clear();
        paced.gathered.shrink_to(limits::GATHERED_BYTES / 16);
        self.send(encodings, topic, Message { range, recv_ns, hold: None, snapshot: false });
    }

    pub(super) fn send(&mut self, encodings: &mut Encodings, topic: &mut Topic, message: Message) {
        let since_ns = self.since_ns(message.recv_ns);
        for id in topic.in_turn() {
            self.deliver(encodings, id, Lane::SERVERS, since_ns, message);
        }
        for &(id, lane) in &topic.impatient {
            self.deliver(encodings, id, lane, since_ns, message);
        }
        self.report.deliveries += (topic.subs.len() + topic.impatient.len()) as u64;
        self.report.encoded += 1;
    }

    /// Since when a message waits, by the monotonic clock: since it was received, not since this
    /// reactor came to look at it. Stamps of a replay may be of another year.
    fn since_ns(&self, recv_ns: u64) -> u64 {
        let due_ns = recv_ns.saturating_add(self.delay_ns);
        let age_ns = self.now.ns.saturating_sub(due_ns).min(self.max_age_ns);
        self.now.mono_ns.saturating_sub(age_ns)
    }

    pub(super) fn deliver(
        &mut self,
        encodings: &mut Encodings,
        id: u32,
        lane: Lane,
        since_ns: u64,
        message: Message,
    ) {
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        if session.special && !self.takes_more(encodings, id, message) {
            return;
        }
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        if message.snapshot {
            session.special = true;
            session.allowance = session.allowance.max(message.range.len as usize);
        }
        let allowance = if session.special { session.allowance } else { 0 };
        session.fresh_delivered += 1;
        session.out.push(message.range, encodings);
        // The socket may take it: whether this client is slow shows when it is flushed.
        if session.out.len() > self.limit + allowance {
            self.overflowing.push(id);
        }
        self.wait(id, lane, since_ns, message);
    }

    /// Puts a session in line for its flush, unless it stands there already and waits no longer.
    fn wait(&mut self, id: u32, lane: Lane, since_ns: u64, message: Message) {
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        if session.oldest_ns == 0 {
            session.oldest_ns = message.recv_ns.max(1);
        }
        if session.queued && session.lane <= lane {
            return;
        }
        // An entry in a more patient lane stays: whichever is due first flushes the session.
        (session.queued, session.lane) = (true, lane);
        let (chunk, turn) = (message.range.chunk, session.turn);
        self.queue.push(lane, Pending { session: id, chunk, since_ns, turn });
    }

    /// Whether a special session is to be delivered to like any other. If not, this has been dealt
    /// with: it is ending, or the message is held back, or waits behind what its socket refused.
    fn takes_more(&mut self, encodings: &mut Encodings, id: u32, message: Message) -> bool {
        let Some(session) = self.sessions.get_mut(id as usize) else { return false };
        if session.is_ending() || session.overflowed {
            return false;
        }
        let holds_back = message.hold.is_some_and(|(key, _)| session.holds_back(&key));
        if let Some((key, stand)) = message.hold
            && (holds_back || self.falls_behind(encodings, id, &key))
        {
            let Some(session) = self.sessions.get_mut(id as usize) else { return false };
            session.held.get_or_insert_default().hold(key, stand);
            self.held = true;
            // It could take bytes, but what it missed could not be told yet: tried again.
            if !session.out.is_blocked() && session.out.is_empty() {
                self.urgent.push_back(id);
            }
            return false;
        }
        let Some(session) = self.sessions.get_mut(id as usize) else { return false };
        if !session.out.is_blocked() {
            return true;
        }
        let len = message.range.len as usize;
        if message.snapshot {
            session.allowance = session.allowance.max(len);
        }
        if session.out.len() + len > self.limit + session.allowance {
            session.overflowed = true;
            self.overflowing.push(id);
            return false;
        }
        session.fresh_delivered += 1;
        session.out.push(message.range, encodings);
        if !session.crowded && session.out.len() > self.limit / 2 {
            session.crowded = true;
            *self.crowd += 1;
        }
        false
    }

    /// Moves a client to conflated delivery where it has fallen behind, and tells it so.
    fn falls_behind(&mut self, encodings: &mut Encodings, id: u32, key: &Key) -> bool {
        let Some(session) = self.sessions.get_mut(id as usize) else { return false };
        if !session.falls_behind(key, self.limit) {
            return false;
        }
        session.behind = true;
        self.report.fell_behind += 1;
        if session.dialect.is_native() {
            let lag = Lag {
                policy: "conflate",
                skipped: 0,
                queued_bytes: session.out.len() as u64,
                oldest_ms: session.silent_ms(self.now.ms),
                cause: "peer_window",
            };
            let form = session.form;
            let mut message = Vec::new();
            native::lag(&mut message, &lag);
            session.out.push_own(encodings, |out| form.frame(&message, out));
        }
        true
    }
}

impl Core {
    /// Splits the core into what is encoded, what encodes and what delivers.
    pub(super) fn split(&mut self) -> (&mut Market, &mut Encodings, FanOut<'_>) {
        let fan_out = FanOut {
            sessions: &mut self.sessions,
            queue: &mut self.queue,
            cadences: &mut self.cadences,
            urgent: &mut self.urgent,
            overflowing: &mut self.overflowing,
            crowd: &mut self.crowd,
            report: &mut self.report,
            limit: self.hub.settings.outbox_bytes,
            now: self.now,
            max_age_ns: self.hub.settings.max_age_ns,
            delay_ns: self.hub.delay_ms * 1_000_000,
            held: false,
        };
        (&mut self.market, &mut self.encodings, fan_out)
    }

    /// Pushes a shared message to one session.
    pub(super) fn push(&mut self, id: u32, range: Range) {
        let (_, encodings, mut fan_out) = self.split();
        let now = fan_out.now;
        let message = Message { range, recv_ns: now.ns, hold: None, snapshot: false };
        fan_out.deliver(encodings, id, Lane::SERVERS, now.mono_ns, message);
    }

    /// Takes in instruments that were listed since, with the wildcards that match them.
    pub(crate) fn list_new(&mut self) {
        for info in self.hub.instruments.since(self.market.entries.len()) {
            self.market.list(info.clone());
            let wildcards: Vec<_> =
                self.market.wildcards.iter().filter(|w| w.matches(&info)).cloned().collect();
            for wildcard in wildcards {
                self.subscribe_listed(&wildcard, info.id.0);
            }
            self.open_wanted(info.id.0);
        }
    }

    /// Sessions that were found over their bound: one try to flush, then the policy. What is still
    /// over its bound is judged now: a number may have been given to another session since.
    pub(super) fn deal_with_overflow(&mut self) {
        while let Some(id) = self.overflowing.pop() {
            let Some(session) = self.sessions.get(id as usize) else { continue };
            if session.is_ending() {
                continue;
            }
            if !session.out.is_blocked() {
                self.flush(id);
            }
            let Some(session) = self.sessions.get(id as usize) else { continue };
            let bound = self.bound(session);
            let over = session.out.is_blocked() && session.out.len() > bound;
            if (over || session.overflowed) && !session.is_ending() {
                self.evict(id, Reason::SlowOverflow, CLOSE_SLOW);
            }
        }
    }
}

impl News {
    /// What a tick tells.
    pub(super) fn of(channel: Channel, tick: &Tick, may_hold: bool) -> Self {
        let (seq, recv_ns) = (tick.seq, tick.ts_recv);
        News { channel, instrument: tick.instrument.0, seq, recv_ns, may_hold }
    }
}
