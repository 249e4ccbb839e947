//! What can be read of a data file: whole frames, and where they are damaged or torn.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zstd::bulk::Decompressor;
use zstd::zstd_safe::{find_frame_compressed_size, get_frame_content_size};

use super::{FRAME_BYTES, WAITING_BYTES};

/// What every frame begins with (RFC 8878, section 3.1.1).
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The most that a frame holds: the longest line, after a frame's worth of others.
const MOST_RAW: usize = WAITING_BYTES + 2 * FRAME_BYTES;

/// The most that a frame takes in the file: what does not shrink grows a little.
const MOST_PACKED: usize = MOST_RAW + FRAME_BYTES;

/// What is read from the file at a time.
const READ_BYTES: usize = 256 << 10;

/// What comes next in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Lines.
    Lines,
    /// So many bytes from offset `at` on are no frame; another one may follow.
    Damaged { at: u64, bytes: u64 },
    /// So many bytes from offset `at` to the end are no frame: it was not written to its end.
    Torn { at: u64, bytes: u64 },
    /// Nothing.
    End,
}

/// A data file, frame by frame.
pub(super) struct Frames {
    file: File,
    decompressor: Decompressor<'static>,
    /// What was read of the file and not taken yet, from `start` on.
    window: Vec<u8>,
    start: usize,
    /// Where in the file `start` is.
    at: u64,
    ended: bool,
}

