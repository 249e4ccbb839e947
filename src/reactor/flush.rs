//! From the outboxes to the sockets: one write per session, with all that is pending.

use std::io::ErrorKind;
use std::rc::Rc;

use super::Core;
use super::encodings::Encodings;
use super::failed::Watch;
use crate::clock;
use crate::limits;
use crate::session::Session;
use crate::session::end::{CLOSE_SLOW, End, Reason};
use crate::stats;
use crate::transport::Transport;
use crate::wire::native::Lag;

impl Core {
    /// Flushes a session soon: what is pending is not a tick that may wait for others.
    pub(crate) fn enqueue(&mut self, id: u32) {
        let Some(session) = self.sessions.get(id as usize) else { return };
        // A request's answer and its snapshots are pushed one after the other.
        if !session.out.is_blocked() && self.urgent.back() != Some(&id) {
            self.urgent.push_back(id);
        }
    }

    /// Flushes at most `most` sessions: the urgent ones, then those whose oldest tick has waited
    /// for its window, the longest first; says how many.
    pub(super) fn flush_due(&mut self, most: usize) -> usize {
        let mut flushed = 0;
        let began_ns = self.now.mono_ns;
        let is_traced = self.traced.is_some();
        while flushed < most {
            let id = if let Some(id) = self.urgent.pop_front() {
                id
            } else {
                match self.queue.due(self.pace.window_ns()) {
                    Some((lane, due_ns)) if due_ns <= began_ns => {
                        let Some(head) = self.queue.pop(lane) else { break };
                        let session = self.sessions.get(head.session as usize);
                        // Flushed early, by something urgent or in another lane.
                        if !session.is_some_and(|s| s.queued && s.turn == head.turn) {
                            continue;
                        }
                        head.session
                    }
                    _ => break,
                }
            };
            self.flush(id);
            if is_traced {
                self.note_write(id);
            }
            flushed += 1;
        }
        match self.queue.oldest_chunk(self.encodings.oldest()) {
            Some(chunk) => self.encodings.release(chunk),
            None if self.urgent.is_empty() => self.encodings.reset(),
            None => {}
        }
        if flushed > 0 {
            self.now = clock::now();
            self.paced.send_ns += self.now.mono_ns.saturating_sub(began_ns);
        }
        flushed
    }

    /// Sends what is pending for a session, as far as its socket takes it.
    pub(crate) fn flush(&mut self, id: u32) {
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        session.queued = false;
        session.turn = session.turn.wrapping_add(1);
        if session.special && session.out.is_blocked() {
            return;
        }
        if session.out.is_empty() && !session.stream.is_pending() {
            return self.flushed(id);
        }
        if session.special && session.form.is_stream() {
            self.push_event_id(id);
        }
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        let bytes = session.out.gather(&self.encodings, &mut self.scratch);
        let result = session.stream.try_write(bytes);
        let all = matches!(result, Ok(n) if n == bytes.len()) && !session.stream.is_pending();
        self.report.sends += 1;
        if let Ok(n) = result {
            session.sent_ms = self.now.ms as u32;
            session.fresh_bytes += n as u32;
            self.report.sent_bytes += n as u64;
        }
        if all {
            session.out.sent_all(&mut self.encodings);
            let oldest = std::mem::take(&mut session.oldest_ns);
            if oldest != 0 {
                stats::record(&mut self.report.to_write, self.hub.age_ns(oldest));
            }
            if session.special {
                (session.stuck_ms, session.not_taken, session.behind_ms) = (0, None, 0);
                self.flushed(id);
            }
        } else {
            self.not_all(id, result);
        }
        if self.scratch.capacity() > limits::SCRATCH_BYTES {
            // One huge outbox must not stay with the reactor for good.
            self.scratch = Vec::new();
        }
    }

    /// The socket took some, or none, or is gone.
    fn not_all(&mut self, id: u32, result: std::io::Result<usize>) {
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        let taken = match result {
            Ok(n) => {
                (session.stuck_ms, session.not_taken) = (self.now.ms, None);
                n
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                if session.stuck_ms == 0 {
                    session.stuck_ms = self.now.ms;
                }
                0
            }
            Err(_) => return self.remove(id, Reason::Lost),
        };
        session.special = true;
        if session.behind_ms == 0 {
            session.behind_ms = self.now.ms;
        }
        session.out.sent_some(taken, &mut self.encodings);
        self.block(id);
    }

    /// The socket takes no more: a task of its own waits until it does.
    fn block(&mut self, id: u32) {
        self.report.blocked += 1;
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        session.oldest_ns = 0;
        let limit = self.hub.settings.outbox_bytes;
        if !session.crowded && !session.is_ending() && session.out.len() > limit / 2 {
            session.crowded = true;
            self.crowd += 1;
        }
        let (stream, me) = (session.stream.clone(), self.me.clone());
        let waiter = tokio::task::spawn_local(async move {
            // An error shows again at the next write.
            let _ = stream.writable().await;
            let Some(me) = me.upgrade() else { return };
            let _watch = Watch::new(&me);
            me.core.borrow_mut().writable(id, &stream);
            me.link.wake.knock();
        });
        session.waiter = Some(waiter.abort_handle());
    }

