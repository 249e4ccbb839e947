//! Who may connect, and what they may see: the file of `--access`, and the tokens in it.
//!
//! Tokens are kept as SHA-256 hashes: whoever reads the file cannot use them, and what is compared does
//! not depend on how much of a token is right. Signed tokens are kept nowhere: `jws` takes one apart, `signed` finds
//! who signed it, `keys` checks that, `claims` says what it grants, and `remote` gets keys that are published. A `Grant` says what its holder may see. It is looked up
//! once, when a client comes, and asked when something is subscribed to: the path of a tick knows
//! nothing of it.

mod claims;
mod fields;
mod file;
pub mod fuzz;
mod grant;
mod issued;
mod issuers;
mod jws;
mod keys;
mod object;
pub(crate) mod remote;
mod signed;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::header::{self, HeaderMap};
use parking_lot::{Mutex, RwLock};
use thiserror::Error;

use crate::config::units::Span;
use crate::reload::Seen;
pub use file::AccessError;
pub(crate) use file::days;
pub(crate) use grant::{Denied, Grant, Held};
pub(crate) use signed::{Bad, Issuer};

use jws::Jws;
use remote::Bell;

/// The prefix of the subprotocol that carries a token: pages cannot set headers on WebSockets.
const SUBPROTOCOL: &str = "tickcast.token.";

/// Why somebody does not get in.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Refused {
    #[error("a token is needed: give it as `Authorization: Bearer TOKEN`")]
    NoToken,
    #[error("no such token")]
    Unknown,
    #[error("the token has expired")]
    Expired,
    #[error("the token's connections are all in use")]
    Full,
    #[error("{0}")]
    Signed(Bad),
    #[error(
        "the token is for data that is delayed by {0}, which this server does not serve since its start"
    )]
    NoMarket(Span),
}

impl Refused {
    /// Whose token it was, where that is sure.
    pub(crate) fn who(&self) -> Option<&str> {
        match self {
            Refused::Signed(Bad::Revoked { who, .. }) => Some(who),
            _ => None,
        }
    }

    /// Which token it was, likewise.
    pub(crate) fn token(&self) -> Option<&str> {
        match self {
            Refused::Signed(Bad::Revoked { token, .. }) => token.as_deref(),
            _ => None,
        }
    }
}

impl From<Bad> for Refused {
    fn from(bad: Bad) -> Self {
        match bad {
            Bad::Expired => Refused::Expired,
            bad => Refused::Signed(bad),
        }
    }
}

/// Who may see what, now.
#[derive(Debug)]
pub(crate) struct Access {
    path: Option<PathBuf>,
    table: RwLock<Table>,
    /// The delays that there is a market for: those that were in the file at the start.
    delays: Vec<u64>,
    /// The file and those of keys, as they were last read or refused.
    seen: Mutex<Vec<Stamp>>,
    /// Rings for keys that are asked for.
    bell: Arc<Bell>,
    /// Those who got in and those who did not.
    pub(crate) granted: AtomicU64,
    pub(crate) refused: AtomicU64,
}

/// What is in the file.
#[derive(Debug)]
struct Table {
    /// For those who give no token.
    anonymous: Option<Arc<Grant>>,
    tokens: Vec<([u8; 32], Arc<Grant>)>,
    issuers: Arc<[Arc<Issuer>]>,
}

/// A file, and its state before it was read.
#[derive(Debug)]
struct Stamp {
    path: PathBuf,
    seen: Option<Seen>,
}

impl Stamp {
    fn new(path: &Path) -> Self {
        Stamp { path: path.to_owned(), seen: Seen::of(path) }
    }

    fn has_changed(&self) -> bool {
        Seen::of(&self.path) != self.seen
    }
}

impl Access {
    /// Everybody may see everything.
    pub(crate) fn open() -> Arc<Self> {
        let anonymous = Some(Arc::new(Grant::everything()));
        let (tokens, issuers) = (Vec::new(), Arc::default());
        let table = Table { anonymous, tokens, issuers };
        Access::of(None, table, Vec::new(), Arc::default())
    }

