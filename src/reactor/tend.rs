//! What is done by the clock and not by ticks: heartbeats, pings, deadlines, the report.

use super::Core;
use super::pace::Observed;
use crate::limits;
use crate::session::Dialect;
use crate::session::end::{CLOSE_POLICY, CLOSE_RESTART, CLOSE_SLOW, Reason};
use crate::session::sock_diag::TcpInfo;
use crate::wire::frame;
use crate::wire::native;

/// What the pace is told of, gathered between two observations.
#[derive(Debug, Default)]
pub(super) struct Paced {
    /// Time spent in sends.
    pub(super) send_ns: u64,
    /// The counters and the clock at the last observation.
    deliveries: u64,
    sends: u64,
    at_ns: u64,
    /// Sums over the sessions looked after: messages a second, and their squares.
    rates: f64,
    squares: f64,
}

/// What is no event, with the blank line that an outbox may be cut at.
const COMMENT: &[u8] = b":\n\n";

/// What a session's clocks ask for.
enum Due {
    Nothing,
    Heartbeat,
    /// The same, for a stream of events.
    Comment,
    Ping,
    DeadPeer,
    /// Nothing went to the socket for half the grace.
    Look,
    Stalled,
    Drop,
}

impl Core {
    /// Looks after a share of the sessions, so that each is looked after at least once a second.
    pub(super) fn tend(&mut self) {
        self.now = crate::clock::now();
        self.forgive_pause();
        if self.hub.instruments.len() > self.market.entries.len() {
            self.list_new();
        }
        let slots = self.sessions.capacity();
        let share = (slots / limits::TEND_SHARES).max(limits::TEND_SESSIONS).min(slots);
        let (mut heartbeat, mut comment) = (None, None);
        for _ in 0..share {
            let id = self.tended as u32;
            self.tended = (self.tended + 1) % slots.max(1);
            self.note_rate(id);
            if !self.see_to_standing(id) {
                continue;
            }
            match self.due(id) {
                Due::Nothing => {}
                Due::Comment => {
                    let range = *comment.get_or_insert_with(|| self.encodings.raw(COMMENT));
                    self.heartbeat(id, range);
                }
                Due::Heartbeat => {
                    let now_ns = self.now.ns;
                    let range = *heartbeat.get_or_insert_with(|| {
                        self.encodings.text(|out| native::heartbeat(out, now_ns))
                    });
                    self.heartbeat(id, range);
                }
                Due::Ping => self.ping(id),
                Due::DeadPeer if self.comes_to_it(id) => {}
                Due::DeadPeer => {
                    self.close(id, Reason::PingTimeout, Some(CLOSE_POLICY), "no pong in time")
                }
                Due::Look => {
                    self.look_at(id);
                }
                Due::Stalled if self.has_taken(id) => {}
                Due::Stalled => self.evict(id, Reason::SlowStalled, CLOSE_SLOW),
                Due::Drop => self.remove(id, Reason::Lost),
            }
        }
        self.trim_journals();
        self.drop_trails();
        self.end_trace_if_done();
        self.set_pace();
        self.weigh();
        self.relieve();
        self.publish_report();
    }

    /// After a time in which this thread did not run (a machine that was suspended or starved) nobody's
    /// patience is over: what clients did meanwhile is still to be read.
    fn forgive_pause(&mut self) {
        let now_ms = self.now.ms;
        let before_ms = std::mem::replace(&mut self.tended_ms, now_ms);
        let lost_ms = now_ms.saturating_sub(before_ms + limits::TEND_MS);
        if before_ms == 0 || lost_ms < limits::PAUSE.as_millis() as u64 {
            return;
        }
        tracing::warn!(
            reactor = self.link.id,
            lost_ms,
            "stood still: clients' deadlines move on by that"
        );
        for (_, session) in &mut self.sessions {
            session.ping_ms += lost_ms;
            if session.stuck_ms != 0 {
                session.stuck_ms = (session.stuck_ms + lost_ms).min(now_ms);
            }
            if let Some(until_ms) = &mut session.anonymous_until_ms {
                *until_ms += lost_ms;
            }
            if let Some(end) = &mut session.end {
                end.deadline_ms += lost_ms;
            }
        }
    }

