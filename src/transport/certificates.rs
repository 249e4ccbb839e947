//! Certificates and keys: read from files, chosen by the name that a client asks for, and read again
//! while clients stay connected.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use webpki::EndEntityCert;

use super::validity::of_certificate;
use crate::clock;
use crate::limits;
use crate::reload::Seen;

/// Where a certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// PEM files: the chain, the server's own certificate first, and its key.
    Files {
        /// The chain.
        chain: PathBuf,
        /// The key: PKCS#8, PKCS#1 or SEC1.
        key: PathBuf,
    },
    /// Made at the start, for this machine's names, and trusted by nobody.
    SelfSigned,
}

/// Why a certificate cannot be used.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A file that cannot be read, or has nothing of the kind in it.
    #[error("{}: expected {expected} in PEM: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        expected: &'static str,
        /// The reason.
        why: String,
    },
    /// A key that is not the certificate's, or of a kind that is not known.
    #[error("{} and {}: {why}", chain.display(), key.display())]
    Pair {
        /// The certificate's file.
        chain: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// The reason.
        why: String,
    },
    /// A certificate of one's own that could not be made.
    #[error("no self-signed certificate: {0}")]
    SelfSigned(String),
}

/// See the module.
pub(crate) struct Certificates {
    sources: Vec<Source>,
    provider: Arc<CryptoProvider>,
    chosen: RwLock<Arc<Chosen>>,
    /// What would not do is not tried again before it changes once more, or somebody asks.
    seen: Mutex<Stamp>,
    /// Times that the files were read again, and times that they would not do.
    pub(crate) reloads: AtomicU64,
    pub(crate) reloads_failed: AtomicU64,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No keys.
        f.debug_struct("Certificates").field("sources", &self.sources).finish_non_exhaustive()
    }
}

/// What is in use.
struct Chosen {
    /// By the names in the certificates, in lower case; `*.` begins those that stand for many.
    by_name: HashMap<String, Arc<CertifiedKey>>,
    /// For everybody else.
    first: Arc<CertifiedKey>,
    /// When the first of them ends, Unix time in seconds, where their dates are understood.
    ends: Option<u64>,
    stamp: Stamp,
}

/// Tells whether files have changed.
type Stamp = Vec<Option<Seen>>;

impl Certificates {
    /// Reads them all.
    ///
    /// # Errors
    /// The first that will not do.
    pub(crate) fn load(sources: Vec<Source>) -> Result<Arc<Self>, CertificateError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chosen = Arc::new(read(&sources, &provider)?);
        Ok(Arc::new(Certificates {
            seen: Mutex::new(chosen.stamp.clone()),
            sources,
            provider,
            chosen: RwLock::new(chosen),
            reloads: AtomicU64::new(0),
            reloads_failed: AtomicU64::new(0),
        }))
    }

    /// Reads them again where a file has changed, or in any case, for handshakes from now on; whether that
    /// was so. Where it fails, those in use stay.
    ///
    /// # Errors
    /// The first that will not do.
    pub(crate) fn reload(&self, always: bool) -> Result<bool, CertificateError> {
        let stamp = stamp(&self.sources);
        if std::mem::replace(&mut *self.seen.lock(), stamp.clone()) == stamp && !always {
            return Ok(false);
        }
        match read(&self.sources, &self.provider) {
            Ok(chosen) => {
                *self.chosen.write() = Arc::new(chosen);
                self.reloads.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
            Err(error) => {
                self.reloads_failed.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// When the first of them ends, Unix time in seconds.
    pub(crate) fn ends(&self) -> Option<u64> {
        self.chosen.read().ends
    }

    /// Says so in the log, where it is soon or has been.
    pub(crate) fn tell_of_end(&self) {
        let now = clock::real_ns() / 1_000_000_000;
        let Some(left) = self.ends().map(|ends| ends.saturating_sub(now)) else { return };
        let days = left / (24 * 3600);
        if left == 0 {
            tracing::error!("a certificate has expired: clients refuse it");
        } else if left < limits::CERTIFICATE_WARNING.as_secs() {
            tracing::warn!(days, "a certificate expires soon");
        }
    }

    /// The settings of TLS that go with them: 1.3 and 1.2, with ring's suites, all of which have forward
    /// secrecy and authenticated encryption.
    ///
    /// # Errors
    /// What rustls says of its own defaults.
    pub(crate) fn config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        // The only one that is spoken here. Who offers others alone is told so in the handshake.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Who comes back after a cut saves the signature, most of a handshake's work. Tickets keep nothing
        // here: a storm of clients that reconnect needs no memory.
        config.ticketer = rustls::crypto::ring::Ticketer::new()?;
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let chosen = self.chosen.read().clone();
        let found = hello.server_name().and_then(|name| chosen.find(name)).cloned();
        Some(found.unwrap_or_else(|| chosen.first.clone()))
    }
}

impl Chosen {
    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        self.by_name.get(&name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(&format!("*.{parent}"))
        })
    }
}

