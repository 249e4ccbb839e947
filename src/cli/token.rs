//! The token that a client of a server gives: never an argument, which others on the machine can see.

use std::path::{Path, PathBuf};

use hyper::header::HeaderValue;

/// The variable of the token itself.
pub const CLIENT_TOKEN: &str = "TICKCAST_TOKEN";

/// Where a client's token comes from.
#[derive(Clone, Debug)]
pub enum Token {
    /// There is none.
    None,
    /// Of the variable; as it is given, and not shown by `Debug`.
    Given(HeaderValue),
    /// In a file, which is read for each connection: tokens are renewed there.
    File(PathBuf),
}

impl Token {
    /// Checks what the command line (a file) and the environment (the token) gave; the file counts.
    ///
    /// # Errors
    /// The flag or variable, and what was expected.
    pub fn new(file: Option<&str>, variable: Option<String>) -> Result<Self, String> {
        let token = match (file, variable) {
            (Some(path), _) => Token::File(PathBuf::from(path)),
            (None, Some(token)) => {
                let value = bearer(&token).map_err(|why| format!("{CLIENT_TOKEN}: {why}"))?;
                Token::Given(value)
            }
            (None, None) => Token::None,
        };
        token.header().map(|_| token)
    }

    /// The value of `Authorization`, where there is a token.
    ///
    /// # Errors
    /// A file that cannot be read, or holds none.
    pub(crate) fn header(&self) -> Result<Option<HeaderValue>, String> {
        match self {
            Token::None => Ok(None),
            Token::Given(value) => Ok(Some(value.clone())),
            Token::File(path) => {
                read(path).map(Some).map_err(|why| format!("--token-file {path:?}: {why}"))
            }
        }
    }
}

fn read(path: &Path) -> Result<HeaderValue, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read it: {error}"))?;
    bearer(&text)
}

fn bearer(token: &str) -> Result<HeaderValue, String> {
    let token = token.trim();
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let value = HeaderValue::from_str(&format!("Bearer {token}"))
        .ok()
        .filter(|_| is_token && !token.starts_with("sha256:"));
    let mut value = value.ok_or("expected the token itself, in visible ASCII characters")?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown_and_the_file_counts() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "of-the-file\n").expect("writes");
        let path = file.path().to_str().expect("text");
        let given = |file, variable: Option<&str>| Token::new(file, variable.map(str::to_owned));
        let is = |token: &Token| token.header().expect("a token").expect("one");
        let token = given(Some(path), Some("of-the-variable")).expect("a token");
        assert_eq!(is(&token), "Bearer of-the-file");
        std::fs::write(file.path(), "a-new-one").expect("writes");
        assert_eq!(is(&token), "Bearer a-new-one");
        let token = given(None, Some(" of-the-variable\n")).expect("a token");
        assert_eq!(is(&token), "Bearer of-the-variable");
        assert!(!format!("{token:?}").contains("of-the-variable"));
        assert_eq!(given(None, None).expect("none").header(), Ok(None));
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_quoted() {
        for wrong in ["", " ", "two words", "sha256:00", "\u{e9}tat"] {
            let why = Token::new(None, Some(wrong.to_owned())).expect_err("no token");
            let expected = "TICKCAST_TOKEN: expected the token itself, in visible ASCII characters";
            assert_eq!(why, expected);
        }
        let why = Token::new(Some("/none"), None).expect_err("no file");
        assert!(why.starts_with("--token-file \"/none\": cannot read it"), "{why}");
    }
}
