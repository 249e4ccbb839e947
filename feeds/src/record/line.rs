//! The lines of a recording, one for each thing that happened: `<receive time, ns> <what> ...`.
//!
//! | line | |
//! |---|---|
//! | `# tickcast recording {...}` | the head of a file |
//! | `<ns> <link> <text>` | a message of a connection |
//! | `<ns> reply <url> <text>` | the reply to a REST request |
//! | `<ns> expect <book or other> <native> ...` | a subscription was confirmed |
//! | `<ns> lost <link> <native> ...` | a connection is gone, and with it these symbols |
//! | `<ns> distrust <native>` | a book has turned out to be wrong |
//! | `<ns> gap <n>` | here `n` inputs are missing: the disk was too slow |
//! | `<ns> listed [...]` | instruments, as JSON |
//!
//! A text with line ends in it is escaped (`\n`, `\\`, `\s` for a space), and the link, or the word
//! `reply`, ends in a backslash then. Names and URLs always are; `\e` is an empty one.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::manifest::ListingEntry;
use crate::instrument::Listing;
use crate::venue::Input;

/// What a data file begins with.
pub(super) const HEAD: &str = "# tickcast recording ";

/// What a data file says of itself in its first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// The version of the format.
    pub(super) version: u32,
    /// The number of the feed, from 1.
    pub(super) feed: u32,
    /// The venue's short name.
    pub(super) venue: String,
    /// The feed's spec, without secrets.
    pub(super) spec: String,
    /// The number of the file, from 1.
    pub(super) file: u32,
}

pub(super) fn put_head(out: &mut Vec<u8>, head: &Head) {
    out.extend_from_slice(HEAD.as_bytes());
    put_json(out, head);
    out.push(b'\n');
}

pub(super) fn put_listed(out: &mut Vec<u8>, recv_ns: u64, listings: &[Listing]) {
    put_start(out, recv_ns, "listed ");
    let entries: Vec<ListingEntry> = listings.iter().map(ListingEntry::from).collect();
    put_json(out, &entries);
    out.push(b'\n');
}

pub(super) fn put_gap(out: &mut Vec<u8>, recv_ns: u64, missing: u64) {
    put_start(out, recv_ns, "gap ");
    put_number(out, missing);
    out.push(b'\n');
}

/// Appends the line of an input. Called on the feed's thread: copies, and nothing else.
pub(super) fn put_input(out: &mut Vec<u8>, recv_ns: u64, input: &Input<'_>) {
    match *input {
        Input::Message { link, text } => {
            put_start(out, recv_ns, "");
            put_number(out, link.into());
            put_flag(out, text);
            put_text(out, text);
        }
        Input::Reply { url, text } => {
            put_start(out, recv_ns, "reply");
            put_flag(out, text);
            out.push(b' ');
            put_word(out, url);
            put_text(out, text);
        }
        Input::Expect { natives, book } => {
            put_start(out, recv_ns, if book { "expect book" } else { "expect other" });
            put_words(out, natives);
        }
        Input::Lost { link, orphans } => {
            put_start(out, recv_ns, "lost ");
            put_number(out, link.into());
            put_words(out, orphans);
        }
        Input::Distrust { native } => {
            put_start(out, recv_ns, "distrust ");
            put_word(out, native);
        }
    }
    out.push(b'\n');
}

/// At most so many bytes are in the line of an input.
pub(super) fn most_bytes(input: &Input<'_>) -> usize {
    let words = |words: &[Box<str>]| words.iter().map(|word| 2 * word.len() + 3).sum::<usize>();
    64 + match *input {
        Input::Message { text, .. } => text_bytes(text),
        Input::Reply { url, text } => 2 * url.len() + text_bytes(text),
        Input::Expect { natives, .. } => words(natives),
        Input::Lost { orphans, .. } => words(orphans),
        Input::Distrust { native } => 2 * native.len(),
    }
}

fn text_bytes(text: &[u8]) -> usize {
    if text.contains(&b'\n') { 2 * text.len() } else { text.len() }
}

