//! What a client can make the server hold by what it leaves unfinished: nothing when idle, in proportion to what it sent, and never much
//! more than a message may have. The only test of this program, as it counts all of its memory.

use std::alloc::System;
use std::ops::ControlFlow;

use cap::Cap;
use fastwebsockets::{Frame, OpCode, Payload};
use tickcast::session::reader::{Incoming, ReadLimits, Reader, Violation};
use tickcast::wire::deflate::{Deflater, Inflater};

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

const LIMITS: ReadLimits = ReadLimits { max_message_bytes: 64 << 10, deflate: true };

/// The fastwebsockets collector's buffer, the piece on its way to it, and small change.
const ASSEMBLY: usize = 16 << 10;

/// The inflater's state: a window of 32 KiB and tables.
const INFLATER: usize = 64 << 10;

/// The test harness itself allocates now and then.
const NOISE: usize = 2 << 10;

fn frame(fin: bool, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Frame::new(fin, opcode, Some([1, 2, 3, 4]), Payload::Owned(payload.to_vec()));
    frame.mask();
    let mut buf = Vec::new();
    frame.write(&mut buf).to_vec()
}

/// Feeds a copy of `bytes` in `scratch`, which was allocated before; returns the most memory held over `base`, and counts messages.
fn feed(
    reader: &mut Reader,
    inflater: &mut Inflater,
    scratch: &mut [u8],
    bytes: &[u8],
    base: usize,
    messages: &mut usize,
) -> usize {
    let mut most = 0;
    for piece in bytes.chunks(scratch.len()) {
        scratch[..piece.len()].copy_from_slice(piece);
        let result = reader.feed(&mut scratch[..piece.len()], &LIMITS, inflater, &mut |incoming| {
            most = most.max(MEMORY.allocated().saturating_sub(base));
            *messages += usize::from(matches!(incoming, Incoming::Text(_) | Incoming::Binary(_)));
            ControlFlow::Continue(())
        });
        assert_eq!(result, Ok(()));
        most = most.max(MEMORY.allocated().saturating_sub(base));
    }
    most
}

#[test]
fn a_reader_holds_memory_in_proportion_to_what_is_unfinished() {
    let limit = LIMITS.max_message_bytes;
    let mut scratch = vec![0; 8 << 10];
    let mut messages = 0;
    let inflater = &mut Inflater::default();

    // Idle, after requests and pongs that came whole.
    let requests =
        [frame(true, OpCode::Text, &[b'x'; 500]), frame(true, OpCode::Pong, b"")].concat();
    let mut readers: Vec<Reader> = (0..1000).map(|_| Reader::new()).collect();
    let base = MEMORY.allocated();
    for reader in &mut readers {
        feed(reader, inflater, &mut scratch, &requests, base, &mut messages);
    }
    assert_eq!(messages, 1000);
    assert!(
        MEMORY.allocated() <= base + NOISE,
        "{} bytes for 1000 idle readers",
        MEMORY.allocated() - base
    );

    // A frame that claims the whole limit and brings 100 bytes of it.
    let whole = frame(true, OpCode::Binary, &vec![7; limit]);
    let held = |bytes: &[u8], inflater: &mut Inflater, scratch: &mut [u8]| {
        let (mut reader, mut messages, base) = (Reader::new(), 0, MEMORY.allocated());
        let most = feed(&mut reader, inflater, scratch, bytes, base, &mut messages);
        drop(reader);
        assert!(MEMORY.allocated() <= base + NOISE, "not all is given back");
        (most, messages)
    };
    let (most, _) = held(&whole[..114], inflater, &mut scratch);
    assert!(most <= ASSEMBLY, "{most} bytes for 100");

    // The whole limit, in one frame and in fragments of one byte with pings between them; then nothing is left of it.
    for bytes in [whole, drizzle(limit)] {
        let (most, messages) = held(&bytes, inflater, &mut scratch);
        assert_eq!(messages, 1);
        assert!(
            most > limit && most <= 2 * limit + ASSEMBLY,
            "{most} bytes for a message of {limit}"
        );
    }

    // Fragments without payload cost nothing, however many.
    let empty =
        [frame(false, OpCode::Text, b""), frame(false, OpCode::Continuation, b"").repeat(100_000)]
            .concat();
    let (most, _) = held(&empty, inflater, &mut scratch);
    assert!(most <= ASSEMBLY, "{most} bytes for empty fragments");

    compressed(&mut scratch);
}

/// All readers share one inflater. A message of theirs is held as it came, compressed, and inflated once it is whole.
fn compressed(scratch: &mut [u8]) {
    let limit = LIMITS.max_message_bytes;
    let mut deflater = Deflater::default();
    let payload = deflater.deflate(&vec![b'x'; limit]).to_vec();
    assert!(payload.len() < 1000, "{} bytes", payload.len());
    let bomb = deflater.deflate(&vec![b'x'; 1000 * limit]).to_vec();
    assert!(bomb.len() < limit && bomb.len() > limit / 2, "{} bytes", bomb.len());
    let head = |bytes: &mut Vec<u8>| bytes[0] |= 0x40;
    let mut whole = frame(true, OpCode::Binary, &payload);
    head(&mut whole);
    let mut half = frame(false, OpCode::Binary, &payload[..payload.len() / 2]);
    head(&mut half);

    // What all of them share: its state, and a message of the limit.
    let inflater = &mut Inflater::default();
    let (mut readers, mut messages): (Vec<Reader>, _) =
        ((0..1000).map(|_| Reader::new()).collect(), 0);
    let base = MEMORY.allocated();
    for reader in &mut readers {
        let most = feed(reader, inflater, scratch, &whole, base, &mut messages);
        assert!(most <= limit + INFLATER + NOISE, "{most} bytes");
    }
    assert_eq!(messages, 1000);
    inflater.trim();

    // Halves of messages.
    let base = MEMORY.allocated();
    for reader in &mut readers {
        feed(reader, inflater, scratch, &half, base, &mut messages);
    }
    let each = MEMORY.allocated().saturating_sub(base) / readers.len();
    assert!(each <= ASSEMBLY, "{each} bytes for {} that are to be {limit}", payload.len() / 2);
    drop(readers);

    // A thousand times the limit is not inflated beyond the limit.
    let mut bytes = frame(true, OpCode::Binary, &bomb);
    head(&mut bytes);
    let (mut reader, base) = (Reader::new(), MEMORY.allocated());
    let mut most = 0;
    let mut refused = None;
    for piece in bytes.chunks(scratch.len()) {
        scratch[..piece.len()].copy_from_slice(piece);
        let result = reader.feed(&mut scratch[..piece.len()], &LIMITS, inflater, &mut |_| {
            panic!("a message of a thousand times the limit is read")
        });
        most = most.max(MEMORY.allocated().saturating_sub(base));
        refused = refused.or(result.err());
    }
    let got = limit as u64 + 1;
    assert_eq!(refused, Some(Violation::MessageTooLong { got, max: limit }));
    assert!(most <= 2 * bytes.len() + limit + ASSEMBLY, "{most} bytes for a bomb");
}

fn drizzle(len: usize) -> Vec<u8> {
    let part = [frame(false, OpCode::Continuation, b"x"), frame(true, OpCode::Ping, b"y")].concat();
    [frame(false, OpCode::Binary, b""), part.repeat(len), frame(true, OpCode::Continuation, b"")]
        .concat()
}
