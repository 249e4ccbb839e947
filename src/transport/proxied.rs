//! What a proxy says first of whom it speaks for: the PROXY protocol, versions 1 and 2
//! (<https://www.haproxy.org/download/1.8/doc/proxy-protocol.txt>).
//!
//! Nothing behind the header is read: it is the client's.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

use super::Socket;
use crate::limits;

/// How far a header has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// At least so many more bytes are of it.
    More(usize),
    /// It is whole.
    Done {
        /// Bytes of it.
        len: usize,
        /// The client; `None`: the connection is the proxy's own (a check of health), or it does not say.
        client: Option<SocketAddr>,
    },
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// It begins as none of either version does.
    #[error("no PROXY header")]
    None,
    /// It does not end.
    #[error("a PROXY header that is too long")]
    Long,
    /// A line of version 1 that is not understood.
    #[error("a PROXY line that is not understood")]
    Line,
    /// Another version than 2, another command than LOCAL and PROXY, or no stream.
    #[error("a PROXY header of an unknown version, command or family")]
    Unknown,
    /// Version 2: no room for the addresses that it says it has.
    #[error("a PROXY header that is too short for its addresses")]
    Short,
}

/// How version 2 begins.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2 up to and with its length.
const HEAD: usize = 16;
/// How version 1 begins.
const PROXY: &[u8] = b"PROXY ";
/// The shortest line of version 1: `PROXY UNKNOWN`, which is shorter than any header of version 2.
const SHORTEST: usize = 15;
/// The longest line of version 1, its end included.
const LONGEST: usize = 107;

/// Reads a header from the first bytes of a connection.
///
/// # Errors
/// What is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<Step, Fault> {
    let begins = |how: &[u8]| {
        let len = how.len().min(bytes.len());
        bytes[..len] == how[..len]
    };
    if !begins(SIGNATURE) && !begins(PROXY) {
        return Err(Fault::None);
    }
    if bytes.len() < SHORTEST {
        return Ok(Step::More(SHORTEST - bytes.len()));
    }
    if begins(SIGNATURE) { version_2(bytes) } else { version_1(bytes) }
}

fn version_1(bytes: &[u8]) -> Result<Step, Fault> {
    let most = bytes.len().min(LONGEST);
    let Some(end) = bytes[..most].windows(2).position(|end| end == b"\r\n") else {
        let more = if bytes[..most].ends_with(b"\r") { 1 } else { 2 };
        return if most + more > LONGEST { Err(Fault::Long) } else { Ok(Step::More(more)) };
    };
    let line = std::str::from_utf8(&bytes[PROXY.len()..end]).map_err(|_| Fault::Line)?;
    let client = line_of(line).ok_or(Fault::Line)?;
    Ok(Step::Done { len: end + 2, client })
}

/// What stands behind `PROXY `.
fn line_of(line: &str) -> Option<Option<SocketAddr>> {
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Some(None);
    }
    let parts: Vec<&str> = line.split(' ').collect();
    let [family, from, to, from_port, to_port] = parts[..] else { return None };
    let both = |is: fn(&IpAddr) -> bool| {
        let [from, to] = [from, to].map(|text| text.parse::<IpAddr>().ok().filter(is));
        to.and(from)
    };
    let ip = match family {
        "TCP4" => both(IpAddr::is_ipv4)?,
        "TCP6" => both(IpAddr::is_ipv6)?,
        _ => return None,
    };
    let port = |text: &str| {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| is_plain && (text == "0" || !text.starts_with('0')))
    };
    port(to_port)?;
    Some(Some(SocketAddr::new(ip.to_canonical(), port(from_port)?)))
}

fn version_2(bytes: &[u8]) -> Result<Step, Fault> {
    let Some((head, rest)) = bytes.split_at_checked(HEAD) else {
        return Ok(Step::More(HEAD - bytes.len()));
    };
    let is_proxied = match head[12] {
        0x20 => false,
        0x21 => true,
        _ => return Err(Fault::Unknown),
    };
    let len = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if HEAD + len > limits::PROXY_HEADER_BYTES {
        return Err(Fault::Long);
    }
    let Some(block) = rest.get(..len) else { return Ok(Step::More(len - rest.len())) };
    let client = if is_proxied { source(head[13], block)? } else { None };
    Ok(Step::Done { len: HEAD + len, client })
}

/// The source in the block of addresses; what follows them (TLVs) is of no use here.
fn source(family: u8, block: &[u8]) -> Result<Option<SocketAddr>, Fault> {
    let port = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
    let first = |len: usize| block.get(..len).ok_or(Fault::Short);
    match family {
        // It does not say; over a unix socket.
        0x00 => Ok(None),
        0x31 => first(216).map(|_| None),
        0x11 => {
            let all: [u8; 4] = first(12)?[..4].try_into().map_err(|_| Fault::Short)?;
            Ok(Some(SocketAddr::new(Ipv4Addr::from(all).into(), port(8))))
        }
        0x21 => {
            let all: [u8; 16] = first(36)?[..16].try_into().map_err(|_| Fault::Short)?;
            Ok(Some(SocketAddr::new(Ipv6Addr::from(all).to_canonical(), port(32))))
        }
        _ => Err(Fault::Unknown),
    }
}

