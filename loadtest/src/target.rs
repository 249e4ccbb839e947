//! Where to connect, and as whom.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use crate::args::ArgsError;

/// Where to connect.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// The resolved address.
    pub address: SocketAddr,
    /// Host and port as given, for the Host header.
    pub host: String,
    /// The path, beginning with a slash.
    pub path: String,
    /// What is given as `Authorization: Bearer`.
    pub token: Option<String>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target(ws://{}{} at {})", self.host, self.path, self.address) // no token
    }
}

impl Target {
    /// Parses and resolves `ws://HOST[:PORT][/PATH]`.
    ///
    /// # Errors
    /// When the URL has another form, or the host does not resolve.
    pub fn parse(url: &str) -> Result<Target, ArgsError> {
        let wrong = || ArgsError::Url(url.to_string());
        let rest = url.strip_prefix("ws://").ok_or_else(wrong)?;
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        if host.is_empty()
            || host.contains(char::is_whitespace)
            || path.contains(char::is_whitespace)
        {
            return Err(wrong());
        }
        let has_port = host.rfind(':').is_some_and(|colon| !host[colon..].contains(']'));
        let with_port = if has_port { host.to_string() } else { format!("{host}:80") };
        let unresolved = |why: String| ArgsError::Resolve(host.to_string(), why);
        let mut addresses =
            with_port.to_socket_addrs().map_err(|error| unresolved(error.to_string()))?;
        let address = addresses.next().ok_or_else(|| unresolved("no address".into()))?;
        Ok(Target { address, host: host.to_string(), path: path.to_string(), token: None })
    }

    /// The same with the token of a file.
    ///
    /// # Errors
    /// A file that cannot be read, or holds no token.
    pub fn with_token(self, file: Option<&Path>) -> Result<Target, ArgsError> {
        let Some(path) = file else { return Ok(self) };
        let wrong = |why: String| ArgsError::Token(path.to_path_buf(), why);
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("expected one token, in visible ASCII characters".to_string()));
        }
        Ok(Target { token: Some(token.to_string()), ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::upgrade_request;

    #[test]
    fn urls_give_address_host_and_path() {
        let target = Target::parse("ws://127.0.0.1:7070/v1/ws").unwrap();
        assert_eq!(
            (target.address.to_string().as_str(), target.path.as_str()),
            ("127.0.0.1:7070", "/v1/ws")
        );
        let bare = Target::parse("ws://[::1]").unwrap();
        assert_eq!((bare.address.to_string().as_str(), bare.path.as_str()), ("[::1]:80", "/"));
        for wrong in ["http://127.0.0.1", "ws://", "127.0.0.1:80", "ws://a b/"] {
            assert_eq!(Target::parse(wrong), Err(ArgsError::Url(wrong.into())));
        }
    }

    #[test]
    fn a_token_is_given_and_not_shown() {
        let path = std::env::temp_dir().join(format!("tickcast-loadtest-{}", std::process::id()));
        std::fs::write(&path, "a-token\n").unwrap();
        let target = || Target::parse("ws://127.0.0.1:7070/v1/ws").unwrap();
        let with = target().with_token(Some(&path)).unwrap();
        assert!(upgrade_request(&with).contains("\r\nAuthorization: Bearer a-token\r\n"));
        assert!(!format!("{with:?}").contains("a-token"));
        assert!(!upgrade_request(&target()).contains("Authorization"));
        std::fs::write(&path, "two tokens\n").unwrap();
        let error = target().with_token(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("expected one token") && !error.contains("two"), "{error}");
        std::fs::remove_file(&path).unwrap();
        assert!(target().with_token(Some(&path)).is_err());
    }
}
