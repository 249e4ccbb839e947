//! Who a client is, and what becomes of it when that changes while it is connected.

use std::time::Duration;

use serde_json::json;

use super::answer::opening;
use super::end::{CLOSE_FORBIDDEN, CLOSE_UNKNOWN, Reason};
use super::subs::Key;
use crate::access::{Grant, Refused};
use crate::config::units::Span;
use crate::limits;
use crate::reactor::{Core, Stays};
use crate::wire::frame;
use crate::wire::request::{Call, Refusal, Secret};

/// What becomes of a client by the clock.
pub(crate) enum Standing {
    Fine,
    /// It is to be told that its grant ends.
    EndsSoon(u64),
    /// It has not said who it is.
    Unknown,
    Expired,
    Revoked,
    TakenBack,
}

impl Core {
    /// How a session stands with what it was granted.
    pub(crate) fn standing(&self, id: u32) -> Standing {
        let Some(session) = self.sessions.get(id as usize) else { return Standing::Fine };
        if session.is_ending() {
            return Standing::Fine;
        }
        if session.anonymous_until_ms.is_some_and(|until| self.now.ms >= until) {
            return Standing::Unknown;
        }
        let now_ms = self.now.ns / 1_000_000;
        if session.grant.is_over(now_ms) {
            return match &session.grant {
                grant if grant.is_taken_back() => Standing::TakenBack,
                grant if grant.is_revoked() => Standing::Revoked,
                _ => Standing::Expired,
            };
        }
        let soon_ms = limits::GRANT_WARNING.as_millis() as u64;
        match session.grant.expires_ms() {
            Some(at) if !session.forewarned && at <= now_ms + soon_ms => Standing::EndsSoon(at),
            _ => Standing::Fine,
        }
    }

    /// Does what follows from that; false where the session ends.
    pub(crate) fn see_to_standing(&mut self, id: u32) -> bool {
        let (reason, code, text) = match self.standing(id) {
            Standing::Fine => return true,
            Standing::EndsSoon(at_ms) => {
                self.forewarn(id, at_ms);
                return true;
            }
            Standing::Unknown => (Reason::Unauthorized, CLOSE_UNKNOWN, "no token in time"),
            Standing::Expired => (Reason::Forbidden, CLOSE_FORBIDDEN, "the token has expired"),
            Standing::Revoked => (
                Reason::Forbidden,
                CLOSE_FORBIDDEN,
                "the token, or the key that signed it, was changed",
            ),
            Standing::TakenBack => (Reason::Forbidden, CLOSE_FORBIDDEN, "the token was taken back"),
        };
        if let Some(session) = self.sessions.get(id as usize) {
            let (peer, who, token) = (session.peer, &session.grant.name, &session.grant.token);
            tracing::info!(target: "audit", %peer, who, token = token.as_deref(), why = text, "closed");
        }
        self.close(id, reason, Some(code), text);
        false
    }

    fn forewarn(&mut self, id: u32, at_ms: u64) {
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        session.forewarned = true;
        if !session.dialect.is_native() {
            return;
        }
        let form = session.form;
        let message = json!({"channel": "status", "type": "token", "expires": at_ms * 1_000});
        let message = message.to_string().into_bytes();
        self.push_own(id, |out| form.frame(&message, out));
    }

    /// Whether a client may ask this before it has said who it is, or has said so.
    pub(super) fn is_for_strangers(&self, id: u32, call: &Call) -> bool {
        let session = self.sessions.get(id as usize);
        let is_stranger = session.is_some_and(|session| session.anonymous_until_ms.is_some());
        !is_stranger || matches!(call, Call::Auth { .. } | Call::Ping { .. })
    }

    /// Not even what is listed is told: a stranger could find out by trying names.
    pub(super) fn refuse_stranger(&mut self, id: u32, req_id: Option<String>, call: &Call) {
        let method = call.method();
        // Once: a client must not be able to fill the log.
        if let Some(session) = self.sessions.get_mut(id as usize)
            && !std::mem::replace(&mut session.turned_away, true)
        {
            tracing::info!(target: "audit", peer = %session.peer, method, "refused: no token yet");
        }
        let message = "a token is needed before that: send `auth`, or give one when connecting";
        let method = Some(method.to_owned());
        self.refuse(
            id,
            &Refusal { method, req_id, code: "unauthorized", message: message.to_owned() },
        );
    }

