//! How connections end, and the counters of why.

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Reason {
    /// The client closed with a close frame.
    ClosedByPeer,
    /// The connection broke or ended without a close frame.
    Lost,
    /// The client broke RFC 6455 or sent what is not taken.
    Protocol,
    /// The outbox was full.
    SlowOverflow,
    /// It fell so far behind that what it missed cannot be told any more.
    SlowLost,
    /// The client took nothing for the grace period while bytes waited for it.
    SlowStalled,
    /// It made the server hold most, and all together hold too much.
    MemoryBudget,
    /// Nothing came from the client in time after a ping.
    PingTimeout,
    /// Too many requests.
    RequestRate,
    /// The server drained.
    Drain,
    /// It did not say who it is.
    Unauthorized,
    /// Its token expired, or was taken back.
    Forbidden,
    /// Its reactor panicked.
    Failed,
    /// An operator closed it.
    Operator,
    /// It went to another market.
    Moved,
}

impl Reason {
    /// All of them, in the order of their counters.
    pub const ALL: [Reason; 15] = [
        Reason::ClosedByPeer,
        Reason::Lost,
        Reason::Protocol,
        Reason::SlowOverflow,
        Reason::SlowLost,
        Reason::SlowStalled,
        Reason::MemoryBudget,
        Reason::PingTimeout,
        Reason::RequestRate,
        Reason::Drain,
        Reason::Unauthorized,
        Reason::Forbidden,
        Reason::Failed,
        Reason::Operator,
        Reason::Moved,
    ];

    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::ClosedByPeer => "closed_by_peer",
            Reason::Lost => "lost",
            Reason::Protocol => "protocol",
            Reason::SlowOverflow => "slow_overflow",
            Reason::SlowLost => "slow_lost",
            Reason::SlowStalled => "slow_stalled",
            Reason::MemoryBudget => "memory_budget",
            Reason::PingTimeout => "ping_timeout",
            Reason::RequestRate => "request_rate",
            Reason::Drain => "drain",
            Reason::Unauthorized => "unauthorized",
            Reason::Forbidden => "forbidden",
            Reason::Failed => "failed",
            Reason::Operator => "operator",
            Reason::Moved => "moved",
        }
    }
}

/// The close code for a slow consumer: from the range for private use (RFC 6455 section 7.4.2).
pub(crate) const CLOSE_SLOW: u16 = 4008;
/// No token where one is needed, and one that is over: from the same range.
pub(crate) const CLOSE_UNKNOWN: u16 = 4001;
pub(crate) const CLOSE_FORBIDDEN: u16 = 4003;
/// Policy violation (RFC 6455 section 7.4.1).
pub(crate) const CLOSE_POLICY: u16 = 1008;
/// Internal error (RFC 6455 section 7.4.1).
pub(crate) const CLOSE_FAILED: u16 = 1011;
/// Service restart (IANA's WebSocket close code registry).
pub(crate) const CLOSE_RESTART: u16 = 1012;

/// A session that is ending: its last frame is in the outbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) reason: Reason,
    /// When the socket is dropped whatever the peer does, milliseconds.
    pub(crate) deadline_ms: u64,
    /// All was sent and the sending side is shut.
    pub(crate) shut: bool,
}