    /// Notes how many messages a second a session gets.
    fn note_rate(&mut self, id: u32) {
        let now_ms = self.now.ms;
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        debug_assert!(session.special || !session.is_special(), "found by who looks at it whole");
        let span_ms = now_ms.saturating_sub(session.rated_ms);
        let fresh = std::mem::take(&mut session.fresh_delivered);
        let bytes = std::mem::take(&mut session.fresh_bytes);
        if span_ms > 0 {
            let rate = f64::from(fresh) * 1e3 / span_ms as f64;
            self.paced.rates += rate;
            self.paced.squares += rate * rate;
        }
        session.delivered += u64::from(fresh);
        session.sent_bytes += u64::from(bytes);
        session.rated_ms = now_ms;
    }

    fn set_pace(&mut self) {
        let paced = std::mem::take(&mut self.paced);
        let (deliveries, sends) = (self.report.deliveries, self.report.sends);
        self.pace.observe(&Observed {
            span_ns: self.now.mono_ns - paced.at_ns,
            deliveries: deliveries - paced.deliveries,
            sends: sends - paced.sends,
            send_ns: paced.send_ns,
            rate: if paced.rates > 0.0 { paced.squares / paced.rates } else { 0.0 },
        });
        self.paced = Paced { deliveries, sends, at_ns: self.now.mono_ns, ..Paced::default() };
        self.report.window_ns = self.pace.window_ns();
        self.report.load_permille = (self.pace.load() * 1e3) as u64;
    }

    fn due(&self, id: u32) -> Due {
        let Some(session) = self.sessions.get(id as usize) else { return Due::Nothing };
        let now = self.now.ms;
        if let Some(end) = &session.end {
            return if now >= end.deadline_ms { Due::Drop } else { Due::Nothing };
        }
        let stuck_ms = now.saturating_sub(session.stuck_ms);
        let is_patient = session.behind || session.dialect == Dialect::Binance;
        let graces = if is_patient { limits::SLOW_GRACES } else { 1 };
        let grace_ms = self.hub.settings.slow_grace_ms * graces;
        if session.out.is_blocked() && stuck_ms >= grace_ms {
            return Due::Stalled;
        }
        if session.out.is_blocked() && stuck_ms >= grace_ms / 2 && session.not_taken.is_none() {
            return Due::Look;
        }
        // Nothing comes back on a stream of events: the kernel finds out about a dead peer.
        if now >= session.ping_ms && !session.form.is_stream() {
            return if session.pinged { Due::DeadPeer } else { Due::Ping };
        }
        let idle = !session.out.is_blocked() && !session.queued;
        if session.dialect == Dialect::Native
            && idle
            && session.silent_ms(now) >= limits::HEARTBEAT.as_millis() as u64
        {
            return if session.form.is_stream() { Due::Comment } else { Due::Heartbeat };
        }
        Due::Nothing
    }

    /// Looks at what the kernel holds for a client, and notes how much of it the client has not taken.
    fn look_at(&mut self, id: u32) -> Option<TcpInfo> {
        let session = self.sessions.get_mut(id as usize)?;
        let info = self.diag.info(&session.stream);
        session.not_taken = info.map(|info| info.send_queue);
        info
    }

    /// Whether a client that seems to take nothing has taken something of what the kernel holds since it
    /// was looked at; its grace then begins anew. The kernel wants more only once half of
    /// [`limits::UNSENT_BYTES`] is gone, for which who reads some KB a second needs longer than that.
    fn has_taken(&mut self, id: u32) -> bool {
        let before = self.sessions.get(id as usize).and_then(|session| session.not_taken);
        let (Some(before), Some(info)) = (before, self.look_at(id)) else { return false };
        let has_taken = info.send_queue < before;
        if let Some(session) = self.sessions.get_mut(id as usize).filter(|_| has_taken) {
            session.stuck_ms = self.now.ms;
        }
        has_taken
    }

