//! A recording on disk, opened.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::manifest::{FeedEntry, FileEntry, MANIFEST, MANIFEST_NEW, Manifest, State};
use super::names::{parse_data_file, venues};
use super::reader::{DataFile, Expected, FeedReader, head};
use super::{RecordError, VERSION};
use crate::instrument::Listing;
use crate::sink::{Sink, SinkClosed};
use crate::tick::Tick;
use crate::venue::{self, Entry};

/// A recording on disk.
#[derive(Debug)]
pub struct Recording {
    directory: PathBuf,
    manifest: Manifest,
    rebuilt: bool,
    feeds: Vec<RecordedFeed>,
}

/// A feed of a recording.
#[derive(Clone, Debug)]
pub struct RecordedFeed {
    /// Its venue.
    pub venue: &'static Entry,
    /// Its spec, without secrets.
    pub spec: String,
    /// The instruments that were subscribed to, in the order of listing.
    pub listings: Vec<Listing>,
    files: Vec<DataFile>,
}

/// Whether a path is the directory of a recording: it has a manifest or a data file.
pub(super) fn is_recording(path: &Path) -> bool {
    path.join(MANIFEST).is_file() || data_files(path).is_ok_and(|files| !files.is_empty())
}

/// Whether a path is a directory that a recording was about to be made in.
pub(super) fn is_blank(path: &Path) -> bool {
    let none = |mut entries: fs::ReadDir| {
        entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == MANIFEST_NEW))
    };
    fs::read_dir(path).is_ok_and(none)
}

/// Feed, venue and number of a path that is named as a data file is.
fn parse_name(path: &Path) -> Option<(u32, &str, u32)> {
    parse_data_file(path.file_name()?.to_str()?)
}

/// The data files in a directory, by feed and number.
fn data_files(directory: &Path) -> std::io::Result<BTreeMap<(u32, u32), PathBuf>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if let Some((feed, _, number)) = parse_name(&path) {
            files.insert((feed, number), path);
        }
    }
    Ok(files)
}

impl Recording {
    /// The directory of the recording that a path stands for: itself, or the one in it where there
    /// is nothing else; `None` where it is neither.
    ///
    /// # Errors
    /// [`RecordError::Several`], and [`RecordError::DataFile`] for a file of one.
    pub fn find(path: &Path) -> Result<Option<PathBuf>, RecordError> {
        if super::is_data_file(path) && path.is_file() {
            return Err(RecordError::DataFile(path.to_owned()));
        }
        if is_recording(path) {
            return Ok(Some(path.to_owned()));
        }
        // What cannot be listed is for whoever opens it to complain about.
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let mut inner: Vec<PathBuf> =
            entries.map(|entry| entry.path()).filter(|path| !is_blank(path)).collect();
        if !inner.iter().all(|path| is_recording(path)) {
            return Ok(None);
        }
        inner.sort();
        match &inner[..] {
            [.., newest] if inner.len() > 1 => Err(RecordError::Several {
                path: path.to_owned(),
                count: inner.len(),
                newest: newest.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            }),
            _ => Ok(inner.pop()),
        }
    }

