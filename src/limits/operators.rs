//! What operators see and write: the door of theirs, traces, the configuration, the log.

use std::time::Duration;

use super::{KIB, MIB};

/// Slow clients of a reactor of which the kernel is asked why, where operators see who is connected: each
/// is a question to the kernel, which the reactor waits for.
pub const CAUSES_SHOWN: usize = 64;

/// Connections of operators at a time. They have none of those of clients, so that the door is open while
/// those are all in use.
pub const ADMIN_CONNECTIONS: usize = 16;

/// Bytes of what operators send: a code and a sentence.
pub const ADMIN_BODY_BYTES: usize = 4 * KIB;

/// How long the end of the server waits for answers to operators.
pub const ADMIN_CLOSE: Duration = Duration::from_secs(1);

/// Bytes of a socket's send buffer that `check` wants to be possible: what a path of 100 ms has under way at
/// 20 Mbit/s, several times what a screen is sent. With less, a client far away is a slow one.
pub const SEND_BUFFER_BYTES: u64 = 256 * KIB as u64;

/// Bytes of the receive buffer that `check` wants to be possible, for what a venue sends at once.
pub const RECEIVE_BUFFER_BYTES: u64 = MIB as u64;

/// How long before its end a certificate is to be replaced: programs that renew them do so earlier.
pub const CERTIFICATE_WARNING: Duration = Duration::from_secs(14 * 24 * 3600);

/// Most `--trace-sample`: a sample of one tick in a thousand million is none.
pub const TRACE_SAMPLE_MAX: usize = 1_000_000_000;

/// Batches with a tick of the sample that the ingest's times are kept of, until reactors ask for them: many
/// more than are traced at a time.
pub const TRACES_NOTED: usize = 64;

/// Traces that wait for a collector, which gets them once a second. More are lost, and counted.
pub const TRACES_WAITING: usize = 1_024;

/// How long a trace waits for the writes of its tick. Whoever has not been written to by then is counted as
/// blocked.
pub const TRACE_TIME: Duration = Duration::from_secs(1);

/// Between two looks at whether files of certificates and of access have changed.
pub const FILE_POLL: Duration = Duration::from_secs(2);

/// Bytes of foreign text (a bad message, a bad value) that a log line or an error repeats.
pub const LOG_TEXT_BYTES: usize = 200;

/// Bytes of a configuration file: one with every key and a hundred feeds is 10 KiB; who names a
/// capture by mistake is told so rather than served slowly.
pub const CONFIG_FILE_BYTES: u64 = 1024 * 1024;

/// Most `--feed`s: each is a thread.
pub const FEEDS_MAX: usize = 64;
