//! One feed's files: compressed frames, each of which can be read by itself.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, compress_bound};

use super::line::{Head, put_gap, put_head, put_listed};
use super::manifest::{FeedEntry, FileEntry, ListingEntry, State, sync_directory};
use super::names::data_file;
use super::tap::{Block, Lane};
use super::writer::Stats;
use super::{FRAME_BYTES, LEVEL, RecordError, VERSION};
use crate::instrument::Listing;

/// When a file is closed and the next one begun, whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Compressed bytes; a file has at most what waited for half a second more.
    pub bytes: u64,
    /// Nanoseconds between the receipt of its first message and of the next file's.
    pub age_ns: u64,
}

/// Compresses, in buffers that are kept.
pub(super) struct Packer {
    compressor: Compressor<'static>,
    packed: Vec<u8>,
    head: Vec<u8>,
}

impl Packer {
    pub(super) fn new() -> io::Result<Self> {
        let mut compressor = Compressor::new(LEVEL)?;
        // So that a damaged frame is found, instead of giving wrong prices.
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        Ok(Packer { compressor, packed: Vec::new(), head: Vec::new() })
    }
}

/// A feed's sequence of files.
pub(super) struct Output {
    pub(super) lane: Arc<Lane>,
    /// What the manifest says of it.
    pub(super) entry: FeedEntry,
    directory: PathBuf,
    rotation: Rotation,
    listings: Vec<Listing>,
    file: Option<File>,
}

impl Output {
    pub(super) fn new(lane: Arc<Lane>, directory: &Path, rotation: Rotation) -> Self {
        let entry = FeedEntry {
            number: lane.number,
            venue: lane.venue.to_owned(),
            spec: lane.spec.clone(),
            ..FeedEntry::default()
        };
        let directory = directory.to_owned();
        Output { lane, entry, directory, rotation, listings: Vec::new(), file: None }
    }

    /// Makes ready for a block: a file to write it to, its instruments. Whether the manifest has
    /// something new to say.
    pub(super) fn prepare(
        &mut self,
        block: &mut Block,
        packer: &mut Packer,
        stats: &Stats,
    ) -> Result<bool, RecordError> {
        let mut news = false;
        if self.is_full(block) {
            self.close()?;
        }
        if self.file.is_none() {
            self.open(packer, stats)?;
            news = true;
        }
        for listing in block.listings.drain(..) {
            if !self.listings.iter().any(|known| known.native == listing.native) {
                self.entry.listings.push(ListingEntry::from(&listing));
                self.listings.push(listing);
                news = true;
            }
        }
        Ok(news)
    }

    /// Writes a block.
    pub(super) fn write(
        &mut self,
        block: &mut Block,
        packer: &mut Packer,
        stats: &Stats,
    ) -> Result<(), RecordError> {
        if block.dropped > 0 {
            put_gap(&mut block.lines, block.last_ns, block.dropped);
        }
        for piece in Pieces(&block.lines) {
            self.write_frame(piece, packer, stats)?;
        }
        if let Some(file) = self.entry.files.last_mut() {
            if file.messages + file.events == 0 {
                file.first_ns = block.first_ns;
            }
            file.last_ns = file.last_ns.max(block.last_ns);
            file.messages += block.messages;
            file.events += block.events;
            file.dropped += block.dropped;
        }
        stats.note_messages(block.messages);
        Ok(())
    }

    fn is_full(&self, block: &Block) -> bool {
        let Some(file) = self.file.as_ref().and(self.entry.files.last()) else { return false };
        let age = block.first_ns.saturating_sub(file.first_ns);
        file.compressed >= self.rotation.bytes || (file.first_ns > 0 && age >= self.rotation.age_ns)
    }

    /// Begins the next file: with its head, and with the instruments so far, so that it can be
    /// read by itself.
    fn open(&mut self, packer: &mut Packer, stats: &Stats) -> Result<(), RecordError> {
        let number = self.entry.files.len() as u32 + 1;
        let name = data_file(self.entry.number, &self.entry.venue, number);
        let path = self.directory.join(&name);
        let file = File::create_new(&path).map_err(RecordError::io("create", &path))?;
        self.file = Some(file);
        self.entry.files.push(FileEntry { name, ..FileEntry::default() });
        sync_directory(&self.directory).map_err(RecordError::io("sync", &self.directory))?;
        let head = Head {
            version: VERSION,
            feed: self.entry.number,
            venue: self.entry.venue.clone(),
            spec: self.entry.spec.clone(),
            file: number,
        };
        let mut lines = std::mem::take(&mut packer.head);
        lines.clear();
        put_head(&mut lines, &head);
        if !self.listings.is_empty() {
            put_listed(&mut lines, 0, &self.listings);
        }
        let written = self.write_frame(&lines, packer, stats);
        packer.head = lines;
        written
    }

    /// Writes a frame. One that does not go to the disk whole is cut off again.
    fn write_frame(
        &mut self,
        lines: &[u8],
        packer: &mut Packer,
        stats: &Stats,
    ) -> Result<(), RecordError> {
        let Some((file, entry)) = self.file.as_mut().zip(self.entry.files.last_mut()) else {
            return Ok(());
        };
        let path = || self.directory.join(&entry.name);
        packer.packed.clear();
        packer.packed.reserve(compress_bound(lines.len()));
        let packed = packer.compressor.compress_to_buffer(lines, &mut packer.packed);
        packed.map_err(|error| RecordError::io("compress", &path())(error))?;
        if let Err(error) = file.write_all(&packer.packed) {
            let _ = file.set_len(entry.compressed); // else its reader finds a torn frame
            return Err(RecordError::io("write", &path())(error));
        }
        entry.bytes += lines.len() as u64;
        entry.compressed += packer.packed.len() as u64;
        stats.note_bytes(lines.len() as u64, packer.packed.len() as u64);
        Ok(())
    }

    /// Closes the file that is open, if one is: what it holds then outlasts the machine's power.
    pub(super) fn close(&mut self) -> Result<(), RecordError> {
        let Some((file, entry)) = self.file.take().zip(self.entry.files.last_mut()) else {
            return Ok(());
        };
        let path = self.directory.join(&entry.name);
        file.sync_data().map_err(RecordError::io("sync", &path))?;
        entry.state = State::Closed;
        Ok(())
    }

    /// Gives up the file that is open.
    pub(super) fn abandon(&mut self) {
        if let Some(entry) = self.file.take().and(self.entry.files.last_mut()) {
            entry.state = State::Stopped;
        }
    }
}

/// Cuts lines into pieces of about [`FRAME_BYTES`], at line ends.
struct Pieces<'a>(&'a [u8]);

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let near = self.0.len().min(FRAME_BYTES);
        let end = match self.0[near..].iter().position(|&byte| byte == b'\n') {
            _ if near == self.0.len() => near,
            Some(more) => near + more + 1,
            None => self.0.len(),
        };
        let (piece, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_where_lines_end_and_lose_nothing() {
        let mut lines = Vec::new();
        for len in [10, FRAME_BYTES - 11, 1, 5, FRAME_BYTES * 2, 3, 700, FRAME_BYTES] {
            lines.extend(std::iter::repeat_n(b'x', len - 1));
            lines.push(b'\n');
        }
        let pieces: Vec<&[u8]> = Pieces(&lines).collect();
        assert!(pieces.len() > 2 && pieces.iter().all(|piece| piece.ends_with(b"\n")));
        assert_eq!(pieces.concat(), lines);
        assert_eq!(Pieces(b"").count(), 0);
    }
}
