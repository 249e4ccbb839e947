//! The files of a spool: which there are, how far each is written, and which are not needed any more.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use zstd::bulk::Decompressor;

use super::format::{self, FRAME_HEAD, Head, What};
use super::{Cause, Stats};

/// See the module.
#[derive(Debug)]
pub(super) struct Segments {
    directory: PathBuf,
    most: u64,
    inner: Mutex<Inner>,
    pub(super) stats: Arc<Stats>,
    /// Held while the process lives: two would delete each other's files.
    _lock: File,
}

#[derive(Debug, Default)]
struct Inner {
    all: VecDeque<Segment>,
    /// The number of the next one.
    next: u64,
    /// Where each reader is.
    readers: Vec<Arc<AtomicU64>>,
    /// What comes after the newest is missing, from this time on.
    missing: Option<u64>,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    /// Whole frames, so many bytes.
    bytes: u64,
    closed: bool,
}

/// What there is at a place.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// Frames up to here.
    Until(u64),
    /// Nothing yet.
    Nothing,
    /// What comes here is missing, from this time on.
    Missing(u64),
    /// It goes on in this segment.
    Next(u64),
}

impl Segments {
    /// Opens a spool and keeps what another process wrote since the machine started, `boot`: times of another
    /// start mean nothing now.
    ///
    /// # Errors
    /// A directory that cannot be written, or that another process has.
    pub(super) fn open(
        directory: &Path,
        most: u64,
        boot: &str,
        stats: Arc<Stats>,
    ) -> io::Result<Arc<Self>> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let lock = private().create(true).open(directory.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another process has it"),
            TryLockError::Error(error) => error,
        })?;
        let mut numbers: Vec<u64> = fs::read_dir(directory)?
            .filter_map(|entry| number(entry.ok()?.file_name().to_str()?))
            .collect();
        numbers.sort_unstable();
        let next = numbers.last().map_or(1, |last| last + 1);
        let mut all = VecDeque::new();
        for number in numbers {
            let path = path(directory, number);
            if head(&path).is_some_and(|head| head.boot == boot) {
                let bytes = fs::metadata(&path)?.len();
                all.push_back(Segment { number, bytes, closed: true });
            } else {
                fs::remove_file(&path)?;
            }
        }
        // It ends where the other process ended.
        let missing = (!all.is_empty()).then_some(0);
        let inner = Inner { all, next, missing, ..Inner::default() };
        let directory = directory.to_owned();
        let spool = Segments { directory, most, inner: Mutex::new(inner), stats, _lock: lock };
        spool.show(&spool.inner.lock());
        Ok(Arc::new(spool))
    }

    /// Begins the next one.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn begin(&self) -> io::Result<File> {
        let mut inner = self.inner.lock();
        let number = inner.next;
        let file = private().create_new(true).open(path(&self.directory, number))?;
        inner.next += 1;
        inner.missing = None;
        inner.all.push_back(Segment { number, bytes: 0, closed: false });
        self.show(&inner);
        Ok(file)
    }

    /// The newest has so many bytes more, whole frames.
    pub(super) fn grew(&self, bytes: u64) {
        let mut inner = self.inner.lock();
        if let Some(last) = inner.all.back_mut() {
            last.bytes += bytes;
        }
        self.show(&inner);
    }

    /// The newest is written to its end.
    pub(super) fn close(&self) {
        if let Some(last) = self.inner.lock().all.back_mut() {
            last.closed = true;
        }
    }

    /// The newest cannot be written on; one that holds nothing goes.
    pub(super) fn abandon(&self) {
        self.close();
        let mut inner = self.inner.lock();
        if let Some(empty) = inner.all.pop_back_if(|last| last.bytes == 0) {
            let _ = fs::remove_file(path(&self.directory, empty.number));
        }
        self.show(&inner);
    }

    /// What comes now is written nowhere, from this time on, until the next one begins.
    pub(super) fn miss(&self, since_ns: u64) {
        self.inner.lock().missing = Some(since_ns);
    }

    /// Deletes what everybody has read; whether there is room for so many bytes then.
    pub(super) fn make_room(&self, bytes: u64) -> bool {
        let mut inner = self.inner.lock();
        // Those who will read may not be there yet.
        let oldest = inner.readers.iter().map(|at| at.load(Ordering::Relaxed)).min().unwrap_or(0);
        while let Some(read) = inner.all.pop_front_if(|one| one.closed && one.number < oldest) {
            // Somebody may have deleted it, which is what is wanted.
            let _ = fs::remove_file(path(&self.directory, read.number));
        }
        self.show(&inner);
        let total: u64 = inner.all.iter().map(|one| one.bytes).sum();
        total + bytes <= self.most
    }

    fn show(&self, inner: &Inner) {
        let bytes = inner.all.iter().map(|one| one.bytes).sum();
        self.stats.bytes.store(bytes, Ordering::Relaxed);
        self.stats.segments.store(inner.all.len() as u64, Ordering::Relaxed);
    }

    fn find(&self, number: u64, offset: u64) -> Found {
        let inner = self.inner.lock();
        let end = inner.missing.map_or(Found::Nothing, Found::Missing);
        let Some(at) = inner.all.iter().position(|one| one.number >= number) else {
            return end;
        };
        let one = &inner.all[at];
        if one.number > number {
            // One in which nothing could be written is gone.
            return Found::Next(one.number);
        }
        if offset < one.bytes {
            return Found::Until(one.bytes);
        }
        match inner.all.get(at + 1) {
            Some(next) if one.closed => Found::Next(next.number),
            Some(_) => Found::Nothing,
            None => end,
        }
    }

    /// A reader from the oldest on.
    ///
    /// # Errors
    /// Too little memory.
    pub(super) fn reader(self: &Arc<Self>) -> io::Result<Reader> {
        let mut inner = self.inner.lock();
        let number = inner.all.front().map_or(inner.next, |first| first.number);
        let at = Arc::new(AtomicU64::new(number));
        inner.readers.push(Arc::clone(&at));
        let segments = Arc::clone(self);
        let decompressor = Decompressor::new()?;
        Ok(Reader {
            segments,
            at,
            number,
            offset: 0,
            told: false,
            file: None,
            decompressor,
            packed: Vec::new(),
        })
    }
}

