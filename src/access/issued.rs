//! What an issuer's tokens have opened, and which of them are taken back one by one.

use std::collections::HashSet;
use std::sync::{Arc, Weak};

use super::grant::Grant;
use crate::limits;

/// Whose a token is (`sub`), and which it is (`jti`), where it says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) sub: String,
    pub(super) jti: Option<String>,
}

/// Those that are taken back before their time is over.
#[derive(Debug, Default)]
pub(super) struct Revoked {
    subs: HashSet<String>,
    ids: HashSet<String>,
}

impl Revoked {
    /// # Errors
    /// What can be no `sub` or no `jti`.
    pub(super) fn new(subs: Vec<String>, ids: Vec<String>) -> Result<Self, String> {
        let most = limits::SUBJECT_BYTES;
        for (field, list) in [("revoked_sub", &subs), ("revoked_jti", &ids)] {
            if let Some(bad) = list.iter().find(|one| !(1..=most).contains(&one.len())) {
                return Err(format!("`{field}` has {bad:?}, expected 1 to {most} bytes"));
            }
        }
        Ok(Revoked { subs: subs.into_iter().collect(), ids: ids.into_iter().collect() })
    }

    fn has(&self, holder: &Holder) -> bool {
        self.subs.contains(&holder.sub)
            || holder.jti.as_ref().is_some_and(|id| self.ids.contains(id))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Issued {
    revoked: Revoked,
    /// What is held, and some of what is not any more.
    grants: Vec<(Holder, Weak<Grant>)>,
    /// How many there may be before those are dropped that nobody holds.
    sweep_at: usize,
}

/// So many may be left over: a sweep of a few is not worth it.
const KEPT: usize = 64;

impl Issued {
    pub(super) fn new(revoked: Revoked) -> Self {
        Issued { revoked, ..Issued::default() }
    }

    /// Notes what a token grants, so that it can be taken back; `None` where it has been.
    pub(super) fn note(&mut self, holder: Holder, grant: Grant) -> Option<Arc<Grant>> {
        if self.revoked.has(&holder) {
            return None;
        }
        if self.grants.len() >= self.sweep_at.max(KEPT) {
            self.grants.retain(|(_, grant)| grant.strong_count() > 0);
            self.sweep_at = 2 * self.grants.len();
        }
        let grant = Arc::new(grant);
        self.grants.push((holder, Arc::downgrade(&grant)));
        Some(grant)
    }

    /// Goes on with another list: what is held of those in it ends.
    pub(super) fn take_back(&mut self, new: &mut Issued) {
        self.revoked = std::mem::take(&mut new.revoked);
        let held = self.grants.iter().filter(|(holder, _)| self.revoked.has(holder));
        held.filter_map(|(_, grant)| grant.upgrade()).for_each(|grant| grant.take_back());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(sub: &str, jti: Option<&str>) -> Holder {
        Holder { sub: sub.to_owned(), jti: jti.map(str::to_owned) }
    }

    fn revoked(subs: &[&str], ids: &[&str]) -> Revoked {
        let list = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
        Revoked::new(list(subs), list(ids)).unwrap()
    }

    #[test]
    fn what_is_held_ends_when_it_is_named_and_nothing_else_does() {
        let mut issued = Issued::new(revoked(&["bob"], &["7"]));
        assert!(issued.note(holder("bob", None), Grant::nothing()).is_none());
        assert!(issued.note(holder("ann", Some("7")), Grant::nothing()).is_none());
        let [one, other, third] = [("ann", Some("1")), ("ann", Some("2")), ("eve", None)]
            .map(|(sub, jti)| issued.note(holder(sub, jti), Grant::nothing()).unwrap());
        let ended = || [&one, &other, &third].map(|grant| grant.is_revoked());
        issued.take_back(&mut Issued::new(revoked(&["bob"], &["1"])));
        assert_eq!(ended(), [true, false, false]);
        issued.take_back(&mut Issued::new(revoked(&["eve"], &[])));
        assert_eq!(ended(), [true, false, true]);
        // Whose name is not in the list any more gets in again, with a token that goes on.
        assert!(issued.note(holder("bob", None), Grant::nothing()).is_some());
    }

    #[test]
    fn what_nobody_holds_is_forgotten() {
        let mut issued = Issued::default();
        let held = issued.note(holder("ann", None), Grant::nothing()).unwrap();
        for _ in 0..10_000 {
            issued.note(holder("bob", None), Grant::nothing());
            assert!(issued.grants.len() <= KEPT + 1, "{}", issued.grants.len());
        }
        issued.take_back(&mut Issued::new(revoked(&["ann"], &[])));
        assert!(held.is_revoked());
    }
}
