//! Where to connect, and the connection: TCP, and TLS on it where the URL says so.

use std::fmt;
use std::io::{self, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// TCP and TLS together may take so long: a few round trips around the world.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// One address of several may take so long: a machine that is gone does not keep from the others.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(3);

/// What bytes go over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum DialError {
    /// TCP, or the TLS handshake.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Too slow.
    #[error("no connection within {} s", DIAL_TIMEOUT.as_secs())]
    Timeout,
}

/// A URL that cannot be connected to; the message says what was expected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{url}` is no address: expected SCHEME://HOST[:PORT][/PATH]")]
pub struct UrlError {
    /// What was given.
    pub url: String,
}

/// A base URL taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
    secure: bool,
    /// As the `Host` header has it.
    pub(crate) authority: String,
    /// What comes before every path; no slash at its end.
    prefix: String,
}

impl Endpoint {
    /// Takes `ws`, `wss`, `http` and `https` URLs.
    ///
    /// # Errors
    /// That it is none of those.
    pub fn new(url: &str) -> Result<Self, UrlError> {
        let bad = || UrlError { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let secure = match uri.scheme_str() {
            Some("wss" | "https") => true,
            Some("ws" | "http") => false,
            _ => return Err(bad()),
        };
        let authority = uri.authority().ok_or_else(bad)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        if host.is_empty() || uri.query().is_some() {
            return Err(bad());
        }
        Ok(Endpoint {
            host: host.to_owned(),
            port,
            secure,
            authority: authority.to_string(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// The target of a request for `path`, which follows the base URL.
    pub(crate) fn target(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.authority, self.prefix)
    }
}

/// Why there can be no TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The file of certificates.
    #[error("cannot read certificates of `{path}`: {why}, expected PEM")]
    File {
        /// The file as it was given.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// No certificate authority at all is trusted.
    #[error("this system has no certificates to trust: install `ca-certificates`, or give ca=FILE")]
    NoRoots,
    /// The TLS library refuses.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
}

/// Connects to endpoints.
#[derive(Clone)]
pub struct Dialer {
    tls: TlsConnector,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").finish_non_exhaustive()
    }
}

impl Dialer {
    /// Trusts the system's certificates, and those of a file (PEM) besides.
    ///
    /// # Errors
    /// A file that has none, and that nobody is trusted.
    pub fn new(ca: Option<&Path>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        // Some that cannot be read are no reason not to trust the others.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = ca {
            let error = |why: String| TlsError::File { path: path.display().to_string(), why };
            let file = std::fs::File::open(path).map_err(|e| error(e.to_string()))?;
            let mut found = false;
            for cert in CertificateDer::pem_reader_iter(BufReader::new(file)) {
                roots.add(cert.map_err(|e| error(crate::pem::why(&e)))?)?;
                found = true;
            }
            if !found {
                return Err(error("no certificate in it".to_owned()));
            }
        }
        if roots.is_empty() {
            return Err(TlsError::NoRoots);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Dialer { tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Trusts nobody: for endpoints without TLS.
    ///
    /// # Errors
    /// That of the TLS library.
    pub fn plain() -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        Ok(Dialer { tls: TlsConnector::from(Arc::new(config)) })
    }

    pub(crate) async fn dial(&self, endpoint: &Endpoint) -> Result<Box<dyn Stream>, DialError> {
        timeout(DIAL_TIMEOUT, self.connect(endpoint)).await.map_err(|_| DialError::Timeout)?
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Box<dyn Stream>, DialError> {
        let stream = reach(&endpoint.host, endpoint.port).await?;
        if !endpoint.secure {
            return Ok(Box::new(stream));
        }
        self.secure(&endpoint.host, stream).await
    }

    /// Shakes hands over a connection, with whoever has a trusted certificate of this host.
    ///
    /// # Errors
    /// What the other end says, or its certificate.
    pub async fn secure(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<Box<dyn Stream>, DialError> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(Box::new(self.tls.connect(name, stream).await?))
    }
}

/// Connects to a host by TCP, at the first of its addresses that takes it.
///
/// # Errors
/// The last of the addresses' reasons.
pub async fn reach(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = connect_any(lookup_host((host, port)).await?).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Connects to the first of the addresses that takes it.
async fn connect_any(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut why = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match timeout(ADDRESS_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => why = error,
            Err(_) => why = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_several_addresses_one_is_enough() {
        let open = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (there, gone) = (open.local_addr().unwrap(), closed.local_addr().unwrap());
        drop(closed);
        let stream = connect_any([gone, there].into_iter()).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), there);
        let error = connect_any([gone].into_iter()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(connect_any([].into_iter()).await.is_err());
    }

    #[test]
    fn urls_are_taken_apart() {
        let endpoint = Endpoint::new("wss://ws.okx.com:8443/ws/v5/").unwrap();
        assert_eq!((endpoint.port, endpoint.secure), (8443, true));
        assert_eq!(endpoint.target("/public"), "/ws/v5/public");
        assert_eq!(endpoint.authority, "ws.okx.com:8443");
        let endpoint = Endpoint::new("https://api.binance.com").unwrap();
        assert_eq!((endpoint.port, endpoint.target("/api?x=1").as_str()), (443, "/api?x=1"));
        let endpoint = Endpoint::new("ws://[::1]:80").unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.secure), ("::1", false));
        for url in ["", "binance.com", "ftp://x", "wss://", "wss://x?y=1", "wss:///x"] {
            assert!(Endpoint::new(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_file_of_certificates_must_hold_some() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Dialer::new(Some(file.path())).unwrap_err().to_string();
        assert!(error.contains("no certificate in it"), "{error}");
        let error = Dialer::new(Some(Path::new("/no/such"))).unwrap_err().to_string();
        assert!(error.contains("/no/such"), "{error}");
    }
}
