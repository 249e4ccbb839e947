//! Counters and histograms: each thread keeps its own and publishes a copy a few times a second,
//! so that nobody who reads them disturbs the path of the ticks.

use std::fmt;
use std::str::FromStr;

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use crate::session::end::Reason;
use crate::transport::Peer;

/// The largest latency that is recorded, nanoseconds: a minute. Larger ones (the stamps of a replay
/// that keeps its original times) are not latencies.
const MAX_LATENCY_NS: u64 = 60_000_000_000;

/// What one reactor counts.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its number.
    pub reactor: usize,
    /// Sessions it has now.
    pub sessions: u64,
    /// Of these, sessions that were told to go.
    pub ending: u64,
    /// Subscriptions its sessions have now.
    pub subscriptions: u64,
    /// Sessions it ever had.
    pub accepted: u64,
    /// Sessions ended, by reason (see `session::end`).
    pub ended: [u64; Reason::ALL.len()],
    /// Slow clients closed, by cause: peer window, network, server.
    pub lag_causes: [u64; 3],
    /// Ticks taken from the ring.
    pub ticks: u64,
    /// Messages encoded for subscribers.
    pub encoded: u64,
    /// Messages noted for a subscriber.
    pub deliveries: u64,
    /// Quotes that conflation replaced by later ones.
    pub conflated: u64,
    /// Times that a client fell behind and was moved to conflated delivery.
    pub fell_behind: u64,
    /// Times that one had caught up.
    pub caught_up: u64,
    /// Subscriptions that went on where their client was.
    pub resumed: u64,
    /// Subscriptions whose client could not be told what it missed.
    pub not_resumed: u64,
    /// Messages that clients had missed and were sent.
    pub replayed: u64,
    /// Heartbeats sent.
    pub heartbeats: u64,
    /// Writes to sockets.
    pub sends: u64,
    /// Writes that a socket did not take whole.
    pub blocked: u64,
    /// Bytes that sockets took.
    pub sent_bytes: u64,
    /// Messages compressed, once each.
    pub deflated: u64,
    /// Bytes of these before.
    pub deflated_plain_bytes: u64,
    /// Bytes of these after.
    pub deflated_bytes: u64,
    /// Bytes that came from clients.
    pub received_bytes: u64,
    /// Requests from clients.
    pub requests: u64,
    /// Requests refused as not understood or over the rate.
    pub refused: u64,
    /// Requests over the rate.
    pub rate_limited: u64,
    /// Breaches of the WebSocket protocol.
    pub violations: u64,
    /// Book events that could not be applied.
    pub book_errors: u64,
    /// Times that the ring's writer overtook this reactor.
    pub lapped: u64,
    /// Ticks lost to that.
    pub lost: u64,
    /// Ticks in the ring that it has not taken yet.
    pub ring_lag: u64,
    /// Bytes of encodings held.
    pub encodings_bytes: u64,
    /// Bytes of outboxes held.
    pub outbox_bytes: u64,
    /// Bytes of clients' unfinished messages.
    pub reading_bytes: u64,
    /// Clients closed because all together held too much.
    pub memory_evicted: u64,
    /// Turns that put off work of newcomers: their time was used up.
    pub admission_paced: u64,
    /// Time that newcomers took, nanoseconds: sockets taken over, requests read, snapshots.
    pub admission_ns: u64,
    /// Newcomers' work that waits now: sockets, sessions with something to read, sessions with snapshots to get.
    pub admission_waiting: u64,
    /// Time that its thread has run, nanoseconds.
    pub cpu_ns: u64,
    /// Sessions that hold back a paced feed.
    pub crowd: u64,
    /// How long ticks wait for others to the same client now, nanoseconds.
    pub window_ns: u64,
    /// Thousandths of a core that sends would take if no tick waited.
    pub load_permille: u64,
    /// From a tick's receipt until it was encoded and noted for all who listen, nanoseconds, one sample a
    /// turn (of its first tick).
    pub to_encoded: Histogram<u64>,
    /// From a tick's receipt to the write that carried it, nanoseconds, one sample a write (of its
    /// oldest tick).
    pub to_write: Histogram<u64>,
}

