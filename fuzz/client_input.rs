//! A client's bytes, cut at will: the reader must not panic, must judge them alike however they are cut, and must never hand
//! out a message over the limit nor anything after a close.
//!
//! The first byte of the input is the number of cuts, that many bytes after it are the sizes of the pieces. The rest is what the client sends; its
//! mask bits are set where the fuzzer would otherwise be stopped by the first unmasked frame.
use std::ops::ControlFlow;

use tickcast::session::reader::{Incoming, ReadLimits, Reader, Violation};
use tickcast::wire::deflate::Inflater;

const LIMITS: ReadLimits = ReadLimits { max_message_bytes: 512, deflate: true };

fn read(bytes: &[u8], sizes: &[u8]) -> (Vec<String>, Result<(), Violation>) {
    let (mut reader, mut got, mut rest, mut closed) = (Reader::new(), Vec::new(), bytes, false);
    let (mut sizes, mut inflater) = (sizes.iter().cycle(), Inflater::default());
    while !rest.is_empty() {
        let size = sizes.next().map_or(rest.len(), |size| usize::from(*size) + 1);
        let (piece, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        let result = reader.feed(&mut piece.to_vec(), &LIMITS, &mut inflater, &mut |incoming| {
            assert!(!closed, "something follows a close");
            closed = matches!(incoming, Incoming::Close { .. });
            check(&incoming);
            got.push(format!("{incoming:?}"));
            ControlFlow::Continue(())
        });
        if let Err(violation) = result {
            assert!(matches!(violation.code(), 1002 | 1007 | 1009));
            assert_ne!(
                violation,
                Violation::Assembly,
                "the guard let pass what fastwebsockets refuses"
            );
            assert!(reader.is_closed() && !reader.is_partial());
            return (got, result);
        }
    }
    (got, Ok(()))
}

fn check(incoming: &Incoming<'_>) {
    match incoming {
        Incoming::Text(text) => assert!(text.len() <= LIMITS.max_message_bytes),
        Incoming::Binary(bytes) => assert!(bytes.len() <= LIMITS.max_message_bytes),
        Incoming::Ping(payload) | Incoming::Pong(payload) => assert!(payload.len() <= 125),
        Incoming::Close { reason, .. } => assert!(reason.len() <= 123),
    }
}

/// Sets the mask bit of every frame as far as the heads can be followed.
fn mask_all(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(second) = bytes.get_mut(at + 1) {
        *second |= 0x80;
        let (extended, short) = match *second & 0x7f {
            126 => (2, 0),
            127 => return,
            short => (0, usize::from(short)),
        };
        let Some(long) = bytes.get(at + 2..at + 2 + extended) else { return };
        let len = long.iter().fold(short, |len, byte| len << 8 | usize::from(*byte));
        at += 2 + extended + 4 + len;
    }
}

/// The target. Understood is what has messages and breaks no rule.
pub fn client_input(input: &[u8]) -> bool {
    let Some((&cuts, rest)) = input.split_first() else { return false };
    let (sizes, bytes) = rest.split_at(usize::from(cuts % 16).min(rest.len()));
    let mut bytes = bytes.to_vec();
    // Sometimes as they are, for the heads that the masking would mend.
    if cuts < 240 {
        mask_all(&mut bytes);
    }
    let whole = read(&bytes, &[]);
    assert_eq!(read(&bytes, sizes), whole);
    whole.1.is_ok() && !whole.0.is_empty()
}
