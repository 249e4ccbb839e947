//! The settings of delayed markets.

use std::path::PathBuf;

use super::{ConfigError, Reader, doors};
use crate::limits;

/// Where what is delayed waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    /// The directory; needed where a grant has a `delay`.
    pub directory: Option<PathBuf>,
    /// Bytes that it may take.
    pub bytes: usize,
}

impl Reader<'_> {
    pub(super) fn spool(&self) -> Result<Spool, ConfigError> {
        Ok(Spool {
            directory: self.or("spool-dir", None, |text| doors::path(text).map(Some))?,
            bytes: self.size("spool-bytes", &limits::SPOOL_BYTES_RANGE)?,
        })
    }
}