    fn writable(&mut self, id: u32, stream: &Rc<Transport>) {
        self.now = clock::now();
        match self.sessions.get_mut(id as usize) {
            Some(session) if Rc::ptr_eq(&session.stream, stream) => session.out.unblock(),
            // The session ended meanwhile; its number may be another's by now.
            _ => return,
        }
        self.flush(id);
    }

    /// A session has nothing pending any more.
    fn flushed(&mut self, id: u32) {
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        session.allowance = 0;
        if session.crowded {
            session.crowded = false;
            self.crowd -= 1;
        }
        if let Some(end) = &mut session.end {
            if !end.shut {
                end.shut = true;
                // The peer reads our close frame, then the end; its own end removes the session.
                // Dropping the socket with unread bytes would reset it under the close frame.
                if session.stream.shutdown_write().is_err() {
                    self.remove(id, Reason::Lost);
                }
            }
            return;
        }
        if !session.joins.is_empty() && !session.joining {
            session.joining = true;
            self.joiners.push_back(id);
        }
        if session.held.is_some() {
            return self.make_up(id);
        }
        session.behind = false;
        session.special = session.is_special();
    }

    /// Appends one frame of a session's own: an answer, a control frame.
    pub(crate) fn push_own(&mut self, id: u32, write: impl FnOnce(&mut Vec<u8>)) {
        self.push_framed(id, |_, out| write(out));
    }

    /// The same for what may be compressed: a snapshot, a long answer.
    pub(crate) fn push_framed(
        &mut self,
        id: u32,
        write: impl FnOnce(&mut Encodings, &mut Vec<u8>),
    ) {
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        if session.is_ending() {
            return;
        }
        let before = session.out.len();
        session.special = true;
        session.out.push_framed(&mut self.encodings, write);
        let added = session.out.len() - before;
        if added > self.hub.settings.outbox_bytes / 4 {
            session.allowance = session.allowance.max(added);
        }
        let Some(session) = self.sessions.get(id as usize) else { return };
        if !session.out.is_blocked() {
            self.enqueue(id);
        } else if session.out.len() > self.bound(session) {
            self.overflowing.push(id);
        }
    }

    /// Ends a client that reads so slowly that what it would have to be told is not known any more.
    pub(super) fn evict_lost(&mut self, id: u32) {
        self.evict(id, Reason::SlowLost, CLOSE_SLOW);
    }

    /// What a session's outbox may hold.
    pub(super) fn bound(&self, session: &Session) -> usize {
        self.hub.settings.outbox_bytes + session.allowance
    }

    /// After an answer: a client must not pile up answers by requests that come faster than it
    /// reads, many of which may lie in one buffer.
    pub(crate) fn answered(&mut self, id: u32) {
        let Some(session) = self.sessions.get(id as usize) else { return };
        if session.out.len() > self.bound(session) {
            self.overflowing.push(id);
            self.deal_with_overflow();
        }
    }

    /// Ends a session with a close frame. Everything that was pushed before still goes out;
    /// nothing is pushed after.
    pub(crate) fn close(&mut self, id: u32, reason: Reason, code: Option<u16>, text: &str) {
        self.leave_all(id);
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        if session.is_ending() {
            return;
        }
        session.special = true;
        let form = session.form;
        session.out.push_own(&mut self.encodings, |out| form.close(code, text, out));
        let deadline_ms = self.now.ms + limits::CLOSE_TIMEOUT.as_millis() as u64;
        session.end = Some(Box::new(End { reason, deadline_ms, shut: false }));
        if session.crowded {
            session.crowded = false;
            self.crowd -= 1;
        }
        self.enqueue(id);
    }

    /// Ends a client that is too slow: its queue is dropped but for the frame that is under way,
    /// then it is told why, in room that is reserved for that, and closed.
    pub(crate) fn evict(&mut self, id: u32, reason: Reason, code: u16) {
        let ring_lagging = self.consumer.lag() > limits::TICKS_PER_TURN as u64;
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        let oldest_ms = self.now.ms.saturating_sub(session.stuck_ms);
        let queued_bytes = session.out.len() as u64;
        let cause = self.diag.cause(&session.stream, ring_lagging);
        session.out.cut(&mut self.encodings);
        let mut last_words = Vec::new();
        self.tell_lag(
            id,
            &mut last_words,
            Lag {
                policy: "disconnect",
                skipped: 0,
                queued_bytes,
                oldest_ms,
                cause: cause.as_str(),
            },
        );
        if let Some(session) = self.sessions.get_mut(id as usize) {
            session.special = true;
            session.out.push_own(&mut self.encodings, |out| out.extend_from_slice(&last_words));
        }
        self.report.lag_causes[cause as usize] += 1;
        let Some(session) = self.sessions.get(id as usize) else { return };
        tracing::info!(
            peer = %session.peer, reason = reason.as_str(), cause = cause.as_str(), queued_bytes, oldest_ms,
            "slow client closed"
        );
        let text = match reason {
            Reason::SlowLost => "slow consumer: too far behind to be told the difference",
            Reason::SlowOverflow => "slow consumer: outbox full",
            Reason::MemoryBudget => "slow consumer: the memory budget of all clients is used up",
            _ => "slow consumer: nothing taken in the grace period",
        };
        self.close(id, reason, Some(code), text);
        if let Some(end) = self.sessions.get_mut(id as usize).and_then(|s| s.end.as_mut()) {
            end.deadline_ms = self.now.ms + limits::EVICT_LINGER.as_millis() as u64;
        }
    }
}
