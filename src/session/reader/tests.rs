use std::ops::ControlFlow;

use fastwebsockets::{Frame, OpCode, Payload};
use proptest::prelude::*;

use super::*;

const LIMITS: ReadLimits = ReadLimits { max_message_bytes: 1 << 20, deflate: false };

/// An [`Incoming`] that outlives the call.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

impl From<Incoming<'_>> for Got {
    fn from(incoming: Incoming<'_>) -> Self {
        match incoming {
            Incoming::Text(text) => Self::Text(text.into()),
            Incoming::Binary(bytes) => Self::Binary(bytes.into()),
            Incoming::Ping(payload) => Self::Ping(payload.into()),
            Incoming::Pong(payload) => Self::Pong(payload.into()),
            Incoming::Close { code, reason } => Self::Close(code, reason.into()),
        }
    }
}

/// A masked client frame, written by fastwebsockets.
fn frame(fin: bool, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let mut frame =
        Frame::new(fin, opcode, Some([0x12, 0x9a, 0xfe, 0x07]), Payload::Owned(payload.to_vec()));
    frame.mask();
    let mut buf = Vec::new();
    frame.write(&mut buf).to_vec()
}

/// Feeds `bytes` in one piece to `reader`.
fn feed(
    reader: &mut Reader,
    bytes: &[u8],
    limits: &ReadLimits,
) -> (Vec<Got>, Result<(), Violation>) {
    let mut got = Vec::new();
    let result =
        reader.feed(&mut bytes.to_vec(), limits, &mut Inflater::default(), &mut |incoming| {
            got.push(incoming.into());
            ControlFlow::Continue(())
        });
    (got, result)
}

/// Feeds `bytes` in pieces of `sizes`, over and over, to a new reader.
fn feed_in(
    bytes: &[u8],
    sizes: &[usize],
    limits: &ReadLimits,
) -> (Vec<Got>, Result<(), Violation>) {
    let mut reader = Reader::new();
    let (mut got, mut rest) = (Vec::new(), bytes);
    for size in sizes.iter().cycle() {
        let (piece, after) = rest.split_at(rest.len().min(*size));
        let (more, result) = feed(&mut reader, piece, limits);
        got.extend(more);
        rest = after;
        if result.is_err() || rest.is_empty() {
            return (got, result);
        }
    }
    (got, Ok(()))
}

/// The same whether the bytes come at once, one by one, or in odd pieces.
fn read(bytes: &[u8], limits: &ReadLimits) -> (Vec<Got>, Result<(), Violation>) {
    let at_once = feed_in(bytes, &[bytes.len().max(1)], limits);
    assert_eq!(feed_in(bytes, &[1], limits), at_once);
    assert_eq!(feed_in(bytes, &[3, 1, 7], limits), at_once);
    at_once
}

fn text(text: &str) -> Got {
    Got::Text(text.into())
}

#[test]
fn an_idle_reader_is_two_words_without_heap() {
    assert!(size_of::<Reader>() <= 16);
    let mut reader = Reader::new();
    let bytes = [
        frame(true, OpCode::Text, b"one"),
        frame(true, OpCode::Ping, b""),
        frame(true, OpCode::Binary, &[0; 70_000]),
    ]
    .concat();
    let (got, result) = feed(&mut reader, &bytes, &LIMITS);
    assert_eq!((got.len(), result), (3, Ok(())));
    assert!(!reader.is_partial());
}

#[test]
fn memory_is_held_only_while_something_is_unfinished() {
    let mut reader = Reader::new();
    let bytes = [
        frame(false, OpCode::Text, b"one"),
        frame(true, OpCode::Pong, b"two"),
        frame(true, OpCode::Continuation, b"three"),
    ]
    .concat();
    for (place, byte) in bytes.iter().enumerate() {
        let (got, result) = feed(&mut reader, &[*byte], &LIMITS);
        assert_eq!(result, Ok(()));
        let last = place + 1 == bytes.len();
        assert_eq!(reader.is_partial(), !last);
        assert_eq!(got.contains(&text("onethree")), last);
    }
}

