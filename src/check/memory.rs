//! Whether the memory suffices: for what is always there, and for the worst that clients can do.

use super::Finding;
use crate::config::units::Bytes;
use crate::config::{Config, Machine};
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

pub(super) fn judge(config: &Config, machine: &Machine) -> Finding {
    let mib = |bytes: u64| bytes / limits::MIB as u64;
    let (memory, base) = (machine.memory as u64, base(config));
    if base > memory {
        return Finding::change(
            NAME,
            format!(
                "{} MiB, but ring, history and tickers may take {} MiB before a client comes",
                mib(memory),
                mib(base)
            ),
            vec!["--ring-slots 65536, --history 0, or more memory".to_owned()],
        );
    }
    let all_stall = config.max_clients as u64 * config.outbox_bytes as u64;
    let clients = match config.memory_budget as u64 {
        0 => all_stall,
        budget => all_stall.min(budget),
    };
    let worst = base + clients;
    if worst <= memory {
        return Finding::ok(
            NAME,
            format!("{} MiB; {} MiB if all clients stall at once", mib(memory), mib(worst)),
        );
    }
    let fits = (memory - base) / limits::MIB as u64 * limits::MIB as u64;
    Finding::consider(
        NAME,
        format!(
            "{} MiB, but {} MiB if all clients stall at once (docs/OPERATING.md, Sizing)",
            mib(memory),
            mib(worst)
        ),
        vec![format!("--memory-budget {}", Bytes(fits.max(limits::BUDGET_MIN as u64) as usize))],
    )
}
