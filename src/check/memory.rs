//! Whether the memory suffices: for what is always there, and for the worst that clients can do.

use super::Finding;
use super::facts::Facts;
use crate::config::Config;
use crate::config::units::Bytes;
use crate::limits;

const NAME: &str = "memory";

/// The kinds of history that have [`limits::HISTORY_BYTES`] each: trades, and bars of four intervals.
const HISTORIES: u64 = 5;
/// Bytes of a bucket of the tickers.
const BUCKET: u64 = 80;
/// Bytes of one tick.
const TICK: u64 = 64;

/// What the server has whoever is there: the ring, and the most that history and tickers take together.
fn base(config: &Config) -> u64 {
    let history = if config.history == 0 { 0 } else { HISTORIES * limits::HISTORY_BYTES as u64 };
    TICK * config.ring_slots as u64 + history + BUCKET * limits::TICKER_BUCKETS as u64
}

pub(super) fn judge(config: &Config, facts: &Facts) -> Finding {
    let Some(memory) = facts.memory() else { return Finding::ok(NAME, "cannot be read here") };
    let mib = |bytes: u64| bytes / limits::MIB as u64;
    let base = base(config);
    let whose =
        if facts.cgroup.is_some_and(|limit| limit == memory) { " (the cgroup's)" } else { "" };
    if base > memory {
        return Finding::change(
            NAME,
            format!(
                "{} MiB{whose}, but ring, history and tickers may take {} MiB before a client comes",
                mib(memory),
                mib(base)
            ),
            vec!["--ring-slots 65536, --history 0, or more memory".to_owned()],
        );
    }
    let (clients, outbox) = (config.max_clients as u64, config.outbox_bytes as u64);
    let worst = base + clients * outbox;
    if worst <= memory {
        return Finding::ok(
            NAME,
            format!("{} MiB{whose}; {} MiB if all clients stall at once", mib(memory), mib(worst)),
        );
    }
    let left = memory - base;
    let mut fix = Vec::new();
    let least = *limits::OUTBOX_BYTES_RANGE.start() as u64;
    let fits = left / clients / limits::KIB as u64 * limits::KIB as u64;
    if fits >= least {
        fix.push(format!("--outbox-bytes {}", Bytes(fits as usize)));
    }
    let or = if fix.is_empty() { "" } else { "or " };
    fix.push(format!("{or}--max-clients {}", (left / outbox).max(1)));
    Finding::consider(
        NAME,
        format!(
            "{} MiB{whose}, but {} MiB if all {clients} clients stall at once (docs/OPERATING.md, Sizing)",
            mib(memory),
            mib(worst)
        ),
        fix,
    )
}
