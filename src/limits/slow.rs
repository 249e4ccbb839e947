//! Clients that read slowly, and the memory of all.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{KIB, MIB};

/// Default of `--outbox-bytes`: 1 MiB, some 5,000 messages of 200 bytes, which is what a screen of
/// 20 busy symbols misses in 10 s, or a full book of 10,000 levels a side. 1,000 clients that stall
/// at once hold at most 1 GiB.
pub const OUTBOX_BYTES: usize = MIB;

/// What `--outbox-bytes` accepts. Below 128 KiB the snapshot of a deep book would be an eviction;
/// above 1 GiB a handful of stalled clients is the end of the machine.
pub const OUTBOX_BYTES_RANGE: RangeInclusive<usize> = 128 * KIB..=1024 * MIB;

/// Bytes that the kernel takes for a client and has not sent yet (`TCP_NOTSENT_LOWAT`). Left to itself
/// it takes megabytes, in which a client's lag does not show and which no bound of ours counts; and
/// a socket of which a third must be free before it takes more makes a client that reads slowly
/// look like one that does not read. More than any one write of a client that keeps up.
pub const UNSENT_BYTES: u32 = 128 * KIB as u32;

/// Default of `--slow-grace`: how long a client may take nothing while bytes wait for it. One TCP retransmission
/// time-out and its back-off (0.2 + 0.4 + 0.8 + 1.6 s) fit, so one bad moment of a mobile network
/// is no eviction.
pub const SLOW_GRACE: Duration = Duration::from_secs(5);

/// What `--slow-grace` accepts; 0 evicts at once.
pub const SLOW_GRACE_RANGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(600);

/// What the default of `--memory-budget` is of the memory there is, as a divisor: the ring, the state and histories have
/// the other half.
pub const BUDGET_SHARE: usize = 2;

/// Least `--memory-budget`: two reactors' encodings and some clients.
pub const BUDGET_MIN: usize = 4 * MIB;

/// Part of the budget, as a divisor, that is kept free of newcomers, and that clients which go make free: an eighth, so
/// that few go at a time and not one by one.
pub const BUDGET_ROOM: usize = 8;

/// Bytes from which on a client may be let go for the budget: with less it is not what the memory is full of.
pub const BUDGET_CLIENT_BYTES: usize = 16 * KIB;

/// Bytes of unfinished messages of a reactor's clients from which on it looks whose they are: then that is worth looking at each of
/// them.
pub const BUDGET_READING_BYTES: usize = MIB;

/// Clients of a reactor that are let go for the budget each time that it looks ([`TEND_MS`](super::TEND_MS)): some milliseconds of its time, and of
/// full outboxes 640 MiB a second.
pub const BUDGET_EVICTIONS: usize = 64;

/// How long a client may take nothing of a large snapshot before that counts as what it makes the server hold, milliseconds.
pub const BUDGET_PATIENCE_MS: u64 = 1_000;

/// Bytes of an outbox that only the server's own last words use (a `lag` or `drain` status and the
/// close frame), so that a full outbox can still be told why it is closed.
pub const OUTBOX_RESERVED_BYTES: usize = KIB;

/// How long the last words to an evicted client are kept for it, which is not reading: long enough
/// for a stalled program that wakes up again to learn why it was closed.
pub const EVICT_LINGER: Duration = Duration::from_secs(60);
