//! What one address may have of the server: connections that are not upgraded, clients, and how fast it
//! may make new ones and ask over HTTP.
//!
//! All of it is the control plane's, and nothing of it is asked for a tick. What an address has is given
//! back by the connection's own end, wherever that is: a [`Place`] goes with it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use thiserror::Error;

use crate::address::Site;
use crate::config;
use crate::limits;
use crate::transport::Peer;

/// See the module.
#[derive(Debug)]
pub(crate) struct Addresses {
    settings: config::Addresses,
    table: RefCell<Table>,
    /// Connections and requests refused, by why: the order of [`Refusal`].
    refused: [AtomicU64; Refusal::ALL.len()],
}

/// Why an address gets no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    #[error("new connections too fast (--connect-rate)")]
    Rate,
    #[error("too many connections before their upgrade (--max-handshakes-per-address)")]
    Handshakes,
    #[error("too many clients (--max-clients-per-address)")]
    Clients,
    #[error("requests too fast (--http-rate)")]
    Requests,
}

impl Refusal {
    pub(super) const ALL: [Refusal; 4] =
        [Refusal::Rate, Refusal::Handshakes, Refusal::Clients, Refusal::Requests];

    /// The label in metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Refusal::Rate => "connect_rate",
            Refusal::Handshakes => "handshakes",
            Refusal::Clients => "clients",
            Refusal::Requests => "http_rate",
        }
    }
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<Site, Entry>,
    /// Entries from which on those are dropped that say nothing.
    sweep_at: usize,
    logged_ms: Option<u64>,
}

#[derive(Debug)]
struct Entry {
    counts: Arc<[AtomicU32; 2]>,
    connects: Bucket,
    requests: Bucket,
    probes: Bucket,
    /// Refused since the last line of the log.
    refused: u32,
    told_ms: Option<u64>,
}

impl Entry {
    fn is_used(&self) -> bool {
        self.counts.iter().any(|count| count.load(Ordering::Relaxed) > 0)
    }

    /// Whether it says no more than no entry would.
    fn is_idle(&self, now_ms: u64) -> bool {
        let told_lately =
            self.told_ms.is_some_and(|at| now_ms.saturating_sub(at) < limits::REFUSALS_LOG_MS);
        let buckets = [&self.connects, &self.requests, &self.probes];
        let full = buckets.iter().all(|bucket| bucket.is_full(now_ms));
        !self.is_used() && full && !told_lately
    }
}

/// How much of something may come, at a rate; any number at rate 0.
#[derive(Debug)]
struct Bucket {
    /// A second.
    rate: u64,
    /// What may come at once, in thousandths, at that time.
    left: u64,
    at_ms: u64,
}

impl Bucket {
    fn full(rate: u32, now_ms: u64) -> Self {
        let rate = u64::from(rate);
        Bucket { rate, left: rate * limits::ADDRESS_BURST_SECONDS * 1_000, at_ms: now_ms }
    }

    fn most(&self) -> u64 {
        self.rate * limits::ADDRESS_BURST_SECONDS * 1_000
    }

    fn left_at(&self, now_ms: u64) -> u64 {
        let more = now_ms.saturating_sub(self.at_ms).saturating_mul(self.rate);
        self.left.saturating_add(more).min(self.most())
    }

    fn is_full(&self, now_ms: u64) -> bool {
        self.left_at(now_ms) == self.most()
    }

    /// Takes one off what may come; whether there was one.
    fn spend(&mut self, now_ms: u64) -> bool {
        (self.left, self.at_ms) = (self.left_at(now_ms), now_ms);
        let left = self.left.checked_sub(1_000);
        self.left = left.unwrap_or(self.left);
        left.is_some() || self.rate == 0
    }
}

/// What is counted of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Handshake,
    Client,
}