    /// Carries out an `auth`: the client is another from here on.
    pub(super) fn authenticate(&mut self, id: u32, req_id: Option<&str>, token: &Secret) {
        let now_ms = self.now.ns / 1_000_000;
        // Who renews a token needs no second connection for it.
        let has = self.sessions.get(id as usize).map(|session| &session.grant);
        let granted = match self.hub.access.of_token(Some(token.0.as_bytes()), now_ms, has) {
            Ok(granted) => granted,
            Err(refused) => return self.unauthenticated(id, req_id, &refused),
        };
        let Some(session) = self.sessions.get(id as usize) else { return };
        tracing::info!(target: "audit", peer = %session.peer, who = granted.name, token = granted.token, "granted");
        let mut result = json!({"name": granted.name, "symbols": granted.symbols(),
            "channels": granted.channels()});
        if let Some(at_ms) = granted.expires_ms() {
            result["expires"] = json!(at_ms * 1_000);
        }
        if granted.delay_ms() > 0 {
            result["delay_ms"] = json!(granted.delay_ms());
        }
        let mut answer = opening("auth", req_id);
        answer.extend_from_slice(format!(",\"success\":true,\"result\":{result}}}").as_bytes());
        if granted.delay_ms() != self.hub.delay_ms {
            let mut greeting = Vec::new();
            frame::text(&answer, &mut greeting);
            if let Err(stays) = self.send_off(id, &granted, &greeting) {
                self.stays(id, req_id, &granted, stays);
            }
            return;
        }
        let Some(session) = self.sessions.get_mut(id as usize) else { return };
        let grant = granted.shared();
        // What was unsubscribed of a wildcard stays so where the next token is like the one before.
        let same = session.grant.shows_like(&grant);
        session.grant = granted;
        session.anonymous_until_ms = None;
        session.forewarned = false;
        if !same {
            let looked = self.market.entries.len() * self.wildcards_of(id).count();
            self.charge_looks(id, &grant, looked);
            self.drop_forbidden(id);
        }
        self.hold_to(id, &grant);
        self.push_own(id, |out| frame::text(&answer, out));
    }

    /// Tells a client that its token is of another market, and that it is not there.
    fn stays(&mut self, id: u32, req_id: Option<&str>, granted: &Grant, stays: Stays) {
        let now = match granted.delay_ms() {
            0 => "not delayed".to_owned(),
            ms => format!("delayed by {}", Span(Duration::from_millis(ms))),
        };
        let advice = match stays {
            Stays::Subscribed => {
                "and there are subscriptions to what is not: unsubscribe first, or give the token when connecting"
            }
            Stays::NotNow => {
                "and the connection cannot go there now: give the token when connecting"
            }
        };
        let refusal = Refusal {
            method: Some("auth".to_owned()),
            req_id: req_id.map(str::to_owned),
            code: "other_market",
            message: format!("what {} may see is {now}, {advice}", granted.name),
        };
        self.refuse(id, &refusal);
    }

    fn unauthenticated(&mut self, id: u32, req_id: Option<&str>, refused: &Refused) {
        if let Some(session) = self.sessions.get(id as usize) {
            let (peer, who, token) = (session.peer, refused.who(), refused.token());
            tracing::info!(target: "audit", %peer, who, token, why = %refused, "refused");
        }
        // Guessing costs as many requests as this.
        self.charge(id, limits::REQUESTS_PER_GUESS);
        let refusal = Refusal {
            method: Some("auth".to_owned()),
            req_id: req_id.map(str::to_owned),
            code: "unauthorized",
            message: refused.to_string(),
        };
        self.refuse(id, &refusal);
    }

    /// Ends subscriptions that the client may not have any more.
    fn drop_forbidden(&mut self, id: u32) {
        let Some(session) = self.sessions.get(id as usize) else { return };
        let keys: Vec<Key> = session.subs.iter().map(|(key, _)| key).collect();
        for key in &keys {
            if !self.may(id, key) {
                self.end_sub(id, key);
            }
        }
        let Some(session) = self.sessions.get(id as usize) else { return };
        let grant = session.grant.shared();
        self.market.wildcards.retain(|wildcard| {
            wildcard.session != id || grant.allows_kind(wildcard.channel, wildcard.depth).is_ok()
        });
        if !self.may_see_all(id) {
            self.leave_arrays(id);
        }
        // Those that wildcards match and that were not granted before.
        let wildcards: Vec<_> = self.wildcards_of(id).cloned().collect();
        for wildcard in wildcards {
            self.add_wildcard(wildcard);
        }
        self.count_subscriber(id);
    }
}
