//! Several captures and feeds of recordings as one, by receive time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::feed::FeedError;
use crate::sink::Sink;

use super::capture::Capture;
use super::{File, Origin};
use crate::record::{FeedReader, Record};

/// One pass over all files.
///
/// Each file's lines keep their order, even where its clock went back; between files the earlier
/// receive time goes first, and the file given first where they are equal.
pub(super) struct Merge {
    sources: Vec<Source>,
    heads: BinaryHeap<Reverse<(u64, usize)>>,
    /// The first file that broke off. The others go on.
    broken: Option<FeedError>,
}

/// A file that is being read, or a feed of a recording with all its files.
enum Source {
    Capture(Capture),
    Recorded(Box<FeedReader>),
}

/// What was received and where it is from.
pub(super) struct Message<'a> {
    /// Which file, by its index.
    pub(super) file: usize,
    pub(super) recv: u64,
    pub(super) content: Content<'a>,
}

/// What was received.
pub(super) enum Content<'a> {
    /// A line of a capture: the URL that it answers, and the text.
    Text(Option<&'a str>, &'a [u8]),
    /// A record of a recording.
    Record(Record<'a>),
}

impl Source {
    fn open(file: &File) -> Result<Self, FeedError> {
        Ok(match &file.origin {
            Origin::Capture(path) => Source::Capture(Capture::open(path)?),
            Origin::Recorded(feed) => Source::Recorded(Box::new(feed.reader())),
        })
    }

    fn advance(&mut self, sink: &mut dyn Sink) -> Result<Option<u64>, FeedError> {
        match self {
            Source::Capture(capture) => capture.advance(sink).map(|()| capture.recv()),
            Source::Recorded(reader) => {
                reader.advance(sink);
                Ok(reader.recv())
            }
        }
    }

    fn content(&self) -> Option<Content<'_>> {
        match self {
            Source::Capture(capture) => {
                capture.message().map(|(url, text)| Content::Text(url, text))
            }
            Source::Recorded(reader) => reader.record().map(Content::Record),
        }
    }
}

impl Merge {
    pub(super) fn open(files: &[File], sink: &mut dyn Sink) -> Result<Self, FeedError> {
        let sources = files.iter().map(Source::open).collect::<Result<_, _>>()?;
        let mut merge = Merge { sources, heads: BinaryHeap::new(), broken: None };
        for file in 0..merge.sources.len() {
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
        let content = self.sources[file].content()?;
        Some(Message { file, recv, content })
    }

    /// Goes on to the message after it.
    pub(super) fn advance(&mut self, sink: &mut dyn Sink) {
        if let Some(Reverse((_, file))) = self.heads.pop() {
            self.advance_file(file, sink);
        }
    }

    fn advance_file(&mut self, file: usize, sink: &mut dyn Sink) {
        match self.sources[file].advance(sink) {
            Ok(Some(recv)) => self.heads.push(Reverse((recv, file))),
            Ok(None) => {}
            Err(error) => {
                self.broken.get_or_insert(error);
            }
        }
    }

    /// The error of the first file that broke off, if one did.
    pub(super) fn finish(self) -> Result<(), FeedError> {
        self.broken.map_or(Ok(()), Err)
    }
}
