//! The kernel's view of one TCP connection, asked over netlink (`sock_diag(7)`).
//!
//! `getsockopt(TCP_INFO)` would be the short way, but no crate here offers it without unsafe code. The netlink answer holds the same
//! `struct tcp_info` (`include/uapi/linux/tcp.h`), beside the queue lengths, and needs no privilege for a connection of the own network
//! namespace. It is one `sendto` and one `recv`, answered before `sendto` returns: meant for evictions, not for every tick.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};
use thiserror::Error;

/// Why the kernel's view of a connection is not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DiagError {
    /// No netlink socket could be opened.
    #[error("cannot open a sock_diag socket: {0}")]
    Open(#[source] Errno),
    /// Asking or hearing the answer failed.
    #[error("cannot query sock_diag: {0}")]
    Query(#[source] Errno),
    /// One address is IPv4 and the other IPv6.
    #[error("addresses {local} and {peer} are not of one family")]
    MixedFamilies {
        /// This end.
        local: SocketAddr,
        /// The other end.
        peer: SocketAddr,
    },
    /// The connection does not exist (any more), at least not in this network namespace.
    #[error("no connection from {local} to {peer}")]
    NoSuchConnection {
        /// This end.
        local: SocketAddr,
        /// The other end.
        peer: SocketAddr,
    },
    /// The kernel refused the question.
    #[error("sock_diag refuses: {0}")]
    Refused(#[source] Errno),
    /// The answer holds no `tcp_info`, or a shorter one than Linux 4.6 gives.
    #[error("sock_diag answers with {0} bytes of tcp_info, expected at least 148")]
    NoTcpInfo(usize),
}

/// The part of the kernel's `struct tcp_info` and `struct inet_diag_msg` that tells why a connection is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpInfo {
    /// The state, as in `include/net/tcp_states.h`: 1 is established.
    pub state: u8,
    /// Timeouts in a row without an acknowledgement.
    pub retransmits: u8,
    /// Probes of a closed window (or keep-alives) in a row without an answer.
    pub probes: u8,
    /// How often the timer of retransmissions or of window probes was doubled.
    pub backoff: u8,
    /// Retransmission timeout in microseconds.
    pub rto_us: u32,
    /// The largest segment sent, in bytes.
    pub snd_mss: u32,
    /// Segments sent and not acknowledged.
    pub unacked: u32,
    /// Segments held lost.
    pub lost: u32,
    /// Segments retransmitted and not acknowledged.
    pub retrans: u32,
    /// Since the last acknowledgement, in milliseconds.
    pub last_ack_recv_ms: u32,
    /// Smoothed round-trip time in microseconds.
    pub rtt_us: u32,
    /// Segments ever retransmitted.
    pub total_retrans: u32,
    /// Bytes written by the program and not yet sent.
    pub notsent_bytes: u32,
    /// Time with something to send, in microseconds; 0 before Linux 4.10.
    pub busy_us: u64,
    /// Of that, time spent waiting for the peer's receive window, in microseconds; 0 before Linux 4.10.
    pub rwnd_limited_us: u64,
    /// The peer's receive window in bytes; none before Linux 5.4.
    pub snd_wnd: Option<u32>,
    /// Bytes received and not yet read by the program.
    pub recv_queue: u32,
    /// Bytes written by the program and not yet acknowledged, sent or not.
    pub send_queue: u32,
}

/// A netlink socket to ask about connections; one per reactor is enough. It sees the network namespace in which it was opened.
#[derive(Debug)]
pub struct SockDiag {
    socket: OwnedFd,
    sequence: u32,
}

// include/uapi/linux/netlink.h, sock_diag.h, inet_diag.h
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const HEADER: usize = 16;
const REQUEST: usize = HEADER + 56;
const DIAG_MSG: usize = HEADER + 72;
const INET_DIAG_INFO: u16 = 2;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const TCP_LISTEN: u8 = 10;

impl SockDiag {
    /// Opens the socket.
    ///
    /// # Errors
    /// [`DiagError::Open`], as when the process is out of descriptors.
    pub fn open() -> Result<Self, DiagError> {
        let kind = (
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        );
        let socket = socket_with(kind.0, kind.1, kind.2, Some(netlink::SOCK_DIAG))
            .map_err(DiagError::Open)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// What the kernel knows about the connection between `local` (this end) and `peer`. Never blocks.
    ///
    /// # Errors
    /// When there is no such connection, or the kernel's answer is not to be had.
    pub fn tcp_info(&mut self, local: SocketAddr, peer: SocketAddr) -> Result<TcpInfo, DiagError> {
        self.sequence = self.sequence.wrapping_add(1);
        let request =
            request(self.sequence, local, peer).ok_or(DiagError::MixedFamilies { local, peer })?;
        sendto(&self.socket, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))
            .map_err(DiagError::Query)?;
        let mut buffer = [0; 1024];
        loop {
            let (len, _) =
                recv(&self.socket, &mut buffer, RecvFlags::empty()).map_err(DiagError::Query)?;
            let answer = &buffer[..len];
            // An answer left over from a query that was broken off is passed over.
            if u32_at(answer, 8) == Some(self.sequence) {
                return parse(answer).map_err(|error| match error {
                    Refusal::NoSuchConnection => DiagError::NoSuchConnection { local, peer },
                    Refusal::Errno(errno) => DiagError::Refused(errno),
                    Refusal::NoTcpInfo(len) => DiagError::NoTcpInfo(len),
                });
            }
        }
    }
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2` for exactly this connection; none when the families differ.
fn request(sequence: u32, local: SocketAddr, peer: SocketAddr) -> Option<[u8; REQUEST]> {
    let mut bytes = [0; REQUEST];
    bytes[0..4].copy_from_slice(&(REQUEST as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
    let body = &mut bytes[HEADER..];
    body[1] = IPPROTO_TCP;
    body[2] = 1 << (INET_DIAG_INFO - 1);
    body[4..8].fill(0xff); // any state
    let id = &mut body[8..];
    id[0..2].copy_from_slice(&local.port().to_be_bytes());
    id[2..4].copy_from_slice(&peer.port().to_be_bytes());
    let family = match (local.ip(), peer.ip()) {
        (IpAddr::V4(local), IpAddr::V4(peer)) => {
            id[4..8].copy_from_slice(&local.octets());
            id[20..24].copy_from_slice(&peer.octets());
            AF_INET
        }
        (IpAddr::V6(local), IpAddr::V6(peer)) => {
            id[4..20].copy_from_slice(&local.octets());
            id[20..36].copy_from_slice(&peer.octets());
            AF_INET6
        }
        _ => return None,
    };
    if let SocketAddr::V6(peer) = peer {
        // The interface of a link-local address.
        id[36..40].copy_from_slice(&peer.scope_id().to_ne_bytes());
    }
    id[40..48].fill(0xff); // INET_DIAG_NOCOOKIE
    body[0] = family;
    Some(bytes)
}

#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    NoSuchConnection,
    Errno(Errno),
    NoTcpInfo(usize),
}

/// Reads `struct inet_diag_msg` and, among the attributes after it, `struct tcp_info`.
fn parse(answer: &[u8]) -> Result<TcpInfo, Refusal> {
    if u16_at(answer, 4) == Some(NLMSG_ERROR) {
        let errno = u32_at(answer, HEADER).map_or(0, |code| (code as i32).wrapping_neg());
        let errno = Errno::from_raw_os_error(errno);
        return Err(if errno == Errno::NOENT {
            Refusal::NoSuchConnection
        } else {
            Refusal::Errno(errno)
        });
    }
    let state = answer.get(HEADER + 1).copied().unwrap_or_default();
    if state == TCP_LISTEN {
        // The kernel's lookup falls back to the listener on the port.
        return Err(Refusal::NoSuchConnection);
    }
    let (recv_queue, send_queue) = (u32_at(answer, HEADER + 56), u32_at(answer, HEADER + 60));
    let mut rest = answer.get(DIAG_MSG..).unwrap_or_default();
    while let (Some(len), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        let len = usize::from(len);
        let Some(value) = rest.get(4..len) else { break };
        if kind == INET_DIAG_INFO {
            let info = tcp_info(value).ok_or(Refusal::NoTcpInfo(value.len()))?;
            return Ok(TcpInfo {
                recv_queue: recv_queue.unwrap_or(0),
                send_queue: send_queue.unwrap_or(0),
                ..info
            });
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Err(Refusal::NoTcpInfo(0))
}

/// The offsets are those of `struct tcp_info`, which only ever grows at its end.
fn tcp_info(bytes: &[u8]) -> Option<TcpInfo> {
    Some(TcpInfo {
        state: *bytes.first()?,
        retransmits: *bytes.get(2)?,
        probes: *bytes.get(3)?,
        backoff: *bytes.get(4)?,
        rto_us: u32_at(bytes, 8)?,
        snd_mss: u32_at(bytes, 16)?,
        unacked: u32_at(bytes, 24)?,
        lost: u32_at(bytes, 32)?,
        retrans: u32_at(bytes, 36)?,
        last_ack_recv_ms: u32_at(bytes, 56)?,
        rtt_us: u32_at(bytes, 68)?,
        total_retrans: u32_at(bytes, 100)?,
        notsent_bytes: u32_at(bytes, 144)?,
        busy_us: u64_at(bytes, 168).unwrap_or(0),
        rwnd_limited_us: u64_at(bytes, 176).unwrap_or(0),
        snd_wnd: u32_at(bytes, 228),
        recv_queue: 0,
        send_queue: 0,
    })
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(offset..offset + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(offset..offset + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests;
