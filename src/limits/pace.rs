//! What is told less often than it happens, and those who come back.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::KIB;

/// Topics whose cadence has struck that are told before a reactor looks at the ring again: at a few
/// microseconds each, and more for those with thousands of subscribers.
pub const TOPICS_PER_POLL: usize = 64;

/// What `max_hz` accepts: above 100 a second nothing is gained over every tick, below one in ten
/// seconds polling over HTTP is simpler.
pub const MAX_HZ: RangeInclusive<f64> = 0.1..=100.0;

/// What `batch_ms` accepts. Ten seconds of a busy symbol are some MiB.
pub const BATCH_MS_RANGE: RangeInclusive<u64> = 5..=10_000;

/// `batch_ms` where none is given.
pub const BATCH_MS: u64 = 100;

/// Time over which trades are summed up where a client gives no `max_hz`.
pub const TRADES_SUMMED_MS: u64 = 100;

/// Bytes of gathered messages that are sent before their time: a frame should not grow beyond what a
/// client's buffers are made for.
pub const GATHERED_BYTES: usize = 256 * KIB;

/// Most milliseconds between two pings to a client of the Binance dialect: as Binance's own.
pub const BINANCE_PING_MS: u64 = 20_000;

/// Shortest time between two snapshots of a book over REST that cut its streams: each is a message to
/// everybody who follows it.
pub const CUT_PERIOD: Duration = Duration::from_millis(100);

/// Books whose last cut is remembered.
pub const CUT_BOOKS: usize = 4_096;

/// Pause between two attempts to hand the ingest something while its channel is full.
pub const CUT_RETRY: Duration = Duration::from_millis(1);

/// Share of the outbox, as a divisor, that waits for a client when it is moved to conflated delivery:
/// early enough that trades, which are never merged unasked, have room while it catches up.
pub const BEHIND_SHARE: usize = 4;

/// Times `--slow-grace` that a client may seem to take nothing which is told sums, or will be (all of the
/// Binance dialect, where a connection is taken for dead after a minute): what waits for it does not grow. One
/// that reads some KB a second needs 20 s for 64 KiB, below which neither kernel may say that there is room.
pub const SLOW_GRACES: u64 = 4;

/// Ticks of the ring that are looked through at a time for what clients missed: 0.1 ms or so, less
/// than a slice of the time that newcomers have.
pub const TRAIL_TICKS: usize = 2_048;

/// Events that are replayed to a client before others get their turn: about 0.1 ms.
pub const REPLAYED_AT_ONCE: usize = 256;

/// How long the places of all events on the ring are kept up to date after somebody last asked for
/// them, milliseconds: clients that were cut off together come back within the time that a drain
/// tells them, [`DRAIN_SPREAD`](super::DRAIN_SPREAD), or some seconds later.
pub const TRAILS_KEPT_MS: u64 = 10_000;
