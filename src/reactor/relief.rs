//! What this reactor's clients make it hold, and who of them goes when all hold too much.

use super::Core;
use crate::budget::Sum;
use crate::limits;
use crate::session::Session;
use crate::session::end::{CLOSE_SLOW, Reason};
use crate::session::reader::Reader;

impl Core {
    /// Adds up what is held, and says so.
    pub(super) fn weigh(&mut self) {
        let encodings = self.encodings.held();
        let mut sum = Sum::new(encodings);
        let (mut outboxes, mut ending) = (0, 0);
        // Others hold nothing and are not ending: their rest is not touched, but where it is the rest that counts.
        let all = self.reading > limits::BUDGET_READING_BYTES;
        for (_, session) in self.sessions.iter().filter(|(_, session)| all || session.special) {
            let held = session.held();
            outboxes += held;
            ending += usize::from(session.is_ending());
            match session.is_ending() {
                true => sum.add(held),
                false => {
                    let weight = weight(session, self.now.ms);
                    sum.add_client(weight);
                    sum.add((held + session.reader.held()).saturating_sub(weight));
                }
            }
        }
        if !all {
            sum.add(self.reading);
        }
        self.report.encodings_bytes = encodings as u64;
        self.report.outbox_bytes = outboxes as u64;
        self.report.reading_bytes = self.reading as u64;
        self.report.ending = ending as u64;
        self.share.set(&sum);
    }

    /// Lets clients go, the largest first, while all of them hold more than the budget; so many at a time.
    pub(super) fn relieve(&mut self) {
        let excess = self.hub.budget.excess(&self.share);
        if excess == 0 {
            return;
        }
        let now_ms = self.now.ms;
        let living = self.sessions.iter().filter(|(_, session)| !session.is_ending());
        let mut heavy: Vec<(usize, u32)> = living
            .map(|(id, session)| (weight(session, now_ms), id as u32))
            .filter(|(weight, _)| *weight >= limits::BUDGET_CLIENT_BYTES)
            .collect();
        heavy.sort_unstable_by(|one, other| other.cmp(one));
        let mut gone = 0;
        for (weight, id) in heavy.into_iter().take(limits::BUDGET_EVICTIONS) {
            if gone >= excess {
                break;
            }
            gone += weight;
            self.let_go(id);
        }
        self.weigh();
    }

    /// Ends a client for what it makes the server hold.
    fn let_go(&mut self, id: u32) {
        self.report.memory_evicted += 1;
        if let Some(session) = self.sessions.get_mut(id as usize) {
            // What it says is not read any more.
            self.reading -= session.reader.held();
            session.reader = Reader::new();
        }
        self.evict(id, Reason::MemoryBudget, CLOSE_SLOW);
        let left = self.sessions.get(id as usize).map_or(0, Session::held);
        // The rest of a frame as large as that is not kept for one that may never read it.
        if left >= limits::BUDGET_CLIENT_BYTES {
            self.remove(id, Reason::MemoryBudget);
        }
    }
}

/// What a client makes the server hold; a large snapshot or answer is none of it while the client takes it.
fn weight(session: &Session, now_ms: u64) -> usize {
    let held = session.held();
    let takes = now_ms.saturating_sub(session.stuck_ms) < limits::BUDGET_PATIENCE_MS;
    let under_way = if takes { session.allowance } else { 0 };
    held.saturating_sub(under_way) + session.reader.held()
}