fn read(sources: &[Source], provider: &CryptoProvider) -> Result<Chosen, CertificateError> {
    // Before the files: what is changed meanwhile is read again.
    let stamp = stamp(sources);
    let mut by_name = HashMap::new();
    let (mut first, mut ends) = (None, Vec::new());
    for source in sources {
        let key = Arc::new(source.read(provider)?);
        ends.extend(key.cert.first().and_then(|der| of_certificate(der)).map(|time| time.ends));
        for name in names(&key) {
            by_name.entry(name).or_insert_with(|| key.clone());
        }
        first.get_or_insert(key);
    }
    let first =
        first.ok_or_else(|| CertificateError::SelfSigned("no certificate is named".to_owned()))?;
    Ok(Chosen { by_name, first, ends: ends.into_iter().min(), stamp })
}

fn stamp(sources: &[Source]) -> Stamp {
    let files = sources.iter().filter_map(|source| match source {
        Source::Files { chain, key } => Some([Seen::of(chain), Seen::of(key)]),
        Source::SelfSigned => None,
    });
    files.flatten().collect()
}

/// The names that a certificate is for.
fn names(key: &CertifiedKey) -> Vec<String> {
    let certificate = key.cert.first().and_then(|der| EndEntityCert::try_from(der).ok());
    certificate
        .iter()
        .flat_map(|certificate| certificate.valid_dns_names())
        .map(str::to_ascii_lowercase)
        .collect()
}

impl Source {
    fn read(&self, provider: &CryptoProvider) -> Result<CertifiedKey, CertificateError> {
        match self {
            Source::Files { chain, key } => {
                let private = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| unreadable(key, "a private key", &error))?;
                CertifiedKey::from_der(read_chain(chain)?, private, provider).map_err(|error| {
                    let why = match error {
                        rustls::Error::InconsistentKeys(_) => {
                            "the key is not that of the certificate".to_owned()
                        }
                        error => error.to_string(),
                    };
                    CertificateError::Pair { chain: chain.clone(), key: key.clone(), why }
                })
            }
            Source::SelfSigned => self_signed(provider),
        }
    }
}

fn unreadable(
    path: &Path,
    expected: &'static str,
    error: &rustls::pki_types::pem::Error,
) -> CertificateError {
    CertificateError::File { path: path.to_owned(), expected, why: tickcast_feeds::pem::why(error) }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    const EXPECTED: &str = "certificates";
    let all: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(path, EXPECTED, &error))?;
    match all.is_empty() {
        true => Err(unreadable(path, EXPECTED, &rustls::pki_types::pem::Error::NoItemsFound)),
        false => Ok(all),
    }
}

fn self_signed(provider: &CryptoProvider) -> Result<CertifiedKey, CertificateError> {
    let fault = |error: &dyn fmt::Display| CertificateError::SelfSigned(error.to_string());
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(rustix::system::uname().nodename().to_str().map(str::to_owned).ok());
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| fault(&error))?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    CertifiedKey::from_der(vec![made.cert.der().clone()], key.into(), provider)
        .map_err(|error| fault(&error))
}
