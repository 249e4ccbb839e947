//! Whether a connection has brought every trade, by the ids, which are consecutive.

/// What each connection that carries an instrument has brought: as many as carry it, so few that a
/// list is searched.
#[derive(Debug, Default)]
pub(super) struct Links(Vec<Link>);

#[derive(Debug)]
struct Link {
    number: u16,
    /// The newest trade that it brought, or should have.
    trade: Option<u64>,
    /// The newest trade as of its last heartbeat: brought before the next one, or lost.
    due: u64,
    /// The sequence of its last heartbeat.
    sequence: u64,
}

/// What a heartbeat says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// Nothing is known to be missing.
    Fine,
    /// A trade that was made before the heartbeat before this one has not come.
    Missing,
    /// The venue's sequence went back: it has started over.
    Back,
}

impl Links {
    fn link(&mut self, number: u16) -> &mut Link {
        let at = self.0.iter().position(|link| link.number == number).unwrap_or_else(|| {
            self.0.push(Link { number, trade: None, due: 0, sequence: 0 });
            self.0.len() - 1
        });
        &mut self.0[at]
    }

    /// Takes a trade; whether others before it were lost. The first one that a subscription brings
    /// (`last_match`) may follow on anything.
    pub(super) fn trade(&mut self, link: u16, id: u64, first: bool) -> bool {
        let link = self.link(link);
        if first || link.trade.is_none() {
            // What was due before the subscription began was never to come.
            link.due = 0;
        }
        let newest = link.trade.unwrap_or(id);
        link.trade = Some(newest.max(id));
        !first && id > newest.saturating_add(1)
    }

    /// Takes a heartbeat. `trade` is the newest trade's id, 0 where the venue does not say.
    ///
    /// The channels of one connection need not be in step, so a trade has until the next heartbeat
    /// to come.
    pub(super) fn beat(&mut self, link: u16, sequence: u64, trade: u64) -> Beat {
        let link = self.link(link);
        let went_back = sequence < link.sequence;
        let missing = link.trade.is_some_and(|newest| newest < link.due);
        if missing {
            link.trade = Some(link.due);
        }
        (link.sequence, link.due) = (sequence, trade);
        match (went_back, missing) {
            (true, _) => Beat::Back,
            (_, true) => Beat::Missing,
            _ => Beat::Fine,
        }
    }

    /// A connection is gone; its number may be another one's.
    pub(super) fn lost(&mut self, link: u16) {
        self.0.retain(|kept| kept.number != link);
    }
}
