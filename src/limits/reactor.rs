//! The ring, the ingest and the reactors: what a turn may do.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{KIB, MIB};

/// Default of `--ring-slots`, in ticks of 64 bytes: 4 MiB, about what a core's share of a
/// last-level cache holds, and 6.5 s of history at 10,000 ticks/s. A reactor that lags by more has
/// lost ticks.
pub const RING_SLOTS: usize = 65_536;

/// What `--ring-slots` accepts (powers of two only, in ticks). Below 1,024 one burst of the real
/// captures (164 messages in a millisecond, several ticks each) would lap a reactor that is in the
/// middle of a turn; 16 Mi slots are 1 GiB of memory.
pub const RING_SLOTS_RANGE: RangeInclusive<usize> = 1_024..=16 * 1024 * 1024;

/// Most `--reactors`. One per core is the point of them; this only stops a typo from starting
/// thousands of threads. The kernel's affinity masks, as we read them, end at 1,024 cores.
pub const REACTORS_MAX: usize = 256;

/// Ticks that a reactor takes from the ring in one turn. Bounded, because draining "until empty"
/// never ends under overload; 64 ticks are a few tens of microseconds of encoding, so a read or an
/// accept waits no longer than that.
pub const TICKS_PER_TURN: usize = 64;

/// Socket writes after which a reactor polls the ring again. A write costs 2 to 5 microseconds:
/// 32 of them keep the ring unwatched for at most about 150 microseconds.
pub const SENDS_PER_POLL: usize = 32;

/// Socket writes after which a reactor lets tokio poll the sockets: some 0.5 ms, which a read or a
/// new session may have to wait.
pub const SENDS_PER_TURN: usize = 256;

/// Default of `--max-age-ms`. Two ticks to a client whose symbols tick 400 times a second stand 2.5 ms
/// apart: a window must hold at least that to save anything, and 5 ms are still a third of a screen's
/// frame.
pub const MAX_AGE_MS: u64 = 5;

/// Most `--max-age-ms`, in milliseconds: beyond a second the feed is not live any more.
pub const MAX_AGE_MS_MAX: u64 = 1_000;

/// Bytes of a chunk of encodings: some thousand messages, so that opening one is rare, and small
/// enough to stay in a core's second-level cache.
pub const ENCODING_CHUNK: usize = 256 * KIB;

/// Bytes of the buffer that a reactor reads all its sessions into.
pub const READ_BUFFER_BYTES: usize = 64 * KIB;

/// Bytes of the buffer in which a reactor gathers a write that it keeps for the next one: a few
/// turns' messages of a busy client. A larger one is given back after the write.
pub const SCRATCH_BYTES: usize = MIB;

/// How hard messages are compressed (0 to 9). Above 1, Huffman codes are made for each message: an eighth to a third fewer bytes for two to
/// three times the CPU, which all who receive the message share. Above 2, up to 8 % fewer (docs/PERFORMANCE.md).
pub const DEFLATE_LEVEL: u32 = 2;

/// Bytes from which a message is compressed that is shared by all who receive it. One of 107 bytes saves 27, one of 47 nothing, and each
/// costs as much CPU as a longer one.
pub const DEFLATE_SHARED_BYTES: usize = 128;

/// Bytes from which a message is compressed that one client alone is told: a snapshot of a book, a list of symbols. Below,
/// a client's share of compressing it would be more than that of sending it.
pub const DEFLATE_OWN_BYTES: usize = KIB;

/// Buffers read from one session before others get their turn.
pub const READS_PER_WAKE: usize = 4;

/// Bytes of snapshots that a reactor gathers for one client before it writes them and turns to the
/// next: some dozen snapshots, since a write costs as much as several of them, and some 0.05 ms.
pub const SNAPSHOTS_BYTES_PER_WRITE: usize = 32 * KIB;

/// How often, in milliseconds, a reactor looks after its sessions' clocks and publishes its report.
pub const TEND_MS: u64 = 100;

/// A time without tending that is no work but a standstill: a turn takes a few milliseconds.
pub const PAUSE: Duration = Duration::from_secs(1);

/// Shares of the sessions, one of which is looked after each time: all of them once a second.
pub const TEND_SHARES: usize = 10;

/// Sessions that are looked after each time at least, so that few sessions are looked after more
/// often than once a second.
pub const TEND_SESSIONS: usize = 1_000;

/// Waiting time of the ingest between two looks at the reactors when a replay is paced on them.
pub const PACE_SLEEP: Duration = Duration::from_micros(100);

/// Ticks that a feed hands over at a time at most.
pub const BATCH_TICKS: usize = 512;

/// Batches that wait for the ingest at most; then the feeds wait.
pub const BATCHES: usize = 64;