impl Default for Report {
    fn default() -> Self {
        Report {
            reactor: 0,
            sessions: 0,
            ending: 0,
            subscriptions: 0,
            accepted: 0,
            ended: [0; Reason::ALL.len()],
            lag_causes: [0; 3],
            ticks: 0,
            encoded: 0,
            deliveries: 0,
            conflated: 0,
            fell_behind: 0,
            caught_up: 0,
            resumed: 0,
            not_resumed: 0,
            replayed: 0,
            heartbeats: 0,
            sends: 0,
            blocked: 0,
            sent_bytes: 0,
            deflated: 0,
            deflated_plain_bytes: 0,
            deflated_bytes: 0,
            received_bytes: 0,
            requests: 0,
            refused: 0,
            rate_limited: 0,
            violations: 0,
            book_errors: 0,
            lapped: 0,
            lost: 0,
            ring_lag: 0,
            encodings_bytes: 0,
            outbox_bytes: 0,
            reading_bytes: 0,
            memory_evicted: 0,
            admission_paced: 0,
            admission_ns: 0,
            admission_waiting: 0,
            cpu_ns: 0,
            crowd: 0,
            window_ns: 0,
            load_permille: 0,
            to_encoded: new_histogram(),
            to_write: new_histogram(),
        }
    }
}

/// An empty histogram of latencies in nanoseconds, two digits exact.
pub fn new_histogram() -> Histogram<u64> {
    // These bounds are valid: 1 <= low, 2 * low <= high, 0 to 5 digits.
    Histogram::new_with_bounds(1_000, MAX_LATENCY_NS, 2).expect("valid bounds")
}

/// Records a latency; what cannot be one is left out.
pub(crate) fn record(times: &mut Histogram<u64>, ns: u64) {
    if ns <= MAX_LATENCY_NS {
        times.saturating_record(ns.max(1));
    }
}

/// Which connection, of all that there ever were: written `REACTOR-SLOT-SERIAL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionId {
    /// The reactor that serves it.
    pub reactor: usize,
    /// Its place there, which others have after it.
    pub slot: usize,
    /// How many the reactor had had with it.
    pub serial: u64,
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.reactor, self.slot, self.serial)
    }
}

impl FromStr for SessionId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('-').map(|part| part.parse::<u64>().map_err(drop));
        let mut next = || parts.next().unwrap_or(Err(()));
        let (reactor, slot, serial) = (next()?, next()?, next()?);
        let whole = |number: u64| usize::try_from(number).map_err(drop);
        let id = SessionId { reactor: whole(reactor)?, slot: whole(slot)?, serial };
        if parts.next().is_none() { Ok(id) } else { Err(()) }
    }
}

/// One connection, as `/v1/connections` shows it.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Which it is.
    pub id: SessionId,
    /// Where it comes from.
    pub peer: Peer,
    /// Encrypted.
    pub tls: bool,
    /// Whose token it has.
    pub name: String,
    /// What it speaks.
    pub dialect: &'static str,
    /// Age, milliseconds.
    pub connected_ms: u64,
    /// How many subscriptions it has.
    pub subscriptions: usize,
    /// Messages noted for it so far.
    pub delivered: u64,
    /// Bytes its socket took so far.
    pub sent_bytes: u64,
    /// Bytes that wait for it.
    pub queued_bytes: usize,
    /// How long ago its socket last had everything, milliseconds; 0 where it has.
    pub lag_ms: u64,
    /// How long its socket has taken nothing while bytes wait, milliseconds; 0 where it does.
    pub blocked_ms: u64,
    /// Why it lags, where that was asked for.
    pub cause: Option<&'static str>,
    /// It fell behind and is told sums until it has caught up.
    pub conflated: bool,
    /// Ticks that its reactor is behind the ring.
    pub ring_lag: u64,
    /// Why it is being closed, if it is.
    pub ending: Option<Reason>,
}

/// How long something takes, nanoseconds: recorded by one thread, copied by others, rarely.
#[derive(Debug)]
pub struct Times(Mutex<Histogram<u64>>);

impl Default for Times {
    fn default() -> Self {
        Times(Mutex::new(new_histogram()))
    }
}

impl Times {
    /// Adds one; see [`record`].
    pub(crate) fn record(&self, ns: u64) {
        record(&mut self.0.lock(), ns);
    }

    /// All so far.
    pub(crate) fn copy(&self) -> Histogram<u64> {
        self.0.lock().clone()
    }
}

/// What the ingest counts.
#[derive(Clone, Debug, Default)]
pub struct IngestReport {
    /// Ticks published.
    pub ticks: u64,
    /// Ticks dropped as already seen, by their sequence.
    pub duplicates: u64,
    /// Book events that did not fit the book.
    pub book_errors: u64,
    /// Times that a replay waited for the reactors.
    pub paced: u64,
    /// Trades that came too late for a bar, once for each interval that they are missing from.
    pub late_trades: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_latency_is_left_out() {
        let times = Times::default();
        for ns in [0, 1_000, MAX_LATENCY_NS, MAX_LATENCY_NS + 1, u64::MAX] {
            times.record(ns);
        }
        assert_eq!(times.copy().len(), 3);
    }
}
