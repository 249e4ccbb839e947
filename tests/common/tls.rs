//! Certificates of a test's own, and clients that trust them.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use tempfile::TempDir;

use super::{Client, PATIENCE};

/// A connection.
pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Certificate and key in files.
pub struct Pair {
    folder: TempDir,
    made: CertifiedKey<KeyPair>,
}

impl Pair {
    /// A new certificate for these names.
    pub fn new(names: &[&str]) -> Self {
        let pair = Pair { folder: TempDir::new().expect("a folder"), made: make(names) };
        pair.write();
        pair
    }

    fn write(&self) {
        std::fs::write(self.chain(), self.made.cert.pem()).expect("writes");
        std::fs::write(self.key(), self.made.signing_key.serialize_pem()).expect("writes");
    }

    /// Replaces it by a new one.
    pub fn renew(&mut self, names: &[&str]) {
        self.made = make(names);
        self.write();
    }

    pub fn chain(&self) -> PathBuf {
        self.folder.path().join("chain.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    pub fn der(&self) -> &CertificateDer<'static> {
        self.made.cert.der()
    }

    /// The flags with which it is served.
    pub fn flags(&self) -> Vec<String> {
        let file = |path: PathBuf| path.display().to_string();
        ["--tls-cert".to_owned(), file(self.chain()), "--tls-key".to_owned(), file(self.key())]
            .into()
    }
}

fn make(names: &[&str]) -> CertifiedKey<KeyPair> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    rcgen::generate_simple_self_signed(names).expect("a certificate")
}

/// A client's settings: it trusts these and nobody else.
pub fn trusting(
    pairs: &[&Pair],
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for pair in pairs {
        roots.add(pair.der().clone()).expect("a root");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// Shakes hands.
///
/// # Errors
/// What the client does not like, or the server.
pub fn connect(
    address: SocketAddr,
    name: &str,
    config: &Arc<ClientConfig>,
) -> std::io::Result<Stream> {
    over(TcpStream::connect(address)?, name, config)
}

/// The same over a connection that is made.
///
/// # Errors
/// What the client does not like, or the server.
pub fn over(mut tcp: TcpStream, name: &str, config: &Arc<ClientConfig>) -> std::io::Result<Stream> {
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut session = ClientConnection::new(config.clone(), name).expect("a session");
    while session.is_handshaking() {
        session.complete_io(&mut tcp)?;
    }
    Ok(StreamOwned::new(session, tcp))
}

/// A client of the native protocol.
pub fn native(address: SocketAddr, config: &Arc<ClientConfig>) -> Client<Stream> {
    Client::upgrade(connect(address, "localhost", config).expect("a handshake"), "/v1/ws")
}
