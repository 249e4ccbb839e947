//! Those who sign tokens: what `[[issuer]]` says, the keys it has, and what a token of it grants.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use thiserror::Error;

use super::claims::{Terms, name};
use super::grant::Grant;
use super::issued::{Issued, Revoked};
use super::jws::Jws;
use super::keys::{Algorithm, KeySet};
use super::remote::Remote;
use crate::limits;

/// Why a signed token opens nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Bad {
    #[error("the token is longer than {} bytes", limits::SIGNED_TOKEN_BYTES)]
    TooLarge,
    #[error("not a signed token: {0}")]
    Form(&'static str),
    #[error("the token is signed in a way that is not taken here (`alg`)")]
    Algorithm,
    #[error("the token is of an issuer that is not known here (`iss`)")]
    Issuer,
    /// `coming`: the keys are being asked for.
    #[error("the token's key (`kid`) is not known, or not yet")]
    Key { coming: bool },
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token is not for this server (`aud`)")]
    Audience,
    #[error("the token has no end (`exp`)")]
    Endless,
    #[error("the token has expired")]
    Expired,
    #[error("the token has been taken back")]
    Revoked { who: String, token: Option<String> },
    #[error("the token is not valid yet (`nbf`)")]
    NotYet,
    #[error("the token's claims will not do: {0}")]
    Claims(String),
}

/// Characters of a mistake that are told.
const WHY_SHOWN: usize = 200;

impl Bad {
    pub(super) fn claims(why: &str) -> Self {
        Bad::Claims(shown(why, WHY_SHOWN))
    }
}

/// What others wrote, fit for a line of a log: nothing that is not plainly seen, and not too long.
pub(super) fn shown(text: &str, most: usize) -> String {
    let mut shown = String::new();
    for (at, c) in text.chars().enumerate() {
        if at == most {
            shown.push_str("...");
            break;
        }
        match c {
            ' '..='~' if c != '\\' => shown.push(c),
            _ => shown.extend(c.escape_default()),
        }
    }
    shown
}

/// One who signs tokens.
#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) name: String,
    pub(super) terms: Terms,
    pub(super) algorithms: Vec<Algorithm>,
    /// Where its keys are asked for, if they are not in a file.
    pub(crate) remote: Option<Remote>,
    keys: RwLock<KeySet>,
    issued: Mutex<Issued>,
    seats: Mutex<Seats>,
}

impl Issuer {
    pub(super) fn new(
        name: String,
        terms: Terms,
        algorithms: Vec<Algorithm>,
        keys: Result<KeySet, Remote>,
        revoked: Revoked,
    ) -> Self {
        let (keys, remote) = match keys {
            Ok(keys) => (keys, None),
            Err(remote) => (KeySet::default(), Some(remote)),
        };
        let (keys, issued) = (RwLock::new(keys), Mutex::new(Issued::new(revoked)));
        Issuer { name, terms, algorithms, remote, keys, issued, seats: Mutex::default() }
    }

    /// The least delay of what its tokens grant.
    pub(super) fn delay_ms(&self) -> u64 {
        self.terms.rights.delay_ms
    }

    /// What a token grants.
    ///
    /// # Errors
    /// Why nothing.
    pub(super) fn grant(&self, token: &Jws<'_>, now_ms: u64) -> Result<Arc<Grant>, Bad> {
        if !self.algorithms.contains(&token.algorithm) {
            return Err(Bad::Algorithm);
        }
        let keys = self.keys.read().clone();
        let mut named = keys.named(token.kid.as_deref(), token.algorithm).peekable();
        if named.peek().is_none() {
            return Err(Bad::Key { coming: self.remote.as_ref().is_some_and(Remote::want) });
        }
        let key = named.find(|key| key.signed(token.message, &token.signature));
        let key = key.ok_or(Bad::Signature)?;
        let (holder, rights) = self.terms.judge(token.payload(), now_ms)?;
        let seats =
            rights.connections.map(|_| self.seats.lock().of(&holder.sub)).unwrap_or_default();
        let token = holder.jti.as_deref().map(|id| shown(id, limits::SUBJECT_BYTES));
        let whose = name(&self.name, &holder.sub);
        let grant = Grant::signed(whose.clone(), token.clone(), rights, seats, key.flag());
        self.issued.lock().note(holder, grant).ok_or(Bad::Revoked { who: whose, token })
    }

    /// Whether another is the same, but for its keys and for what it takes back.
    pub(super) fn is_like(&self, other: &Issuer) -> bool {
        self.name == other.name
            && self.terms == other.terms
            && self.algorithms == other.algorithms
            && self.url() == other.url()
    }

    /// The one to go on with in place of an old one of the same name: that, where no more has changed than its keys and
    /// what it takes back.
    pub(super) fn after(self: Arc<Self>, old: &Arc<Issuer>) -> Arc<Self> {
        let is_remote = self.remote.is_some();
        if self.is_like(old) {
            if !is_remote {
                old.take(self.keys.read().clone());
            }
            old.issued.lock().take_back(&mut self.issued.lock());
            return old.clone();
        }
        // Keys that were asked for already need not be asked for again.
        if is_remote && self.url() == old.url() && self.algorithms == old.algorithms {
            *self.keys.write() = old.keys.read().renewed();
        }
        self
    }

    fn url(&self) -> Option<&str> {
        self.remote.as_ref().map(|remote| remote.url.as_str())
    }

    /// Has these keys from now on.
    pub(super) fn take(&self, new: KeySet) {
        let mut keys = self.keys.write();
        *keys = new.after(&keys);
    }

    /// How many keys it has.
    pub(crate) fn keys(&self) -> usize {
        self.keys.read().len()
    }

    pub(super) fn revoke(&self) {
        self.keys.read().revoke();
    }
}

/// Connections of each holder, whichever of their tokens they came with.
#[derive(Debug, Default)]
struct Seats {
    of: HashMap<String, Weak<AtomicUsize>>,
    /// How many there may be before those are dropped that nobody holds.
    sweep_at: usize,
}

/// So many may be left over: a sweep of a few is not worth it.
const SEATS_KEPT: usize = 64;

impl Seats {
    fn of(&mut self, sub: &str) -> Arc<AtomicUsize> {
        if let Some(seats) = self.of.get(sub).and_then(Weak::upgrade) {
            return seats;
        }
        if self.of.len() >= self.sweep_at.max(SEATS_KEPT) {
            self.of.retain(|_, seats| seats.strong_count() > 0);
            self.sweep_at = 2 * self.of.len();
        }
        let seats = Arc::default();
        self.of.insert(sub.to_owned(), Arc::downgrade(&seats));
        seats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_shared_while_held_and_forgotten_after() {
        let mut seats = Seats::default();
        let (one, same) = (seats.of("a"), seats.of("a"));
        assert!(Arc::ptr_eq(&one, &same));
        for n in 0..10_000 {
            seats.of(&n.to_string());
            assert!(seats.of.len() <= SEATS_KEPT + 1, "{}", seats.of.len());
        }
        assert!(Arc::ptr_eq(&one, &seats.of("a")));
        drop((one, same));
        assert_eq!(Arc::strong_count(&seats.of("a")), 1);
    }

    #[test]
    fn what_others_wrote_cannot_begin_a_line() {
        assert_eq!(
            shown("a b\n2026 INFO \"x\" \u{1b}[31m\u{202e}é\\", 100),
            "a b\\n2026 INFO \"x\" \\u{1b}[31m\\u{202e}\\u{e9}\\\\"
        );
        assert_eq!(shown(&"x".repeat(9), 4), "xxxx...");
    }
}