/// Files that the server's user alone can read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:012}.spool"))
}

fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".spool")?;
    let plain = digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

/// What a file begins with, if it is a segment's.
fn head(path: &Path) -> Option<Head> {
    let file = File::open(path).ok()?;
    let (mut packed, mut raw) = (Vec::new(), Vec::new());
    read_frame(&file, 0, u64::MAX, &mut packed, &mut raw, &mut Decompressor::new().ok()?)?;
    match format::take(&mut &raw[..])?.what {
        What::Head(head) => Some(head),
        _ => None,
    }
}

/// Reads the frame at an offset, of a file that is written up to `end`; where it ends.
fn read_frame(
    file: &File,
    at: u64,
    end: u64,
    packed: &mut Vec<u8>,
    raw: &mut Vec<u8>,
    decompressor: &mut Decompressor<'_>,
) -> Option<u64> {
    let mut head = [0; FRAME_HEAD];
    file.read_exact_at(&mut head, at).ok()?;
    let (packed_len, raw_len) = format::lengths(&head)?;
    let from = at + FRAME_HEAD as u64;
    let to = from + packed_len as u64;
    if to > end {
        return None;
    }
    packed.resize(packed_len, 0);
    file.read_exact_at(packed, from).ok()?;
    raw.clear();
    raw.reserve(raw_len);
    decompressor.decompress_to_buffer(&packed[..], raw).ok()?;
    (raw.len() == raw_len).then_some(to)
}

/// What comes next of a spool.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A frame's records.
    Frame,
    /// Something is missing here.
    Gap,
    /// What comes here is missing, from this time on. It is said once.
    Missing(u64),
    /// Nothing, for now.
    Nothing,
}