fn put_start(out: &mut Vec<u8>, recv_ns: u64, what: &str) {
    put_number(out, recv_ns);
    out.push(b' ');
    out.extend_from_slice(what.as_bytes());
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Marks a word whose line's text is escaped.
fn put_flag(out: &mut Vec<u8>, text: &[u8]) {
    if text.contains(&b'\n') {
        out.push(b'\\');
    }
}

/// The text at the end of a line.
fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b' ');
    if text.contains(&b'\n') {
        put_escaped(out, text);
    } else {
        out.extend_from_slice(text);
    }
}

fn put_words(out: &mut Vec<u8>, words: &[Box<str>]) {
    for word in words {
        out.push(b' ');
        put_word(out, word);
    }
}

fn put_word(out: &mut Vec<u8>, word: &str) {
    if word.is_empty() {
        out.extend_from_slice(b"\\e");
    }
    if word.contains(['\\', ' ', '\n']) {
        put_escaped(out, word.as_bytes());
    } else {
        out.extend_from_slice(word.as_bytes());
    }
}

fn put_escaped(out: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b' ' => out.extend_from_slice(b"\\s"),
            byte => out.push(byte),
        }
    }
}

fn put_json(out: &mut Vec<u8>, value: &impl Serialize) {
    // Neither a map with odd keys nor a writer that fails: it cannot. It writes no line end.
    let _ = serde_json::to_writer(out, value);
}

/// What a line is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum What {
    /// Nothing was read yet, or what was read is no line.
    #[default]
    Nothing,
    /// The head of a file: JSON.
    Head(Range<usize>),
    /// Instruments: JSON.
    Listed(Range<usize>),
    /// Inputs are missing.
    Gap(u64),
    /// [`Input::Message`].
    Message { link: u16 },
    /// [`Input::Reply`].
    Reply,
    /// [`Input::Expect`].
    Expect { book: bool },
    /// [`Input::Lost`].
    Lost { link: u16 },
    /// [`Input::Distrust`].
    Distrust,
}

/// A line taken apart, in reused buffers; the line itself stays where it is.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// Receive time; 0 for a head.
    pub(super) recv: u64,
    pub(super) what: What,
    /// Where the text stands in the line, unless it was escaped.
    text: Option<Range<usize>>,
    unescaped: Vec<u8>,
    /// The URL or the name.
    word: String,
    natives: Vec<Box<str>>,
}

