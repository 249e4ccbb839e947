//! From the accept to the end of the upgrade: handshakes, addresses, TLS, pings, shutdown.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::KIB;

/// Bytes of an HTTP request's head. Browsers with many cookies send some 8 KiB; larger ones are an
/// attack or a mistake.
pub const HANDSHAKE_HEAD_BYTES: usize = 16 * KIB;

/// Default of `--handshake-timeout`: from the accept to the end of the upgrade. A TLS-terminating
/// proxy across an ocean needs 1 s; whoever takes 10 s holds a slot open on purpose.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What `--handshake-timeout` accepts.
pub const HANDSHAKE_TIMEOUT_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(300);

/// A connection that asks over plain HTTP is ended after this many `--handshake-timeout`s: a minute
/// by default, several scrapes of the metrics. Who needs longer connects again.
pub const HTTP_TIMEOUTS: u32 = 6;

/// Default of `--max-handshakes` in flight. A handshake holds up to [`HANDSHAKE_HEAD_BYTES`]:
/// 16 MiB in all. More wait in the kernel's accept queue, which costs nothing.
pub const HANDSHAKES: usize = 1_024;

/// Part of the descriptors that handshakes take at most where few are allowed: an eighth.
pub const HANDSHAKES_SHARE: usize = 8;

/// Default of `--max-clients-per-address`. Hundreds of people behind one address of an office are usual, and
/// twenty such addresses fill a server of [`CLIENTS`](super::CLIENTS).
pub const CLIENTS_PER_ADDRESS: usize = 1_000;

/// What `--max-handshakes-per-address` is of `--max-handshakes`, as a divisor, where it is not given: one who
/// holds connections open leaves three quarters to others, and 256 at a time are more than an office
/// that comes back at once needs.
pub const HANDSHAKES_ADDRESS_SHARE: usize = 4;

/// Default of `--connect-rate`, connections a second from one address. A page makes six.
pub const CONNECT_RATE: u32 = 100;

/// Default of `--http-rate`, HTTP requests a second from one address. A hundred people behind one address who
/// poll ten times a second; the control plane answers several times as many (`scripts/trials`, `rest`).
pub const HTTP_RATE: u32 = 1_000;

/// Of these, requests for `/healthz` and `/readyz`, which are counted apart: who watches the server may share an address
/// with its clients, and must not take it for dead because of them. Each asks all reactors.
pub const PROBE_RATE: u32 = 10;

/// Seconds of `--connect-rate` and `--http-rate` that may come at once: of connections as many as
/// [`CLIENTS_PER_ADDRESS`], so that everybody behind one address may come back together.
pub const ADDRESS_BURST_SECONDS: u64 = 10;

/// Most of what is counted by address.
pub const PER_ADDRESS_MAX: usize = 1_000_000;

/// Default of `--exempt-address`: programs on this machine can take it anyway, and all that comes through a
/// proxy beside the server has that address.
pub const EXEMPT_ADDRESSES: [&str; 2] = ["127.0.0.0/8", "::1"];

/// Addresses that are remembered although nobody is connected from them, some 200 bytes each: those that
/// came or asked faster than `--connect-rate` or `--http-rate` within the last seconds.
pub const ADDRESSES_UNUSED: usize = 16_384;

/// Addresses below which none is forgotten.
pub const ADDRESSES_SWEPT: usize = 1_024;

/// Time between two lines of the log about refusals of one address, milliseconds, and between two in all.
pub const REFUSALS_LOG_MS: u64 = 60_000;

/// See [`REFUSALS_LOG_MS`].
pub const REFUSALS_LOG_PERIOD_MS: u64 = 1_000;

/// Bytes of a header of the PROXY protocol. Its senders keep to 536 (its specification, section 2.2), but for certificates of clients in it.
pub const PROXY_HEADER_BYTES: usize = 4 * KIB;

/// Default of `--ping-interval`. Shorter than the 30 to 60 s after which proxies and mobile
/// networks drop a silent connection.
pub const PING_INTERVAL: Duration = Duration::from_secs(20);

/// Default of `--ping-timeout`: silence after a ping that makes a peer a dead one. With the default
/// interval a half-open connection is gone after 40 s.
pub const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What `--ping-interval` and `--ping-timeout` accept.
pub const PING_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3_600);

/// Bytes of the buffer into which a thread reads all its TLS connections, one at a time: what is kept of a
/// message that is not whole, and at least one record of the largest size (RFC 8446 section 5.2).
pub const TLS_READ_BYTES: usize = TLS_PARTIAL_BYTES + 32 * KIB;

/// Bytes that are kept of a TLS message that is not whole. Records are at most 16 KiB and 256 bytes; a
/// client's handshake message of more than one record is an attack.
pub const TLS_PARTIAL_BYTES: usize = 32 * KIB;

/// Bytes that are encrypted at a time, and so the most that may wait, encrypted, for a socket that takes no
/// more: four records in one write. Larger flushes go in several writes.
pub const TLS_WRITE_BYTES: usize = 64 * KIB;

/// Connections that wait in the kernel to be accepted; Linux caps it at `net.core.somaxconn`, 4,096.
pub const LISTEN_BACKLOG: u32 = 4_096;

/// Time without any other message after which a heartbeat is sent. Short enough for a page to
/// notice within 2 s that it shows old prices.
pub const HEARTBEAT: Duration = Duration::from_secs(1);

/// Bytes of the reason in a close frame: a control frame's payload is at most 125 bytes, the code
/// takes two (RFC 6455, 5.5 and 5.5.1).
pub const CLOSE_REASON_BYTES: usize = 123;

/// How long a peer may take to answer our close frame before the socket is dropped; the server
/// owes it nothing by then.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Default of `--drain-deadline`: from SIGTERM to exit. Less than the 30 s after which Kubernetes
/// kills, enough to flush every outbox of a client that reads.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// What `--drain-deadline` accepts.
pub const DRAIN_DEADLINE_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(600);

/// Default of `--drain-spread`: when clients are told to come back. 20,000 clients over 7.5 s are
/// 2,700 handshakes a second, which a starting server takes easily.
pub const DRAIN_SPREAD: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(8));

/// Latest end of a `--drain-spread`: a page that stays dark for longer is reloaded by hand.
pub const DRAIN_SPREAD_MAX: Duration = Duration::from_secs(600);