#[test]
fn frames_of_the_rfc_are_read() {
    // RFC 6455 section 5.7: a masked "Hello", and a masked pong of "Hello".
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(read(&hello, &LIMITS), (vec![text("Hello")], Ok(())));
    let pong = [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(read(&pong, &LIMITS), (vec![Got::Pong(b"Hello".into())], Ok(())));
}

#[test]
fn control_frames_inside_a_message_are_handled_at_once() {
    let bytes = [
        frame(false, OpCode::Binary, &[1]),
        frame(true, OpCode::Ping, b"now"),
        frame(false, OpCode::Continuation, &[]),
        frame(true, OpCode::Pong, &[]),
        frame(true, OpCode::Continuation, &[2]),
        frame(true, OpCode::Text, b"next"),
    ]
    .concat();
    let expected =
        vec![Got::Ping(b"now".into()), Got::Pong(vec![]), Got::Binary(vec![1, 2]), text("next")];
    assert_eq!(read(&bytes, &LIMITS), (expected, Ok(())));
}

#[test]
fn empty_messages_are_messages() {
    let bytes = [
        frame(true, OpCode::Text, b""),
        frame(false, OpCode::Binary, b""),
        frame(true, OpCode::Continuation, b""),
        frame(false, OpCode::Text, b""),
        frame(false, OpCode::Continuation, b"x"),
        frame(true, OpCode::Continuation, b""),
    ]
    .concat();
    assert_eq!(read(&bytes, &LIMITS), (vec![text(""), Got::Binary(vec![]), text("x")], Ok(())));
}

#[test]
fn nothing_is_read_after_a_close() {
    let close = frame(true, OpCode::Close, &[&1001u16.to_be_bytes(), "grüß".as_bytes()].concat());
    let bytes =
        [frame(true, OpCode::Text, b"a"), close, frame(true, OpCode::Text, b"b"), vec![0xff; 9]]
            .concat();
    assert_eq!(
        read(&bytes, &LIMITS),
        (vec![text("a"), Got::Close(Some(1001), "grüß".into())], Ok(()))
    );
    let mut reader = Reader::new();
    let (got, _) = feed(&mut reader, &frame(true, OpCode::Close, b""), &LIMITS);
    assert_eq!(got, [Got::Close(None, String::new())]);
    assert!(reader.is_closed());
    assert_eq!(feed(&mut reader, &frame(true, OpCode::Text, b"b"), &LIMITS), (vec![], Ok(())));
}

#[test]
fn a_bad_close_is_a_violation() {
    for (payload, code) in
        [(vec![3], 1002), (1005u16.to_be_bytes().to_vec(), 1002), (vec![3, 232, 0xff], 1007)]
    {
        let (got, result) = read(&frame(true, OpCode::Close, &payload), &LIMITS);
        assert_eq!((got, result.map_err(|violation| violation.code())), (vec![], Err(code)));
    }
}

#[test]
fn the_session_can_stop_between_two_frames() {
    let mut reader = Reader::new();
    let mut calls = 0;
    let mut bytes = frame(true, OpCode::Ping, b"").repeat(3);
    let result = reader.feed(&mut bytes, &LIMITS, &mut Inflater::default(), &mut |_| {
        calls += 1;
        if calls == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((calls, result, reader.is_closed()), (2, Ok(()), true));
}

#[test]
fn a_violation_ends_the_reading_and_frees_the_message() {
    let mut reader = Reader::new();
    let bytes = [
        frame(false, OpCode::Text, b"a"),
        frame(true, OpCode::Text, b"b"),
        frame(true, OpCode::Ping, b""),
    ]
    .concat();
    assert_eq!(
        feed(&mut reader, &bytes, &LIMITS),
        (vec![], Err(Violation::Interleaved(OpCode::Text)))
    );
    assert!(reader.is_closed() && !reader.is_partial());
    assert_eq!(feed(&mut reader, &bytes, &LIMITS), (vec![], Ok(())));
}

#[test]
fn the_limit_counts_all_fragments() {
    let limits = ReadLimits { max_message_bytes: 10, deflate: false };
    let part = |fin, opcode, len: usize| frame(fin, opcode, &vec![b'x'; len]);
    let fits = [
        part(false, OpCode::Text, 4),
        part(true, OpCode::Ping, 100),
        part(true, OpCode::Continuation, 6),
    ]
    .concat();
    assert_eq!(read(&fits, &limits).0.last(), Some(&text("xxxxxxxxxx")));
    let over = [
        part(false, OpCode::Text, 4),
        part(false, OpCode::Continuation, 4),
        part(true, OpCode::Continuation, 3),
    ]
    .concat();
    assert_eq!(read(&over, &limits), (vec![], Err(Violation::MessageTooLong { got: 11, max: 10 })));
    // The head is enough: the payload need not come.
    assert_eq!(
        read(&part(true, OpCode::Text, 11)[..2], &limits).1,
        Err(Violation::MessageTooLong { got: 11, max: 10 })
    );
}

#[test]
fn invalid_text_is_refused_however_it_is_cut() {
    let euro = "€".as_bytes();
    let parts = [
        frame(false, OpCode::Text, &euro[..1]),
        frame(false, OpCode::Continuation, &euro[1..2]),
        frame(true, OpCode::Continuation, &euro[2..]),
    ];
    assert_eq!(read(&parts.concat(), &LIMITS), (vec![text("€")], Ok(())));
    // A character that the last fragment leaves unfinished, and one that the next fragment breaks.
    for last in [&b""[..], b"\x82", b"\x82x", b"x"] {
        let bytes =
            [frame(false, OpCode::Text, &euro[..1]), frame(true, OpCode::Continuation, last)]
                .concat();
        assert_eq!(read(&bytes, &LIMITS), (vec![], Err(Violation::TextNotUtf8)), "{last:?}");
    }
    assert_eq!(
        read(&frame(true, OpCode::Text, b"\xc3"), &LIMITS),
        (vec![], Err(Violation::TextNotUtf8))
    );
    // Surrogates and overlong forms are not UTF-8.
    assert_eq!(
        read(&frame(true, OpCode::Text, b"\xed\xa0\x80"), &LIMITS).1,
        Err(Violation::TextNotUtf8)
    );
    assert_eq!(
        read(&frame(true, OpCode::Text, b"\xc0\xaf"), &LIMITS).1,
        Err(Violation::TextNotUtf8)
    );
}

#[test]
fn invalid_text_is_refused_before_the_frame_is_complete() {
    let bytes = frame(true, OpCode::Text, &[&b"fine \xf4\x90"[..], &[b'x'; 1000]].concat());
    assert_eq!(read(&bytes[..20], &LIMITS), (vec![], Err(Violation::TextNotUtf8)));
}

#[test]
fn large_messages_survive_any_cut() {
    let payload: Vec<u8> = (0..300_000u32).map(|n| (n / 7) as u8).collect();
    let frames: Vec<Vec<u8>> =
        payload.chunks(70_001).map(|part| frame(false, OpCode::Continuation, part)).collect();
    let fragmented = [
        frame(false, OpCode::Binary, b""),
        frames.concat(),
        frame(true, OpCode::Continuation, b""),
    ]
    .concat();
    for bytes in [frame(true, OpCode::Binary, &payload), fragmented] {
        for size in [65_536, 4096, 4097, 9, bytes.len()] {
            assert_eq!(
                feed_in(&bytes, &[size], &LIMITS),
                (vec![Got::Binary(payload.clone())], Ok(())),
                "pieces of {size}"
            );
        }
    }
}

#[derive(Debug, Clone)]
struct Message {
    got: Got,
    /// Where the message is cut into fragments, in hundredths of its length.
    cuts: Vec<u8>,
    /// A ping before every fragment but the first.
    pings: bool,
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let got = prop_oneof![
        "\\PC{0,200}".prop_map(Got::Text),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Got::Binary),
        prop::collection::vec(any::<u8>(), 0..10_000).prop_map(Got::Binary),
        prop::collection::vec(any::<u8>(), 0..=125).prop_map(Got::Ping),
        prop::collection::vec(any::<u8>(), 0..=125).prop_map(Got::Pong),
    ];
    let message = (got, prop::collection::vec(0..=100u8, 0..4), any::<bool>());
    prop::collection::vec(message.prop_map(|(got, cuts, pings)| Message { got, cuts, pings }), 0..8)
}

/// The frames of `message`, and appends to `expected` what they mean.
fn frames_of(message: &Message, expected: &mut Vec<Got>) -> Vec<u8> {
    let (opcode, payload) = match &message.got {
        Got::Text(text) => (OpCode::Text, text.as_bytes()),
        Got::Binary(bytes) => (OpCode::Binary, bytes.as_slice()),
        Got::Ping(payload) => (OpCode::Ping, payload.as_slice()),
        Got::Pong(payload) => (OpCode::Pong, payload.as_slice()),
        Got::Close(..) => unreachable!("not generated"),
    };
    let mut cuts: Vec<usize> =
        message.cuts.iter().map(|cut| payload.len() * usize::from(*cut) / 100).collect();
    if matches!(opcode, OpCode::Ping | OpCode::Pong) {
        cuts.clear();
    }
    cuts.extend([0, payload.len()]);
    cuts.sort_unstable();
    let last = cuts.len() - 2;
    let mut bytes = Vec::new();
    for (nth, part) in cuts.windows(2).enumerate() {
        if nth > 0 && message.pings {
            bytes.extend(frame(true, OpCode::Ping, &[nth as u8]));
            expected.push(Got::Ping(vec![nth as u8]));
        }
        let opcode = if nth == 0 { opcode } else { OpCode::Continuation };
        bytes.extend(frame(nth == last, opcode, &payload[part[0]..part[1]]));
    }
    expected.push(message.got.clone());
    bytes
}

proptest! {
    #[test]
    fn any_cut_of_any_frames_gives_the_same_messages(messages in messages(), sizes in prop::collection::vec(1..2000usize, 1..12)) {
        let mut expected = Vec::new();
        let bytes: Vec<u8> = messages.iter().flat_map(|message| frames_of(message, &mut expected)).collect();
        prop_assert_eq!(feed_in(&bytes, &[bytes.len().max(1)], &LIMITS), (expected.clone(), Ok(())));
        prop_assert_eq!(feed_in(&bytes, &sizes, &LIMITS), (expected, Ok(())));
    }

    #[test]
    fn garbage_is_judged_alike_however_it_is_cut(bytes in prop::collection::vec(any::<u8>(), 0..600), sizes in prop::collection::vec(1..90usize, 1..12)) {
        let limits = ReadLimits { max_message_bytes: 300, deflate: false };
        prop_assert_eq!(feed_in(&bytes, &sizes, &limits), feed_in(&bytes, &[bytes.len().max(1)], &limits));
    }

    /// Garbage seldom gets past two bytes; frames with a few bytes changed get further.
    #[test]
    fn damaged_frames_are_judged_alike_however_they_are_cut(
        messages in messages(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        sizes in prop::collection::vec(1..500usize, 1..12),
    ) {
        let limits = ReadLimits { max_message_bytes: 5000, deflate: false };
        let mut bytes: Vec<u8> = messages.iter().flat_map(|message| frames_of(message, &mut Vec::new())).collect();
        for (place, value) in damage {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
        }
        prop_assert_eq!(feed_in(&bytes, &sizes, &limits), feed_in(&bytes, &[bytes.len().max(1)], &limits));
    }
}