    /// Opens the recording in a directory. Where the manifest is missing, what it said is read
    /// from the files, which takes a pass over them.
    ///
    /// # Errors
    /// [`RecordError::Version`], [`RecordError::Manifest`], [`RecordError::Venue`],
    /// [`RecordError::Io`], [`RecordError::Empty`].
    pub fn open(directory: &Path) -> Result<Self, RecordError> {
        let files = data_files(directory).map_err(RecordError::io("read", directory))?;
        let (manifest, rebuilt) = match Manifest::read(directory)? {
            Some(manifest) => (manifest, false),
            None => (rebuild(&files)?, true),
        };
        let mut feeds = Vec::new();
        for entry in &manifest.feeds {
            let venue = venue::find(&entry.venue).ok_or_else(|| RecordError::Venue {
                path: directory.to_owned(),
                venue: entry.venue.clone(),
                known: venues(),
            })?;
            let mut of_feed: BTreeMap<u32, DataFile> = entry
                .files
                .iter()
                .filter_map(|file| {
                    let (_, _, number) = parse_data_file(&file.name)?;
                    Some((number, DataFile::of(file, directory)))
                })
                .collect();
            // A file may be newer than the manifest.
            for ((_, number), path) in files.range((entry.number, 0)..=(entry.number, u32::MAX)) {
                of_feed.entry(*number).or_insert_with(|| DataFile::unknown(path));
            }
            feeds.push(RecordedFeed {
                venue,
                spec: entry.spec.clone(),
                listings: entry.listings.iter().map(Listing::from).collect(),
                files: of_feed.into_values().collect(),
            });
        }
        if feeds.iter().all(|feed| feed.files.is_empty()) {
            return Err(RecordError::Empty(directory.to_owned()));
        }
        Ok(Recording { directory: directory.to_owned(), manifest, rebuilt, feeds })
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether the manifest was missing and is what the files told.
    pub fn is_rebuilt(&self) -> bool {
        self.rebuilt
    }

    /// Its feeds, by number.
    pub fn feeds(&self) -> &[RecordedFeed] {
        &self.feeds
    }
}

impl RecordedFeed {
    /// Its files, in order: those that the manifest names, and those that are there.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// A reader of its inputs from the beginning; to be advanced to the first.
    pub fn reader(&self) -> FeedReader {
        FeedReader::new(self.files.iter().cloned())
    }
}

impl DataFile {
    /// As the manifest has it. What it says of a file that is open is as of when it was written.
    fn of(entry: &FileEntry, directory: &Path) -> Self {
        let inputs = entry.messages + entry.events;
        let expected = Some(Expected { inputs, is_exact: entry.state == State::Closed });
        DataFile { path: directory.join(&entry.name), expected }
    }

    fn unknown(path: &Path) -> Self {
        DataFile { path: path.to_owned(), expected: None }
    }
}

/// What the manifest would say, as far as the files tell.
fn rebuild(files: &BTreeMap<(u32, u32), PathBuf>) -> Result<Manifest, RecordError> {
    let mut feeds: Vec<FeedEntry> = Vec::new();
    for (&(number, _), path) in files {
        if feeds.last().is_none_or(|feed| feed.number != number) {
            let of_feed = files.range((number, 0)..=(number, u32::MAX));
            let mut reader = FeedReader::new(of_feed.map(|(_, path)| DataFile::unknown(path)));
            reader.advance(&mut Nothing);
            while reader.recv().is_some() {
                reader.advance(&mut Nothing);
            }
            // Of any of its files: the first may be the one that is damaged.
            let head = match reader.meta().head.clone() {
                Some(head) if head.version <= VERSION => Some(head),
                _ => head(path)?,
            };
            // All that the name says, if no head is left.
            let venue = parse_name(path).map_or_else(String::new, |(_, venue, _)| venue.to_owned());
            let (venue, spec) = match head {
                Some(head) => (head.venue, head.spec),
                None => (venue.clone(), venue),
            };
            feeds.push(FeedEntry {
                number,
                venue,
                spec,
                listings: reader.meta().listings.iter().map(Into::into).collect(),
                files: Vec::new(),
            });
        }
    }
    let written_by = "unknown: the manifest is missing".to_owned();
    let (started, state) = (String::new(), State::Open);
    Ok(Manifest { version: VERSION, written_by, started, state, error: None, feeds })
}

/// Takes nothing.
struct Nothing;

impl Sink for Nothing {
    fn put(&mut self, _: &Tick) {}

    fn flush(&mut self) -> Result<(), SinkClosed> {
        Ok(())
    }

    fn reject(&mut self, _: &'static str, _: &str, _: &[u8]) {}

    fn restart(&mut self) {}
}
