//! Keys that are asked for over HTTP: at the start, once in a while, and when a token names one that is not known.
//!
//! Whoever checks a token never waits: it says that keys are wanted, and [`keep`] asks, on the control plane's thread
//! but without holding it up. Keys that are there stay until others have come.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::Uri;
use parking_lot::Mutex;
use tickcast_feeds::dial::{Dialer, Endpoint};
use tickcast_feeds::rest::{self, Bounds};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::Access;
use super::keys::KeySet;
use super::signed::{Issuer, shown};
use crate::limits;

/// Where keys are, and when they were asked for.
pub(crate) struct Remote {
    pub(super) url: String,
    endpoint: Endpoint,
    /// The path with its query.
    path: String,
    dialer: Dialer,
    state: Mutex<State>,
    /// Tells [`keep`] that keys are wanted, and those who wait that they have come, or will not.
    bell: Arc<Bell>,
    pub(crate) fetched: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// When they came last, Unix time in seconds.
    pub(crate) fetched_at: AtomicU64,
}

/// What rings when.
#[derive(Debug, Default)]
pub(super) struct Bell {
    wanted: Notify,
    answered: Notify,
}

#[derive(Default)]
struct State {
    is_asked: bool,
    is_wanted: bool,
    /// The earliest time of the next one: for a key that is not known, and in any case.
    wanted_from: Option<Instant>,
    due: Option<Instant>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Remote {
    /// Takes an address apart.
    ///
    /// # Errors
    /// That keys may not come from there.
    pub(super) fn new(url: &str, bell: &Arc<Bell>) -> Result<Self, String> {
        let expected = || {
            format!(
                "jwks_url {url:?}, expected https://HOST/PATH, or http:// of this machine (127.0.0.1)"
            )
        };
        let uri: Uri = url.parse().map_err(|_| expected())?;
        let host = uri.host().unwrap_or("").trim_matches(['[', ']']);
        let address = host.parse::<std::net::IpAddr>();
        let is_near = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        let dialer = match uri.scheme_str() {
            Some("https") => Dialer::new(None),
            // Who is between could put keys of his own in their place.
            Some("http") if is_near => Dialer::plain(),
            _ => return Err(expected()),
        };
        let dialer = dialer.map_err(|why| format!("jwks_url: {why}"))?;
        let authority = uri.authority().ok_or_else(expected)?;
        let base = format!("{}://{authority}", uri.scheme_str().unwrap_or_default());
        Ok(Remote {
            url: url.to_owned(),
            endpoint: Endpoint::new(&base).map_err(|_| expected())?,
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            dialer,
            state: Mutex::default(),
            bell: bell.clone(),
            fetched: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            fetched_at: AtomicU64::new(0),
        })
    }

    /// Wants the keys anew; whether they are being asked for, or will be at once.
    pub(super) fn want(&self) -> bool {
        let mut state = self.state.lock();
        // A token of rubbish must not make us ask again and again.
        let coming = state.is_asked || state.wanted_from.is_none_or(|from| Instant::now() >= from);
        state.is_wanted = true;
        if coming {
            self.bell.wanted.notify_one();
        }
        coming
    }

    /// Whether it is time to ask; then nobody else does till [`end`](Self::end).
    fn begin(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        let is_wanted = state.is_wanted && state.wanted_from.is_none_or(|from| now >= from);
        let begins = !state.is_asked && (is_wanted || state.due.is_none_or(|due| now >= due));
        if begins {
            *state = State {
                is_asked: true,
                is_wanted: false,
                wanted_from: Some(now + limits::JWKS_COOLDOWN),
                due: None,
            };
        }
        begins
    }

    fn end(&self, next: Duration) {
        let mut state = self.state.lock();
        state.is_asked = false;
        state.due = Some(Instant::now() + next);
    }
}

impl Bell {
    /// Returns when keys have come, or have not, or it takes too long.
    pub(super) async fn answered(&self) {
        let _ = tokio::time::timeout(limits::JWKS_WAIT, self.answered.notified()).await;
    }
}

/// Asks for keys whenever it is time to. Must be called in a `LocalSet`.
pub(crate) async fn keep(access: Arc<Access>) {
    let mut asked = JoinSet::new();
    loop {
        begin(&access, &mut asked);
        tokio::select! {
            () = access.bell.wanted.notified() => {}
            () = tokio::time::sleep(limits::JWKS_POLL) => {}
            Some(_) = asked.join_next(), if !asked.is_empty() => {}
        }
    }
}

/// Asks for all keys, once, for whoever comes as soon as there is a server. Must be called in a `LocalSet`.
pub(crate) async fn first(access: &Arc<Access>) {
    let mut asked = JoinSet::new();
    begin(access, &mut asked);
    while asked.join_next().await.is_some() {}
}

fn begin(access: &Arc<Access>, asked: &mut JoinSet<()>) {
    for issuer in access.issuers().iter() {
        if issuer.remote.as_ref().is_some_and(|remote| remote.begin(Instant::now())) {
            asked.spawn_local(ask(access.clone(), issuer.clone()));
        }
    }
}

async fn ask(access: Arc<Access>, issuer: Arc<Issuer>) {
    let Some(remote) = &issuer.remote else { return };
    let bounds = Bounds { time: limits::JWKS_TIMEOUT, bytes: limits::JWKS_BYTES };
    let answer = rest::get(&remote.dialer, &remote.endpoint, &remote.path, bounds).await;
    let keys = answer
        .map_err(|why| why.to_string())
        .and_then(|text| KeySet::jwks(&text, &issuer.algorithms));
    match keys {
        Ok(keys) => {
            tracing::debug!(issuer = issuer.name, keys = keys.len(), "keys of tokens came");
            issuer.take(keys);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            remote.fetched_at.store(now.as_secs(), Ordering::Relaxed);
            remote.fetched.fetch_add(1, Ordering::Relaxed);
            remote.end(limits::JWKS_REFRESH);
        }
        Err(why) => {
            let error = shown(&why, 300);
            tracing::error!(
                issuer = issuer.name,
                url = remote.url,
                error,
                "no keys of tokens, those that are there stay"
            );
            remote.failed.fetch_add(1, Ordering::Relaxed);
            remote.end(limits::JWKS_RETRY);
        }
    }
    access.bell.answered.notify_waiters();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_secure_or_near() {
        let new = |url: &str| Remote::new(url, &Arc::default());
        for url in ["http://127.0.0.1:8080/jwks", "http://localhost/a?b=c", "http://[::1]:1/x"] {
            assert!(new(url).is_ok(), "{url}");
        }
        assert_eq!(new("http://localhost/a?b=c").expect("one").path, "/a?b=c");
        for url in [
            "http://example.com/jwks",
            "http://127.0.0.1.example.com/",
            "ftp://localhost/",
            "x",
            "",
        ] {
            assert!(new(url).expect_err(url).contains("expected https://"), "{url}");
        }
    }

    #[test]
    fn rubbish_is_asked_for_once_in_a_while_and_by_one() {
        let remote = Remote::new("http://127.0.0.1/", &Arc::default()).expect("an address");
        let start = Instant::now();
        assert!(remote.want(), "nobody has asked yet");
        assert!(remote.begin(start) && !remote.begin(start), "one asks");
        assert!(remote.want(), "it is under way");
        remote.end(limits::JWKS_REFRESH);
        assert!(!remote.want(), "it was asked just now");
        assert!(!remote.begin(start + limits::JWKS_COOLDOWN / 2));
        assert!(remote.begin(start + limits::JWKS_COOLDOWN), "it is still wanted");
        remote.end(limits::JWKS_RETRY);
        assert!(!remote.begin(start), "not due");
        let later = Instant::now() + limits::JWKS_RETRY;
        assert!(remote.begin(later), "due after a failure");
    }
}
