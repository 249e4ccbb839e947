//! Messages compressed one by one: permessage-deflate (RFC 7692) without context takeover in either direction.
//!
//! Without context, a compressed message depends on nothing that was sent before, so that one is made for all who receive it, and one
//! [`Deflater`] and one [`Inflater`] serve all clients of a thread.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::limits;

/// The base-2 logarithm of the window that messages are compressed with. The smallest that DEFLATE without a header can be made with here, so
/// that every client can be served, whatever its `server_max_window_bits` but 8, with the same bytes. For messages of ours it is also
/// as good as the largest (docs/PERFORMANCE.md).
pub const WINDOW_BITS: u8 = 9;

/// Compressed messages end with this, which is not sent (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// What a message is read to its end with: [`TAIL`] again, and an empty last block, by which it shows that nothing is missing.
const END: [u8; 9] = [0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff];

/// Compresses messages. Its state, some 250 KiB, is made for the first of them.
#[derive(Default)]
pub struct Deflater {
    stream: Option<Compress>,
    packed: Vec<u8>,
}

impl Deflater {
    /// The payload of the frame of a compressed message; its first frame is to have RSV1 set.
    pub fn deflate(&mut self, message: &[u8]) -> &[u8] {
        let Deflater { stream, packed } = self;
        let stream = stream.get_or_insert_with(|| {
            Compress::new_with_window_bits(
                Compression::new(limits::DEFLATE_LEVEL),
                false,
                WINDOW_BITS,
            )
        });
        if packed.capacity() > limits::SCRATCH_BYTES {
            // One huge snapshot must not stay for good.
            *packed = Vec::new();
        }
        packed.clear();
        // Most that deflate makes of it: 9 bits a byte and a few of heads.
        packed.reserve(message.len() + message.len() / 8 + 64);
        stream.reset();
        let mut rest = message;
        loop {
            let before = stream.total_in();
            // An error is a misuse of the stream, of which there is none.
            let _ = stream.compress_vec(rest, packed, FlushCompress::Sync);
            rest = &rest[(stream.total_in() - before) as usize..];
            // With room to spare, all has come out.
            if packed.len() < packed.capacity() {
                break;
            }
            packed.reserve(64);
        }
        debug_assert!(rest.is_empty() && packed.ends_with(&TAIL));
        &packed[..packed.len() - TAIL.len()]
    }

    /// Heap bytes held, but for the state.
    pub fn held(&self) -> usize {
        self.packed.capacity()
    }
}

impl std::fmt::Debug for Deflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deflater").finish_non_exhaustive()
    }
}

/// Why a compressed message is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is no DEFLATE data, or is cut off.
    Invalid,
    /// It is longer than it may be.
    TooLong,
}

/// Inflates messages. Its state, some 48 KiB, is made for the first of them.
#[derive(Default)]
pub struct Inflater {
    stream: Option<Decompress>,
    message: Vec<u8>,
}

impl Inflater {
    /// The message that a frame's payload holds, of at most `max` bytes: no more than that is ever made of it, whatever it claims to be.
    ///
    /// # Errors
    /// It is not compressed as RFC 7692 section 7.2 has it, or too long.
    pub fn inflate(&mut self, payload: &[u8], max: usize) -> Result<&[u8], Fault> {
        self.message.clear();
        let stream = self.stream.get_or_insert_with(|| Decompress::new(false));
        stream.reset(false);
        // A last block may also be in the message, at its end or before another (RFC 7692 sections 7.2.3.4 and 7.2.3.5).
        let ended = inflate_into(stream, payload, max, &mut self.message)?;
        if !ended && !inflate_into(stream, &END, max, &mut self.message)? {
            return Err(Fault::Invalid);
        }
        Ok(&self.message)
    }

    /// Gives back what one huge message needed.
    pub fn trim(&mut self) {
        if self.message.capacity() > limits::SCRATCH_BYTES {
            self.message = Vec::new();
        }
    }
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflater").finish_non_exhaustive()
    }
}

/// Inflates all of `input` behind what is in `message`; says whether it ends with a last block.
fn inflate_into(
    stream: &mut Decompress,
    mut input: &[u8],
    max: usize,
    message: &mut Vec<u8>,
) -> Result<bool, Fault> {
    loop {
        if message.len() == message.capacity() {
            // One byte more than it may have shows that it has too many.
            let room = (max + 1).saturating_sub(message.len());
            message.reserve_exact(room.min(message.len().max(FIRST_ROOM)).max(1));
        }
        let (taken, made) = (stream.total_in(), message.len());
        let status = stream
            .decompress_vec(input, message, FlushDecompress::None)
            .map_err(|_| Fault::Invalid)?;
        let taken = (stream.total_in() - taken) as usize;
        input = &input[taken..];
        if message.len() > max {
            return Err(Fault::TooLong);
        }
        let has_room = message.len() < message.capacity();
        match status {
            Status::StreamEnd if input.is_empty() => return Ok(true),
            Status::StreamEnd => stream.reset(false),
            _ if input.is_empty() && has_room => return Ok(false),
            _ if taken == 0 && message.len() == made && has_room => return Err(Fault::Invalid),
            _ => {}
        }
    }
}

