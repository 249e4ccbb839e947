//! What the tests of recordings share.
// Each test file uses its part.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tickcast_feeds::live::{Tap, Tapped};
use tickcast_feeds::record::{Hole, Record, Recorder, Recording, Rotation, is_data_file};
use tickcast_feeds::venue::Input;
use tickcast_feeds::{FeedSpec, Instruments, RunContext, Stop, VecSink};

/// When a recording begins.
pub(crate) const START: u64 = 1_723_161_253_000_000_000;
pub(crate) const SECOND: u64 = 1_000_000_000;

/// Files that are never full.
pub(crate) const ENDLESS: Rotation = Rotation { bytes: u64::MAX, age_ns: u64::MAX };

/// An input that owns its parts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Owned {
    Message(u16, Vec<u8>),
    Reply(String, Vec<u8>),
    Expect(Vec<Box<str>>, bool),
    Lost(u16, Vec<Box<str>>),
    Distrust(String),
    Hole(Hole),
}

impl Owned {
    pub(crate) fn message(link: u16, text: &str) -> Self {
        Owned::Message(link, text.as_bytes().to_vec())
    }

    pub(crate) fn input(&self) -> Input<'_> {
        match self {
            Owned::Message(link, text) => Input::Message { link: *link, text },
            Owned::Reply(url, text) => Input::Reply { url, text },
            Owned::Expect(natives, book) => Input::Expect { natives, book: *book },
            Owned::Lost(link, orphans) => Input::Lost { link: *link, orphans },
            Owned::Distrust(native) => Input::Distrust { native },
            Owned::Hole(hole) => panic!("no input: {hole}"),
        }
    }

    fn of(record: &Record<'_>) -> Self {
        match *record {
            Record::Hole(hole) => Owned::Hole(hole.clone()),
            Record::Input(Input::Message { link, text }) => Owned::Message(link, text.to_vec()),
            Record::Input(Input::Reply { url, text }) => {
                Owned::Reply(url.to_owned(), text.to_vec())
            }
            Record::Input(Input::Expect { natives, book }) => Owned::Expect(natives.to_vec(), book),
            Record::Input(Input::Lost { link, orphans }) => Owned::Lost(link, orphans.to_vec()),
            Record::Input(Input::Distrust { native }) => Owned::Distrust(native.to_owned()),
        }
    }
}

/// Why a recording ended, if it did.
pub(crate) type Stopped = Arc<Mutex<Option<String>>>;

pub(crate) fn start(parent: &Path, rotation: Rotation) -> (Recorder, Stopped) {
    let stopped = Stopped::default();
    let told = Arc::clone(&stopped);
    let on_stop = Box::new(move |error: &_| *told.lock().unwrap() = Some(format!("{error}")));
    let recorder = Recorder::start(parent, rotation, "tickcast test", START, on_stop).unwrap();
    (recorder, stopped)
}

pub(crate) fn tap(recorder: &Recorder, venue: &'static str) -> Box<dyn Tap> {
    let make = recorder.taps();
    make(Tapped { feed: &format!("{venue}:*"), venue }).unwrap()
}

/// The data files of a recording, in order.
pub(crate) fn data_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| is_data_file(path)).collect();
    files.sort();
    files
}

/// What a feed of a recording holds, and what was rejected on the way.
pub(crate) fn read(directory: &Path, feed: usize) -> (Vec<(u64, Owned)>, VecSink) {
    let recording = Recording::open(directory).unwrap();
    let mut reader = recording.feeds()[feed].reader();
    let mut sink = VecSink::default();
    let mut all = Vec::new();
    reader.advance(&mut sink);
    while let Some((recv, record)) = reader.recv().zip(reader.record()) {
        all.push((recv, Owned::of(&record)));
        reader.advance(&mut sink);
    }
    (all, sink)
}

/// The ticks of a replay with the original stamps, what was rejected, and what was listed.
pub(crate) fn replay(path: &Path) -> (VecSink, Arc<Instruments>) {
    let spec = format!("replay:{},speed=max,rebase=false", path.display());
    let instruments = Arc::new(Instruments::new());
    let feed = spec.parse::<FeedSpec>().unwrap().open(&instruments).unwrap();
    let mut sink = VecSink::default();
    feed.run(&mut sink, &RunContext::new(Stop::new(), Arc::new(|| 0))).unwrap();
    (sink, instruments)
}
