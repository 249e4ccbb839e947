//! Asks the server.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HeaderValue;
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tickcast_feeds::dial::{self, DialError, Dialer, Stream};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::sample::{Connections, Sample};
use crate::cli::{CLIENT_TOKEN, Token};

/// Slow clients that are asked for: more than fit on a screen.
const SLOWEST: usize = 100;
/// Bytes of an answer: some hundred reactors and feeds.
const ANSWER: usize = 4 << 20;
/// A server that has not answered by then does not.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a look did not come about.
#[derive(Debug, Error)]
pub(super) enum LookError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Dial(#[from] DialError),
    #[error("no answer for {} s", PATIENCE.as_secs())]
    Timeout,
    #[error("no HTTP answer ({0})")]
    Http(#[from] hyper::Error),
    #[error("not a request: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("it wants an operator's token: --token-file FILE, or {CLIENT_TOKEN}")]
    Unauthorized,
    #[error("{0} was answered with {1}")]
    Refused(&'static str, StatusCode),
    #[error("{0}: an answer of another kind: {1}")]
    Answer(&'static str, String),
}

/// Where the server is, and what it is given.
pub(super) struct Server {
    at: At,
    /// As the `Host` header has it.
    authority: String,
    authorization: Option<HeaderValue>,
}

enum At {
    Tcp { host: String, port: u16, dialer: Option<Dialer> },
    Unix(PathBuf),
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({self})") // no token
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            At::Tcp { dialer: None, .. } => write!(f, "http://{}", self.authority),
            At::Tcp { .. } => write!(f, "https://{}", self.authority),
            At::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Server {
    /// `ca` is a file of certificates to trust besides the system's.
    ///
    /// # Errors
    /// One line for the user.
    pub(super) fn new(url: &str, ca: Option<&str>, token: &Token) -> Result<Self, String> {
        let bad = || {
            format!(
                "{url:?}: expected http://HOST:PORT, https://HOST:PORT or unix:PATH, such as {}",
                super::DEFAULT_URL
            )
        };
        let authorization = token.header()?;
        if let Some(path) = url.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            let at = At::Unix(PathBuf::from(path));
            return Ok(Server { at, authority: "localhost".to_owned(), authorization });
        }
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(bad()),
        };
        let authority = uri.authority().ok_or_else(bad)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => Some(if secure { 443 } else { 80 }),
            _ => authority.port_u16(),
        };
        let port = port.filter(|_| !host.is_empty() && matches!(uri.path(), "" | "/"));
        let port = port.ok_or_else(bad)?;
        let dialer = match (secure, ca) {
            (true, ca) => Some(Dialer::new(ca.map(Path::new)).map_err(|e| format!("--ca: {e}"))?),
            (false, None) => None,
            (false, Some(ca)) => return Err(format!("--ca {ca:?}: expected https://... with it")),
        };
        let at = At::Tcp { host, port, dialer };
        Ok(Server { at, authority: authority.to_string(), authorization })
    }

    /// Asks once.
    ///
    /// # Errors
    /// No connection, no answer in time, or another one than a picture.
    pub(super) async fn look(&self) -> Result<Sample, LookError> {
        timeout(PATIENCE, self.ask()).await.map_err(|_| LookError::Timeout)?
    }

    async fn ask(&self) -> Result<Sample, LookError> {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(self.connect().await?)).await?;
        // It ends with the sender; its failures come out of the requests too.
        tokio::spawn(async move { connection.await.ok() });
        let stats = self.get(&mut sender, "/v1/stats", "").await?;
        let query = format!("?sort=lag&limit={SLOWEST}");
        let connections: Connections = self.get(&mut sender, "/v1/connections", &query).await?;
        Ok(Sample { stats, connections: connections.connections })
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, LookError> {
        Ok(match &self.at {
            At::Unix(path) => Box::new(UnixStream::connect(path).await?),
            At::Tcp { host, port, dialer } => {
                let stream = dial::reach(host, *port).await?;
                match dialer {
                    Some(dialer) => dialer.secure(host, stream).await?,
                    None => Box::new(stream),
                }
            }
        })
    }

    async fn get<T: DeserializeOwned>(
        &self,
        sender: &mut SendRequest<Empty<Bytes>>,
        path: &'static str,
        query: &str,
    ) -> Result<T, LookError> {
        let mut request = Request::get(format!("{path}{query}"));
        request = request.header(header::HOST, &self.authority);
        if let Some(token) = &self.authorization {
            request = request.header(header::AUTHORIZATION, token);
        }
        let answer = sender.send_request(request.body(Empty::new())?).await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(LookError::Unauthorized);
            }
            status => return Err(LookError::Refused(path, status)),
        }
        let other = |why: String| LookError::Answer(path, why);
        let body = Limited::new(answer.into_body(), ANSWER).collect().await;
        let body = body.map_err(|error| other(error.to_string()))?.to_bytes();
        serde_json::from_slice(&body).map_err(|error| other(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let shown =
            |url: &str| Server::new(url, None, &Token::None).map(|server| server.to_string());
        assert_eq!(shown(super::super::DEFAULT_URL).as_deref(), Ok("http://127.0.0.1:7070"));
        assert_eq!(shown("https://a.example/").as_deref(), Ok("https://a.example"));
        assert_eq!(shown("http://[::1]:7071").as_deref(), Ok("http://[::1]:7071"));
        assert_eq!(shown("unix:/run/a.sock").as_deref(), Ok("unix:/run/a.sock"));
        for bad in
            ["", "127.0.0.1:7070", "ws://a:1", "http://", "http://a:99999", "unix:", "http://a/x"]
        {
            let error = shown(bad).expect_err("no address");
            assert!(error.contains("expected http://HOST:PORT"), "{error}");
        }
        assert!(Server::new("http://a:1", Some("ca.pem"), &Token::None).is_err());
        let token = Token::new(None, Some("secret".to_owned())).expect("a token");
        let server = Server::new("http://a:1", None, &token).expect("an address");
        assert!(!format!("{server:?}").contains("secret"));
    }
}