impl Parsed {
    /// Takes a line apart, given without its end.
    ///
    /// # Errors
    /// What was expected; the value is then [`What::Nothing`].
    pub(super) fn read(&mut self, line: &[u8]) -> Result<(), &'static str> {
        self.what = What::Nothing;
        self.natives.clear();
        if line.starts_with(HEAD.as_bytes()) {
            (self.recv, self.what) = (0, What::Head(HEAD.len()..line.len()));
            return Ok(());
        }
        let mut words = Words { line, at: 0 };
        self.recv = words.number().ok_or("expected a receive time in nanoseconds")?;
        let word = words.next().ok_or("expected more than a receive time")?;
        self.what = match word {
            b"reply" | b"reply\\" => {
                let url = words.next().ok_or("expected a URL and a text after `reply`")?;
                unescape_word(url, &mut self.word)?;
                self.read_text(line, words.at, flagged(word).1)?;
                What::Reply
            }
            b"listed" => What::Listed(words.at..line.len()),
            b"gap" => What::Gap(words.number().ok_or("expected a number after `gap`")?),
            b"distrust" => {
                let name = words.next().ok_or("expected a name after `distrust`")?;
                unescape_word(name, &mut self.word)?;
                What::Distrust
            }
            b"expect" => {
                let book = match words.next() {
                    Some(b"book") => true,
                    Some(b"other") => false,
                    _ => return Err("expected `book` or `other` after `expect`"),
                };
                self.read_natives(words)?;
                What::Expect { book }
            }
            b"lost" => {
                let link = words.number().and_then(|link| u16::try_from(link).ok());
                let link = link.ok_or("expected a link after `lost`")?;
                self.read_natives(words)?;
                What::Lost { link }
            }
            link => {
                let (link, escaped) = flagged(link);
                let link = digits(link).and_then(|link| u16::try_from(link).ok());
                let link = link.ok_or("expected a link or a known word after the receive time")?;
                self.read_text(line, words.at, escaped)?;
                What::Message { link }
            }
        };
        Ok(())
    }

    fn read_natives(&mut self, words: Words<'_>) -> Result<(), &'static str> {
        for word in words {
            unescape_word(word, &mut self.word)?;
            self.natives.push(self.word.as_str().into());
        }
        Ok(())
    }

    fn read_text(&mut self, line: &[u8], at: usize, escaped: bool) -> Result<(), &'static str> {
        let text = line.get(at..).ok_or("expected a text")?;
        self.text = (!escaped).then_some(at..line.len());
        if escaped {
            self.unescaped.clear();
            unescape(text, &mut self.unescaped)?;
        }
        Ok(())
    }

    /// The input that it is, if it is one; `line` is what was read.
    pub(super) fn input<'a>(&'a self, line: &'a [u8]) -> Option<Input<'a>> {
        let text = || match &self.text {
            Some(range) => line.get(range.clone()).unwrap_or_default(),
            None => &self.unescaped[..],
        };
        Some(match self.what {
            What::Message { link } => Input::Message { link, text: text() },
            What::Reply => Input::Reply { url: &self.word, text: text() },
            What::Expect { book } => Input::Expect { natives: &self.natives, book },
            What::Lost { link } => Input::Lost { link, orphans: &self.natives },
            What::Distrust => Input::Distrust { native: &self.word },
            What::Nothing | What::Head(_) | What::Listed(_) | What::Gap(_) => return None,
        })
    }
}

/// The words of a line, separated by single spaces.
struct Words<'a> {
    line: &'a [u8],
    /// Where the next one begins; beyond the end after the last.
    at: usize,
}

impl Words<'_> {
    fn number(&mut self) -> Option<u64> {
        digits(self.next()?)
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.line.get(self.at..)?;
        let end = rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len());
        self.at += end + 1;
        Some(&rest[..end])
    }
}

/// A word without the backslash that says that its text is escaped, and whether it had one.
fn flagged(word: &[u8]) -> (&[u8], bool) {
    word.strip_suffix(b"\\").map_or((word, false), |word| (word, true))
}

fn unescape_word(word: &[u8], out: &mut String) -> Result<(), &'static str> {
    let mut bytes = std::mem::take(out).into_bytes();
    bytes.clear();
    unescape(word, &mut bytes)?;
    *out = String::from_utf8(bytes).map_err(|_| "expected UTF-8")?;
    Ok(())
}

fn unescape(text: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        match (byte, if byte == b'\\' { bytes.next() } else { None }) {
            (b'\\', Some(b'\\')) => out.push(b'\\'),
            (b'\\', Some(b'n')) => out.push(b'\n'),
            (b'\\', Some(b's')) => out.push(b' '),
            (b'\\', Some(b'e')) => {}
            (b'\\', _) => return Err("expected n, s, e or a backslash after a backslash"),
            (byte, _) => out.push(byte),
        }
    }
    Ok(())
}