/// One of an address's places, until it is dropped; none where its address is exempt.
#[derive(Debug, Default)]
pub(crate) struct Place(Option<(Arc<[AtomicU32; 2]>, What)>);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((counts, what)) = &self.0 {
            counts[*what as usize].fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Addresses {
    pub(crate) fn new(settings: config::Addresses) -> Self {
        Addresses { settings, table: RefCell::default(), refused: Default::default() }
    }

    /// A connection has come from there, of which nothing has been read.
    ///
    /// # Errors
    /// Why it is not served.
    pub(super) fn arrive(&self, peer: Peer, now_ms: u64) -> Result<Place, Refusal> {
        self.take(peer, What::Handshake, now_ms)
    }

    /// It becomes a client's.
    ///
    /// # Errors
    /// Why it may not.
    pub(super) fn seat(&self, peer: Peer, now_ms: u64) -> Result<Place, Refusal> {
        self.take(peer, What::Client, now_ms)
    }

    /// A request has come from there over HTTP.
    ///
    /// # Errors
    /// Why it is not answered.
    pub(super) fn ask(&self, peer: Peer, now_ms: u64) -> Result<(), Refusal> {
        self.spend(peer, now_ms, |entry| &mut entry.requests)
    }

    /// The same of one about the server's health: who watches it may share its address with those who ask too fast.
    ///
    /// # Errors
    /// Why it is not answered.
    pub(super) fn probe(&self, peer: Peer, now_ms: u64) -> Result<(), Refusal> {
        self.spend(peer, now_ms, |entry| &mut entry.probes)
    }

    fn spend(
        &self,
        peer: Peer,
        now_ms: u64,
        of: impl FnOnce(&mut Entry) -> &mut Bucket,
    ) -> Result<(), Refusal> {
        let spend = |entry: &mut Entry| match of(entry).spend(now_ms) {
            true => Ok(()),
            false => Err(Refusal::Requests),
        };
        self.of(peer, now_ms, spend).unwrap_or(Ok(()))
    }

    /// Connections and requests refused, for that reason.
    pub(super) fn refused(&self, why: Refusal) -> u64 {
        self.refused[why as usize].load(Ordering::Relaxed)
    }

    /// Addresses that are kept.
    pub(super) fn kept(&self) -> usize {
        self.table.borrow().entries.len()
    }

    fn take(&self, peer: Peer, what: What, now_ms: u64) -> Result<Place, Refusal> {
        let (most, refusal) = match what {
            What::Handshake => (self.settings.handshakes, Refusal::Handshakes),
            What::Client => (self.settings.clients, Refusal::Clients),
        };
        let take = |entry: &mut Entry| {
            let have = entry.counts[what as usize].load(Ordering::Relaxed) as usize;
            if what == What::Handshake && !entry.connects.spend(now_ms) {
                return Err(Refusal::Rate);
            }
            if most > 0 && have >= most {
                return Err(refusal);
            }
            entry.counts[what as usize].fetch_add(1, Ordering::Relaxed);
            Ok(Place(Some((entry.counts.clone(), what))))
        };
        self.of(peer, now_ms, take).unwrap_or_else(|| Ok(Place::default()))
    }

    /// Asks what is known of an address, and keeps what it is refused; `None` where none is counted.
    fn of<T>(
        &self,
        peer: Peer,
        now_ms: u64,
        ask: impl FnOnce(&mut Entry) -> Result<T, Refusal>,
    ) -> Option<Result<T, Refusal>> {
        let address = peer.address()?;
        if self.settings.exempt.iter().any(|network| network.contains(address)) {
            return None;
        }
        let (site, table) = (Site::of(address), &mut *self.table.borrow_mut());
        table.sweep(now_ms);
        let entry = table.entries.entry(site).or_insert_with(|| Entry {
            counts: Arc::default(),
            connects: Bucket::full(self.settings.connect_rate, now_ms),
            requests: Bucket::full(self.settings.http_rate, now_ms),
            probes: Bucket::full(self.settings.http_rate.min(limits::PROBE_RATE), now_ms),
            refused: 0,
            told_ms: None,
        });
        let answer = ask(entry);
        if let Err(refusal) = answer {
            self.refused[refusal as usize].fetch_add(1, Ordering::Relaxed);
            table.tell(site, refusal, now_ms);
        }
        Some(answer)
    }
}

impl Table {
    /// Drops entries that say nothing, each time that their number has doubled. Where too many are left
    /// that nobody is connected from, those too: whoever has so many addresses is not held by the rate of one.
    fn sweep(&mut self, now_ms: u64) {
        if self.entries.len() < self.sweep_at.max(limits::ADDRESSES_SWEPT) {
            return;
        }
        self.entries.retain(|_, entry| !entry.is_idle(now_ms));
        let unused = self.entries.values().filter(|entry| !entry.is_used()).count();
        if unused > limits::ADDRESSES_UNUSED {
            self.entries.retain(|_, entry| entry.is_used());
        }
        self.sweep_at = 2 * self.entries.len();
    }

