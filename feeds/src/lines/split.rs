//! Bytes as they come, cut into lines.

/// A line, or what takes the place of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// A line without its end.
    Whole(&'a [u8]),
    /// A line over the limit; these are its first bytes.
    TooLong(&'a [u8]),
}

/// What is kept of a line that is too long, to be shown, in bytes.
const SHOWN: usize = 256;

/// Cuts a stream into lines. Whole lines are handed out where they lie; only the beginning of one
/// that is not finished is copied, and of one that grows over the limit nothing is kept.
#[derive(Debug)]
pub(super) struct Splitter {
    rest: Vec<u8>,
    /// The rest of a line that was told as too long is being left out.
    skipping: bool,
    max: usize,
}

impl Splitter {
    /// Lines of at most `max` bytes.
    pub(super) fn new(max: usize) -> Self {
        Splitter { rest: Vec::new(), skipping: false, max }
    }

    /// Takes the next bytes and hands out the lines that they complete, until `out` says stop;
    /// what is left then is dropped.
    pub(super) fn take(&mut self, mut bytes: &[u8], out: &mut impl FnMut(Line<'_>) -> bool) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            let (line, after) = (&bytes[..end], &bytes[end + 1..]);
            bytes = after;
            if !self.ends(line, out) {
                return;
            }
        }
        if self.skipping || bytes.is_empty() {
            return;
        }
        if self.rest.len() + bytes.len() > self.max {
            self.rest.extend_from_slice(&bytes[..bytes.len().min(SHOWN)]);
            self.skipping = true;
            out(Line::TooLong(&self.rest[..self.rest.len().min(SHOWN)]));
            self.rest = Vec::new();
        } else {
            self.rest.extend_from_slice(bytes);
        }
    }

    /// The end of the stream: a last line may lack its end.
    pub(super) fn end(&mut self, out: &mut impl FnMut(Line<'_>) -> bool) {
        if !self.rest.is_empty() || self.skipping {
            self.ends(b"", out);
        }
    }

    fn ends(&mut self, tail: &[u8], out: &mut impl FnMut(Line<'_>) -> bool) -> bool {
        if std::mem::take(&mut self.skipping) {
            return true;
        }
        if self.rest.is_empty() {
            return out(match tail.len() > self.max {
                true => Line::TooLong(&tail[..tail.len().min(SHOWN)]),
                false => Line::Whole(tail),
            });
        }
        let tail = &tail[..tail.len().min(self.max + 1)];
        self.rest.extend_from_slice(tail);
        let go_on = out(match self.rest.len() > self.max {
            true => Line::TooLong(&self.rest[..SHOWN.min(self.rest.len())]),
            false => Line::Whole(&self.rest),
        });
        self.rest.clear();
        // A large line's room is not kept for the small ones that follow.
        self.rest.shrink_to(KEPT);
        go_on
    }
}

/// Bytes of the buffer that are kept from one unfinished line to the next.
const KEPT: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(pieces: &[&[u8]], max: usize) -> Vec<Result<Vec<u8>, ()>> {
        let (mut splitter, mut got) = (Splitter::new(max), Vec::new());
        let mut out = |line: Line<'_>| {
            got.push(match line {
                Line::Whole(line) => Ok(line.to_vec()),
                Line::TooLong(_) => Err(()),
            });
            true
        };
        for piece in pieces {
            splitter.take(piece, &mut out);
            assert!(splitter.rest.len() <= max, "more is kept than a line may have");
        }
        splitter.end(&mut out);
        assert!(splitter.rest.capacity() <= max.max(KEPT) + SHOWN);
        got
    }

    #[test]
    fn a_line_that_is_too_long_is_told_once_and_the_next_is_read() {
        let ok = |text: &str| Ok(text.as_bytes().to_vec());
        assert_eq!(lines(&[b"ab\ncde\nf"], 3), [ok("ab"), ok("cde"), ok("f")]);
        assert_eq!(lines(&[b"abcd\nef\n"], 3), [Err(()), ok("ef")]);
        assert_eq!(lines(&[b"ab", b"cd", b"efg", b"h\nij", b"\n"], 3), [Err(()), ok("ij")]);
        assert_eq!(lines(&[b"\n", b"\r\n"], 3), [ok(""), ok("\r")]);
        assert_eq!(lines(&[b"abcdef"], 3), [Err(())]);
    }

    proptest! {
        /// However a text is cut, its lines are the same.
        #[test]
        fn cuts_do_not_matter(text in "[ab\n]{0,80}", cuts in prop::collection::vec(0..80usize, 0..8)) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let bytes = text.as_bytes();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            let mut wanted: Vec<_> = text.split('\n').map(|line| {
                if line.len() > 7 { Err(()) } else { Ok(line.as_bytes().to_vec()) }
            }).collect();
            if text.is_empty() || text.ends_with('\n') {
                wanted.pop();
            }
            prop_assert_eq!(lines(&pieces, 7), wanted);
        }
    }
}