/// A number of decimal digits only; `None` for anything else and beyond 64 bits.
fn digits(text: &[u8]) -> Option<u64> {
    let number = |sum: u64, &byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    };
    if text.is_empty() { None } else { text.iter().try_fold(0, number) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An input that owns its parts.
    #[derive(Clone, Debug)]
    enum Owned {
        Message(u16, Vec<u8>),
        Reply(String, Vec<u8>),
        Expect(Vec<Box<str>>, bool),
        Lost(u16, Vec<Box<str>>),
        Distrust(String),
    }

    impl Owned {
        fn input(&self) -> Input<'_> {
            match self {
                Owned::Message(link, text) => Input::Message { link: *link, text },
                Owned::Reply(url, text) => Input::Reply { url, text },
                Owned::Expect(natives, book) => Input::Expect { natives, book: *book },
                Owned::Lost(link, orphans) => Input::Lost { link: *link, orphans },
                Owned::Distrust(native) => Input::Distrust { native },
            }
        }
    }

    fn inputs() -> impl Strategy<Value = Owned> {
        let text =
            || prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\\'), any::<u8>()], 0..40);
        let word = || "[A-Z0-9 \\\\\n\\PC]{0,9}";
        let words = || prop::collection::vec(word().prop_map(Box::from), 0..4);
        prop_oneof![
            (any::<u16>(), text()).prop_map(|(link, text)| Owned::Message(link, text)),
            (word(), text()).prop_map(|(url, text)| Owned::Reply(url, text)),
            (words(), any::<bool>()).prop_map(|(natives, book)| Owned::Expect(natives, book)),
            (any::<u16>(), words()).prop_map(|(link, orphans)| Owned::Lost(link, orphans)),
            word().prop_map(Owned::Distrust),
        ]
    }

    proptest! {
        #[test]
        fn what_is_put_reads_back(recv in any::<u64>(), given in inputs()) {
            let mut line = Vec::new();
            put_input(&mut line, recv, &given.input());
            prop_assert!(line.len() <= most_bytes(&given.input()));
            prop_assert_eq!(line.pop(), Some(b'\n'));
            prop_assert!(!line.contains(&b'\n'));
            let mut parsed = Parsed::default();
            prop_assert_eq!(parsed.read(&line), Ok(()));
            prop_assert_eq!((parsed.recv, parsed.input(&line)), (recv, Some(given.input())));
        }

        #[test]
        fn any_line_is_read_or_refused(line in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut parsed = Parsed::default();
            if let Err(why) = parsed.read(&line) {
                prop_assert!(why.starts_with("expected") && parsed.input(&line).is_none());
            }
        }
    }

    fn line(input: &Input<'_>) -> String {
        let mut line = Vec::new();
        put_input(&mut line, 17, input);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn lines_are_what_the_documentation_says() {
        let names = ["BTCUSDT".into(), "ETHUSDT".into()];
        for (input, expected) in [
            (Input::Message { link: 3, text: b"{\"a\": 1}" }, "17 3 {\"a\": 1}\n"),
            (Input::Message { link: 0, text: b"{\n}\\ " }, "17 0\\ {\\n}\\\\\\s\n"),
            (Input::Reply { url: "/d?s=A", text: b"[]" }, "17 reply /d?s=A []\n"),
            (Input::Reply { url: "/d", text: b"\n" }, "17 reply\\ /d \\n\n"),
            (Input::Expect { natives: &names, book: true }, "17 expect book BTCUSDT ETHUSDT\n"),
            (Input::Expect { natives: &[], book: false }, "17 expect other\n"),
            (Input::Lost { link: 2, orphans: &names[..1] }, "17 lost 2 BTCUSDT\n"),
            (Input::Distrust { native: "A B" }, "17 distrust A\\sB\n"),
        ] {
            assert_eq!(line(&input), expected);
        }
        let mut gap = Vec::new();
        put_gap(&mut gap, 17, 5);
        assert_eq!(gap, b"17 gap 5\n");
    }

    #[test]
    fn malformed_lines_say_what_was_expected() {
        let mut parsed = Parsed::default();
        for line in [
            "",
            "x",
            "17",
            "17 ",
            "17 70000 {}",
            "17 gap",
            "17 gap x",
            "17 expect",
            "17 lost x",
            "17 expect all A",
            "17 reply",
            "17 distrust",
            "17 3",
            "17 3\\ \\x",
            "-1 3 {}",
        ] {
            let why = parsed.read(line.as_bytes()).unwrap_err();
            assert!(why.starts_with("expected"), "{line}: {why}");
            assert_eq!(parsed.what, What::Nothing, "{line}");
        }
    }
}
