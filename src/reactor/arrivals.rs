//! Those who arrive: sockets that are taken over, and what clients send.
//!
//! All of it is charged to the [admission](super::admission), so that ticks for those who are
//! there do not wait behind it.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use super::failed::Watch;
use super::{Adopt, Command, Core, Reactor};
use crate::access::Held;
use crate::clock;
use crate::limits;
use crate::session::end::Reason;
use crate::session::{Dialect, Session};
use crate::transport::{Peer, Transport};

/// What became of the mailbox.
pub(super) enum Mail {
    Read,
    /// The rest waits for a turn that has time for it.
    Left,
    Stop,
}

impl Reactor {
    /// Reads the mailbox, as far as newcomers may have the time.
    pub(super) fn mail(&self) -> Mail {
        if self.link.mailbox.is_empty() {
            return Mail::Read;
        }
        let mut began_ns = clock::now().mono_ns;
        loop {
            if !self.core.borrow().admission.is_open() {
                self.core.borrow_mut().admission.put_off();
                return Mail::Left;
            }
            let Some(command) = self.link.mailbox.pop() else { return Mail::Read };
            match command {
                Command::Adopt(mut adopt) => {
                    let early = std::mem::take(&mut adopt.early);
                    let mut core = self.core.borrow_mut();
                    core.adopt(*adopt, early);
                    began_ns = core.newcomer_took(began_ns);
                }
                // The askers may be gone by now.
                Command::Connections(wanted, answer) => {
                    let _ = answer.send(self.core.borrow_mut().connections(wanted));
                }
                Command::Close(id, goodbye, answer) => {
                    let _ = answer.send(self.core.borrow_mut().close_one(id, &goodbye));
                }
                Command::Drain => self.core.borrow_mut().drain(),
                Command::Stop => return Mail::Stop,
            }
        }
    }

    /// The task of one session: it waits for bytes and holds no buffer.
    pub(super) async fn read_session(self: Rc<Self>, id: u32, stream: Rc<Transport>) {
        // Polled, since the future of `readable` would be most of an idle session's task.
        while poll_fn(|cx| stream.poll_read_ready(cx)).await.is_ok() {
            // Nobody overtakes those who wait.
            if self.gate.waiting() > 0 || !self.core.borrow().admission.is_open() {
                Box::pin(self.gate.wait()).await;
            }
            let goes_on = self.read(id, &stream);
            self.let_in();
            if !goes_on {
                return;
            }
        }
    }

    /// Sessions with something to read that newcomers' time does not suffice for.
    pub(super) fn waiting(&self) -> usize {
        self.gate.waiting()
    }

    /// Lets one more session read, if one waits and there is time.
    pub(super) fn let_in(&self) {
        if self.gate.waiting() > 0 && self.core.borrow().admission.is_open() {
            self.gate.let_in();
        }
    }

    fn read_early(&self, id: u32, mut early: Vec<u8>) {
        let _watch = Watch::new(self);
        self.core.borrow_mut().received(id, &mut early);
        self.link.wake.knock();
    }

    /// Reads what there is, a bounded amount; false when the session is gone.
    fn read(&self, id: u32, stream: &Rc<Transport>) -> bool {
        let _watch = Watch::new(self);
        let mut core = self.core.borrow_mut();
        core.now = clock::now();
        let began_ns = core.now.mono_ns;
        let goes_on = self.read_into(&mut core, id, stream);
        core.newcomer_took(began_ns);
        drop(core);
        if goes_on {
            self.link.wake.knock();
        }
        goes_on
    }

    fn read_into(&self, core: &mut Core, id: u32, stream: &Rc<Transport>) -> bool {
        let is_ours = |core: &Core| {
            core.sessions
                .get(id as usize)
                .is_some_and(|session| Rc::ptr_eq(&session.stream, stream))
        };
        if !is_ours(core) {
            return false;
        }
        let mut buffer = self.read_buffer.borrow_mut();
        for _ in 0..limits::READS_PER_WAKE {
            match stream.try_read(&mut buffer) {
                Ok(0) => {
                    // A stream of events goes on to who has said all it had to say; who is gone shows at
                    // the next write.
                    if core.is_stream(id) {
                        return false;
                    }
                    // It may only have shut its sending side, and wait for its answers.
                    core.flush(id);
                    core.remove(id, Reason::Lost);
                    return false;
                }
                Ok(n) => {
                    core.received(id, &mut buffer[..n]);
                    if !is_ours(core) {
                        return false;
                    }
                    if n < buffer.len() {
                        break;
                    }
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    core.remove(id, Reason::Lost);
                    return false;
                }
            }
        }
        true
    }
}

impl Core {
    /// Charges the time since then to those who arrive; says what time it is.
    pub(crate) fn newcomer_took(&mut self, since_ns: u64) -> u64 {
        let now_ns = clock::now().mono_ns;
        self.admission.spend(now_ns.saturating_sub(since_ns));
        now_ns
    }

    pub(super) fn adopt(&mut self, adopt: Adopt, early: Vec<u8>) {
        let stream = match adopt.stream.attach() {
            Ok(stream) => Rc::new(stream),
            Err(error) => {
                tracing::debug!(%error, peer = %adopt.peer, "connection lost before its session began");
                self.link.sessions.fetch_sub(1, Ordering::Relaxed);
                return;
            }
        };
        if adopt.grant.delay_ms() != self.hub.delay_ms {
            // Nobody sends it here; if somebody did, it would see what it must not.
            tracing::error!(peer = %adopt.peer, who = adopt.grant.name, "a client of another market came here");
            self.link.sessions.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let mut session = self.session(stream.clone(), adopt.peer, adopt.grant, adopt.dialect);
        session.place = adopt.place;
        session.form = adopt.form;
        session.tokens = adopt.tokens.unwrap_or(session.tokens);
        session.anonymous_until_ms = adopt.anonymous_ms.map(|ms| self.now.ms + ms);
        let id = self.sessions.insert(session) as u32;
        self.report.accepted += 1;
        self.sessions[id as usize].serial = self.report.accepted;
        if let Some(me) = self.me.upgrade() {
            let task = if early.is_empty() {
                tokio::task::spawn_local(me.read_session(id, stream))
            } else {
                tokio::task::spawn_local(async move {
                    me.read_early(id, early);
                    me.read_session(id, stream).await;
                })
            };
            self.sessions[id as usize].task = Some(task.abort_handle());
        }
        if !adopt.greeting.is_empty() {
            self.push_own(id, |out| out.extend_from_slice(&adopt.greeting));
        }
        if !adopt.streams.is_empty() {
            self.binance_open(id, adopt.streams);
        }
        if let Some(stream) = adopt.events {
            self.open_events(id, &stream);
        }
        if self.draining {
            self.drain_one(id);
        }
    }

    /// A session at its beginning.
    pub(super) fn session(
        &self,
        stream: Rc<Transport>,
        peer: Peer,
        grant: Held,
        dialect: Dialect,
    ) -> Session {
        let mut session = Session::new(stream, peer, grant, dialect, self.now.ms, self.burst());
        session.ping_ms = self.now.ms + self.ping_interval_ms(dialect);
        session
    }
}
