//! Who may connect, and what they may see: the file of `--access`, and the tokens in it.
//!
//! Tokens are kept as SHA-256 hashes: whoever reads the file cannot use them, and what is compared does
//! not depend on how much of a token is right. A `Grant` says what its holder may see. It is looked up
//! once, when a client comes, and asked when something is subscribed to: the path of a tick knows
//! nothing of it.

mod fields;
mod file;
mod grant;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use hyper::header::{self, HeaderMap};
use parking_lot::{Mutex, RwLock};
use thiserror::Error;

pub use file::AccessError;
pub(crate) use file::days;
pub(crate) use grant::{Denied, Grant, Held};

/// The prefix of the subprotocol that carries a token: pages cannot set headers on WebSockets.
const SUBPROTOCOL: &str = "tickcast.token.";

/// Why somebody does not get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Refused {
    #[error("a token is needed: give it as `Authorization: Bearer TOKEN`")]
    NoToken,
    #[error("no such token")]
    Unknown,
    #[error("the token has expired")]
    Expired,
    #[error("the token's connections are all in use")]
    Full,
}

/// Who may see what, now.
#[derive(Debug)]
pub(crate) struct Access {
    path: Option<PathBuf>,
    table: RwLock<Table>,
    /// When the file that was last read, or refused, had been changed.
    seen: Mutex<Option<SystemTime>>,
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
    modified: Option<SystemTime>,
}

impl Access {
    /// Everybody may see everything.
    pub(crate) fn open() -> Arc<Self> {
        let anonymous = Some(Arc::new(Grant::everything()));
        Access::of(None, Table { anonymous, tokens: Vec::new(), modified: None })
    }

    /// What a file says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn load(path: &Path) -> Result<Arc<Self>, AccessError> {
        Ok(Access::of(Some(path.to_owned()), Table::read(path)?))
    }

    fn of(path: Option<PathBuf>, table: Table) -> Arc<Self> {
        let (seen, table) = (Mutex::new(table.modified), RwLock::new(table));
        Arc::new(Access {
            path,
            table,
            seen,
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
        let now = modified(path);
        if std::mem::replace(&mut *self.seen.lock(), now) == now && !always {
            return Ok(false);
        }
        let mut new = Table::read(path)?;
        let mut table = self.table.write();
        new.keep(&table);
        for old in table.grants().filter(|old| !new.grants().any(|new| Arc::ptr_eq(old, new))) {
            old.revoke();
        }
        *table = new;
        Ok(true)
    }

    /// What the one with these headers may see.
    ///
    /// # Errors
    /// Why nothing.
    pub(crate) fn of_request(&self, headers: &HeaderMap, now_ms: u64) -> Result<Held, Refused> {
        self.of_token(token(headers).as_deref(), now_ms)
    }

    /// What the one with this token may see, or the one without.
    ///
    /// # Errors
    /// Why nothing.
    pub(crate) fn of_token(&self, token: Option<&[u8]>, now_ms: u64) -> Result<Held, Refused> {
        let found = self.find(token).and_then(|grant| grant.hold(now_ms));
        let counter = if found.is_ok() { &self.granted } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    fn find(&self, token: Option<&[u8]>) -> Result<Arc<Grant>, Refused> {
        let table = self.table.read();
        let Some(token) = token.filter(|_| self.is_kept()) else {
            return table.anonymous.clone().ok_or(Refused::NoToken);
        };
        let digest = ring::digest::digest(&ring::digest::SHA256, token);
        let is_it = |(hash, _): &&([u8; 32], Arc<Grant>)| hash == digest.as_ref();
        table.tokens.iter().find(is_it).map(|(_, grant)| grant.clone()).ok_or(Refused::Unknown)
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

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

impl Table {
    fn grants(&self) -> impl Iterator<Item = &Arc<Grant>> {
        self.anonymous.iter().chain(self.tokens.iter().map(|(_, grant)| grant))
    }

    /// Takes the old ones of those grants that have not changed.
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
    }
}

#[cfg(test)]
mod tests;
