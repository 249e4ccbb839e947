//! Recordings, and the spool of delayed markets.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{KIB, MIB};

/// Free bytes that `check` wants where recordings go: some hours of a dozen busy symbols.
pub const RECORD_FREE_BYTES: u64 = 1024 * MIB as u64;

/// Default of `--record-file-bytes`, compressed: what can still be sent to somebody, and some
/// minutes of a busy venue. What a damaged disk or a deletion takes is one file.
pub const RECORD_FILE_BYTES: usize = 64 * MIB;

/// What `--record-file-bytes` accepts. Smaller ones would be mostly heads, larger ones cannot be
/// handled any more.
pub const RECORD_FILE_BYTES_RANGE: RangeInclusive<usize> = MIB..=16 * 1024 * MIB;

/// Default of `--record-file-age`: a day is 24 files of a quiet venue, and a file that is closed,
/// and so safe from a loss of power, is at most an hour away.
pub const RECORD_FILE_AGE: Duration = Duration::from_secs(3_600);

/// What `--record-file-age` accepts.
pub const RECORD_FILE_AGE_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_secs(7 * 86_400);

/// How often `tickcast record` looks whether its feeds and the disk are still there.
pub const RECORD_LOOK: Duration = Duration::from_millis(200);

/// Shortest and longest `delay` of a grant: what exchanges ask for is 10 to 20 minutes. A day is what a spool can
/// still be sized for.
pub const DELAY_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(86_400);

/// Different delays in one file of access: each is a market with a ring, books and a reactor of its own.
pub const DELAYS_MAX: usize = 4;

/// Default of `--spool-bytes`: 15 minutes of 100,000 ticks a second at 14 bytes each (docs/PERFORMANCE.md) are 1.3 GB; three times that.
pub const SPOOL_BYTES: usize = 4 * 1024 * MIB;

/// What `--spool-bytes` accepts. Below it a file would hold next to nothing.
pub const SPOOL_BYTES_RANGE: RangeInclusive<usize> = MIB..=1024 * 1024 * MIB;

/// Files that the bytes of a spool are shared among, at least: so much of it is kept longer than needed, and as much
/// is lost when it is full.
pub const SPOOL_SEGMENTS: u64 = 16;

/// Age at which a file of a spool is closed: as long do books wait for a snapshot when a file is damaged.
pub const SPOOL_SEGMENT_AGE: Duration = Duration::from_secs(300);

/// Bytes of a frame before compression: a share of the spool within these.
pub const SPOOL_FRAME: (u64, u64) = (64 * KIB as u64, MIB as u64);

/// zstd's fastest usual level: half a microsecond of the spool's thread for a tick, reading the ring included.
pub const SPOOL_LEVEL: i32 = 1;

/// Between two looks of the spool's thread at the ring: a hundredth of a second of ticks has one time, and the ring
/// holds hundreds of those.
pub const SPOOL_ROUND: Duration = Duration::from_millis(10);

/// Age at which a frame is written that is not full: what a kill costs.
pub const SPOOL_WRITE: Duration = Duration::from_millis(250);

/// Ticks that are taken off the ring at a time, that a record holds, and that snapshots are copied of at a time, all
/// of them give or take an event: 256 KiB.
pub const SPOOL_TICKS: usize = 4_096;

/// Times that the ring is read before snapshots go on: they must not wait for a market to be quiet.
pub const SPOOL_POLLS: usize = 64;

/// Instruments that are copied at a time.
pub const SPOOL_COPIES: usize = 256;

/// Instruments in one record.
pub const SPOOL_LISTED: usize = 2_048;

/// Numbers of instruments that are believed: ten times what all venues together list.
pub const SPOOL_SYMBOLS: usize = 1 << 20;

/// After a disk took nothing, until it is asked again.
pub const SPOOL_RETRY: Duration = Duration::from_secs(1);

/// Between two looks of who plays a spool at what there is, and at whether it is to stop.
pub const SPOOL_LOOK: Duration = Duration::from_millis(20);
