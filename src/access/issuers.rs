//! `[[issuer]]` of the file: those whose signed tokens are taken.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Stamp;
use super::claims::Terms;
use super::fields::granting;
use super::issued::Revoked;
use super::keys::{Algorithm, KeySet};
use super::remote::{Bell, Remote};
use super::signed::Issuer;
use crate::limits;

granting! {
    /// One of them.
    Section {
        name: String,
        algorithms: Vec<String>,
        secret_file: Option<PathBuf>,
        key_file: Option<PathBuf>,
        jwks_url: Option<String>,
        iss: Option<String>,
        aud: Option<String>,
        /// Seconds.
        leeway: Option<u64>,
        #[serde(default)]
        revoked_sub: Vec<String>,
        #[serde(default)]
        revoked_jti: Vec<String>,
    }
}

/// All of a file's, whose paths are below `folder`; what is read is added to `files`.
///
/// # Errors
/// What is wrong with which of them.
pub(super) fn read(
    sections: Vec<Section>,
    folder: &Path,
    bell: &Arc<Bell>,
    files: &mut Vec<Stamp>,
) -> Result<Arc<[Arc<Issuer>]>, String> {
    if sections.len() > limits::ISSUERS {
        return Err(format!("{} [[issuer]], expected {} at most", sections.len(), limits::ISSUERS));
    }
    let mut issuers: Vec<Arc<Issuer>> = Vec::new();
    for (at, section) in sections.into_iter().enumerate() {
        let name = section.name.clone();
        let error = |why: String| format!("[[issuer]] {} of the file: {name}: {why}", at + 1);
        let issuer = section.issuer(folder, bell, files).map_err(error)?;
        for other in &issuers {
            let what = match () {
                () if other.name == issuer.name => "`name`",
                () if other.terms.iss == issuer.terms.iss => "`iss`",
                () => continue,
            };
            return Err(error(format!("another has this {what} too")));
        }
        issuers.push(Arc::new(issuer));
    }
    Ok(issuers.into())
}

impl Section {
    fn issuer(
        mut self,
        folder: &Path,
        bell: &Arc<Bell>,
        files: &mut Vec<Stamp>,
    ) -> Result<Issuer, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.name.is_empty() || !self.name.chars().all(plain) {
            return Err("expected a `name` of letters, digits, `-`, `_`, `.`".to_owned());
        }
        let seconds = self.leeway.unwrap_or(limits::LEEWAY_SECONDS);
        if seconds > limits::LEEWAY_SECONDS_MAX {
            let most = limits::LEEWAY_SECONDS_MAX;
            return Err(format!("`leeway` is not 0 to {most} seconds"));
        }
        let algorithms = self.algorithms()?;
        let keys = self.keys(&algorithms, folder, bell, files)?;
        let rights = self.fields().whole()?;
        let revoked = Revoked::new(self.revoked_sub, self.revoked_jti)?;
        let (iss, aud) = (self.iss, self.aud);
        let terms = Terms { iss, aud, leeway_ms: seconds * 1_000, rights };
        Ok(Issuer::new(self.name, terms, algorithms, keys, revoked))
    }

    fn algorithms(&self) -> Result<Vec<Algorithm>, String> {
        let expected = || format!("expected `algorithms`, some of {}", Algorithm::NAMES);
        if self.algorithms.is_empty() {
            return Err(expected());
        }
        let one = |name: &String| {
            Algorithm::parse(name).ok_or_else(|| format!("algorithm {name:?}, {}", expected()))
        };
        self.algorithms.iter().map(one).collect()
    }

    /// Its keys, or where to ask for them.
    fn keys(
        &self,
        algorithms: &[Algorithm],
        folder: &Path,
        bell: &Arc<Bell>,
        files: &mut Vec<Stamp>,
    ) -> Result<Result<KeySet, Remote>, String> {
        let is_secret = algorithms.contains(&Algorithm::Hs256);
        match (&self.secret_file, &self.key_file, &self.jwks_url) {
            (Some(path), None, None) if algorithms == [Algorithm::Hs256] => {
                KeySet::secrets(&text(&folder.join(path), files)?).map(Ok)
            }
            (Some(_), None, None) => {
                Err("`secret_file` is for algorithms = [\"HS256\"]: the others have public keys".to_owned())
            }
            (None, Some(_), None) | (None, None, Some(_)) if is_secret => {
                Err("HS256 is signed with a secret, expected `secret_file`: whoever knows a public key could sign with it".to_owned())
            }
            (None, Some(path), None) => {
                KeySet::public(&text(&folder.join(path), files)?, algorithms).map(Ok)
            }
            (None, None, Some(url)) => {
                // Such sets sign for many others: tokens for those are none for this server.
                if self.iss.is_none() || self.aud.is_none() {
                    return Err("with `jwks_url` expected `iss` and `aud` too".to_owned());
                }
                Remote::new(url, bell).map(Err)
            }
            _ => Err("expected one of `secret_file`, `key_file`, `jwks_url`".to_owned()),
        }
    }
}

fn text(path: &Path, files: &mut Vec<Stamp>) -> Result<String, String> {
    files.push(Stamp::new(path));
    std::fs::read_to_string(path).map_err(|why| format!("cannot read {}: {why}", path.display()))
}