/// Reads a spool from its oldest frame on, and what comes to it.
pub(super) struct Reader {
    segments: Arc<Segments>,
    /// The same as `number`, for who deletes.
    at: Arc<AtomicU64>,
    number: u64,
    offset: u64,
    /// Whether it was said that what comes here is missing.
    told: bool,
    file: Option<File>,
    decompressor: Decompressor<'static>,
    packed: Vec<u8>,
}

impl Reader {
    pub(super) fn next(&mut self, raw: &mut Vec<u8>) -> Next {
        loop {
            match self.segments.find(self.number, self.offset) {
                Found::Nothing => return Next::Nothing,
                Found::Missing(_) if self.told => return Next::Nothing,
                Found::Missing(since_ns) => {
                    self.told = true;
                    return Next::Missing(since_ns);
                }
                Found::Next(number) => self.go_to(number),
                Found::Until(end) => match self.read(end, raw) {
                    Some(to) => {
                        self.offset = to;
                        return Next::Frame;
                    }
                    None => {
                        // What is written ends with a whole frame: it goes on from there.
                        self.offset = end;
                        self.segments.stats.gap(Cause::Damaged);
                        return Next::Gap;
                    }
                },
            }
        }
    }

    fn go_to(&mut self, number: u64) {
        (self.number, self.offset, self.file) = (number, 0, None);
        self.told = false;
        self.at.store(number, Ordering::Relaxed);
    }

