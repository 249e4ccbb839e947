//! Clients that turn out to belong to another market, and go there with their connection.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Adopt, Command, Core, Link, least_busy};
use crate::access::Held;
use crate::http::addresses::Place;
use crate::session::Dialect;
use crate::session::end::Reason;
use crate::transport::{Peer, Transport};
use crate::wire::form::Form;

/// One on its way: it leaves once its task, which reads the socket, has let go of it.
pub(crate) struct Mover {
    id: u32,
    stream: Rc<Transport>,
    to: Arc<Link>,
    peer: Peer,
    place: Place,
    grant: Held,
    form: Form,
    greeting: Vec<u8>,
    tokens: i32,
    /// What it sent behind what sent it off; nothing before that is known.
    early: Option<Vec<u8>>,
}

/// Why somebody cannot go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stays {
    /// It has subscriptions, which are of this market.
    Subscribed,
    /// It has not taken what it was sent, or there is nobody there.
    NotNow,
}

impl Core {
    /// Sends a session of the native protocol to the market of a grant, where it is told `greeting` first.
    ///
    /// # Errors
    /// Why it stays.
    pub(crate) fn send_off(&mut self, id: u32, grant: &Held, greeting: &[u8]) -> Result<(), Stays> {
        let Some(session) = self.sessions.get(id as usize) else { return Ok(()) };
        if session.subscribed || !session.subs.is_empty() || !session.joins.is_empty() {
            return Err(Stays::Subscribed);
        }
        let there = self.hub.others.iter().find(|(delay_ms, _)| *delay_ms == grant.delay_ms());
        let to = there.and_then(|(_, links)| least_busy(links)).ok_or(Stays::NotNow)?;
        self.flush(id);
        let Some(session) = self.sessions.get_mut(id as usize) else { return Ok(()) };
        if !session.out.is_empty() || session.stream.is_pending() || session.is_ending() {
            return Err(Stays::NotNow);
        }
        let (stream, peer, form) = (session.stream.clone(), session.peer, session.form);
        let tokens = session.tokens;
        let place = std::mem::take(&mut session.place);
        to.sessions.fetch_add(1, Ordering::Relaxed);
        let (grant, greeting) = (grant.clone(), greeting.to_vec());
        let mover =
            Mover { id, stream, to, peer, place, grant, form, greeting, tokens, early: None };
        self.movers.push(mover);
        self.remove(id, Reason::Moved);
        Ok(())
    }

    /// Notes what one on its way had sent behind what sent it off.
    pub(crate) fn left_unread(&mut self, id: u32, bytes: &[u8]) {
        // An earlier one may have had the same number.
        let new = |mover: &&mut Mover| mover.id == id && mover.early.is_none();
        if let Some(mover) = self.movers.iter_mut().find(new) {
            mover.early = Some(bytes.to_vec());
        }
    }

    /// Hands over those whom nothing keeps any more; whether some are left.
    pub(super) fn see_off(&mut self) -> bool {
        for at in (0..self.movers.len()).rev() {
            if Rc::strong_count(&self.movers[at].stream) == 1 {
                self.movers.swap_remove(at).leave();
            }
        }
        !self.movers.is_empty()
    }
}

impl Mover {
    fn leave(self) {
        let Mover { stream, to, peer, place, grant, form, greeting, tokens, early, .. } = self;
        let stream = Rc::into_inner(stream).and_then(|stream| stream.detach().ok());
        let Some(stream) = stream else {
            // Its connection is lost.
            to.sessions.fetch_sub(1, Ordering::Relaxed);
            return;
        };
        to.send(Command::Adopt(Box::new(Adopt {
            stream,
            peer,
            place,
            grant,
            anonymous_ms: None,
            dialect: Dialect::Native,
            form,
            streams: Vec::new(),
            early: early.unwrap_or_default(),
            greeting,
            tokens: Some(tokens),
            events: None,
        })));
    }
}
