//! Records on their way to the files of a spool, and what becomes of those that there is no room for.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tickcast_feeds::{Instruments, Tick};
use zstd::bulk::Compressor;

use super::format::{self, Head, Listed};
use super::segments::Segments;
use super::{Cause, Stats};
use crate::clock;
use crate::limits;

/// The records that are to be written, and the file.
pub(super) struct Output {
    segments: Arc<Segments>,
    head: Head,
    instruments: Arc<Instruments>,
    compressor: Compressor<'static>,
    frame_bytes: usize,
    segment_bytes: u64,
    most: u64,
    /// Records of no frame yet, since when, and the ticks and listings in them.
    raw: Vec<u8>,
    since_ns: u64,
    ticks: u64,
    listing: usize,
    /// Ticks that the records say are missing, and since when.
    gap: Option<Missing>,
    /// Instruments that frames tell of.
    listed: usize,
    packed: Vec<u8>,
    file: Option<(File, u64, u64)>,
    /// Files that were begun.
    begun: u64,
    wants_copies: bool,
    /// Why what comes is not written, while it is not; and what is to be told of as missing.
    halted: Option<Cause>,
    missing: Option<Missing>,
    retry_ns: u64,
    warned: bool,
}

/// Ticks that are missing, and when all that came before them was on the ring.
#[derive(Clone, Copy)]
struct Missing {
    ticks: u64,
    since_ns: u64,
}

impl Missing {
    fn add(before: Option<Self>, ticks: u64, since_ns: u64) -> Option<Self> {
        let Missing { ticks: more, since_ns } = before.unwrap_or(Missing { ticks: 0, since_ns });
        Some(Missing { ticks: ticks + more, since_ns })
    }
}

impl Output {
    pub(super) fn new(
        segments: Arc<Segments>,
        head: Head,
        most: u64,
        instruments: Arc<Instruments>,
    ) -> io::Result<Self> {
        let mut compressor = Compressor::new(limits::SPOOL_LEVEL)?;
        compressor.include_checksum(true)?;
        let frame = (most / 32).clamp(limits::SPOOL_FRAME.0, limits::SPOOL_FRAME.1);
        Ok(Output {
            segments,
            head,
            instruments,
            compressor,
            frame_bytes: frame as usize,
            segment_bytes: most / limits::SPOOL_SEGMENTS,
            most,
            raw: Vec::new(),
            since_ns: 0,
            ticks: 0,
            listing: 0,
            gap: None,
            listed: 0,
            packed: Vec::new(),
            file: None,
            begun: 0,
            wants_copies: false,
            halted: None,
            missing: None,
            retry_ns: 0,
            warned: false,
        })
    }

    pub(super) fn stats(&self) -> &Stats {
        &self.segments.stats
    }

    /// When all that is put now was on the ring, at the latest.
    fn stamp(&mut self) -> u64 {
        let now_ns = clock::now().mono_ns;
        if self.raw.is_empty() {
            self.since_ns = now_ns;
        }
        now_ns
    }

    pub(super) fn ticks(&mut self, snapshot: bool, feed: u16, ticks: &[Tick]) {
        if ticks.is_empty() {
            return;
        }
        let now_ns = self.stamp();
        format::put_ticks(&mut self.raw, snapshot, feed, ticks, now_ns);
        if !snapshot {
            self.ticks += ticks.len() as u64;
        }
    }

    pub(super) fn list(&mut self, news: &[Listed]) {
        let now_ns = self.stamp();
        format::put_listed(&mut self.raw, false, news, now_ns);
        self.listing += news.len();
    }

    /// So many are missing of what came after a time.
    pub(super) fn gap(&mut self, missing: u64, since_ns: u64) {
        self.stamp();
        format::put_gap(&mut self.raw, missing, since_ns);
        self.gap = Missing::add(self.gap, missing, since_ns);
    }

    pub(super) fn is_full(&self) -> bool {
        self.raw.len() >= self.frame_bytes
    }

    pub(super) fn is_due(&self) -> bool {
        let age_ns = clock::now().mono_ns.saturating_sub(self.since_ns);
        !self.raw.is_empty() && age_ns >= limits::SPOOL_WRITE.as_nanos() as u64
    }

    /// Whether a file was begun since this was asked, which needs snapshots.
    pub(super) fn wants_copies(&mut self) -> bool {
        std::mem::take(&mut self.wants_copies)
    }

