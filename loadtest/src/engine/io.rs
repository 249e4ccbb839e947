//! What a ready connection asks for: its bytes in, its bytes out.

use super::*;

impl Engine {
    pub(super) fn event(&mut self, token: u64, flags: EventFlags, schedule: Option<&Schedule>) {
        let (index, life) = ((token & 0xffff_ffff) as usize, (token >> 32) as u32);
        if self.peers[index].life != life || self.peers[index].socket.is_none() {
            return;
        }
        match self.peers[index].mode {
            Mode::Connecting => self.connected(index),
            Mode::Reading | Mode::Remains => {
                if flags.contains(EventFlags::OUT) {
                    self.flush(index);
                }
                if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                    self.read(index, READ, schedule);
                }
            }
            Mode::Stalled => self.read_remains(index),
            Mode::Slow => {
                // It goes on reading at its pace and finds the end for itself; asking the kernel again would spin.
                if let Some(socket) = &self.peers[index].socket {
                    let _ = epoll::delete(&self.epoll, socket);
                }
            }
            Mode::Away => {}
        }
    }

    fn connected(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        let Some(socket) = &peer.socket else { return };
        if let Ok(Err(error)) | Err(error) = rustix::net::sockopt::socket_error(socket) {
            let error = RunError::Connect(self.setup.target.address, error.into());
            return self.not_opened(index, error, monotonic_ns());
        }
        peer.mode = Mode::Reading;
        let request = upgrade_request(&self.setup.target);
        peer.session.out.extend_from_slice(request.as_bytes());
        self.flush(index);
    }

    /// Sends what there is to send, and asks for the next chance when not all of it goes.
    pub(super) fn flush(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        let Some(socket) = &peer.socket else { return };
        while !peer.session.out.is_empty() {
            match rustix::net::send(
                socket,
                &peer.session.out,
                SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
            ) {
                Ok(sent) => drop(peer.session.out.drain(..sent)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // The connection is gone; reading says how.
                Err(_) => peer.session.out.clear(),
            }
        }
        if peer.session.out.is_empty() {
            peer.session.out.shrink_to(256);
        }
        let mut interest = if peer.mode == Mode::Stalled || peer.mode == Mode::Slow {
            EventFlags::RDHUP
        } else {
            EventFlags::IN
        };
        interest.set(EventFlags::OUT, !peer.session.out.is_empty());
        if interest != peer.interest {
            peer.interest = interest;
            let data = EventData::new_u64(token(index, peer.life));
            // A slow client may have been taken out (see `event`).
            if epoll::modify(&self.epoll, socket, data, interest) == Err(Errno::NOENT) {
                let _ = epoll::add(&self.epoll, socket, data, interest);
            }
        }
    }

    pub(super) fn read_remains(&mut self, index: usize) {
        self.peers[index].mode = Mode::Remains;
        self.flush(index);
    }

    pub(super) fn read(&mut self, index: usize, limit: usize, schedule: Option<&Schedule>) {
        let peer = &mut self.peers[index];
        let Some(socket) = &peer.socket else { return };
        let carried = peer.carry.len();
        if self.buffer.len() < carried + READ {
            self.buffer.resize(carried + READ, 0);
        }
        self.buffer[..carried].copy_from_slice(&peer.carry);
        let received = rustix::net::recv(
            socket,
            &mut self.buffer[carried..carried + limit.min(READ)],
            RecvFlags::DONTWAIT,
        );
        let length = match received {
            Err(Errno::AGAIN | Errno::INTR) => return,
            Ok((0, _)) | Err(_) => return self.ended(index, ABNORMAL),
            Ok((length, _)) => carried + length,
        };
        let now = now_ns(self.setup.stamp_clock);
        self.effort.reads += 1;
        let at = match schedule {
            Some(schedule) if peer.mode != Mode::Remains => {
                let storm_over = self.setup.control.storm_over.load(Ordering::Relaxed);
                Arrival {
                    now_ns: now,
                    start_ns: schedule.stamp_start,
                    end_ns: schedule.stamp_end,
                    storm_ns: [schedule.stamp_storm, storm_over],
                }
            }
            _ => Arrival::unmeasured(now),
        };
        peer.carry.clear();
        let before = peer.session.phase();
        let result = advance(peer, &self.buffer[..length], &self.setup, &at, &mut self.measure);
        let after = peer.session.phase();
        if let Err(error) = result {
            return self.broken(index, error);
        }
        if before == Phase::Upgrading && after != Phase::Upgrading && !peer.known {
            self.setup.control.upgraded.fetch_add(1, Ordering::Relaxed);
            self.setup.control.upgraded_at.fetch_max(monotonic_ns(), Ordering::Relaxed);
        }
        if before != Phase::Live && after == Phase::Live {
            self.live(index);
        }
        if self.peers[index].left_at.is_some() {
            self.maybe_back(index);
        }
        if !self.peers[index].session.out.is_empty() {
            self.flush(index);
        }
        if let Phase::Closed(code) = after {
            self.ended(index, code);
        }
    }
}

/// Takes all whole frames from the buffer and keeps the rest for later.
fn advance(
    peer: &mut Peer,
    bytes: &[u8],
    setup: &Setup,
    at: &Arrival,
    measure: &mut Measure,
) -> Result<(), SessionError> {
    let group = &mut measure.groups[peer.client.profile.group()];
    let mut taken = 0;
    loop {
        taken += peer.session.receive(&bytes[taken..], &setup.scanner, at, group)?;
        if peer.session.phase() != Phase::Upgraded {
            break;
        }
        let (requests, answers) =
            setup.dialect.requests(&setup.symbols, &peer.client.symbols, peer.session.place());
        peer.session.subscribe(&requests, answers);
    }
    peer.carry.extend_from_slice(&bytes[taken..]);
    if peer.client.profile == Profile::Good {
        measure.worst_ns = measure.worst_ns.max(std::mem::take(&mut peer.session.worst_ns));
    }
    Ok(())
}
