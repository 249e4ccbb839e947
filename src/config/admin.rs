//! The door of operators: where it is, and the secret of those who come in.

use std::fmt;
use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::{ConfigError, Reader, Token, address, doors};
use crate::limits;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where operators come in.
    pub at: AdminAt,
    /// What they must give.
    pub secret: Secret,
    /// The file that it is from.
    pub token_file: PathBuf,
}

/// Where operators come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAt {
    /// Not encrypted: best on the loopback.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// What a path begins with in `--admin-listen`.
const UNIX: &str = "unix:";

impl fmt::Display for AdminAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminAt::Tcp(address) => address.fmt(f),
            AdminAt::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl AdminAt {
    fn read(text: &str) -> Result<Self, String> {
        match text.strip_prefix(UNIX) {
            Some(path) => doors::path(path).map(AdminAt::Unix),
            None => address(text).map(AdminAt::Tcp).map_err(|why| format!("{why}, or unix:PATH")),
        }
    }
}

/// What a file of a token's hash begins with.
const SHA256: &str = "sha256:";
/// Characters of one.
const DIGITS: usize = 64;

/// The hash of a token: enough to know it again, of no use to who reads it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Reads a file with the token, which nobody but its owner may read, or with `sha256:` and the
    /// token's hash.
    ///
    /// # Errors
    /// Why it cannot be read, or what is wrong with it, without its text.
    pub fn read(path: &str) -> Result<Self, String> {
        let cannot = |error: std::io::Error| format!("cannot read it: {error}");
        let file = File::open(path).map_err(cannot)?;
        let mode = file.metadata().map_err(cannot)?.permissions().mode();
        let mut text = String::new();
        // As for other tokens: a file that is none is not read whole.
        let most = *limits::TOKEN_BYTES.end() as u64 + 8;
        file.take(most).read_to_string(&mut text).map_err(cannot)?;
        let text = text.trim();
        if let Some(hash) = text.strip_prefix(SHA256) {
            let hash = hash.trim().to_ascii_lowercase();
            let is_hash = hash.len() == DIGITS && hash.bytes().all(|b| b.is_ascii_hexdigit());
            return is_hash.then_some(Secret(hash)).ok_or_else(|| {
                format!(
                    "expected {DIGITS} hexadecimal digits after {SHA256}, which `printf %s TOKEN | sha256sum` prints"
                )
            });
        }
        Token::new(text)?;
        if mode & 0o077 != 0 {
            return Err(format!(
                "others than its owner may use it (mode {:o}), expected `chmod 600 {path}`, or {SHA256} and the \
                 token's hash in it",
                mode & 0o777
            ));
        }
        Ok(Secret(hash(text.as_bytes())))
    }

    /// Whether this is the token, in a time that does not tell how much of it is right.
    pub fn is(&self, given: &[u8]) -> bool {
        let given = hash(given);
        let differ =
            given.bytes().zip(self.0.bytes()).fold(0, |all, (a, b)| all | black_box(a ^ b));
        black_box(differ) == 0
    }
}

fn hash(token: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, token);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl Reader<'_> {
    pub(super) fn admin(&self) -> Result<Option<Admin>, ConfigError> {
        let (listen, file) = ("admin-listen", "admin-token-file");
        let given = |name| self.settings.get(name).and_then(|given| given.values.first());
        let wrong = |name, value: &str, why: &str| Err(self.error(name, value, why.to_owned()));
        match (given(listen), given(file)) {
            (None, None) => Ok(None),
            (Some(at), None) => wrong(
                listen,
                at,
                "expected --admin-token-file FILE with it, for whoever has the token may end the server",
            ),
            (None, Some(path)) => {
                wrong(file, path, "expected --admin-listen ADDRESS:PORT or unix:PATH with it")
            }
            (Some(_), Some(path)) => {
                let at = self.required(listen, AdminAt::read)?;
                let secret = self.required(file, Secret::read)?;
                Ok(Some(Admin { at, secret, token_file: PathBuf::from(path) }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, mode: u32) -> Result<Secret, String> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("writes");
        let rights = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(file.path(), rights).expect("rights");
        Secret::read(file.path().to_str().expect("text"))
    }

    #[test]
    fn a_token_is_for_its_owner_and_its_hash_for_all() {
        const TOKEN: &str = "0123456789abcdef";
        // printf %s 0123456789abcdef | sha256sum
        const HASH: &str = "9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f";
        let secret = read(&format!("{TOKEN}\n"), 0o600).expect("a token");
        for mode in [0o600, 0o644] {
            assert_eq!(read(&format!("sha256:{HASH}\n"), mode), Ok(secret.clone()));
            assert_eq!(read(&format!("sha256: {}", HASH.to_uppercase()), mode), Ok(secret.clone()));
        }
        assert!(secret.is(TOKEN.as_bytes()));
        for other in ["", "0123456789abcdeg", "0123456789abcde", HASH] {
            assert!(!secret.is(other.as_bytes()), "{other}");
        }
        for mode in [0o640, 0o604, 0o620] {
            let error = read(TOKEN, mode).expect_err("too open");
            assert!(error.contains("chmod 600") && !error.contains(TOKEN), "{error}");
        }
        for bad in ["", "short", "sha256:", "sha256:12", &format!("sha256:{}", "g".repeat(64))] {
            assert!(read(bad, 0o600).is_err(), "{bad}");
        }
        assert_eq!(format!("{secret:?}"), "Secret(hidden)");
    }
}