    /// Writes what there is as a frame. What the disk does not take is missing.
    pub(super) fn write(&mut self) {
        let now_ns = clock::now().mono_ns;
        if !self.raw.is_empty() && now_ns >= self.retry_ns {
            match self.try_write(now_ns) {
                Ok(true) => self.went_well(),
                Ok(false) => self.full(),
                Err(error) => self.failed(&error, now_ns),
            }
        }
        if !self.raw.is_empty() {
            self.drop_records();
        }
        (self.ticks, self.listing, self.gap) = (0, 0, None);
        self.raw.clear();
    }

    /// What these records say is missing, and who has played all before them is told of it.
    fn drop_records(&mut self) {
        self.stats().lose(self.ticks);
        if let Some(gap) = self.gap {
            self.missing = Missing::add(self.missing, gap.ticks, gap.since_ns.min(self.since_ns));
        }
        if self.ticks > 0 {
            self.missing = Missing::add(self.missing, self.ticks, self.since_ns);
        }
        if let Some(missing) = self.missing {
            self.segments.miss(missing.since_ns);
        }
        // They are told of with the next file's beginning.
        self.listed += self.listing;
    }

    /// Whether there was room.
    fn try_write(&mut self, now_ns: u64) -> io::Result<bool> {
        self.packed.clear();
        format::pack(&self.raw, &mut self.compressor, &mut self.packed)?;
        let is_over = |(_, bytes, since_ns): &(File, u64, u64)| {
            *bytes >= self.segment_bytes
                || now_ns.saturating_sub(*since_ns) >= limits::SPOOL_SEGMENT_AGE.as_nanos() as u64
        };
        if self.file.as_ref().is_some_and(is_over) {
            self.file = None;
            self.segments.close();
        }
        // Once it was full it is to be half empty first: shreds are of no use to anybody.
        let room = match (&self.file, self.halted) {
            (_, Some(Cause::Bound)) => self.most / 2,
            (None, _) => self.segment_bytes,
            (Some(_), _) => 0,
        };
        if !self.segments.make_room(room.max(self.packed.len() as u64)) {
            return Ok(false);
        }
        if self.file.is_none() {
            let frame = std::mem::take(&mut self.packed);
            self.begin(now_ns)?;
            self.packed = frame;
        }
        self.append(self.ticks)?;
        self.listed += self.listing;
        self.raw.clear();
        Ok(true)
    }

    /// Begins a file with what its reader needs to know: first that something is missing before it, which is told
    /// when the first of that would have been, not when it goes on.
    fn begin(&mut self, now_ns: u64) -> io::Result<()> {
        self.file = Some((self.segments.begin()?, 0, now_ns));
        let (mut raw, mut at) = (Vec::new(), 0);
        format::put_head(&mut raw, &self.head, now_ns);
        if let Some(missing) = self.missing {
            format::put_gap(&mut raw, missing.ticks, missing.since_ns);
        }
        // The first has all from the beginning on, where nothing is missing.
        let wants_copies = self.begun > 0 || self.missing.is_some();
        loop {
            self.packed.clear();
            format::pack(&raw, &mut self.compressor, &mut self.packed)?;
            self.append(0)?;
            self.missing = None;
            raw.clear();
            let news = self.instruments.since(at);
            let count = news.len().min(limits::SPOOL_LISTED).min(self.listed - at);
            if count == 0 {
                break;
            }
            let listed: Vec<_> = news[..count].iter().map(|info| Listed::from(&**info)).collect();
            // They were listed before the first record that follows.
            format::put_listed(&mut raw, true, &listed, self.since_ns);
            at += count;
        }
        self.begun += 1;
        self.wants_copies |= wants_copies;
        Ok(())
    }

    /// Writes a packed frame, or nothing of it.
    fn append(&mut self, ticks: u64) -> io::Result<()> {
        let bytes = self.packed.len() as u64;
        let Some((file, written, _)) = &mut self.file else { return Ok(()) };
        if let Err(error) = file.write_all(&self.packed) {
            // If that does not go either, a reader takes the rest for damaged.
            let _ = file.set_len(*written);
            return Err(error);
        }
        *written += bytes;
        self.segments.grew(bytes);
        let stats = self.stats();
        stats.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        stats.ticks.fetch_add(ticks, Ordering::Relaxed);
        Ok(())
    }

