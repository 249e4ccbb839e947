//! What others may see of a live feed while it runs.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Counters of one live feed; written on its thread, read from anywhere.
#[derive(Debug, Default)]
pub struct LiveStats {
    /// Symbols that are subscribed to.
    pub symbols: AtomicU64,
    /// Connections that are open and subscribed.
    pub links: AtomicU64,
    /// How many connections there should be.
    pub links_wanted: AtomicU64,
    /// Connections that came about.
    pub connects: AtomicU64,
    /// Tries that led to no connection.
    pub connect_failures: AtomicU64,
    /// Connections that ended without having been asked to.
    pub losses: AtomicU64,
    /// Connections that were replaced by younger ones before the venue ended them.
    pub replaced: AtomicU64,
    /// Messages received.
    pub messages: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
    /// Requests that the venue refused.
    pub refused: AtomicU64,
    /// Full books that were asked for because a book was not complete.
    pub recoveries: AtomicU64,
    /// Those of them that were fetched and refused, or failed.
    pub recovery_failures: AtomicU64,
    /// Books that are not complete at the moment.
    pub incomplete: AtomicU64,
    /// What was wrong last, empty where nothing was.
    pub last_error: Mutex<String>,
    /// What the parser left out on purpose, by name.
    pub ignored: Mutex<Vec<(String, u64)>>,
}

/// Adds one. On the feed's thread only, so that a load and a store do.
pub(super) fn bump(counter: &AtomicU64) {
    add(counter, 1);
}

/// Adds to a counter that only this thread writes.
pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Relaxed);
}