/// The first buffer of a message, bytes.
const FIRST_ROOM: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 64 << 10;

    fn inflate(payload: &[u8]) -> Result<Vec<u8>, Fault> {
        Inflater::default().inflate(payload, MAX).map(<[u8]>::to_vec)
    }

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 7692 section 7.2.3: a message, one without compression, one with a last block, one of two blocks, an empty one.
        for payload in [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
        ] {
            assert_eq!(inflate(payload), Ok(b"Hello".to_vec()), "{payload:x?}");
        }
        assert_eq!(inflate(&[0x00]), Ok(Vec::new()));
    }

    #[test]
    fn what_is_cut_off_or_no_deflate_is_invalid() {
        let mut deflater = Deflater::default();
        let text = r#"{"method":"subscribe","params":{"channel":"trade","symbol":"*"}}"#.repeat(3);
        let whole = deflater.deflate(text.as_bytes()).to_vec();
        assert_eq!(inflate(&whole), Ok(text.into_bytes()));
        for len in 0..whole.len() {
            assert_eq!(inflate(&whole[..len]), Err(Fault::Invalid), "{len} bytes");
        }
        // A block type that does not exist, and a reference to before the message.
        assert_eq!(inflate(&[0x06]), Err(Fault::Invalid));
        assert_eq!(inflate(&[0x02, 0x13, 0x00]), Err(Fault::Invalid));
        assert_eq!(inflate(&[0xff; 100]), Err(Fault::Invalid));
    }

    #[test]
    fn a_message_is_never_made_longer_than_it_may_be() {
        let mut deflater = Deflater::default();
        let mut inflater = Inflater::default();
        for (len, max) in [(MAX, MAX), (MAX + 1, MAX), (4 << 20, MAX), (1, 0), (0, 0), (11, 10)] {
            let bomb = deflater.deflate(&vec![b'x'; len]).to_vec();
            let got = inflater.inflate(&bomb, max).map(<[u8]>::len);
            assert_eq!(got, if len > max { Err(Fault::TooLong) } else { Ok(len) });
            assert!(inflater.message.capacity() <= MAX + 1, "{}", inflater.message.capacity());
        }
        // It goes on after a bad one.
        let good = deflater.deflate(b"good").to_vec();
        assert_eq!(inflater.inflate(&good, MAX), Ok(&b"good"[..]));
    }

    #[test]
    fn no_message_refers_beyond_the_window() {
        let mut deflater = Deflater::default();
        let noise: Vec<u8> =
            (0..2_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let message = [&noise[..], &noise, &noise].concat();
        let mut payload = deflater.deflate(&message).to_vec();
        payload.extend(TAIL);
        let mut narrow = Decompress::new_with_window_bits(false, WINDOW_BITS);
        let mut out = Vec::with_capacity(64);
        let mut rest = &payload[..];
        // In small pieces: a large buffer would lend its bytes to a reference that the window has not.
        while !rest.is_empty() {
            let before = narrow.total_in();
            narrow.decompress_vec(rest, &mut out, FlushDecompress::None).expect("valid");
            rest = &rest[(narrow.total_in() - before) as usize..];
            assert!(message[(narrow.total_out() as usize) - out.len()..].starts_with(&out));
            out.clear();
        }
        assert_eq!(narrow.total_out() as usize, message.len());
    }

    proptest! {
        #[test]
        fn what_is_deflated_is_inflated(
            messages in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..3_000),
                    prop::collection::vec(prop::sample::select(b"{\"0123456789.,:}".to_vec()), 0..3_000),
                ],
                1..5,
            ),
        ) {
            let (mut deflater, mut inflater) = (Deflater::default(), Inflater::default());
            for message in messages {
                let payload = deflater.deflate(&message).to_vec();
                prop_assert_eq!(inflater.inflate(&payload, MAX), Ok(&message[..]));
            }
        }

        #[test]
        fn noise_is_judged_without_harm(noise in prop::collection::vec(any::<u8>(), 0..500)) {
            if let Ok(message) = inflate(&noise) {
                prop_assert!(message.len() <= MAX);
            }
        }
    }
}
