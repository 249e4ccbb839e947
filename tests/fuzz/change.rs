//! Inputs that are made of others.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;

/// As in `scripts/fuzz`.
const LONGEST: usize = 8_192;

/// Numbers at which things change, as text.
const NUMBERS: [&str; 10] = [
    "0",
    "-1",
    "1e9",
    "0.1",
    "9007199254740993",
    "9223372036854775808",
    "18446744073709551616",
    "1e-400",
    "00",
    "999999999999999999999999",
];

/// What inputs are made of.
#[derive(Default)]
pub(super) struct Material {
    pub(super) seeds: Vec<Vec<u8>>,
    /// The target's dictionary.
    pub(super) words: Vec<Vec<u8>>,
}

/// One change of an input. Each [`Index`] is a place, whatever the length.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// One bit.
    Bit(Index, u8),
    /// One byte.
    Byte(Index, u8),
    /// So many bytes less.
    Cut(Index, usize),
    /// So many bytes from the first place once more, at the second.
    Again(Index, usize, Index),
    /// A word of the dictionary, inserted, or over what is there.
    Word(Index, Index, bool),
    /// Another number in place of the one there, or the next one after it.
    Number(Index, Index),
    /// A line at another's place: moved there, or a copy.
    Line(Index, Index, bool),
    /// From here on as another seed from there on.
    Graft(Index, Index, Index),
}

impl Change {
    pub(super) fn any() -> impl Strategy<Value = Change> {
        let at = any::<Index>;
        prop_oneof![
            (at(), 0..8_u8).prop_map(|(at, bit)| Change::Bit(at, bit)),
            (at(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
            (at(), 1..24_usize).prop_map(|(at, len)| Change::Cut(at, len)),
            (at(), 1..48_usize, at()).prop_map(|(at, len, to)| Change::Again(at, len, to)),
            (at(), at(), any::<bool>()).prop_map(|(word, at, over)| Change::Word(word, at, over)),
            (at(), at()).prop_map(|(number, at)| Change::Number(number, at)),
            (at(), at(), any::<bool>()).prop_map(|(from, to, moved)| Change::Line(from, to, moved)),
            (at(), at(), at()).prop_map(|(seed, from, at)| Change::Graft(seed, from, at)),
        ]
    }

    fn apply(&self, input: &mut Vec<u8>, material: &Material) {
        let place = |at: &Index| at.index(input.len() + 1);
        match self {
            Change::Bit(at, bit) => {
                let at = place(at);
                input.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << bit);
            }
            Change::Byte(at, new) => {
                let at = place(at);
                input.get_mut(at).into_iter().for_each(|byte| *byte = *new);
            }
            Change::Cut(at, len) => {
                let at = place(at);
                input.drain(at..(at + len).min(input.len()));
            }
            Change::Again(from, len, to) => {
                let (from, to) = (place(from), place(to));
                let again = input[from..(from + len).min(input.len())].to_vec();
                input.splice(to..to, again);
            }
            Change::Word(word, at, over) => {
                let Some(word) = pick(&material.words, word) else { return };
                let at = place(at);
                let len = if *over { word.len() } else { 0 };
                input.splice(at..(at + len).min(input.len()), word.iter().copied());
            }
            Change::Number(number, at) => {
                let at = place(at);
                let Some(from) = input[at..].iter().position(u8::is_ascii_digit) else { return };
                let from = at + from;
                let len = input[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                input.splice(from..from + len, NUMBERS[number.index(NUMBERS.len())].bytes());
            }
            Change::Line(from, to, moved) => line(input, from, to, *moved),
            Change::Graft(seed, from, at) => {
                let Some(seed) = pick(&material.seeds, seed) else { return };
                let at = place(at);
                input.truncate(at);
                input.extend_from_slice(&seed[from.index(seed.len() + 1)..]);
            }
        }
        input.truncate(LONGEST);
    }
}

fn pick<'a>(all: &'a [Vec<u8>], which: &Index) -> Option<&'a Vec<u8>> {
    (!all.is_empty()).then(|| which.get(all))
}

fn line(input: &mut Vec<u8>, from: &Index, to: &Index, moved: bool) {
    let mut lines: Vec<&[u8]> = input.split(|&byte| byte == b'\n').collect();
    let from = from.index(lines.len());
    let line = if moved { lines.remove(from) } else { lines[from] };
    lines.insert(to.index(lines.len() + 1), line);
    *input = lines.join(&b'\n');
}

impl Material {
    /// A seed with these changes, one after the other.
    pub(super) fn input(&self, seed: Index, changes: &[Change]) -> Vec<u8> {
        let mut input = seed.get(&self.seeds).clone();
        changes.iter().for_each(|change| change.apply(&mut input, self));
        input
    }
}

/// The words of a target's dictionary, as libFuzzer reads it: one in quotes on each line. There need not be one.
pub(super) fn dictionary(name: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/{name}.dict"));
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter(|line| line.starts_with('"')).map(word).collect()
}

fn word(line: &str) -> Vec<u8> {
    let quoted = line.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let mut rest = quoted.unwrap_or_else(|| panic!("a word in quotes, not {line}")).bytes();
    let mut word = Vec::new();
    while let Some(byte) = rest.next() {
        word.push(match (byte, if byte == b'\\' { rest.next() } else { None }) {
            (b'\\', Some(b'x')) => {
                let digits = [rest.next(), rest.next()].map(|digit| char::from(digit.unwrap_or(0)));
                let digits: String = digits.iter().collect();
                u8::from_str_radix(&digits, 16).unwrap_or_else(|_| panic!("\\x{digits} in {line}"))
            }
            (b'\\', Some(escaped @ (b'\\' | b'"'))) => escaped,
            (b'\\', _) => panic!("an escape that libFuzzer does not know, in {line}"),
            (byte, _) => byte,
        });
    }
    word
}

#[test]
fn words_are_read_as_libfuzzer_reads_them() {
    assert_eq!(word(r#""\x0d\x0aa\\\"b""#), b"\r\na\\\"b");
}
