//! The walk over the heads of client frames, in front of fastwebsockets.
//!
//! fastwebsockets 0.10 reads frames well but lets too much pass: unmasked client frames (RFC 6455 section 5.1), pongs and close frames over
//! 125 bytes (5.5), lengths that are not in their shortest form (5.2), a new message while one is unfinished (5.4); and its size limit is that of a
//! frame, not of a message. All of that is decided here, from the head alone and as soon as the byte that decides it has come, so that
//! what goes on to fastwebsockets is sound.

use fastwebsockets::OpCode;
use thiserror::Error;

use crate::wire::frame::MAX_CONTROL_PAYLOAD;

/// The most bytes a client frame's head takes: two, eight of extended length, four of masking key (RFC 6455 section 5.2).
pub const MAX_HEAD: usize = 14;

/// Says that a message is compressed, on its first frame (RFC 7692 section 6). The heads that fastwebsockets sees never carry a reserved
/// bit: to it, any is an error.
const RSV1: u8 = 0x40;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;

/// What a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// The most payload bytes of one message, all its fragments together; of a compressed one both before and after it is inflated.
    pub max_message_bytes: usize,
    /// Messages may be compressed: permessage-deflate (RFC 7692) was negotiated.
    pub deflate: bool,
}

/// Why a client's bytes are refused. [`Violation::code`] is the close code to answer with, the text is the reason; after it nothing
/// more of this client is read (RFC 6455 section 7.1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Violation {
    /// A reserved bit without an extension that gives it a meaning (RFC 6455 section 5.2).
    #[error("reserved bits {0:#05b} are set, which no extension that is negotiated allows here")]
    ReservedBits(u8),
    /// An opcode that RFC 6455 section 5.2 reserves.
    #[error("opcode {0:#x} is reserved")]
    Opcode(u8),
    /// A client frame without a mask (RFC 6455 section 5.1).
    #[error("frame is not masked, client frames must be")]
    NotMasked,
    /// A control frame without FIN (RFC 6455 section 5.5).
    #[error("control frame {0:?} is fragmented")]
    FragmentedControl(OpCode),
    /// A control frame over 125 bytes (RFC 6455 section 5.5).
    #[error("control frame {0:?} is over 125 bytes")]
    LongControl(OpCode),
    /// A continuation with nothing to continue (RFC 6455 section 5.4).
    #[error("continuation frame outside a fragmented message")]
    NothingToContinue,
    /// A new message while a fragmented one is unfinished (RFC 6455 section 5.4).
    #[error("{0:?} frame inside a fragmented message, expected a continuation")]
    Interleaved(OpCode),
    /// A length in more bytes than it needs (RFC 6455 section 5.2).
    #[error("length {0} is not in its shortest form")]
    LongLength(u64),
    /// A length with the top bit set (RFC 6455 section 5.2).
    #[error("length {0:#x} has its top bit set")]
    LengthSign(u64),
    /// A message over [`ReadLimits::max_message_bytes`].
    #[error("message of at least {got} bytes, at most {max} are accepted")]
    MessageTooLong {
        /// Payload bytes, up to and including the frame that decides it.
        got: u64,
        /// The limit.
        max: usize,
    },
    /// Text that is not UTF-8 (RFC 6455 section 8.1).
    #[error("text is not valid UTF-8")]
    TextNotUtf8,
    /// A compressed message that is no DEFLATE data, or is cut off (RFC 7692 section 7.2.2).
    #[error("compressed message is not valid DEFLATE data")]
    Deflate,
    /// A close reason that is not UTF-8 (RFC 6455 section 5.5.1).
    #[error("close reason is not valid UTF-8")]
    ReasonNotUtf8,
    /// A close payload of one byte, which holds no code (RFC 6455 section 5.5.1).
    #[error("close frame with half a code")]
    HalfCloseCode,
    /// A close code that must not be sent (RFC 6455 section 7.4).
    #[error("close code {0} is not one a client may send")]
    CloseCode(u16),
    /// fastwebsockets refused what the guard had let pass.
    #[error("message cannot be assembled")]
    Assembly,
}