/// Why a connection of a proxy goes no further.
#[derive(Debug, Error)]
pub(crate) enum HeaderError {
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("the connection ended in its PROXY header")]
    Ended,
    #[error("no PROXY header within the time for it")]
    Late,
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Reads a header off a connection, and no byte more.
///
/// # Errors
/// What is wrong with it, or with the connection.
pub(crate) async fn read(socket: &Socket) -> Result<Option<SocketAddr>, HeaderError> {
    let mut bytes = Vec::new();
    loop {
        let more = match parse(&bytes)? {
            Step::Done { client, .. } => return Ok(client),
            Step::More(more) => more,
        };
        let mut have = bytes.len();
        bytes.resize(have + more, 0);
        while have < bytes.len() {
            poll_fn(|cx| socket.poll_read_ready(cx)).await?;
            match socket.try_read(&mut bytes[have..]) {
                Ok(0) => return Err(HeaderError::Ended),
                Ok(n) => have += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend((block.len() as u16).to_be_bytes());
        bytes.extend(block);
        bytes
    }

    fn done(bytes: &[u8]) -> Option<SocketAddr> {
        match parse(bytes) {
            Ok(Step::Done { len, client }) if len == bytes.len() => client,
            other => panic!("{other:?} for {bytes:?}"),
        }
    }

    fn at(text: &str) -> Option<SocketAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn lines_of_version_1_are_read() {
        for (line, client) in [
            ("TCP4 203.0.113.7 10.0.0.1 51234 443", at("203.0.113.7:51234")),
            ("TCP6 2001:db8::7 ::1 1 65535", at("[2001:db8::7]:1")),
            ("TCP6 ::ffff:203.0.113.7 ::1 1 2", at("203.0.113.7:1")),
            ("UNKNOWN", None),
            ("UNKNOWN ffff::1 whatever", None),
        ] {
            assert_eq!(done(format!("PROXY {line}\r\n").as_bytes()), client, "{line}");
        }
        for line in [
            "TCP4 203.0.113.7 10.0.0.1 51234",
            "TCP4 203.0.113.7 10.0.0.1 51234 443 1",
            "TCP4 2001:db8::7 ::1 1 2",
            "TCP6 203.0.113.7 10.0.0.1 1 2",
            "TCP4 203.0.113.7 10.0.0.1 65536 443",
            "TCP4 203.0.113.7 10.0.0.1 +1 443",
            "TCP4 203.0.113.7 10.0.0.1 01 443",
            "TCP4  203.0.113.7 10.0.0.1 1 443",
            "UDP4 203.0.113.7 10.0.0.1 1 443",
            "tcp4 203.0.113.7 10.0.0.1 1 443",
            "UNKNOWNS and more",
        ] {
            let bytes = format!("PROXY {line}\r\n");
            assert_eq!(parse(bytes.as_bytes()), Err(Fault::Line), "{line}");
        }
        let endless = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
        assert_eq!(parse(&endless), Err(Fault::Long));
        assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Err(Fault::None));
    }

    /// From the specification's section 2.2: addresses, ports, then TLVs.
    #[test]
    fn headers_of_version_2_are_read() {
        let v4 = [203, 0, 113, 7, 10, 0, 0, 1, 0xc8, 0x22, 0x01, 0xbb];
        assert_eq!(done(&v2(0x21, 0x11, &v4)), at("203.0.113.7:51234"));
        let with_tlvs = [&v4[..], &[0x03, 0, 4, 1, 2, 3, 4, 0xff, 0xff]].concat();
        assert_eq!(done(&v2(0x21, 0x11, &with_tlvs)), at("203.0.113.7:51234"));
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        v6[33] = 9;
        assert_eq!(done(&v2(0x21, 0x21, &v6)), at("[2001:db8::7]:9"));
        // LOCAL says nothing, whatever is in it; nor do the unspecified family and unix sockets.
        assert_eq!(done(&v2(0x20, 0x11, &v4)), None);
        assert_eq!(done(&v2(0x20, 0xff, b"any")), None);
        assert_eq!(done(&v2(0x21, 0x00, &v4)), None);
        assert_eq!(done(&v2(0x21, 0x31, &[0; 216])), None);
        for (command, family, block, fault) in [
            (0x11, 0x11, &v4[..], Fault::Unknown),
            (0x22, 0x11, &v4, Fault::Unknown),
            (0x21, 0x12, &v4, Fault::Unknown),
            (0x21, 0x41, &v4, Fault::Unknown),
            (0x21, 0x11, &v4[..11], Fault::Short),
            (0x21, 0x21, &v4, Fault::Short),
            (0x21, 0x31, &v4, Fault::Short),
            (0x21, 0x11, &[0; limits::PROXY_HEADER_BYTES], Fault::Long),
        ] {
            assert_eq!(parse(&v2(command, family, block)), Err(fault), "{command:x} {family:x}");
        }
    }

    fn header() -> impl Strategy<Value = Vec<u8>> {
        let block = prop::collection::vec(any::<u8>(), 0..300);
        let v2s = (prop_oneof![Just(0x21u8), any::<u8>()], any::<u8>(), block)
            .prop_map(|(command, family, block)| v2(command, family, &block));
        let lines =
            "PROXY (TCP4|TCP6|UNKNOWN)[ 0-9a-f:.]{0,110}(\r\n)?".prop_map(String::into_bytes);
        prop_oneof![v2s, lines, prop::collection::vec(any::<u8>(), 0..40)]
    }

    proptest! {
        /// Bytes that are asked for are of the header: nothing behind it is read, whatever it is.
        #[test]
        fn no_byte_behind_a_header_is_asked_for(header in header(), behind in any::<[u8; 8]>()) {
            let whole = parse(&header);
            let more = parse(&[&header[..], &behind].concat());
            if let Ok(Step::Done { len, .. }) = whole {
                prop_assert_eq!(whole, more);
                let mut have = 0;
                while have < len {
                    match parse(&header[..have]) {
                        Ok(Step::More(more)) => have += more,
                        other => prop_assert!(false, "{:?} at {}", other, have),
                    }
                    prop_assert!(have <= len, "{} of {}", have, len);
                }
            }
        }
    }
}