    fn read(&mut self, end: u64, raw: &mut Vec<u8>) -> Option<u64> {
        if self.file.is_none() {
            self.file = File::open(path(&self.segments.directory, self.number)).ok();
        }
        let file = self.file.as_ref()?;
        read_frame(file, self.offset, end, &mut self.packed, raw, &mut self.decompressor)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    const MOST: u64 = 1 << 20;

    fn open(folder: &TempDir, most: u64, boot: &str) -> Arc<Segments> {
        Segments::open(folder.path(), most, boot, Arc::default()).expect("a spool")
    }

    fn frame(fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let (mut raw, mut out) = (Vec::new(), Vec::new());
        fill(&mut raw);
        let mut compressor = zstd::bulk::Compressor::new(1).expect("zstd");
        compressor.include_checksum(true).expect("zstd");
        format::pack(&raw, &mut compressor, &mut out).expect("packs");
        out
    }

    fn of_number(number: u64) -> Vec<u8> {
        frame(|raw| format::put_gap(raw, number, 0))
    }

    /// A segment with a head and one frame for each number, closed.
    fn segment(spool: &Segments, boot: &str, numbers: &[u64]) {
        let mut file = spool.begin().expect("a segment");
        let head = Head { boot: boot.to_owned(), run: 1 };
        let mut bytes = frame(|raw| format::put_head(raw, &head, 0));
        numbers.iter().for_each(|number| bytes.extend(of_number(*number)));
        file.write_all(&bytes).expect("writes");
        spool.grew(bytes.len() as u64);
        spool.close();
    }

    /// The numbers that are read, `None` for gaps, up to where there is nothing.
    fn read(reader: &mut Reader) -> Vec<Option<u64>> {
        let (mut all, mut raw) = (Vec::new(), Vec::new());
        loop {
            match reader.next(&mut raw) {
                Next::Nothing | Next::Missing(_) => return all,
                Next::Gap => all.push(None),
                Next::Frame => {
                    if let Some(What::Gap { missing }) =
                        format::take(&mut &raw[..]).map(|record| record.what)
                    {
                        all.push(Some(missing));
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_written_is_read_in_order_and_after_a_restart() {
        let folder = TempDir::new().expect("a folder");
        let spool = open(&folder, MOST, "boot");
        let mut reader = spool.reader().expect("a reader");
        assert_eq!(read(&mut reader), []);
        segment(&spool, "boot", &[1, 2]);
        segment(&spool, "boot", &[3]);
        assert_eq!(read(&mut reader), [1, 2, 3].map(Some));
        assert!(Segments::open(folder.path(), MOST, "boot", Arc::default()).is_err(), "locked");
        let mode = fs::metadata(path(folder.path(), 1)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop((spool, reader));
        fs::write(folder.path().join("notes"), "mine").expect("writes");
        let spool = open(&folder, MOST, "boot");
        // It ends where the server did, and nobody waits for the next one to be told so.
        let (mut reader, mut raw) = (spool.reader().expect("a reader"), Vec::new());
        let mut ends = std::iter::from_fn(|| Some(reader.next(&mut raw)));
        let end = ends.find(|next| *next != Next::Frame);
        assert_eq!((end, ends.next()), (Some(Next::Missing(0)), Some(Next::Nothing)));
        drop(reader);
        segment(&spool, "boot", &[4]);
        assert_eq!(read(&mut spool.reader().expect("a reader")), [1, 2, 3, 4].map(Some));
        drop(spool);
        // Another start of the machine: its clock is another.
        let spool = open(&folder, MOST, "other boot");
        assert_eq!(read(&mut spool.reader().expect("a reader")), []);
        segment(&spool, "other boot", &[5]);
        assert_eq!(read(&mut spool.reader().expect("a reader")), [Some(5)]);
        assert!(folder.path().join("notes").exists(), "what is not ours stays");
    }

    #[test]
    fn what_all_have_read_goes_and_nothing_else() {
        let folder = TempDir::new().expect("a folder");
        let spool = open(&folder, 400, "boot");
        let segments = || spool.stats.segments.load(Ordering::Relaxed);
        segment(&spool, "boot", &[1]);
        assert!(spool.make_room(0));
        assert_eq!(segments(), 1, "who reads is still to come");
        let [mut fast, mut slow] = [(); 2].map(|()| spool.reader().expect("a reader"));
        segment(&spool, "boot", &[2]);
        segment(&spool, "boot", &[3]);
        assert_eq!(read(&mut fast), [1, 2, 3].map(Some));
        let bytes = spool.stats.bytes.load(Ordering::Relaxed);
        assert!(spool.make_room(400 - bytes) && !spool.make_room(401 - bytes));
        assert_eq!(segments(), 3, "one has not read them");
        assert_eq!(read(&mut slow), [1, 2, 3].map(Some));
        assert!(spool.make_room(401 - bytes));
        assert_eq!(segments(), 1);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 2, "and the lock");
        // One in which nothing could be written is passed over.
        drop(spool.begin().expect("a segment"));
        assert_eq!(read(&mut slow), []);
        spool.abandon();
        segment(&spool, "boot", &[5]);
        assert_eq!((read(&mut slow), read(&mut fast)), (vec![Some(5)], vec![Some(5)]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever becomes of a file, what comes after it is read, and what is read was written.
        #[test]
        fn damage_is_a_gap_and_never_more(at in 0_usize..400, byte in any::<u8>(), cut in any::<bool>()) {
            let folder = TempDir::new().expect("a folder");
            let spool = open(&folder, MOST, "boot");
            segment(&spool, "boot", &[1, 2, 3]);
            segment(&spool, "boot", &[4]);
            let file = path(folder.path(), 1);
            let mut bytes = fs::read(&file).expect("a file");
            let at = at % bytes.len();
            let same = bytes[at] == byte && !cut;
            bytes[at] = byte;
            bytes.truncate(if cut { at } else { bytes.len() });
            fs::write(&file, &bytes).expect("writes");
            let all = read(&mut spool.reader().expect("a reader"));
            prop_assert_eq!(all.last(), Some(&Some(4)));
            let numbers: Vec<u64> = all.iter().copied().flatten().collect();
            prop_assert!(numbers.is_sorted() && numbers.iter().all(|n| (1..=4).contains(n)), "{:?}", all);
            let whole = numbers == [1, 2, 3, 4];
            prop_assert!(whole || all.contains(&None), "{:?}", all);
            prop_assert!(whole || !same);
            drop(spool);
            let spool = open(&folder, MOST, "boot");
            let all = read(&mut spool.reader().expect("a reader"));
            prop_assert_eq!(all.last(), Some(&Some(4)));
        }
    }
}
