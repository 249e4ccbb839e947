//! What the tests of the feeds share.
// Each test file uses its part.
#![allow(dead_code)]

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;

use tickcast_feeds::clock::Clock;
use tickcast_feeds::{RunContext, Stop};

/// A clock that stands still except when somebody sleeps, and then oversleeps.
pub(crate) struct TestClock {
    pub(crate) now: Cell<u64>,
    /// How late each sleep ends, nanoseconds.
    pub(crate) late: u64,
    /// Tells the feed to stop when this time has come.
    pub(crate) end: u64,
    /// What it tells.
    pub(crate) stop: Stop,
    /// How often somebody slept.
    pub(crate) sleeps: Cell<u64>,
    /// The longest sleep that was asked for, nanoseconds.
    pub(crate) longest: Cell<u64>,
}

impl TestClock {
    /// Starts at `now` and stops the feed `lasting` nanoseconds later.
    pub(crate) fn new(now: u64, lasting: u64) -> Self {
        TestClock {
            now: Cell::new(now),
            late: 0,
            end: now.saturating_add(lasting),
            stop: Stop::new(),
            sleeps: Cell::new(0),
            longest: Cell::new(0),
        }
    }

    /// A context whose stop handle is this clock's.
    pub(crate) fn context(&self) -> RunContext {
        context(&self.stop)
    }
}

impl Clock for TestClock {
    fn now(&self) -> u64 {
        self.now.get()
    }

    fn sleep_until(&self, at: u64) {
        self.longest.set(self.longest.get().max(at.saturating_sub(self.now.get())));
        self.now.set(self.now.get().max(at) + self.late);
        self.sleeps.set(self.sleeps.get() + 1);
        if self.now.get() >= self.end {
            self.stop.stop();
        }
    }
}

/// A context without subscribers.
pub(crate) fn context(stop: &Stop) -> RunContext {
    RunContext::new(stop.clone(), Arc::new(|| 0))
}

/// The folder of real captures; `None`, said loudly, where it is missing.
pub(crate) fn captures() -> Option<PathBuf> {
    let folder = match std::env::var_os("TICKCAST_DATA") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
    };
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "no captures in {}", folder.display());
    eprintln!("SKIPPED: no captures in {} (set TICKCAST_DATA)", folder.display());
    None
}
