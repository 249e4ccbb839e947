//! What the start reads or opens: the files and addresses that a configuration names.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::access::{Access, AccessError};
use crate::config::{AdminAt, Config};
use crate::transport::certificates::{CertificateError, Certificates};

/// Reads the files that a configuration names, as the start does: who may see what, and certificates.
///
/// # Errors
/// The flag, the file and what is wrong with it.
pub fn files(config: &Config) -> anyhow::Result<()> {
    access(config).context("--access")?;
    if !config.doors.certificates.is_empty() {
        Certificates::load(config.doors.certificates.clone()).context("--listen-tls")?;
    }
    Ok(())
}

/// Whether a start failed by a file that [`files`] reads.
pub fn is_of_files(error: &anyhow::Error) -> bool {
    error.is::<AccessError>() || error.is::<CertificateError>() || error.is::<NoSpool>()
}

/// What is granted is delayed, and there is nowhere to keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a `delay` is granted, expected --spool-dir DIR to keep what is delayed in")]
pub(crate) struct NoSpool;

/// Reads the file of `--access`, if there is one.
pub(super) fn access(config: &Config) -> anyhow::Result<()> {
    let Some(path) = &config.access else { return Ok(()) };
    let access = Access::load(path)?;
    spool_of(config, &access)?;
    Ok(())
}

/// The directory of what is delayed, where anything is.
pub(crate) fn spool_of<'a>(
    config: &'a Config,
    access: &Access,
) -> Result<Option<&'a Path>, NoSpool> {
    if access.delays().is_empty() {
        return Ok(None);
    }
    config.spool.directory.as_deref().map(Some).ok_or(NoSpool)
}

/// Bytes that are free where a folder is, or will be.
pub(super) fn free(folder: &Path) -> Result<u64, String> {
    if folder.exists() && !folder.is_dir() {
        return Err(format!("{} is no directory", folder.display()));
    }
    let there = folder.ancestors().find(|folder| folder.is_dir());
    let there = match there {
        Some(there) => there.to_owned(),
        // A name alone: here.
        None if folder.is_relative() => PathBuf::from("."),
        None => return Err(format!("{} cannot be made", folder.display())),
    };
    let cannot = |error: rustix::io::Errno| format!("{}: {error}", there.display());
    rustix::fs::access(&there, rustix::fs::Access::WRITE_OK).map_err(cannot)?;
    let stat = rustix::fs::statvfs(&there).map_err(cannot)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The same of a folder that is to take recordings.
pub(super) fn free_for_recordings(folder: &Path) -> Result<u64, String> {
    let bytes = free(folder)?;
    if folder.is_dir() {
        tickcast_feeds::record::may_take(folder).map_err(|error| error.to_string())?;
    }
    Ok(bytes)
}

/// Of the addresses to listen at, those that this user cannot have, and why. One that is taken may be taken by
/// the server itself.
pub(super) fn shut(config: &Config) -> Vec<(String, String)> {
    let admin = config.admin.as_ref().and_then(|admin| match admin.at {
        AdminAt::Tcp(address) => Some(address),
        AdminAt::Unix(_) => None,
    });
    let all = [config.doors.plain, config.doors.tls, admin];
    let cannot = |address| match TcpListener::bind(address) {
        Err(error) if error.kind() != ErrorKind::AddrInUse => {
            Some((format!("{address}"), error.to_string()))
        }
        _ => None,
    };
    all.into_iter().flatten().filter_map(cannot).collect()
}