    /// Logs a refusal: a line an address and minute, and a line a second in all.
    fn tell(&mut self, site: Site, why: Refusal, now_ms: u64) {
        let since = |at: Option<u64>| at.map_or(u64::MAX, |at| now_ms.saturating_sub(at));
        let Some(entry) = self.entries.get_mut(&site) else { return };
        entry.refused = entry.refused.saturating_add(1);
        if since(entry.told_ms) < limits::REFUSALS_LOG_MS
            || since(self.logged_ms) < limits::REFUSALS_LOG_PERIOD_MS
        {
            return;
        }
        (entry.told_ms, self.logged_ms) = (Some(now_ms), Some(now_ms));
        let refused = std::mem::take(&mut entry.refused);
        tracing::warn!(address = %site, %why, refused, "connections or requests refused");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(clients: usize, handshakes: usize, connect_rate: u32) -> Addresses {
        let (exempt, http_rate) = (vec!["127.0.0.0/8".parse().unwrap()], 3);
        Addresses::new(config::Addresses { clients, handshakes, connect_rate, http_rate, exempt })
    }

    fn peer(text: &str) -> Peer {
        Peer::Tcp(std::net::SocketAddr::new(text.parse().unwrap(), 1))
    }

    fn numbered(number: u32) -> Peer {
        Peer::Tcp((std::net::Ipv4Addr::from(number + (11 << 24)), 1).into())
    }

    #[test]
    fn an_address_has_its_places_and_gives_them_back() {
        let all = addresses(2, 3, 0);
        let v6 = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4"].map(peer);
        let mut held: Vec<_> = v6[..3].iter().map(|one| all.arrive(*one, 0).unwrap()).collect();
        assert_eq!(all.arrive(v6[3], 0).unwrap_err(), Refusal::Handshakes);
        // Others have theirs, and clients are counted apart.
        assert!(all.arrive(peer("2001:db8:0:1::1"), 0).is_ok());
        let seats = [all.seat(v6[0], 0).unwrap(), all.seat(v6[1], 0).unwrap()];
        assert_eq!(all.seat(v6[2], 0).unwrap_err(), Refusal::Clients);
        held.pop();
        assert!(all.arrive(v6[3], 0).is_ok());
        drop(seats);
        assert!(all.seat(v6[2], 0).is_ok());
        assert_eq!(Refusal::ALL.map(|why| all.refused(why)), [0, 1, 1, 0]);
    }

    #[test]
    fn who_is_exempt_and_who_has_no_address_is_not_counted() {
        let all = addresses(1, 1, 1);
        let mapped = peer("::ffff:127.0.0.1");
        let places: Vec<_> = [peer("127.9.9.9"), mapped, Peer::Unix]
            .iter()
            .cycle()
            .take(300)
            .map(|one| (all.arrive(*one, 0).unwrap(), all.seat(*one, 0).unwrap()))
            .collect();
        assert_eq!((places.len(), all.kept()), (300, 0));
    }

    #[test]
    fn connections_come_at_a_rate_with_a_burst() {
        let all = addresses(0, 0, 5);
        let one = peer("10.0.0.1");
        let burst = 5 * limits::ADDRESS_BURST_SECONDS;
        let come = |now_ms, count| (0..count).filter(|_| all.arrive(one, now_ms).is_ok()).count();
        assert_eq!(come(0, 1_000), burst as usize);
        assert_eq!(come(999, 1_000), 4);
        assert_eq!(come(1_000, 1_000), 1);
        assert_eq!(come(1 << 40, 1_000), burst as usize);
        assert_eq!(all.arrive(one, 1 << 40).unwrap_err(), Refusal::Rate);
        assert!(all.arrive(peer("10.0.0.2"), 1 << 40).is_ok());
    }

    #[test]
    fn requests_come_at_a_rate_of_their_own() {
        let all = addresses(0, 0, 1);
        let one = peer("10.0.0.1");
        let burst = 3 * limits::ADDRESS_BURST_SECONDS as usize;
        let come = |now_ms, count| (0..count).filter(|_| all.ask(one, now_ms).is_ok()).count();
        assert_eq!((come(0, 1_000), come(1_000, 1_000)), (burst, 3));
        assert_eq!(all.ask(one, 1_000).unwrap_err(), Refusal::Requests);
        // Connections are counted apart, and so are others; this machine asks as it likes.
        assert!(all.arrive(one, 1_000).is_ok() && all.ask(peer("10.0.0.2"), 1_000).is_ok());
        // Whether the server is well may be asked still.
        let probes = (0..1_000).filter(|_| all.probe(one, 1_000).is_ok()).count();
        assert_eq!(probes, burst.min(limits::PROBE_RATE as usize * 10));
        assert!((0..1_000).all(|_| all.ask(peer("127.0.0.1"), 0).is_ok()));
        assert_eq!(
            all.refused(Refusal::Requests),
            1_000 - burst as u64 + 997 + 1 + 1_000 - probes as u64
        );
    }

    #[test]
    fn the_table_is_bounded_whoever_comes() {
        // What limits::ADDRESSES_UNUSED says of each: the entry, and the counts that its places share.
        let shared = size_of::<[usize; 2]>() + size_of::<[AtomicU32; 2]>();
        assert!(
            size_of::<(Site, Entry)>() + shared <= 200,
            "{}",
            size_of::<(Site, Entry)>() + shared
        );
        let all = addresses(10, 10, 1);
        // Those who are connected are not forgotten.
        let held: Vec<_> = (0..100).map(|i| all.arrive(numbered(i), 0).unwrap()).collect();
        let bound = 2 * (limits::ADDRESSES_UNUSED + held.len());
        for i in 0..8 * limits::ADDRESSES_UNUSED as u32 {
            drop(all.arrive(numbered(1_000 + i), 0).unwrap());
            assert!(all.kept() <= bound, "{} at {i}", all.kept());
        }
        let more: Vec<_> = (0..9).map(|_| all.arrive(numbered(7), 0).unwrap()).collect();
        assert_eq!(all.arrive(numbered(7), 0).unwrap_err(), Refusal::Rate);
        drop((held, more));
        // Whose rest is over is forgotten.
        for i in 0..2 * bound as u32 {
            let now_ms = 1_000_000 + u64::from(i) * 1_000_000;
            drop(all.arrive(numbered(1_000_000 + i), now_ms).unwrap());
        }
        assert!(all.kept() <= limits::ADDRESSES_SWEPT, "{}", all.kept());
    }
}
