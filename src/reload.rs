//! What is read again while the server runs: certificates, and who may see what.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::access::Access;
use crate::transport::certificates::Certificates;

/// What tells one state of a file from another. More than when it was written: what is moved or unpacked into its
/// place may have any time, and the old one's length too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Device and number.
    file: (u64, u64),
    len: u64,
    /// Seconds and nanoseconds of the last change of what is in it, and of anything about it.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Seen {
    /// The state of a file now; `None` where there is none that can be looked at.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let meta = std::fs::metadata(path).ok()?;
        Some(Seen {
            file: (meta.dev(), meta.ino()),
            len: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

/// What became of one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There is none.
    None,
    /// It had not changed, and nobody asked.
    Same,
    Read,
    /// What is wrong with it; all stays as it was.
    Refused(String),
}

impl Outcome {
    fn of<E: std::fmt::Display>(result: Result<bool, E>) -> Self {
        match result {
            Ok(true) => Outcome::Read,
            Ok(false) => Outcome::Same,
            Err(error) => Outcome::Refused(error.to_string()),
        }
    }
}

/// Reads the certificates again where their files have changed, or in any case.
pub(crate) fn certificates(certificates: Option<&Certificates>, always: bool) -> Outcome {
    let Some(certificates) = certificates else { return Outcome::None };
    let outcome = Outcome::of(certificates.reload(always));
    match &outcome {
        Outcome::Read => {
            tracing::info!("certificates read again");
            certificates.tell_of_end();
        }
        Outcome::Refused(error) => tracing::error!(%error, "certificates stay as they are"),
        Outcome::None | Outcome::Same => {}
    }
    outcome
}

/// The same of the file of `--access`.
pub(crate) fn access(access: &Access, always: bool) -> Outcome {
    if !access.is_kept() {
        return Outcome::None;
    }
    let outcome = Outcome::of(access.reload(always));
    match &outcome {
        Outcome::Read => tracing::info!(target: "audit", "access read again"),
        Outcome::Refused(error) => tracing::error!(%error, "access stays as it is"),
        Outcome::None | Outcome::Same => {}
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_of_the_same_time_and_length_is_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let [path, new] = ["access.toml", "new.toml"].map(|name| folder.path().join(name));
        let write = |path: &Path, text: &str| {
            std::fs::write(path, text).expect("writes");
            let file = std::fs::File::options().write(true).open(path).expect("opens");
            file.set_modified(std::time::UNIX_EPOCH).expect("a time");
        };
        write(&path, "one");
        let before = Seen::of(&path);
        assert!(before.is_some());
        assert_eq!(Seen::of(&path), before);
        write(&new, "two");
        std::fs::rename(&new, &path).expect("renames");
        assert_ne!(Seen::of(&path), before);
        std::fs::remove_file(&path).expect("removes");
        assert_eq!(Seen::of(&path), None);
    }
}
