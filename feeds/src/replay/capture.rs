//! One capture file, line by line: plain, gzip or zstd.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::feed::FeedError;
use crate::sink::Sink;

use super::line::{self, Head, Line};

/// The longest line that is read; the longest real one (a full book of a REST reply) is 64 KB.
/// Longer ones are skipped, so that a file without line ends cannot eat the memory.
pub const MAX_LINE_BYTES: usize = 64 << 20;

/// What a file is read with at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// The cause under which a line that is none is given to [`Sink::reject`].
pub const BAD_LINE: &str = "capture line";

/// A capture that is being read. It stands on a message, or at the end.
pub(super) struct Capture {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    line: Vec<u8>,
    lines: u64,
    head: Option<Head>,
}

impl Capture {
    /// Opens a file, whatever it is compressed with; to be advanced to its first message.
    pub(super) fn open(path: &Path) -> Result<Self, FeedError> {
        let reader =
            open(path).map_err(|source| FeedError::Open { path: path.to_owned(), source })?;
        Ok(Capture { path: path.to_owned(), reader, line: Vec::new(), lines: 0, head: None })
    }

    /// The receive time of the message that it stands on.
    pub(super) fn recv(&self) -> Option<u64> {
        self.head.as_ref().map(|head| head.recv)
    }

    /// The message that it stands on: the URL that it answers, and its text.
    pub(super) fn message(&self) -> Option<(Option<&str>, &[u8])> {
        let head = self.head.as_ref()?;
        let url = head.url.clone().and_then(|url| std::str::from_utf8(&self.line[url]).ok());
        Some((url, &self.line[head.text.clone()]))
    }

    /// Goes on to the next message; lines that are none are rejected on the way.
    ///
    /// # Errors
    /// [`FeedError::Read`] where the file breaks off; it then stands at its end.
    pub(super) fn advance(&mut self, sink: &mut dyn Sink) -> Result<(), FeedError> {
        loop {
            self.head = None;
            if !self.read_line(sink)? {
                return Ok(());
            }
            match line::parse(&self.line) {
                Ok(Line::Skip) => {}
                Ok(Line::Message(head)) => {
                    self.head = Some(head);
                    return Ok(());
                }
                Err(why) => self.reject(why, sink),
            }
        }
    }

    /// Whether a file is a capture, by the first line in it that says anything.
    pub(super) fn recognise(path: &Path) -> Result<bool, FeedError> {
        let mut capture = Capture::open(path)?;
        let mut nowhere = Nowhere(0);
        loop {
            if !matches!(capture.read_line(&mut nowhere), Ok(true)) || nowhere.0 > 0 {
                return Ok(false);
            }
            if !capture.line.trim_ascii().is_empty() {
                return Ok(line::parse(&capture.line).is_ok());
            }
        }
    }

    /// Reads a line that is not too long into the buffer; `false` at the end.
    fn read_line(&mut self, sink: &mut dyn Sink) -> Result<bool, FeedError> {
        loop {
            self.line.clear();
            let limit = MAX_LINE_BYTES as u64 + 1;
            let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.line);
            let too_long = self.line.len() > MAX_LINE_BYTES && !self.line.ends_with(b"\n");
            let read = match read {
                Ok(_) if too_long => self.reader.skip_until(b'\n'),
                other => other,
            };
            let read = read.map_err(|source| FeedError::Read {
                path: self.path.clone(),
                line: self.lines,
                source,
            })?;
            if too_long {
                self.lines += 1;
                self.reject("expected at most 64 MiB in a line", sink);
                continue;
            }
            self.lines += u64::from(read > 0);
            return Ok(read > 0);
        }
    }

    fn reject(&self, why: &str, sink: &mut dyn Sink) {
        let detail = format!("{} line {}: {why}", self.path.display(), self.lines);
        sink.reject(BAD_LINE, &detail, self.line.trim_ascii_end());
    }
}

fn open(path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
    let mut file = BufReader::with_capacity(BUFFER_BYTES, File::open(path)?);
    // By what is in it: names lie, and captures are renamed.
    Ok(match file.fill_buf()? {
        [0x1f, 0x8b, ..] => {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(file)))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let decoder = zstd::stream::read::Decoder::with_buffer(file)?;
            Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
        }
        _ => Box::new(file),
    })
}

/// Counts what is rejected.
struct Nowhere(usize);

impl Sink for Nowhere {
    fn put(&mut self, _: &crate::tick::Tick) {}

    fn flush(&mut self) -> Result<(), crate::sink::SinkClosed> {
        Ok(())
    }

    fn reject(&mut self, _: &'static str, _: &str, _: &[u8]) {
        self.0 += 1;
    }

    fn restart(&mut self) {}
}