    /// What comes from here on is missing.
    fn halt(&mut self, cause: Cause) {
        if self.file.take().is_some() {
            self.segments.abandon();
        }
        if self.halted.replace(cause).is_none() {
            self.stats().gap(cause);
        }
    }

    fn full(&mut self) {
        self.halt(Cause::Bound);
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                bytes = self.most,
                "the spool is full before its delay has passed: delayed clients miss what comes now (further gaps are counted), raise --spool-bytes"
            );
        }
    }

    fn failed(&mut self, error: &io::Error, now_ns: u64) {
        // The rest of this file is as it was; the next begins with all that is needed.
        self.halt(Cause::Disk);
        self.retry_ns = now_ns + limits::SPOOL_RETRY.as_nanos() as u64;
        if !self.stats().failing.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "the spool cannot be written: delayed clients miss what comes now");
        }
    }

    fn went_well(&mut self) {
        self.halted = None;
        if self.stats().failing.swap(false, Ordering::Relaxed) {
            tracing::warn!("the spool is written again");
        }
    }
}

#[cfg(test)]
mod tests {
    use tickcast_feeds::{Decimal, InstrumentId, Side, Stamp, Trade};

    use super::super::format::{Record, What};
    use super::super::segments::{Next, Reader};
    use super::*;

    /// A spool of so many bytes fills with some frames.
    const MOST: u64 = 8_192;

    fn put_trade(output: &mut Output, seq: u64) {
        let price = Decimal::new(1, 0);
        let trade = Trade { price, size: price, id: seq, side: Side::Buy };
        let stamp = Stamp { event: 0, recv: seq, seq };
        output.ticks(false, 0, &[Tick::trade(InstrumentId(0), stamp, &trade)]);
        output.write();
    }

    /// The records up to where there is none, and what is there.
    fn read(reader: &mut Reader) -> (Vec<Record>, Next) {
        let (mut all, mut raw) = (Vec::new(), Vec::new());
        loop {
            match reader.next(&mut raw) {
                Next::Frame => {
                    let mut rest = &raw[..];
                    all.extend(std::iter::from_fn(|| format::take(&mut rest)));
                }
                end => return (all, end),
            }
        }
    }

    /// Who plays it is told of it before it goes on, and then once more before all else.
    #[test]
    fn that_something_is_missing_is_told_where_it_begins() {
        let folder = tempfile::tempdir().expect("a folder");
        let segments =
            Segments::open(folder.path(), MOST, "boot", Arc::default()).expect("a spool");
        let stats = Arc::clone(&segments.stats);
        let mut reader = segments.reader().expect("a reader");
        let instruments = Arc::new(Instruments::new());
        instruments.list("sim", "A", "A", "USD");
        let head = Head { boot: "boot".to_owned(), run: 1 };
        let mut output =
            Output::new(segments, head, MOST, Arc::clone(&instruments)).expect("an output");
        output.list(&[Listed::from(&*instruments.since(0)[0])]);
        let mut seq = 0;
        while stats.gaps(Cause::Bound) == 0 {
            assert!(stats.lost() == 0 && seq < MOST, "it fills");
            seq += 1;
            put_trade(&mut output, seq);
        }
        put_trade(&mut output, seq + 1);
        assert_eq!(stats.lost(), 2);
        let (before, end) = read(&mut reader);
        let Next::Missing(since_ns) = end else { panic!("{end:?}") };
        assert!(before.iter().all(|record| record.mono_ns <= since_ns));
        let written = before.iter().filter(|record| matches!(record.what, What::Ticks { .. }));
        assert_eq!(written.count() as u64, seq - 1);
        assert_eq!(read(&mut reader), (Vec::new(), Next::Nothing), "it is said once");
        // What was read makes room.
        output.wants_copies();
        put_trade(&mut output, seq + 2);
        assert_eq!(stats.lost(), 2);
        let (behind, end) = read(&mut reader);
        let gap = Record { mono_ns: since_ns, what: What::Gap { missing: 2 } };
        assert!(matches!(behind[0].what, What::Head(_)));
        assert_eq!(behind[1], gap);
        assert!(matches!(behind[2].what, What::Listed { again: true, .. }));
        assert!(matches!(behind[3].what, What::Ticks { .. }));
        // Nothing of it waits for what comes after it.
        assert!(behind[2].mono_ns <= behind[3].mono_ns);
        assert_eq!((behind.len(), end), (4, Next::Nothing));
        assert!(output.wants_copies(), "books are not known");
    }
}