impl Violation {
    /// The close code that tells the client: 1007 (not UTF-8, not DEFLATE), 1009 (too long) or 1002 (protocol error), RFC 6455 section 7.4.1.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::TextNotUtf8 | Self::ReasonNotUtf8 | Self::Deflate => 1007,
            Self::MessageTooLong { .. } => 1009,
            _ => 1002,
        }
    }
}

/// The head of a client frame that broke no rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The last frame of its message.
    pub fin: bool,
    /// What it is.
    pub opcode: OpCode,
    /// Its message is compressed; only ever on a message's first frame.
    pub deflated: bool,
    /// The masking key.
    pub mask: [u8; 4],
    /// Bytes of this head.
    pub size: usize,
    /// Bytes of payload, within the limit.
    pub len: usize,
}

impl Head {
    /// Whether this is a close, ping or pong (RFC 6455 section 5.5).
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.opcode as u8 & 0x8 != 0
    }
}

/// How far the bytes at hand go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    /// The head is not complete; this many bytes more are certainly part of it.
    Need(usize),
    /// The head is complete.
    Head(Head),
}

/// Reads the head at the start of `bytes`. `open` is the number of payload bytes so far of a fragmented message, if one is unfinished.
///
/// # Errors
/// The rule that the head breaks, even when the head is not complete.
pub fn walk(bytes: &[u8], open: Option<usize>, limits: &ReadLimits) -> Result<Walk, Violation> {
    let Some(&first) = bytes.first() else { return Ok(Walk::Need(2)) };
    let (fin, opcode) = check_first(first, open.is_some(), limits.deflate)?;
    let Some(&second) = bytes.get(1) else { return Ok(Walk::Need(1)) };
    if second & MASKED == 0 {
        return Err(Violation::NotMasked);
    }
    let short = second & LENGTH;
    let extended = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let control = opcode as u8 & 0x8 != 0;
    if control && usize::from(short) > MAX_CONTROL_PAYLOAD {
        return Err(Violation::LongControl(opcode));
    }
    let Some(length) = bytes.get(2..2 + extended) else {
        return Ok(Walk::Need(2 + extended + 4 - bytes.len()));
    };
    let len = if extended == 0 { u64::from(short) } else { check_extended(length)? };
    let len =
        if control { usize::from(short) } else { check_limit(len, open.unwrap_or(0), limits)? };
    let size = 2 + extended + 4;
    let Some(mask) = bytes.get(size - 4..size).and_then(|mask| mask.try_into().ok()) else {
        return Ok(Walk::Need(size - bytes.len()));
    };
    let deflated = first & RSV1 != 0;
    Ok(Walk::Head(Head { fin, opcode, deflated, mask, size, len }))
}

fn check_first(first: u8, open: bool, deflate: bool) -> Result<(bool, OpCode), Violation> {
    // Neither control frames nor continuations may have it (RFC 7692 section 6.1).
    let begins_data = [OpCode::Text as u8, OpCode::Binary as u8].contains(&(first & OPCODE));
    let allowed = if deflate && begins_data { RSV1 } else { 0 };
    let reserved = first & RESERVED & !allowed;
    if reserved != 0 {
        return Err(Violation::ReservedBits(reserved >> 4));
    }
    let fin = first & FIN != 0;
    let opcode = OpCode::try_from(first & OPCODE).map_err(|_| Violation::Opcode(first & OPCODE))?;
    match opcode {
        OpCode::Close | OpCode::Ping | OpCode::Pong if !fin => {
            Err(Violation::FragmentedControl(opcode))
        }
        OpCode::Text | OpCode::Binary if open => Err(Violation::Interleaved(opcode)),
        OpCode::Continuation if !open => Err(Violation::NothingToContinue),
        _ => Ok((fin, opcode)),
    }
}

/// The length in `bytes`, which are 2 or 8.
fn check_extended(bytes: &[u8]) -> Result<u64, Violation> {
    let len = bytes.iter().fold(0u64, |len, &byte| len << 8 | u64::from(byte));
    let least = if bytes.len() == 2 { 126 } else { 65_536 };
    if len >> 63 != 0 {
        Err(Violation::LengthSign(len))
    } else if len < least {
        Err(Violation::LongLength(len))
    } else {
        Ok(len)
    }
}