    /// Whether a client that has not answered a ping may not have come to it yet: it takes bytes, and has
    /// had more before it than the network carries at once. It then has as long again; and once more when
    /// the kernel has given all away, for the client's may still hold it.
    fn comes_to_it(&mut self, id: u32) -> bool {
        let Some(before) = self.sessions.get(id as usize).map(|session| session.ping_waits) else {
            return false;
        };
        let now = self.taken_before_ping(id);
        let comes = match (before, now) {
            (Some(before), Some(now)) => now > before,
            (before, now) => before.is_some() || now.is_some(),
        };
        let Some(session) = self.sessions.get_mut(id as usize).filter(|_| comes) else {
            return false;
        };
        session.ping_waits = now;
        session.ping_ms = self.now.ms + self.hub.settings.ping_timeout_ms;
        true
    }

    /// How many bytes a client has taken, where more wait than the network carries at once.
    fn taken_before_ping(&mut self, id: u32) -> Option<u64> {
        let session = self.sessions.get(id as usize)?;
        let info = self.diag.info(&session.stream)?;
        let sent = session.sent_bytes + u64::from(session.fresh_bytes);
        (info.notsent_bytes > 0).then(|| sent.wrapping_sub(info.send_queue.into()))
    }

    fn heartbeat(&mut self, id: u32, range: super::encodings::Range) {
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        session.out.push(range, &mut self.encodings);
        self.report.heartbeats += 1;
        self.flush(id);
    }

    fn ping(&mut self, id: u32) {
        let Some(session) = self.sessions.get(id as usize) else { return };
        // Others do not read that slowly for long.
        let may_be_slow = session.out.is_blocked() || session.dialect == Dialect::Binance;
        let waits = if may_be_slow { self.taken_before_ping(id) } else { None };
        self.push_own(id, |out| frame::ping(b"", out));
        if let Some(session) = self.sessions.get_mut(id as usize) {
            session.pinged = true;
            session.ping_waits = waits;
            session.ping_ms = self.now.ms + self.hub.settings.ping_timeout_ms;
        }
    }

    fn publish_report(&mut self) {
        self.report.sessions = self.sessions.len() as u64;
        self.report.ring_lag = self.consumer.lag();
        self.report.cpu_ns = crate::clock::thread_ns();
        let deflated = self.encodings.compressed();
        self.report.deflated = deflated.messages;
        self.report.deflated_plain_bytes = deflated.plain_bytes;
        self.report.deflated_bytes = deflated.bytes;
        self.report.crowd = self.crowd as u64;
        self.report.admission_paced = self.admission.paced;
        self.report.admission_ns = self.admission.spent_ns;
        let reading = self.me.upgrade().map_or(0, |me| me.waiting());
        let waiting = self.link.mailbox.len() + reading + self.joiners.len();
        self.report.admission_waiting = waiting as u64;
        self.link.report.lock().clone_from(&self.report);
    }

    /// Closes everyone with 1012, after telling when to come back.
    pub(super) fn drain(&mut self) {
        self.draining = true;
        let ids: Vec<u32> = self.sessions.iter().map(|(id, _)| id as u32).collect();
        for id in ids {
            self.drain_one(id);
        }
    }

    pub(super) fn drain_one(&mut self, id: u32) {
        let spread = self.hub.settings.drain_spread_ms;
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        if let Some(end) = &mut session.end {
            // An evicted client is given long to read why; the drain does not wait for that.
            let soon = self.now.ms + limits::CLOSE_TIMEOUT.as_millis() as u64;
            end.deadline_ms = end.deadline_ms.min(soon);
            return;
        }
        if session.dialect == Dialect::Native {
            let form = session.form;
            let mut message = Vec::new();
            native::drain(&mut message, spread);
            self.push_own(id, |out| form.frame(&message, out));
            if form.is_stream() {
                self.push_retry(id, spread);
            }
        } else if session.dialect == Dialect::Binance {
            self.binance_shutdown(id);
        }
        self.close(id, Reason::Drain, Some(CLOSE_RESTART), "server restarts");
    }
}
