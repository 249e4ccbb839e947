//! The settings of recordings.

use std::path::PathBuf;

use tickcast_feeds::FeedSpec;
use tickcast_feeds::record::Rotation;

use super::{ConfigError, Reader};
use crate::limits;

/// What is to be recorded, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The directory of recordings; `None` where nothing is recorded.
    pub directory: Option<PathBuf>,
    /// Bytes after which a file is closed and the next one begun.
    pub file_bytes: usize,
    /// Time after which it is.
    pub file_age: std::time::Duration,
}

impl Record {
    /// When a file is closed and the next one begun.
    pub fn rotation(&self) -> Rotation {
        let age_ns = self.file_age.as_nanos();
        Rotation {
            bytes: self.file_bytes as u64,
            age_ns: u64::try_from(age_ns).unwrap_or(u64::MAX),
        }
    }
}

impl Reader<'_> {
    pub(super) fn record(&self, feeds: &[FeedSpec]) -> Result<Record, ConfigError> {
        let live = feeds.iter().any(|feed| matches!(feed, FeedSpec::Live(_)));
        let directory = self.or("record", None, |text| match text {
            "" => Err("expected a directory".to_owned()),
            _ if !live => Err("no --feed is a venue, expected one, for what it sends is \
                               recorded"
                .to_owned()),
            _ => Ok(Some(PathBuf::from(text))),
        })?;
        Ok(Record {
            directory,
            file_bytes: self.size("record-file-bytes", &limits::RECORD_FILE_BYTES_RANGE)?,
            file_age: self.span("record-file-age", &limits::RECORD_FILE_AGE_RANGE)?,
        })
    }
}
