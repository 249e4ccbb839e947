//! Several captures as one, by receive time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::feed::FeedError;
use crate::sink::Sink;

use super::File;
use super::capture::Capture;

/// One pass over all files.
///
/// Each file's lines keep their order, even where its clock went back; between files the earlier
/// receive time goes first, and the file given first where they are equal.
pub(super) struct Merge {
    captures: Vec<Capture>,
    heads: BinaryHeap<Reverse<(u64, usize)>>,
    /// The first file that broke off. The others go on.
    broken: Option<FeedError>,
}

/// A message and where it is from.
pub(super) struct Message<'a> {
    /// Which file, by its index.
    pub(super) file: usize,
    pub(super) recv: u64,
    pub(super) url: Option<&'a str>,
    pub(super) text: &'a [u8],
}

impl Merge {
    pub(super) fn open(files: &[File], sink: &mut dyn Sink) -> Result<Self, FeedError> {
        let captures =
            files.iter().map(|file| Capture::open(&file.path)).collect::<Result<_, _>>()?;
        let mut merge = Merge { captures, heads: BinaryHeap::new(), broken: None };
        for file in 0..merge.captures.len() {
            merge.advance_file(file, sink);
        }
        Ok(merge)
    }

    /// The receive time of the next message; `None` at the end of all files.
    pub(super) fn recv(&self) -> Option<u64> {
        self.heads.peek().map(|Reverse((recv, _))| *recv)
    }

    /// The next message.
    pub(super) fn message(&self) -> Option<Message<'_>> {
        let &Reverse((recv, file)) = self.heads.peek()?;
        let (url, text) = self.captures[file].message()?;
        Some(Message { file, recv, url, text })
    }

    /// Goes on to the message after it.
    pub(super) fn advance(&mut self, sink: &mut dyn Sink) {
        if let Some(Reverse((_, file))) = self.heads.pop() {
            self.advance_file(file, sink);
        }
    }

    fn advance_file(&mut self, file: usize, sink: &mut dyn Sink) {
        let capture = &mut self.captures[file];
        if let Err(error) = capture.advance(sink) {
            self.broken.get_or_insert(error);
        }
        if let Some(recv) = capture.recv() {
            self.heads.push(Reverse((recv, file)));
        }
    }

    /// The error of the first file that broke off, if one did.
    pub(super) fn finish(self) -> Result<(), FeedError> {
        self.broken.map_or(Ok(()), Err)
    }
}
