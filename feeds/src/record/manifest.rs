//! What is in a recording, beside its data files: `recording.json`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{RecordError, VERSION};
use crate::decimal::Decimal;
use crate::instrument::Listing;

/// The manifest's name.
pub const MANIFEST: &str = "recording.json";

/// What it is called until it is whole.
pub(super) const MANIFEST_NEW: &str = "recording.json.new";

/// What a recording holds. Written when a file is begun or closed and when instruments are listed,
/// so that after a kill it may lag behind the files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the format.
    pub version: u32,
    /// What wrote it: `tickcast 0.1.0`.
    pub written_by: String,
    /// When it was begun, RFC 3339.
    pub started: String,
    /// What became of it.
    pub state: State,
    /// Why it stopped before its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Its feeds, by number.
    pub feeds: Vec<FeedEntry>,
}

/// What became of a recording or of a file of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is being written, or the process was killed.
    #[default]
    Open,
    /// It was ended in order.
    Closed,
    /// It could not be gone on with.
    Stopped,
}

/// A feed of a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedEntry {
    /// Its number, from 1.
    pub number: u32,
    /// The venue's short name.
    pub venue: String,
    /// Its spec, without secrets.
    pub spec: String,
    /// The instruments that were subscribed to, in the order of listing.
    pub listings: Vec<ListingEntry>,
    /// Its files, in order.
    pub files: Vec<FileEntry>,
}

/// A data file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name.
    pub name: String,
    /// Whether it is complete; the counts of an open one are as of when the manifest was written.
    pub state: State,
    /// When the first input was received, nanoseconds since the Unix epoch; 0 without one.
    pub first_ns: u64,
    /// When the last was.
    pub last_ns: u64,
    /// Messages and REST replies.
    pub messages: u64,
    /// Other inputs.
    pub events: u64,
    /// Inputs that are missing because the disk was too slow.
    pub dropped: u64,
    /// Bytes of lines.
    pub bytes: u64,
    /// Bytes of the file.
    pub compressed: u64,
}

/// An instrument, with steps as decimal texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingEntry {
    native: String,
    base: String,
    quote: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    contract: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tick_size: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lot_size: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    quotes_from_book: bool,
}

impl From<&Listing> for ListingEntry {
    fn from(listing: &Listing) -> Self {
        ListingEntry {
            native: listing.native.clone(),
            base: listing.base.clone(),
            quote: listing.quote.clone(),
            contract: listing.contract.clone(),
            tick_size: listing.tick_size.map(|step| step.to_string()),
            lot_size: listing.lot_size.map(|step| step.to_string()),
            quotes_from_book: listing.quotes_from_book,
        }
    }
}

impl From<&ListingEntry> for Listing {
    fn from(entry: &ListingEntry) -> Self {
        // A step that is none is one that the venue did not say.
        let step = |text: &Option<String>| -> Option<Decimal> { text.as_ref()?.parse().ok() };
        Listing {
            native: entry.native.clone(),
            base: entry.base.clone(),
            quote: entry.quote.clone(),
            contract: entry.contract.clone(),
            tick_size: step(&entry.tick_size),
            lot_size: step(&entry.lot_size),
            quotes_from_book: entry.quotes_from_book,
        }
    }
}

/// All that is read before the version is known to be one of ours.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Manifest {
    /// Reads a recording's manifest; `None` where there is none.
    ///
    /// # Errors
    /// [`RecordError::Version`], [`RecordError::Manifest`], [`RecordError::Io`].
    pub fn read(directory: &Path) -> Result<Option<Self>, RecordError> {
        let path = directory.join(MANIFEST);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(RecordError::io("read", &path)(error)),
        };
        let damaged = |error: serde_json::Error| RecordError::Manifest {
            path: path.clone(),
            why: error.to_string(),
        };
        let Versioned { version } = serde_json::from_slice(&text).map_err(damaged)?;
        if version > VERSION {
            return Err(RecordError::Version { path, found: version });
        }
        serde_json::from_slice(&text).map(Some).map_err(damaged)
    }

    /// Writes it so that whoever reads it finds the old one or the new one, whole, whenever the
    /// process or the machine ends.
    pub(super) fn write(&self, directory: &Path) -> Result<(), RecordError> {
        let (path, new) = (directory.join(MANIFEST), directory.join(MANIFEST_NEW));
        let write = || -> io::Result<()> {
            let mut text = serde_json::to_vec_pretty(self)?;
            text.push(b'\n');
            let mut file = File::create(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            sync_directory(directory)
        };
        write().map_err(|error| {
            let _ = fs::remove_file(&new); // the error is told already
            RecordError::io("write", &path)(error)
        })
    }
}

/// Makes names in a directory last.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing() -> Listing {
        Listing {
            native: "BTC-USDT-SWAP".to_owned(),
            base: "BTC".to_owned(),
            quote: "USDT".to_owned(),
            contract: Some("SWAP".to_owned()),
            tick_size: Some("0.10".parse().unwrap()),
            lot_size: None,
            quotes_from_book: true,
        }
    }

    fn manifest() -> Manifest {
        let file = FileEntry { name: "1-okx.0001.zst".to_owned(), ..FileEntry::default() };
        Manifest {
            version: VERSION,
            written_by: "tickcast 0.1.0".to_owned(),
            started: "2026-11-25T22:37:02.123Z".to_owned(),
            state: State::Open,
            error: None,
            feeds: vec![FeedEntry {
                number: 1,
                venue: "okx".to_owned(),
                spec: "okx:BTC-USDT-SWAP".to_owned(),
                listings: vec![ListingEntry::from(&listing())],
                files: vec![file],
            }],
        }
    }

    #[test]
    fn it_reads_back_and_keeps_every_field_of_a_listing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap(), None);
        manifest().write(folder.path()).unwrap();
        let read = Manifest::read(folder.path()).unwrap().unwrap();
        assert_eq!(read, manifest());
        assert_eq!(Listing::from(&read.feeds[0].listings[0]), listing());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_later_version_and_damage_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(MANIFEST);
        fs::write(&path, "{\"version\": 2, \"shape\": \"new\"}").unwrap();
        let error = Manifest::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("version 2: expected at most 1"), "{error}");
        for text in ["", "{", "[]", "{\"version\": 1}", "{\"version\": \"x\"}"] {
            fs::write(&path, text).unwrap();
            let error = Manifest::read(folder.path()).unwrap_err().to_string();
            assert!(error.contains("recording.json` is damaged: "), "{text}: {error}");
        }
    }
}
