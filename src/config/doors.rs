//! Where clients come in.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::{ConfigError, Reader, address};
use crate::cli;
use crate::transport::certificates::Source;

/// See the module; there is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doors {
    /// For all, not encrypted; port 0 takes a free one.
    pub plain: Option<SocketAddr>,
    /// For those who speak TLS.
    pub tls: Option<SocketAddr>,
    /// A socket in the file system.
    pub unix: Option<PathBuf>,
    /// What TLS is spoken with, the one for all other names first; empty where it is not spoken.
    pub certificates: Vec<Source>,
}

/// What `--listen` takes instead of an address.
const NONE: &str = "none";

impl Reader<'_> {
    pub(super) fn doors(&self) -> Result<Doors, ConfigError> {
        let tls = self.or("listen-tls", None, |text| address(text).map(Some))?;
        let unix = self.or("listen-unix", None, |text| path(text).map(Some))?;
        let plain = self.required("listen", |text| match text {
            NONE if tls.is_none() && unix.is_none() => {
                Err("expected --listen-tls or --listen-unix with it, or nobody comes in".to_owned())
            }
            NONE => Ok(None),
            text => address(text).map(Some),
        })?;
        Ok(Doors { plain, tls, unix, certificates: self.certificates(tls.is_some())? })
    }

    fn certificates(&self, spoken: bool) -> Result<Vec<Source>, ConfigError> {
        let files = |name| self.several(name).unwrap_or_default();
        let (chains, keys) = (files("tls-cert"), files("tls-key"));
        let own = self
            .required("tls-self-signed", |text| super::one_of(text, cli::BOOL, &[true, false]))?;
        for (name, texts) in [("tls-cert", &chains), ("tls-key", &keys)] {
            for text in texts {
                path(text).map_err(|why| self.error(name, text, why))?;
            }
        }
        let wrong =
            |name: &str, value: &str, why: &str| Err(self.error(name, value, why.to_owned()));
        if let ([], [key, ..]) = (&chains[..], &keys[..]) {
            return wrong(
                "tls-key",
                key,
                "expected --tls-cert FILE with it, which it is the key of",
            );
        }
        match (spoken, &chains[..], own) {
            (false, [], false) => return Ok(Vec::new()),
            (false, [], true) => {
                return wrong(
                    "tls-self-signed",
                    "true",
                    "expected --listen-tls ADDRESS:PORT with it",
                );
            }
            (false, [first, ..], _) => {
                return wrong("tls-cert", first, "expected --listen-tls ADDRESS:PORT with it");
            }
            (true, [], false) => {
                let name = "listen-tls";
                let given = self.settings.get(name).and_then(|given| given.values.first());
                let why = "it needs a certificate, expected --tls-cert FILE and --tls-key FILE, or \
                           --tls-self-signed for a first try";
                return wrong(name, given.map_or("", String::as_str), why);
            }
            (true, [first, ..], true) => {
                let why = "expected either files or --tls-self-signed";
                return wrong("tls-cert", first, why);
            }
            (true, [], true) => return Ok(vec![Source::SelfSigned]),
            (true, [_, ..], false) => {}
        }
        if chains.len() != keys.len() {
            let why = format!(
                "{} --tls-cert and {} --tls-key are given, expected a key for each certificate, in \
                 the same order",
                chains.len(),
                keys.len()
            );
            return wrong("tls-cert", chains[0], &why);
        }
        let file = |text: &str| PathBuf::from(text.trim());
        let pairs = chains.iter().zip(&keys);
        Ok(pairs.map(|(chain, key)| Source::Files { chain: file(chain), key: file(key) }).collect())
    }
}

impl Doors {
    /// The text of `listen`.
    pub(super) fn listen(&self) -> String {
        self.plain.map_or(NONE.to_owned(), |address| address.to_string())
    }

    /// The texts of `tls-cert` and `tls-key`.
    pub(super) fn files(&self) -> [Vec<String>; 2] {
        let pairs = self.certificates.iter().filter_map(|source| match source {
            Source::Files { chain, key } => Some((text(chain), text(key))),
            Source::SelfSigned => None,
        });
        let (chains, keys) = pairs.unzip();
        [chains, keys]
    }

    pub(super) fn is_self_signed(&self) -> bool {
        self.certificates.contains(&Source::SelfSigned)
    }
}

pub(super) fn text(path: &Path) -> String {
    path.display().to_string()
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    match text.trim() {
        "" => Err("expected a file".to_owned()),
        text => Ok(PathBuf::from(text)),
    }
}