fn check_limit(len: u64, so_far: usize, limits: &ReadLimits) -> Result<usize, Violation> {
    // `len` is below 2^63 and `so_far` within the limit, so the sum does not overflow.
    let got = len.saturating_add(so_far as u64);
    let max = limits.max_message_bytes;
    if got > max as u64 {
        return Err(Violation::MessageTooLong { got, max });
    }
    usize::try_from(len).map_err(|_| Violation::MessageTooLong { got, max })
}

/// The code and reason of a close frame's unmasked payload; no code when it is empty.
///
/// # Errors
/// Half a code, a code that must not be sent, or a reason that is not UTF-8.
pub fn close_payload(payload: &[u8]) -> Result<(Option<u16>, &str), Violation> {
    match payload {
        [] => Ok((None, "")),
        [_] => Err(Violation::HalfCloseCode),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !may_be_sent(code) {
                return Err(Violation::CloseCode(code));
            }
            let reason = std::str::from_utf8(reason).map_err(|_| Violation::ReasonNotUtf8)?;
            Ok((Some(code), reason))
        }
    }
}

/// Whether RFC 6455 section 7.4 and the IANA registry (which added 1012 to 1014) let an endpoint send this code. fastwebsockets' own
/// table lacks 1014.
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ReadLimits = ReadLimits { max_message_bytes: 1 << 20, deflate: false };

    fn refused(bytes: &[u8], open: Option<usize>) -> Violation {
        walk(bytes, open, &LIMITS).expect_err("the head breaks a rule")
    }

    #[test]
    fn a_complete_head_is_read_in_every_length_form() {
        for (length, len) in [
            (vec![5u8], 5),
            (vec![126, 0, 126], 126),
            (vec![126, 255, 255], 65_535),
            (vec![127, 0, 0, 0, 0, 0, 1, 0, 0], 65_536),
        ] {
            let mut bytes = vec![0x81];
            bytes.extend(&length);
            bytes[1] |= MASKED;
            bytes.extend([1, 2, 3, 4]);
            let head = Head {
                fin: true,
                opcode: OpCode::Text,
                deflated: false,
                mask: [1, 2, 3, 4],
                size: bytes.len(),
                len,
            };
            assert_eq!(walk(&bytes, None, &LIMITS), Ok(Walk::Head(head)));
            for cut in 0..bytes.len() {
                let Ok(Walk::Need(need)) = walk(&bytes[..cut], None, &LIMITS) else {
                    panic!("{cut} bytes are no head")
                };
                assert!(need >= 1 && cut + need <= bytes.len());
            }
        }
    }

    #[test]
    fn the_first_byte_decides_what_it_can() {
        for reserved in 1..8u8 {
            assert_eq!(refused(&[0x81 | reserved << 4], None), Violation::ReservedBits(reserved));
        }
        for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf] {
            assert_eq!(refused(&[0x80 | opcode], None), Violation::Opcode(opcode));
        }
        assert_eq!(refused(&[0x09], None), Violation::FragmentedControl(OpCode::Ping));
        assert_eq!(refused(&[0x80], None), Violation::NothingToContinue);
        assert_eq!(refused(&[0x00], None), Violation::NothingToContinue);
        assert_eq!(refused(&[0x81], Some(0)), Violation::Interleaved(OpCode::Text));
        assert_eq!(refused(&[0x02], Some(0)), Violation::Interleaved(OpCode::Binary));
        assert_eq!(walk(&[0x89], Some(0), &LIMITS), Ok(Walk::Need(1)));
    }

    #[test]
    fn rsv1_is_for_the_first_frame_of_a_message_where_it_is_negotiated() {
        let limits = ReadLimits { deflate: true, ..LIMITS };
        for (first, deflated) in [(0xc1u8, true), (0xc2, true), (0x41, true), (0x81, false)] {
            let bytes = [first, MASKED | 1, 1, 2, 3, 4];
            let Ok(Walk::Head(head)) = walk(&bytes, None, &limits) else {
                panic!("{first:#x} is allowed")
            };
            assert_eq!(head.deflated, deflated);
        }
        for (first, open, reserved) in [
            (0xc0u8, Some(1), 4), // a continuation
            (0xc8, None, 4),
            (0xc9, None, 4),
            (0xca, Some(1), 4),
            (0xa1, None, 2),
            (0xd1, None, 1),
            (0xf1, None, 3),
        ] {
            let refused = walk(&[first], open, &limits);
            assert_eq!(refused, Err(Violation::ReservedBits(reserved)), "{first:#x}");
        }
        assert_eq!(walk(&[0xc1], Some(1), &limits), Err(Violation::Interleaved(OpCode::Text)));
    }

    #[test]
    fn the_second_byte_decides_what_it_can() {
        assert_eq!(refused(&[0x81, 0x05], None), Violation::NotMasked);
        for opcode in [OpCode::Close, OpCode::Ping, OpCode::Pong] {
            assert_eq!(refused(&[0x80 | opcode as u8, 0xfe], None), Violation::LongControl(opcode));
            assert_eq!(refused(&[0x80 | opcode as u8, 0xff], None), Violation::LongControl(opcode));
        }
    }

    #[test]
    fn a_length_must_be_in_its_shortest_form() {
        assert_eq!(refused(&[0x81, 0xfe, 0, 125], None), Violation::LongLength(125));
        assert_eq!(
            refused(&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 255, 255], None),
            Violation::LongLength(65_535)
        );
        assert_eq!(
            refused(&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1], None),
            Violation::LengthSign(0x8000_0000_0000_0001)
        );
    }

    #[test]
    fn the_limit_is_that_of_the_message_and_known_before_the_mask() {
        let limits = ReadLimits { max_message_bytes: 200, deflate: false };
        let Ok(Walk::Need(4)) = walk(&[0x81, 0xfe, 0, 200], None, &limits) else {
            panic!("200 bytes are allowed")
        };
        assert_eq!(
            walk(&[0x81, 0xfe, 0, 201], None, &limits),
            Err(Violation::MessageTooLong { got: 201, max: 200 })
        );
        let Ok(Walk::Need(4)) = walk(&[0x80, 0x80 | 50], Some(150), &limits) else {
            panic!("150 + 50 bytes are allowed")
        };
        assert_eq!(
            walk(&[0x80, 0x80 | 51], Some(150), &limits),
            Err(Violation::MessageTooLong { got: 201, max: 200 })
        );
        let Ok(Walk::Need(4)) = walk(&[0x89, 0x80 | 125], Some(200), &limits) else {
            panic!("a ping is no part of the message")
        };
        let huge = [0x80, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255];
        assert_eq!(
            walk(&huge, Some(200), &limits).map_err(|violation| violation.code()),
            Err(1009)
        );
    }

    #[test]
    fn close_payloads() {
        assert_eq!(close_payload(&[]), Ok((None, "")));
        assert_eq!(close_payload(&[3]), Err(Violation::HalfCloseCode));
        assert_eq!(close_payload(&[3, 232, 0xe2, 0x82, 0xac]), Ok((Some(1000), "€")));
        assert_eq!(close_payload(&[3, 232, 0xe2, 0x82]), Err(Violation::ReasonNotUtf8));
        for code in [
            1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999,
            4000, 4999,
        ] {
            assert_eq!(close_payload(&u16::to_be_bytes(code)), Ok((Some(code), "")));
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
            assert_eq!(close_payload(&u16::to_be_bytes(code)), Err(Violation::CloseCode(code)));
        }
    }

    #[test]
    fn codes() {
        assert_eq!(Violation::NotMasked.code(), 1002);
        assert_eq!(Violation::TextNotUtf8.code(), 1007);
        assert_eq!(Violation::ReasonNotUtf8.code(), 1007);
        assert_eq!(Violation::Deflate.code(), 1007);
        assert_eq!(Violation::MessageTooLong { got: 2, max: 1 }.code(), 1009);
        assert_eq!(
            Violation::ReservedBits(0b100).to_string(),
            "reserved bits 0b100 are set, which no extension that is negotiated allows here"
        );
    }
}
