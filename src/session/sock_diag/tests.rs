use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use super::super::cause::{LagCause, classify};
use super::*;

/// Two ends of a connection over `address`, the server's first.
fn connection(address: &str) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(address).expect("a free port");
    let client =
        TcpStream::connect(listener.local_addr().expect("bound")).expect("the listener is there");
    let (server, _) = listener.accept().expect("the client is there");
    (server, client)
}

fn ask(diag: &mut SockDiag, end: &TcpStream) -> TcpInfo {
    diag.tcp_info(end.local_addr().expect("bound"), end.peer_addr().expect("connected"))
        .expect("the connection is there")
}

/// Asks until `accepts`: the kernel acknowledges when it likes.
fn ask_until(diag: &mut SockDiag, end: &TcpStream, accepts: impl Fn(&TcpInfo) -> bool) -> TcpInfo {
    for _ in 0..1000 {
        let info = ask(diag, end);
        if accepts(&info) {
            return info;
        }
        #[expect(clippy::disallowed_methods, reason = "a test waits for the kernel")]
        sleep(Duration::from_millis(10));
    }
    panic!("still {:?}", ask(diag, end));
}

/// Writes until the kernel takes no more, and returns how much it took.
fn fill(end: &mut TcpStream) -> usize {
    end.set_nonblocking(true).expect("an option");
    let mut written = 0;
    loop {
        match end.write(&[7; 64 << 10]) {
            Ok(len) => written += len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return written,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_reader_that_stops_closes_its_window() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (mut server, mut client) = connection(address);
        let mut diag = SockDiag::open().expect("netlink");
        let written = fill(&mut server);
        let info =
            ask_until(&mut diag, &server, |info| classify(info, true) == LagCause::PeerWindow);
        assert!(info.send_queue > 0 && info.notsent_bytes > 0, "{info:?}");
        assert_eq!(info.state, 1);
        // Seen from the other end: unread bytes, and none to send.
        let other = ask(&mut diag, &client);
        assert!(other.recv_queue > 0 && other.send_queue == 0, "{other:?}");
        assert_eq!(classify(&other, true), LagCause::Server);
        // Once it reads, nothing holds the server up.
        client.read_exact(&mut vec![0; written]).expect("all that was written");
        let info = ask_until(&mut diag, &server, |info| info.send_queue == 0);
        assert_eq!(classify(&info, true), LagCause::Server);
    }
}

#[test]
fn addresses_mapped_from_ipv4_are_found() {
    let (server, _client) = connection("[::ffff:127.0.0.1]:0");
    assert!(server.local_addr().expect("bound").is_ipv6());
    assert_eq!(ask(&mut SockDiag::open().expect("netlink"), &server).state, 1);
}

#[test]
fn what_is_no_connection_is_not_found() {
    let mut diag = SockDiag::open().expect("netlink");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let (local, peer) =
        (listener.local_addr().expect("bound"), "127.0.0.1:1".parse().expect("an address"));
    assert_eq!(diag.tcp_info(local, peer), Err(DiagError::NoSuchConnection { local, peer }));
    drop(listener);
    assert_eq!(diag.tcp_info(local, peer), Err(DiagError::NoSuchConnection { local, peer }));
    let peer = "[::1]:1".parse().expect("an address");
    assert_eq!(diag.tcp_info(local, peer), Err(DiagError::MixedFamilies { local, peer }));
}

/// An answer with the `len` first bytes of a `tcp_info` whose bytes are their offsets.
fn answer(len: u8) -> Vec<u8> {
    let mut bytes = vec![0; DIAG_MSG];
    bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes[HEADER + 1] = 1;
    bytes[HEADER + 56] = 11;
    bytes[HEADER + 60] = 22;
    let attribute = |kind: u16, value: &[u8]| {
        let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    bytes.extend(attribute(8, &[0])); // INET_DIAG_SHUTDOWN, padded
    bytes.extend(attribute(INET_DIAG_INFO, &(0..len).collect::<Vec<_>>()));
    bytes
}

#[test]
fn fields_are_read_where_the_header_has_them() {
    let info = parse(&answer(232)).expect("complete");
    assert_eq!((info.recv_queue, info.send_queue), (11, 22));
    assert_eq!((info.retransmits, info.probes, info.backoff), (2, 3, 4));
    assert_eq!(info.snd_wnd, Some(u32::from_ne_bytes([228, 229, 230, 231])));
    assert_eq!(info.busy_us, u64::from_ne_bytes([168, 169, 170, 171, 172, 173, 174, 175]));
    let older = parse(&answer(192)).expect("complete");
    assert_eq!(older, TcpInfo { snd_wnd: None, ..info });
    let oldest = parse(&answer(148)).expect("complete");
    assert_eq!(oldest, TcpInfo { snd_wnd: None, busy_us: 0, rwnd_limited_us: 0, ..info });
}

#[test]
fn answers_cut_short_are_errors() {
    assert_eq!(parse(&answer(147)), Err(Refusal::NoTcpInfo(147)));
    let whole = answer(148);
    for cut in 0..whole.len() {
        assert_eq!(parse(&whole[..cut]), Err(Refusal::NoTcpInfo(0)), "{cut} bytes");
    }
    // An attribute shorter than its own head.
    let mut short = answer(148);
    short[DIAG_MSG..DIAG_MSG + 2].copy_from_slice(&3u16.to_ne_bytes());
    assert_eq!(parse(&short), Err(Refusal::NoTcpInfo(0)));
}
