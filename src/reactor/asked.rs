//! What operators ask of a reactor: who is connected, who of them is slow and why, and to close one.

use super::Core;
use crate::limits;
use crate::session::Session;
use crate::session::end::Reason;
use crate::stats::{ConnectionInfo, SessionId};

/// Whom an operator wants to see.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// At most so many.
    pub(crate) most: usize,
    /// Those who lag first, the longest first, and why.
    pub(crate) slowest: bool,
}

/// How an operator ends a connection.
#[derive(Clone, Debug)]
pub(crate) struct Goodbye {
    pub(crate) code: u16,
    pub(crate) text: String,
}

/// What becomes of that.
#[derive(Debug)]
pub(crate) enum Closed {
    /// As it was before.
    Closing(Box<ConnectionInfo>),
    /// It ends already, for this reason.
    Ends(Reason),
    Unknown,
}

impl Core {
    /// Who is connected. Looks at one cache line of a session that is not shown.
    pub(super) fn connections(&mut self, wanted: Wanted) -> Vec<ConnectionInfo> {
        let mut ids: Vec<(u64, usize)> = Vec::new();
        if wanted.slowest {
            let special = self.sessions.iter().filter(|(_, session)| session.special);
            ids.extend(special.filter(|(_, s)| s.behind_ms != 0).map(|(id, s)| (s.behind_ms, id)));
            ids.sort_unstable();
        }
        let lagging = ids.len().min(wanted.most);
        // The others as they come.
        let rest = wanted.most - lagging;
        let others = self
            .sessions
            .iter()
            .filter(|(_, session)| !wanted.slowest || !session.special || session.behind_ms == 0);
        let others: Vec<usize> = others.take(rest).map(|(id, _)| id).collect();
        let ids = ids.into_iter().take(lagging).map(|(_, id)| id).chain(others);
        let mut all: Vec<_> =
            ids.filter_map(|id| Some(self.info(id, self.sessions.get(id)?))).collect();
        if wanted.slowest {
            let lagging = all.iter_mut().filter(|info| info.lag_ms > 0);
            lagging.take(limits::CAUSES_SHOWN).for_each(|info| self.diagnose(info));
        }
        all
    }

    fn info(&self, slot: usize, session: &Session) -> ConnectionInfo {
        let since_ms = |ms: u64| if ms == 0 { 0 } else { self.now.ms.saturating_sub(ms) };
        ConnectionInfo {
            id: SessionId { reactor: self.link.id, slot, serial: session.serial },
            peer: session.peer,
            tls: session.stream.is_tls(),
            name: session.grant.name.clone(),
            dialect: match session.form.is_stream() {
                true => "sse",
                false => session.dialect.as_str(),
            },
            connected_ms: self.now.ms.saturating_sub(session.connected_ms),
            subscriptions: session.subs.len(),
            delivered: session.delivered + u64::from(session.fresh_delivered),
            sent_bytes: session.sent_bytes + u64::from(session.fresh_bytes),
            queued_bytes: session.out.len(),
            lag_ms: since_ms(session.behind_ms),
            blocked_ms: if session.out.is_blocked() { since_ms(session.stuck_ms) } else { 0 },
            cause: None,
            conflated: session.behind,
            ring_lag: self.consumer.lag(),
            ending: session.end.as_ref().map(|end| end.reason),
        }
    }

    /// Asks the kernel why a client lags.
    fn diagnose(&mut self, info: &mut ConnectionInfo) {
        let ring_lagging = info.ring_lag > limits::TICKS_PER_TURN as u64;
        let Some(session) = self.sessions.get(info.id.slot) else { return };
        info.cause = Some(self.diag.cause(&session.stream, ring_lagging).as_str());
    }

    /// Closes a connection as an operator wants it.
    pub(super) fn close_one(&mut self, id: SessionId, goodbye: &Goodbye) -> Closed {
        self.now = crate::clock::now();
        let session = self.sessions.get(id.slot).filter(|session| session.serial == id.serial);
        let Some(session) = session else { return Closed::Unknown };
        if let Some(end) = &session.end {
            return Closed::Ends(end.reason);
        }
        let info = self.info(id.slot, session);
        // What a client that does not read has waiting would keep its close frame from it.
        if let Some(session) = self.sessions.get_mut(id.slot).filter(|s| s.out.is_blocked()) {
            session.out.cut(&mut self.encodings);
        }
        self.close(id.slot as u32, Reason::Operator, Some(goodbye.code), &goodbye.text);
        Closed::Closing(Box::new(info))
    }
}
