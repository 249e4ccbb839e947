//! RFC 6455 frames as a client sees them: heads in, whole frames out. No I/O.

/// The longest message that is taken from a server, in bytes: far above any snapshot of a full book, so that a corrupt length is
/// reported instead of waited for.
pub const MAX_PAYLOAD: usize = 16 << 20;

/// Continuation of a fragmented message (RFC 6455, 5.2).
pub const CONTINUATION: u8 = 0;
/// A text message.
pub const TEXT: u8 = 1;
/// A binary message.
pub const BINARY: u8 = 2;
/// A close frame.
pub const CLOSE: u8 = 8;
/// A ping, to be answered by a pong with the same payload.
pub const PING: u8 = 9;
/// A pong.
pub const PONG: u8 = 10;

/// The head of one frame from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Whether this is the last fragment of its message.
    pub fin: bool,
    /// One of the opcodes of this module.
    pub opcode: u8,
    /// Bytes before the payload.
    pub head_len: usize,
    /// Bytes of payload.
    pub payload_len: usize,
}

/// What a server must not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A server never masks (RFC 6455, 5.1).
    #[error("the server sent a masked frame")]
    Masked,
    /// Reserved bits without an extension (RFC 6455, 5.2).
    #[error("the server set reserved bits (first byte {0:#04x}) although no extension was agreed")]
    Reserved(u8),
    /// An opcode without a meaning.
    #[error("the server sent a frame with the unknown opcode {0}")]
    Opcode(u8),
    /// Longer than [`MAX_PAYLOAD`].
    #[error("the server announced a payload of {0} bytes, expected at most {MAX_PAYLOAD}")]
    TooLong(u64),
    /// A continuation without a beginning, or a new message within another.
    #[error("the server mixed up the fragments of a message")]
    Fragments,
}

impl Head {
    /// Reads a head from the start of `bytes`; `None` when it is not all there yet.
    ///
    /// # Errors
    /// What a server must not send, see [`FrameError`].
    #[inline]
    pub fn read(bytes: &[u8]) -> Result<Option<Head>, FrameError> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(FrameError::Reserved(first));
        }
        if second & 0x80 != 0 {
            return Err(FrameError::Masked);
        }
        let opcode = first & 0x0f;
        if !matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG) {
            return Err(FrameError::Opcode(opcode));
        }
        let (head_len, payload_len) = match second {
            126 => match rest.first_chunk::<2>() {
                Some(length) => (4, u64::from(u16::from_be_bytes(*length))),
                None => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(length) => (10, u64::from_be_bytes(*length)),
                None => return Ok(None),
            },
            short => (2, u64::from(short)),
        };
        match usize::try_from(payload_len) {
            Ok(payload_len) if payload_len <= MAX_PAYLOAD => {
                Ok(Some(Head { fin: first & 0x80 != 0, opcode, head_len, payload_len }))
            }
            _ => Err(FrameError::TooLong(payload_len)),
        }
    }
}

/// Appends one masked, unfragmented frame, as a client must send it (RFC 6455, 5.3).
pub fn write(opcode: u8, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match payload.len() {
        short @ 0..126 => out.push(0x80 | short as u8),
        middle @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_every_length_form_are_read_and_cut_ones_wait() {
        for (bytes, head_len, payload_len) in [
            (&[0x81, 5][..], 2, 5),
            (&[0x81, 126, 1, 2], 4, 0x102),
            (&[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0], 10, 0x1_0000),
        ] {
            let head = Head { fin: true, opcode: TEXT, head_len, payload_len };
            assert_eq!(Head::read(bytes), Ok(Some(head)));
            for cut in 0..bytes.len() {
                assert_eq!(Head::read(&bytes[..cut]), Ok(None), "cut at {cut} of {bytes:?}");
            }
        }
    }

    #[test]
    fn what_a_server_must_not_send_is_an_error() {
        assert_eq!(Head::read(&[0x81, 0x85]), Err(FrameError::Masked));
        assert_eq!(Head::read(&[0xc1, 5]), Err(FrameError::Reserved(0xc1)));
        assert_eq!(Head::read(&[0x83, 5]), Err(FrameError::Opcode(3)));
        assert!(matches!(
            Head::read(&[0x81, 127, 0x7f, 0, 0, 0, 0, 0, 0, 0]),
            Err(FrameError::TooLong(_))
        ));
    }

    #[test]
    fn written_frames_are_masked_and_carry_the_length() {
        for length in [0, 125, 126, 0xffff, 0x1_0000] {
            let payload: Vec<u8> = (0..length).map(|index| index as u8).collect();
            let mut out = Vec::new();
            write(TEXT, &payload, [1, 2, 3, 4], &mut out);
            // The mask bit off, the head reads as a server's would.
            assert_eq!(out[1] & 0x80, 0x80);
            out[1] &= 0x7f;
            let head = Head::read(&out).unwrap().unwrap();
            assert_eq!(head.payload_len, length);
            let body = &out[head.head_len + 4..];
            assert!(
                body.iter()
                    .zip(&payload)
                    .enumerate()
                    .all(|(at, (got, sent))| got ^ [1, 2, 3, 4][at % 4] == *sent)
            );
        }
    }
}