    /// What a file says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn load(path: &Path) -> Result<Arc<Self>, AccessError> {
        let (bell, mut files) = (Arc::default(), Vec::new());
        let table = Table::read(path, &bell, &mut files)?;
        Ok(Access::of(Some(path.to_owned()), table, files, bell))
    }

    fn of(path: Option<PathBuf>, table: Table, files: Vec<Stamp>, bell: Arc<Bell>) -> Arc<Self> {
        Arc::new(Access {
            path,
            delays: table.delays(),
            table: RwLock::new(table),
            seen: Mutex::new(files),
            bell,
            granted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// Whether there is a file at all.
    pub(crate) fn is_kept(&self) -> bool {
        self.path.is_some()
    }

    /// Reads the file again where it has changed, or in any case; whether it was read. Grants that are
    /// as they were stay those that their holders have; the others end.
    ///
    /// # Errors
    /// What is wrong with it: then all stays as it is.
    pub(crate) fn reload(&self, always: bool) -> Result<bool, AccessError> {
        let Some(path) = &self.path else { return Ok(false) };
        if !self.seen.lock().iter().any(Stamp::has_changed) && !always {
            return Ok(false);
        }
        let mut files = Vec::new();
        let new = Table::read(path, &self.bell, &mut files);
        // Also where one of them will not do: it is read again once it has been mended.
        *self.seen.lock() = files;
        let mut new = new?;
        if let Some(delay_ms) = new.delays().into_iter().find(|ms| !self.has_market(*ms)) {
            let delay = Span(Duration::from_millis(delay_ms));
            let why = format!("`delay` {delay} was in nobody's grant at the start: restart for it");
            return Err(AccessError::new(path, why));
        }
        let mut table = self.table.write();
        new.keep(&table);
        new.end(&table);
        *table = new;
        drop(table);
        if always {
            self.issuers().iter().filter_map(|one| one.remote.as_ref()).for_each(|remote| {
                remote.want();
            });
        }
        Ok(true)
    }

    /// The delays of the markets that there are besides the one that is not delayed, milliseconds.
    pub(crate) fn delays(&self) -> &[u64] {
        &self.delays
    }

    fn has_market(&self, delay_ms: u64) -> bool {
        delay_ms == 0 || self.delays.contains(&delay_ms)
    }

    /// What the one with these headers may see. Not counted: what comes of the request is.
    ///
    /// # Errors
    /// Why nothing.
    pub(crate) async fn of_request(
        &self,
        headers: &HeaderMap,
        now_ms: u64,
    ) -> Result<Held, Refused> {
        let token = token(headers);
        let found = self.find(token.as_deref(), now_ms, None);
        if !matches!(found, Err(Refused::Signed(Bad::Key { coming: true }))) {
            return found;
        }
        // Whoever comes with a new key right after it began to be used.
        self.bell.answered().await;
        self.find(token.as_deref(), now_ms, None)
    }

    /// What the one with this token may see, or the one without; `instead` of what that one has now.
    ///
    /// # Errors
    /// Why nothing.
    pub(crate) fn of_token(
        &self,
        token: Option<&[u8]>,
        now_ms: u64,
        instead: Option<&Held>,
    ) -> Result<Held, Refused> {
        let found = self.find(token, now_ms, instead);
        let counter = if found.is_ok() { &self.granted } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    fn find(
        &self,
        token: Option<&[u8]>,
        now_ms: u64,
        instead: Option<&Held>,
    ) -> Result<Held, Refused> {
        let Some(token) = token.filter(|_| self.is_kept()) else {
            let anonymous = self.table.read().anonymous.clone();
            return self.hold(anonymous.ok_or(Refused::NoToken)?, now_ms, instead);
        };
        let grant = match self.of_hash(token) {
            Some(grant) => grant,
            None => self.of_signature(token, now_ms)?,
        };
        self.hold(grant, now_ms, instead)
    }

    /// Gives a grant to one more connection, if there is a market of its delay: a signed token may name any.
    fn hold(
        &self,
        grant: Arc<Grant>,
        now_ms: u64,
        instead: Option<&Held>,
    ) -> Result<Held, Refused> {
        let delay_ms = grant.delay_ms();
        if !self.has_market(delay_ms) {
            return Err(Refused::NoMarket(Span(Duration::from_millis(delay_ms))));
        }
        grant.hold(now_ms, instead)
    }

    fn of_hash(&self, token: &[u8]) -> Option<Arc<Grant>> {
        let digest = ring::digest::digest(&ring::digest::SHA256, token);
        let is_it = |(hash, _): &&([u8; 32], Arc<Grant>)| hash == digest.as_ref();
        self.table.read().tokens.iter().find(is_it).map(|(_, grant)| grant.clone())
    }

    fn of_signature(&self, token: &[u8], now_ms: u64) -> Result<Arc<Grant>, Refused> {
        let issuers = self.issuers();
        if issuers.is_empty() || !Jws::is_like(token) {
            return Err(Refused::Unknown);
        }
        let token = Jws::parse(token)?;
        let iss = token.issuer()?;
        let is_it = |issuer: &&Arc<Issuer>| issuer.terms.iss == iss;
        // One that has no name here signs for all who are not named.
        let unnamed = |issuer: &&Arc<Issuer>| issuer.terms.iss.is_none();
        let issuer = issuers.iter().find(is_it).or_else(|| issuers.iter().find(unnamed));
        Ok(issuer.ok_or(Bad::Issuer)?.grant(&token, now_ms)?)
    }

    /// Those who sign tokens.
    pub(crate) fn issuers(&self) -> Arc<[Arc<Issuer>]> {
        self.table.read().issuers.clone()
    }
}

/// A token that comes with a request: in `Authorization`, in the header of Binance's clients, or as a
/// subprotocol.
fn token(headers: &HeaderMap) -> Option<Vec<u8>> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let parts = value.as_bytes().split_at_checked(7);
        let bearer = parts.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
        // Another scheme is no token of ours, and not nobody's either.
        return Some(bearer.map_or(Vec::new(), |(_, token)| token.trim_ascii().to_vec()));
    }
    if let Some(value) = headers.get("x-mbx-apikey") {
        return Some(value.as_bytes().to_vec());
    }
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let offered = offered.iter().filter_map(|value| value.to_str().ok());
    let mut each = offered.flat_map(|value| value.split(',').map(str::trim));
    each.find_map(|protocol| protocol.strip_prefix(SUBPROTOCOL)).map(|t| t.as_bytes().to_vec())
}

impl Table {
    fn grants(&self) -> impl Iterator<Item = &Arc<Grant>> {
        self.anonymous.iter().chain(self.tokens.iter().map(|(_, grant)| grant))
    }

    /// The delays that are granted to anybody, each once.
    fn delays(&self) -> Vec<u64> {
        let signed = self.issuers.iter().map(|issuer| issuer.delay_ms());
        let mut all: Vec<u64> = self.grants().map(|grant| grant.delay_ms()).chain(signed).collect();
        all.retain(|ms| *ms > 0);
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Ends those of the old grants that are not kept.
    fn end(&self, old: &Table) {
        let is_here = |old: &Arc<Grant>| self.grants().any(|new| Arc::ptr_eq(old, new));
        for (hash, gone) in old.tokens.iter().filter(|(_, grant)| !is_here(grant)) {
            match self.tokens.iter().any(|(new, _)| new == hash) {
                true => gone.revoke(),
                false => gone.take_back(),
            }
        }
        old.anonymous.iter().filter(|grant| !is_here(grant)).for_each(|grant| grant.revoke());
    }

    /// Takes the old ones of those grants that have not changed, and of those who sign tokens.
    fn keep(&mut self, old: &Table) {
        if let (Some(new), Some(old)) = (&mut self.anonymous, &old.anonymous)
            && new.is_like(old)
        {
            *new = old.clone();
        }
        for (hash, new) in &mut self.tokens {
            let same = old.tokens.iter().find(|(old, _)| old == hash);
            if let Some((_, old)) = same.filter(|(_, old)| new.is_like(old)) {
                *new = old.clone();
            }
        }
        let issuers = self.issuers.iter().map(|new| {
            let same = old.issuers.iter().find(|old| old.name == new.name);
            same.map_or_else(|| new.clone(), |old| new.clone().after(old))
        });
        self.issuers = issuers.collect();
        for old in old.issuers.iter() {
            if !self.issuers.iter().any(|new| Arc::ptr_eq(old, new)) {
                old.revoke();
            }
        }
    }
}

#[cfg(test)]
mod signed_tests;
#[cfg(test)]
mod tests;
