//! Why a client is slow: what the kernel knows about its connection, and what follows from it.

use super::sock_diag::{SockDiag, TcpInfo};
use crate::transport::Transport;

/// Why a client's outbox fills up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LagCause {
    /// The client does not read: its receive window is closed, or is what limits the sending.
    PeerWindow,
    /// The path loses segments, or carries less than is sent.
    Network,
    /// This server fell behind, the connection did not hold it up.
    Server,
}

impl LagCause {
    /// The word for it in the protocol's `lag` status and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PeerWindow => "peer_window",
            Self::Network => "network",
            Self::Server => "server",
        }
    }
}

/// A reactor's line to the kernel, opened when the first client is slow.
#[derive(Default)]
pub(crate) struct Diag(Option<SockDiag>);

impl Diag {
    /// Why this client is slow. Where the kernel does not tell, the client is taken to be the cause.
    pub(crate) fn cause(&mut self, stream: &Transport, ring_lagging: bool) -> LagCause {
        let info = self.info(stream);
        info.map_or(LagCause::PeerWindow, |info| classify(&info, ring_lagging))
    }

    /// What the kernel knows of a connection, where it tells.
    pub(crate) fn info(&mut self, stream: &Transport) -> Option<TcpInfo> {
        // Behind a proxy the connection is the proxy's.
        let [local, peer] = [stream.socket().local_addr()?, stream.socket().peer_addr()?];
        if self.0.is_none() {
            self.0 = SockDiag::open().ok();
        }
        self.0.as_mut()?.tcp_info(local, peer).ok()
    }
}

/// What `info` says about the cause; `ring_lagging` tells that the reactor itself is behind the ring.
#[must_use]
pub fn classify(info: &TcpInfo, ring_lagging: bool) -> LagCause {
    if info.send_queue == 0 {
        // The kernel has passed everything on and the client has confirmed it: nothing out there holds us up.
        return LagCause::Server;
    }
    // A closed window comes before any sign of loss: its probes back off like retransmissions, and a receiver
    // without memory drops segments.
    if window_closed(info) {
        LagCause::PeerWindow
    } else if losing(info) {
        LagCause::Network
    } else if window_full(info) || mostly_window_limited(info) {
        LagCause::PeerWindow
    } else if ring_lagging {
        LagCause::Server
    } else {
        // Window open, no loss, yet data waits: the path is slower than the stream.
        LagCause::Network
    }
}

/// With nothing in flight, probes are those of a closed window (RFC 9293 section 3.8.6.1).
fn window_closed(info: &TcpInfo) -> bool {
    info.snd_wnd == Some(0) || (info.probes > 0 && info.unacked == 0)
}

/// Segments are being retransmitted or held lost now; what was lost before and made up for does not count.
fn losing(info: &TcpInfo) -> bool {
    info.retransmits > 0 || info.backoff > 0 || info.lost > 0 || info.retrans > 0
}

/// The next segment does not fit into what the window leaves beside the bytes in flight.
fn window_full(info: &TcpInfo) -> bool {
    let in_flight = info.send_queue.saturating_sub(info.notsent_bytes);
    let next = info.notsent_bytes.min(info.snd_mss);
    next > 0 && info.snd_wnd.is_some_and(|window| in_flight.saturating_add(next) > window)
}

/// Over more than half of the time in which it had something to send, the connection waited for the window: a client that reads slowly,
/// seen in a moment when its window happens to be open.
fn mostly_window_limited(info: &TcpInfo) -> bool {
    info.rwnd_limited_us > info.busy_us / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A healthy connection with data on its way: window open, nothing lost.
    fn flowing() -> TcpInfo {
        TcpInfo {
            state: 1,
            snd_mss: 1448,
            rto_us: 204_000,
            rtt_us: 4_000,
            unacked: 10,
            send_queue: 30_000,
            notsent_bytes: 15_520,
            snd_wnd: Some(500_000),
            busy_us: 1_000_000,
            ..TcpInfo::default()
        }
    }

    #[test]
    fn a_closed_window_is_the_peers_doing_whatever_else_is_seen() {
        let closed =
            TcpInfo { unacked: 0, notsent_bytes: 30_000, probes: 3, backoff: 3, ..flowing() };
        assert_eq!(classify(&closed, false), LagCause::PeerWindow);
        assert_eq!(classify(&TcpInfo { snd_wnd: None, ..closed }, true), LagCause::PeerWindow);
        assert_eq!(
            classify(&TcpInfo { snd_wnd: Some(0), retransmits: 2, ..flowing() }, true),
            LagCause::PeerWindow
        );
    }

    #[test]
    fn a_full_window_is_the_peers_doing_unless_segments_are_lost() {
        // 14,480 bytes in flight, 1448 more do not fit.
        let full = TcpInfo { snd_wnd: Some(15_927), ..flowing() };
        assert_eq!(classify(&full, true), LagCause::PeerWindow);
        assert_eq!(
            classify(&TcpInfo { snd_wnd: Some(15_928), ..flowing() }, true),
            LagCause::Server
        );
        assert_eq!(classify(&TcpInfo { lost: 1, ..full }, true), LagCause::Network);
        // Nothing more to send: the window does not matter.
        assert_eq!(
            classify(&TcpInfo { notsent_bytes: 0, send_queue: 14_480, ..full }, true),
            LagCause::Server
        );
    }

    #[test]
    fn a_history_of_waiting_for_the_window_tells_a_slow_reader() {
        assert_eq!(
            classify(&TcpInfo { rwnd_limited_us: 500_001, ..flowing() }, true),
            LagCause::PeerWindow
        );
        assert_eq!(
            classify(&TcpInfo { rwnd_limited_us: 500_000, ..flowing() }, true),
            LagCause::Server
        );
    }

    #[test]
    fn loss_with_an_open_window_is_the_networks() {
        for losing in [
            TcpInfo { retransmits: 1, ..flowing() },
            TcpInfo { backoff: 2, ..flowing() },
            TcpInfo { lost: 4, ..flowing() },
            TcpInfo { retrans: 1, ..flowing() },
        ] {
            assert_eq!(classify(&losing, true), LagCause::Network);
        }
        // Made up for long ago.
        assert_eq!(classify(&TcpInfo { total_retrans: 9, ..flowing() }, true), LagCause::Server);
    }

    #[test]
    fn otherwise_the_ring_decides() {
        assert_eq!(classify(&flowing(), true), LagCause::Server);
        assert_eq!(classify(&flowing(), false), LagCause::Network);
        let drained =
            TcpInfo { send_queue: 0, notsent_bytes: 0, unacked: 0, snd_wnd: Some(0), ..flowing() };
        assert_eq!(classify(&drained, false), LagCause::Server);
    }

    #[test]
    fn words_are_those_of_the_protocol() {
        assert_eq!(
            [LagCause::PeerWindow, LagCause::Network, LagCause::Server].map(LagCause::as_str),
            ["peer_window", "network", "server"]
        );
    }
}
