//! The secret of those who may publish.

use std::fmt;
use std::fs::File;
use std::hint::black_box;
use std::io::Read;

use crate::limits;

/// A secret that is compared and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<[u8]>);

impl Token {
    /// Reads a token's text; white space at its ends (a file's last line end) is not part of it.
    ///
    /// # Errors
    /// What is wrong with it, without the text.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (least, most) = (limits::TOKEN_BYTES.start(), limits::TOKEN_BYTES.end());
        if !limits::TOKEN_BYTES.contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_graphic())
        {
            return Err(format!(
                "expected a token of {least} to {most} visible ASCII characters and no spaces, \
                 such as `openssl rand -hex 32` makes"
            ));
        }
        Ok(Token(text.as_bytes().into()))
    }

    /// Reads a token from a file.
    ///
    /// # Errors
    /// Why the file cannot be read, or what is wrong with what is in it.
    pub fn read(path: &str) -> Result<Self, String> {
        let mut text = String::new();
        // A line end or two may follow; a file that is no token is not read whole.
        let most = *limits::TOKEN_BYTES.end() as u64 + 8;
        let read = File::open(path).and_then(|file| file.take(most).read_to_string(&mut text));
        read.map_err(|error| format!("cannot read it: {error}"))?;
        Token::new(&text)
    }

    /// Whether this is the token, in a time that does not tell how much of it is right.
    pub fn is(&self, given: &[u8]) -> bool {
        let mut differ = u8::from(given.len() != self.0.len());
        for (at, byte) in self.0.iter().enumerate() {
            differ |= black_box(byte ^ given.get(at).copied().unwrap_or(!byte));
        }
        black_box(differ) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_is_the_token_and_it_is_not_shown() {
        let token = Token::new(" 0123456789abcdef\n").unwrap();
        assert!(token.is(b"0123456789abcdef"));
        for other in ["", "0123456789abcdeg", "0123456789abcde", "0123456789abcdef0", "x"] {
            assert!(!token.is(other.as_bytes()), "{other}");
        }
        assert_eq!(format!("{token:?}"), "Token(hidden)");
        for bad in ["", "short", "0123456789 abcdef", "0123456789abcdé!", &"x".repeat(513)] {
            let error = Token::new(bad).unwrap_err();
            assert!(bad.is_empty() || !error.contains(bad), "{error}");
        }
    }
}
