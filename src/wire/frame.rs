//! Server frames of RFC 6455: final, unmasked (section 5.1), the length in its shortest form (section 5.2).
//!
//! Everything appends to a `Vec`, so that a data frame can be encoded once, head included, and shared by all who receive it.

use fastwebsockets::OpCode;

/// The most bytes a server frame's head takes: two, and eight of extended length (RFC 6455 section 5.2).
pub const MAX_HEAD: usize = 10;

/// The most payload bytes a control frame may carry (RFC 6455 section 5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// The most bytes of reason a close frame holds: a control payload less the two bytes of the code (RFC 6455 section 5.5.1).
pub const MAX_CLOSE_REASON: usize = MAX_CONTROL_PAYLOAD - 2;

/// Appends the head of a final, unmasked frame whose payload has `len` bytes.
pub fn head(opcode: OpCode, len: usize, out: &mut Vec<u8>) {
    const FIN: u8 = 0x80;
    out.push(FIN | opcode as u8);
    if len <= 125 {
        out.push(len as u8);
    } else if let Ok(len) = u16::try_from(len) {
        out.push(126);
        out.extend_from_slice(&len.to_be_bytes());
    } else {
        out.push(127);
        out.extend_from_slice(&(len as u64).to_be_bytes());
    }
}

/// Appends a text frame; the payload must be UTF-8 (RFC 6455 section 5.6).
pub fn text(payload: impl AsRef<[u8]>, out: &mut Vec<u8>) {
    whole(OpCode::Text, payload.as_ref(), out);
}

/// Appends a binary frame.
pub fn binary(payload: &[u8], out: &mut Vec<u8>) {
    whole(OpCode::Binary, payload, out);
}

/// Appends a ping frame. A payload over [`MAX_CONTROL_PAYLOAD`] bytes is cut to that.
pub fn ping(payload: &[u8], out: &mut Vec<u8>) {
    whole(OpCode::Ping, cut(payload), out);
}

/// Appends a pong frame; the payload is that of the ping it answers (RFC 6455 section 5.5.3). A payload over
/// [`MAX_CONTROL_PAYLOAD`] bytes is cut to that.
pub fn pong(payload: &[u8], out: &mut Vec<u8>) {
    whole(OpCode::Pong, cut(payload), out);
}

/// Appends a close frame. A reason over [`MAX_CLOSE_REASON`] bytes is cut at the last character boundary that fits, because the
/// reason must be valid UTF-8 (RFC 6455 section 5.5.1).
pub fn close(code: u16, reason: &str, out: &mut Vec<u8>) {
    let reason = &reason[..reason.floor_char_boundary(MAX_CLOSE_REASON)];
    head(OpCode::Close, 2 + reason.len(), out);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Appends a close frame without a code, the answer to one that had none (RFC 6455 section 7.1.5).
pub fn close_empty(out: &mut Vec<u8>) {
    head(OpCode::Close, 0, out);
}

/// The whole length, head included, of the server frame that starts here; `None` where its head is not complete.
pub fn len_at(bytes: &[u8]) -> Option<usize> {
    match *bytes.get(1)? {
        126 => Some(4 + usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => Some(10 + u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        len => Some(2 + usize::from(len)),
    }
}

/// Appends a frame with a compressed message's payload: RSV1 says so (RFC 7692 section 6).
pub fn deflated(opcode: OpCode, payload: &[u8], out: &mut Vec<u8>) {
    const RSV1: u8 = 0x40;
    let first = out.len();
    whole(opcode, payload, out);
    out[first] |= RSV1;
}

/// Appends a frame.
pub fn whole(opcode: OpCode, payload: &[u8], out: &mut Vec<u8>) {
    out.reserve(MAX_HEAD + payload.len());
    head(opcode, payload.len(), out);
    out.extend_from_slice(payload);
}

fn cut(payload: &[u8]) -> &[u8] {
    &payload[..payload.len().min(MAX_CONTROL_PAYLOAD)]
}

#[cfg(test)]
mod tests {
    use fastwebsockets::{Frame, Role, WebSocket};
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// What an independent client reads from `bytes`.
    fn read_as_client(bytes: &[u8]) -> Frame<'static> {
        let (mut server, client) = tokio::io::duplex(bytes.len().max(1));
        let mut client = WebSocket::after_handshake(client, Role::Client);
        client.set_auto_close(false);
        client.set_auto_pong(false);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(async {
            server.write_all(bytes).await.expect("the pipe holds the frame");
            client.read_frame().await.expect("the client accepts the frame")
        })
    }

    #[test]
    fn a_client_reads_every_length_form() {
        for (len, head_len) in
            [(0, 2), (1, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10), (200_000, 10)]
        {
            let payload = "x".repeat(len);
            let mut out = Vec::new();
            text(&payload, &mut out);
            assert_eq!(out.len(), head_len + len);
            assert_eq!(len_at(&out), Some(out.len()));
            assert_eq!(len_at(&out[..head_len - 1]), None);
            let frame = read_as_client(&out);
            assert!(frame.fin);
            assert_eq!(frame.opcode, OpCode::Text);
            assert_eq!(&*frame.payload, payload.as_bytes());
        }
    }

    #[test]
    fn heads_are_the_bytes_of_the_rfc() {
        // RFC 6455 section 5.7: an unmasked "Hello", and the heads of 256 B and 64 KiB of binary.
        let mut out = Vec::new();
        text("Hello", &mut out);
        assert_eq!(out, [0x81, 0x05, b'H', b'e', b'l', b'l', b'o']);
        out.clear();
        head(OpCode::Binary, 256, &mut out);
        assert_eq!(out, [0x82, 0x7e, 0x01, 0x00]);
        out.clear();
        head(OpCode::Binary, 65_536, &mut out);
        assert_eq!(out, [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn frames_append() {
        let mut out = b"before".to_vec();
        binary(&[1, 2], &mut out);
        ping(&[], &mut out);
        assert_eq!(out, [b"before".as_slice(), &[0x82, 2, 1, 2, 0x89, 0]].concat());
    }

    #[test]
    fn a_client_reads_control_frames() {
        let mut out = Vec::new();
        ping(&[7; 125], &mut out);
        let frame = read_as_client(&out);
        assert_eq!((frame.opcode, &*frame.payload), (OpCode::Ping, [7; 125].as_slice()));
        out.clear();
        pong(&[8; 300], &mut out);
        let frame = read_as_client(&out);
        assert_eq!((frame.opcode, &*frame.payload), (OpCode::Pong, [8; 125].as_slice()));
        out.clear();
        close_empty(&mut out);
        assert_eq!(out, [0x88, 0]);
    }

    #[test]
    fn a_close_reason_is_cut_between_characters() {
        for (reason, kept) in [
            ("bye", 3),
            (&*"x".repeat(200), 123),
            (&*"€".repeat(100), 123),
            (&*format!("x{}", "€".repeat(100)), 121),
        ] {
            let mut out = Vec::new();
            close(4008, reason, &mut out);
            let frame = read_as_client(&out);
            assert_eq!(frame.opcode, OpCode::Close);
            assert_eq!(frame.payload[..2], 4008u16.to_be_bytes());
            assert_eq!(std::str::from_utf8(&frame.payload[2..]), Ok(&reason[..kept]));
        }
    }
}
