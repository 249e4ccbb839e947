//! Streams of server-sent events: sessions whose messages are framed as text, and whose client says
//! nothing.
//!
//! What a client has is said behind each write, by an id that is the ring position up to which this
//! reactor has told everybody everything. Other than one id in each event, that is true of all of a
//! client's subscriptions, and is left out while it is not: before the last of the snapshots is sent, and
//! while something is held back from a client that does not read. An id stands alone, which sets
//! `lastEventId` and makes no event of its own
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html#dispatchMessage>).

use std::time::Duration;

use super::{Core, Stream};
use crate::limits;

impl Core {
    /// Begins a stream: the head of the response, the answers, then what they promise.
    pub(super) fn open_events(&mut self, id: u32, stream: &Stream) {
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        session.special = true;
        // No pong will ever come: the kernel is to say when nothing gets through any more.
        let settings = &self.hub.settings;
        let silence = Duration::from_millis(settings.ping_interval_ms + settings.ping_timeout_ms);
        // Without it the peer is taken for alive longer, that is all.
        let _ = socket2::SockRef::from(session.stream.socket()).set_tcp_user_timeout(Some(silence));
        let retry_ms = limits::SSE_RETRY_MS;
        self.push_own(id, |out| {
            out.extend_from_slice(&stream.head);
            out.extend_from_slice(format!("retry: {retry_ms}\n\n").as_bytes());
        });
        for target in &stream.targets {
            self.subscribe_to(id, None, target, stream.start);
        }
    }

    pub(super) fn is_stream(&self, id: u32) -> bool {
        self.sessions.get(id as usize).is_some_and(|session| session.form.is_stream())
    }

    /// Says behind what is to be sent now what the client has with it.
    pub(super) fn push_event_id(&mut self, id: u32) {
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        if !session.joins.is_empty() || session.held.is_some() || session.is_ending() {
            return;
        }
        let text = format!("id: {}-{}\n\n", self.hub.epoch, self.consumer.position());
        let range = self.encodings.raw(text.as_bytes());
        session.out.push(range, &mut self.encodings);
    }

    /// Tells when to come back, a time of each client's own.
    pub(super) fn push_retry(&mut self, id: u32, [from_ms, to_ms]: [u64; 2]) {
        let spread_ms = to_ms.saturating_sub(from_ms) + 1;
        // Multiplied by the golden ratio, neighbours are far apart.
        let place = u64::from(id.wrapping_mul(0x9e37_79b9));
        let retry_ms = from_ms + ((place * spread_ms) >> 32);
        self.push_own(id, |out| out.extend_from_slice(format!("retry: {retry_ms}\n\n").as_bytes()));
    }
}
