//! How connections come and go.

use super::*;

impl Engine {
    /// The storm breaks: who is to be dropped.
    pub(super) fn storm(&mut self) {
        let peers = self.peers.iter().enumerate();
        self.to_drop = peers
            .filter(|(_, peer)| peer.client.profile == Profile::Storm && peer.socket.is_some())
            .map(|(index, _)| index)
            .collect();
    }

    /// Drops some: all in one turn would be this program's own stall of a tenth of a second.
    pub(super) fn drop_more(&mut self, now: u64) -> bool {
        let most = self.to_drop.len().min(DROPS_PER_TURN);
        for index in self.to_drop.drain(..most).collect::<Vec<_>>() {
            if self.peers[index].socket.is_none() {
                continue;
            }
            self.drop_connection(index);
            let peer = &mut self.peers[index];
            // A server that sends more of them than were asked for, after a gap, owes only those.
            let asked = self.setup.dialect.snapshots(peer.client.symbols.len());
            peer.owed = match self.setup.resume {
                true => self.setup.dialect.streams(peer.client.symbols.len()),
                false => peer.session.snapshots.min(asked),
            };
            peer.left_at = Some(now);
            self.to_open.push_back(index);
        }
        most > 0
    }

    /// The first connects are limited; whoever comes back does so at once.
    pub(super) fn may_open(&self) -> bool {
        self.opening < self.setup.inflight
            || self.to_open.front().is_some_and(|&index| self.peers[index].known)
    }

    pub(super) fn open_more(&mut self, now: u64) -> bool {
        for opened in 0..OPENS_PER_TURN {
            if !self.may_open() {
                return opened > 0;
            }
            let Some(index) = self.to_open.pop_front() else { return opened > 0 };
            self.open_one(index, now);
        }
        true
    }

    pub(super) fn set_stage(&mut self, index: usize, stage: Stage) {
        let before = std::mem::replace(&mut self.peers[index].stage, stage);
        for (which, count) in [(Stage::Opening, &mut self.opening), (Stage::Open, &mut self.open)] {
            *count += usize::from(stage == which);
            *count -= usize::from(before == which);
        }
    }

    fn open_one(&mut self, index: usize, now: u64) {
        let peer = &mut self.peers[index];
        peer.carry.clear();
        peer.session.restart(self.setup.resume && peer.known);
        let rcvbuf = match peer.client.profile {
            Profile::Stalled | Profile::Slow(_) => self.setup.slow_rcvbuf,
            _ => None,
        };
        let opened = socket::connect(self.setup.target.address, peer.client.source, rcvbuf)
            .and_then(|socket| {
                epoll::add(
                    &self.epoll,
                    &socket,
                    EventData::new_u64(token(index, peer.life)),
                    EventFlags::OUT,
                )?;
                Ok(socket)
            });
        match opened {
            Ok(socket) => {
                peer.socket = Some(socket);
                peer.mode = Mode::Connecting;
                peer.interest = EventFlags::OUT;
                self.set_stage(index, Stage::Opening);
            }
            Err(error) => self.not_opened(
                index,
                RunError::Connect(self.setup.target.address, error.into()),
                now,
            ),
        }
    }

    /// A client that does not get in: fatal the first time, tried again when it comes back.
    pub(super) fn not_opened(&mut self, index: usize, error: RunError, now: u64) {
        self.drop_connection(index);
        let peer = &self.peers[index];
        if peer.known {
            self.measure.groups[peer.client.profile.group()].failures += 1;
            self.timers.push(Reverse((now + RETRY_NS, index, peer.life)));
        } else {
            self.setup.control.fail(error);
        }
    }

    /// Closes at once, with a reset (see [`socket::connect`]). Events and timers of this connection are void from here on.
    pub(super) fn drop_connection(&mut self, index: usize) {
        self.set_stage(index, Stage::None);
        let peer = &mut self.peers[index];
        peer.socket = None;
        peer.mode = Mode::Away;
        peer.life = peer.life.wrapping_add(1);
    }

    pub(super) fn come_back(&mut self, index: usize, now: u64) {
        self.drop_connection(index);
        self.peers[index].left_at.get_or_insert(now);
        self.to_open.push_back(index);
    }

    /// A client is subscribed.
    pub(super) fn live(&mut self, index: usize) {
        self.set_stage(index, Stage::Open);
        let now = monotonic_ns();
        let peer = &mut self.peers[index];
        if !peer.known {
            peer.known = true;
            self.setup.control.subscribed.fetch_add(1, Ordering::Release);
        }
        match peer.client.profile {
            Profile::Good | Profile::Storm => {}
            Profile::Stalled => {
                peer.mode = Mode::Stalled;
                self.flush(index);
            }
            Profile::Slow(_) => {
                peer.mode = Mode::Slow;
                self.timers.push(Reverse((now + SLOW_INTERVAL_NS, index, peer.life)));
                self.flush(index);
            }
            Profile::Churn(period) => {
                // Between half and one and a half periods, so that they do not all leave together.
                let period = u64::try_from(period.as_nanos())
                    .unwrap_or(u64::MAX)
                    .min(Duration::from_secs(86_400).as_nanos() as u64);
                let stay = period / 2 + self.random.number() % period.max(1);
                self.timers.push(Reverse((now + stay, index, peer.life)));
            }
        }
    }

    /// Whoever left is back once it is subscribed and has as many snapshots as before, or has been told of
    /// each stream whether it goes on.
    pub(super) fn maybe_back(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        let there = peer.session.phase() == Phase::Live && !peer.session.closing();
        let whole = if self.setup.resume { peer.session.resumes } else { peer.session.snapshots };
        if !there || whole < peer.owed {
            return;
        }
        let Some(left_at) = peer.left_at.take() else { return };
        let group = &mut self.measure.groups[peer.client.profile.group()];
        group.reconnects += 1;
        group.recovery.saturating_record(monotonic_ns().saturating_sub(left_at));
        let control = &self.setup.control;
        if peer.client.profile == Profile::Storm
            && control.away.fetch_sub(1, Ordering::Relaxed) == 1
        {
            control.storm_over.store(now_ns(self.setup.stamp_clock), Ordering::Relaxed);
        }
    }

    /// A connection ended; `code` is the close frame's.
    pub(super) fn ended(&mut self, index: usize, code: u16) {
        let now = monotonic_ns();
        let peer = &self.peers[index];
        let (known, closing, profile) = (peer.known, peer.session.closing(), peer.client.profile);
        if !known || (peer.left_at.is_some() && !closing) {
            let error = RunError::ClosedEarly(code);
            return self.not_opened(index, error, now);
        }
        if !closing {
            self.measure.groups[profile.group()].closed(code);
        }
        match profile {
            Profile::Churn(_) => self.come_back(index, now),
            _ => self.drop_connection(index),
        }
    }

    /// What the server sent makes no sense, or it refused.
    pub(super) fn broken(&mut self, index: usize, error: SessionError) {
        match error {
            SessionError::Refused(_) => self.not_opened(index, error.into(), monotonic_ns()),
            _ => self.setup.control.fail(error.into()),
        }
    }
}