impl Frames {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Frames {
            file: File::open(path)?,
            decompressor: Decompressor::new()?,
            window: Vec::new(),
            start: 0,
            at: 0,
            ended: false,
        })
    }

    /// Reads the next frame into `lines`, whole and with the right checksum.
    pub(super) fn next(&mut self, lines: &mut Vec<u8>) -> io::Result<Frame> {
        loop {
            let rest = &self.window[self.start..];
            if rest.is_empty() && self.ended {
                return Ok(Frame::End);
            }
            let short = rest.len() < MOST_PACKED;
            match find_frame_compressed_size(rest) {
                Ok(len) if self.unpack(len, lines) => {
                    self.take(len);
                    return Ok(Frame::Lines);
                }
                Err(_) if !self.ended && short => self.read()?,
                _ => return self.skip(),
            }
        }
    }

    fn unpack(&mut self, len: usize, lines: &mut Vec<u8>) -> bool {
        let packed = &self.window[self.start..self.start + len];
        let most = match get_frame_content_size(packed) {
            Ok(Some(size)) => usize::try_from(size).unwrap_or(usize::MAX),
            // Whoever has compressed it again did not know.
            Ok(None) => MOST_RAW,
            Err(_) => return false,
        };
        lines.clear();
        if most > MOST_RAW {
            return false;
        }
        lines.reserve(most);
        self.decompressor.decompress_to_buffer(packed, lines).is_ok()
    }

    /// Goes on to the next place where a frame may begin.
    fn skip(&mut self) -> io::Result<Frame> {
        let (at, mut skipped) = (self.at, 0);
        loop {
            let rest = &self.window[self.start..];
            // Where it began, there is none.
            let from = usize::from(skipped == 0).min(rest.len());
            let next = rest[from..].windows(MAGIC.len()).position(|bytes| bytes == MAGIC);
            if let Some(next) = next {
                skipped += (from + next) as u64;
                self.take(from + next);
                return Ok(Frame::Damaged { at, bytes: skipped });
            }
            if self.ended {
                let bytes = skipped + rest.len() as u64;
                self.take(rest.len());
                return Ok(Frame::Torn { at, bytes });
            }
            // The beginning of one may stand at the end.
            let none = rest.len().saturating_sub(MAGIC.len() - 1);
            skipped += none as u64;
            self.take(none);
            self.read()?;
        }
    }

    fn take(&mut self, bytes: usize) {
        self.start += bytes;
        self.at += bytes as u64;
    }

    fn read(&mut self) -> io::Result<()> {
        self.window.drain(..self.start);
        self.start = 0;
        let more = READ_BYTES.max(self.window.len()) as u64;
        let read = self.file.by_ref().take(more).read_to_end(&mut self.window)?;
        self.ended = (read as u64) < more;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    fn frame(lines: &[u8]) -> Vec<u8> {
        let mut compressor = zstd::bulk::Compressor::new(3).unwrap();
        compressor.include_checksum(true).unwrap();
        compressor.compress(lines).unwrap()
    }

    /// The lines of all frames that can be read, and what else there is.
    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, Vec<Frame>) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, bytes).unwrap();
        let mut frames = Frames::open(&path).unwrap();
        let (mut all, mut others) = (Vec::new(), Vec::new());
        loop {
            let mut lines = Vec::new();
            match frames.next(&mut lines).unwrap() {
                Frame::Lines => all.push(lines),
                Frame::End => return (all, others),
                other => others.push(other),
            }
        }
    }

    /// Lines that hardly compress, so that their frames are long.
    fn noise(seed: u8, len: usize) -> Vec<u8> {
        let mut state = u64::from(seed) + 1;
        let step = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..len).map(step).collect()
    }

    #[test]
    fn frames_are_read_whatever_their_size() {
        let all = [noise(1, 10), noise(2, 700_000), Vec::new(), noise(3, 3_000_000), noise(4, 1)];
        let file: Vec<u8> = all.iter().flat_map(|lines| frame(lines)).collect();
        assert_eq!(read(&file), (all.to_vec(), Vec::new()));
        assert_eq!(read(b""), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_torn_frame_is_told_and_those_before_it_are_read() {
        let (first, second) = (frame(b"first\n"), frame(&noise(1, 1_000)));
        let at = first.len() as u64;
        for cut in 1..second.len() {
            let file = [&first[..], &second[..cut]].concat();
            let torn = Frame::Torn { at, bytes: cut as u64 };
            assert_eq!(read(&file), (vec![b"first\n".to_vec()], vec![torn]), "{cut}");
        }
    }

    #[test]
    fn a_damaged_frame_is_told_and_those_after_it_are_read() {
        let all = [b"first\n".to_vec(), noise(1, 2_000), b"third\n".to_vec()];
        let frames = all.clone().map(|lines| frame(&lines));
        let (from, len) = (frames[0].len(), frames[1].len());
        let file = frames.concat();
        for at in from..from + len {
            let mut file = file.clone();
            file[at] ^= 0x20;
            let (lines, others) = read(&file);
            if lines == all {
                continue; // a bit that nothing depends on
            }
            assert_eq!(lines, [all[0].clone(), all[2].clone()], "byte {at}");
            let lost: u64 = others.iter().map(lost).sum();
            assert_eq!(lost, len as u64, "byte {at}: {others:?}");
        }
    }

    fn lost(frame: &Frame) -> u64 {
        match frame {
            Frame::Damaged { bytes, .. } | Frame::Torn { bytes, .. } => *bytes,
            Frame::Lines | Frame::End => 0,
        }
    }

    #[test]
    fn a_frame_that_claims_too_much_is_not_believed() {
        let mut file = frame(&noise(1, 300_000));
        // Its content size, four bytes after magic and descriptor (RFC 8878, 3.1.1.1.4).
        assert_eq!(file[4] >> 6, 2, "a content size of four bytes");
        file[5..9].copy_from_slice(&u32::MAX.to_le_bytes());
        file.extend(frame(b"next\n"));
        let (lines, others) = read(&file);
        assert_eq!(lines, [b"next\n".to_vec()]);
        assert!(matches!(others[0], Frame::Damaged { at: 0, .. }), "{others:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_bytes_are_accounted_for(
            before in prop::collection::vec(any::<u8>(), 0..200),
            seed in any::<u8>(),
            cut in 0..2_000_usize,
        ) {
            let good = frame(&noise(seed, 500));
            let end = cut.min(good.len());
            let file = [&good[..], &before[..], &good[..], &good[..end]].concat();
            let (lines, others) = read(&file);
            let whole = 2 + usize::from(end == good.len());
            let whole_lines: Vec<_> = lines.iter().filter(|l| **l == noise(seed, 500)).collect();
            prop_assert_eq!(whole_lines.len(), whole);
            let total: u64 = others.iter().map(lost).sum();
            let junk = before.len() + if end == good.len() { 0 } else { end };
            prop_assert_eq!(total, junk as u64);
        }
    }
}
