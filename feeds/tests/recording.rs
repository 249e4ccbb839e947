//! Recordings: what was kept comes back, in order and byte by byte, and makes the same ticks.

mod record;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use record::{ENDLESS, Owned, SECOND, START, data_files, read, replay, start, tap};
use tempfile::{TempDir, tempdir};
use tickcast_feeds::record::{Hole, MANIFEST, Manifest, Recorder, Recording, Rotation, State};
use tickcast_feeds::venue;
use tickcast_feeds::{FeedSpec, FeedState, Instruments, Kind, Listing, Tick, VecSink};

const BINANCE: usize = 0;
const COINBASE: usize = 1;
const VENUES: [&str; 2] = ["binance", "coinbase"];

fn natives(names: &[&str]) -> Vec<Box<str>> {
    names.iter().map(|&name| name.into()).collect()
}

fn listings(feed: usize) -> Vec<Listing> {
    if feed == COINBASE {
        let listing = Listing::pair("BTC-USD", "BTC", "USD");
        return vec![Listing { quotes_from_book: true, ..listing }];
    }
    // As no rule would split it: the recording knows.
    let odd = Listing::pair("ABCXYZ", "ABCX", "YZ");
    let tick_size = Some("0.01".parse().unwrap());
    vec![Listing { tick_size, ..Listing::pair("BTCUSDT", "BTC", "USDT") }, odd]
}

/// A diff of BTCUSDT's book with the update ids `first..=last`.
fn diff(link: u16, first: u64, last: u64) -> Owned {
    Owned::message(
        link,
        &format!(
            r#"{{"stream":"btcusdt@depth","data":{{"e":"depthUpdate","E":1723161253000,"s":"BTCUSDT","U":{first},"u":{last},"b":[["100.{last}","1"]],"a":[]}}}}"#
        ),
    )
}

fn snapshot(last: u64) -> Owned {
    let url = "/api/v3/depth?symbol=BTCUSDT&limit=1000".to_owned();
    let text = format!(
        "{{\"lastUpdateId\":{last},\n \"bids\":[[\"99.5\",\"2\"]],\r\n \"asks\":[[\"200\",\"3\"]]}}\n"
    );
    Owned::Reply(url, text.into_bytes())
}

fn trade(link: u16, symbol: &str, id: u64) -> Owned {
    Owned::message(
        link,
        &format!(
            r#"{{"e":"trade","E":1723161253000,"s":"{symbol}","t":{id},"p":"100.5","q":"0.1","T":1723161253000,"m":true}}"#
        ),
    )
}

/// All that can happen to two feeds, in an order in which it may.
fn script() -> Vec<(usize, Owned)> {
    let coinbase_book =
        r#"{"type":"snapshot","product_id":"BTC-USD","bids":[["100","1"]],"asks":[["101","1"]]}"#;
    let coinbase_diff = r#"{"type":"l2update","product_id":"BTC-USD","time":"2024-08-08T23:54:13.937085Z","changes":[["buy","100.5","2"]]}"#;
    let names = || natives(&["BTCUSDT", "ABCXYZ"]);
    vec![
        (BINANCE, Owned::Expect(names(), true)),
        (BINANCE, diff(0, 5, 7)),
        (COINBASE, Owned::Expect(natives(&["BTC-USD"]), true)),
        (COINBASE, Owned::message(0, coinbase_book)),
        (COINBASE, Owned::message(0, coinbase_diff)),
        (BINANCE, snapshot(6)),
        (BINANCE, diff(1, 8, 9)),
        (BINANCE, diff(0, 8, 9)),
        (BINANCE, trade(0, "ABCXYZ", 1)),
        (BINANCE, trade(1, "ABCXYZ", 1)),
        (BINANCE, trade(1, "ABCXYZ", 2)),
        // One of two lines goes and comes back; then both, and nothing is missing.
        (BINANCE, Owned::Lost(0, Vec::new())),
        (BINANCE, diff(1, 10, 12)),
        (BINANCE, Owned::Lost(1, names())),
        (BINANCE, Owned::Expect(names(), true)),
        (BINANCE, diff(2, 12, 14)),
        // A gap, until a snapshot that is newer.
        (BINANCE, diff(2, 20, 21)),
        (BINANCE, snapshot(15)),
        (BINANCE, snapshot(21)),
        (BINANCE, diff(2, 22, 22)),
        // Whoever keeps the book finds it wrong.
        (BINANCE, Owned::Distrust("BTCUSDT".to_owned())),
        (BINANCE, diff(2, 23, 23)),
        (BINANCE, snapshot(23)),
        // What cannot be understood, and is not even text.
        (BINANCE, Owned::message(2, "{\"e\":\"trade\"}")),
        (BINANCE, Owned::Message(2, b"\xff\n\\n\\ 17 2 {}\n".to_vec())),
        (BINANCE, Owned::message(2, "")),
        // The owner of a book without numbers goes.
        (COINBASE, Owned::Lost(0, natives(&["BTC-USD"]))),
        (COINBASE, Owned::Expect(natives(&["BTC-USD"]), true)),
        (COINBASE, Owned::message(1, coinbase_book)),
        (COINBASE, Owned::message(1, coinbase_diff)),
        (BINANCE, diff(2, 24, 24)),
    ]
}

fn recv(step: usize) -> u64 {
    START + step as u64 * 7_000_001
}

/// Plays the script to parsers and taps, as live feeds do.
fn play(parent: &Path, rotation: Rotation) -> (VecSink, std::path::PathBuf) {
    let (recorder, stopped) = start(parent, rotation);
    let instruments = Arc::new(Instruments::new());
    let mut taps = VENUES.map(|venue| tap(&recorder, venue));
    let mut parsers = VENUES.map(|venue| venue::find(venue).unwrap().parser(&instruments));
    for feed in [BINANCE, COINBASE] {
        for listing in listings(feed) {
            instruments.list_as(VENUES[feed], &listing);
        }
        taps[feed].listed(&listings(feed));
    }
    let mut sink = VecSink::default();
    for (step, (feed, input)) in script().iter().enumerate() {
        taps[*feed].keep(recv(step), &input.input());
        input.input().apply(&mut *parsers[*feed], recv(step), &mut sink);
    }
    let directory = recorder.directory().to_owned();
    recorder.close();
    assert_eq!(*stopped.lock().unwrap(), None);
    (sink, directory)
}

fn rotating() -> Rotation {
    Rotation { bytes: 1, age_ns: u64::MAX }
}

#[test]
fn what_was_kept_comes_back_as_it_was() {
    let parent = tempdir().unwrap();
    let (_, directory) = play(parent.path(), ENDLESS);
    for feed in [BINANCE, COINBASE] {
        let (read, sink) = read(&directory, feed);
        let script = script();
        let kept = script.iter().enumerate().filter(|(_, (of, _))| *of == feed);
        let kept: Vec<_> = kept.map(|(step, (_, input))| (recv(step), input.clone())).collect();
        assert_eq!(read, kept);
        assert!(sink.rejects.is_empty(), "{:?}", sink.rejects);
        let recording = Recording::open(&directory).unwrap();
        assert_eq!(recording.feeds()[feed].listings, listings(feed));
    }
    let manifest = Manifest::read(&directory).unwrap().unwrap();
    assert_eq!(manifest.state, State::Closed);
    let file = &manifest.feeds[BINANCE].files[0];
    assert_eq!((file.state, file.name.as_str()), (State::Closed, "1-binance.0001.zst"));
    assert_eq!((file.messages, file.events, file.dropped), (19, 5, 0));
    assert_eq!((file.first_ns, file.last_ns), (recv(0), recv(script().len() - 1)));
    assert_eq!(file.compressed, fs::metadata(directory.join(&file.name)).unwrap().len());
}

#[test]
fn a_replay_makes_the_same_ticks_every_time() {
    let parent = tempdir().unwrap();
    let (original, directory) = play(parent.path(), ENDLESS);
    let states = |state| {
        let status = original.ticks.iter().filter(|tick| tick.kind == Kind::Status);
        status.filter(|tick| tick.as_status().state == state).count()
    };
    // The script does what it says.
    assert_eq!((states(FeedState::Resync), states(FeedState::Stale)), (2, 3));
    assert_eq!(original.rejects.len(), 3);
    for path in [parent.path(), &directory, &directory] {
        let (sink, instruments) = replay(path);
        // Whoever waits for it to begin is told that there are no data yet.
        let (before, ticks) = sink.ticks.split_at(3);
        let is_stale = |tick: &Tick| tick.as_status().state == FeedState::Stale;
        assert!(before.iter().all(|tick| is_stale(tick) && tick.ts_recv == 0), "{before:?}");
        assert_eq!(ticks, original.ticks);
        assert_eq!(sink.rejects, original.rejects);
        let symbols: Vec<_> = instruments.since(0).iter().map(|i| i.symbol.clone()).collect();
        assert_eq!(symbols, ["binance:BTC-USDT", "binance:ABCX-YZ", "coinbase:BTC-USD"]);
        let listed = instruments.since(0);
        assert_eq!(listed[0].tick_size, Some("0.01".parse().unwrap()));
        assert!(listed[2].quotes_from_book);
    }
}

#[test]
fn instruments_are_there_before_a_replay_begins() {
    let parent = tempdir().unwrap();
    let (_, directory) = play(parent.path(), ENDLESS);
    let instruments = Arc::new(Instruments::new());
    let spec: FeedSpec = format!("replay:{}", directory.display()).parse().unwrap();
    let _feed = spec.open(&instruments).unwrap();
    assert_eq!(instruments.len(), 3);
}

#[test]
fn files_are_rotated_by_size_and_time_and_read_as_one() {
    for rotation in [rotating(), Rotation { bytes: u64::MAX, age_ns: SECOND }] {
        let parent = tempdir().unwrap();
        let (recorder, _) = start(parent.path(), rotation);
        let stats = recorder.stats();
        let mut tap = tap(&recorder, "binance");
        tap.listed(&listings(BINANCE));
        let kept: Vec<_> =
            (0..5).map(|n| (START + n * SECOND, Owned::message(0, &format!("{n}")))).collect();
        for (n, (recv, input)) in kept.iter().enumerate() {
            tap.keep(*recv, &input.input());
            while stats.messages() < n as u64 + 1 {
                std::thread::yield_now();
            }
        }
        let directory = recorder.directory().to_owned();
        drop(tap);
        recorder.close();
        let files = data_files(&directory);
        assert_eq!(files.len(), 5, "{rotation:?}");
        assert_eq!(read(&directory, 0).0, kept);
        // Each is readable by itself, with its instruments.
        let alone = tempdir().unwrap();
        fs::copy(&files[3], alone.path().join(files[3].file_name().unwrap())).unwrap();
        let recording = Recording::open(alone.path()).unwrap();
        assert!(recording.is_rebuilt());
        assert_eq!(recording.feeds()[0].listings, listings(BINANCE));
        assert_eq!(read(alone.path(), 0).0, kept[3..4]);
        let manifest = Manifest::read(&directory).unwrap().unwrap();
        assert!(manifest.feeds[0].files.iter().all(|file| file.state == State::Closed));
        assert!(manifest.feeds[0].files.iter().all(|file| file.messages == 1));
    }
}

/// A recording in several frames of `lines` messages each.
fn framed(parent: &TempDir, frames: u64, lines: u64) -> std::path::PathBuf {
    let (recorder, _) = start(parent.path(), ENDLESS);
    let stats = recorder.stats();
    let mut tap = tap(&recorder, "binance");
    tap.listed(&listings(BINANCE));
    for frame in 0..frames {
        for line in 0..lines {
            let n = frame * lines + line;
            tap.keep(START + n, &diff(0, n + 1, n + 1).input());
        }
        while stats.messages() < (frame + 1) * lines {
            std::thread::yield_now();
        }
    }
    let directory = recorder.directory().to_owned();
    recorder.close();
    directory
}

#[test]
fn a_torn_end_is_a_notice() {
    let parent = tempdir().unwrap();
    let directory = framed(&parent, 2, 1);
    let file = &data_files(&directory)[0];
    let whole = fs::read(file).unwrap();
    fs::write(file, &whole[..whole.len() - 3]).unwrap();
    let (read, sink) = read(&directory, 0);
    assert_eq!(read[0], (START, diff(0, 1, 1)));
    assert!(matches!(read[1], (START, Owned::Hole(Hole::Torn { .. }))), "{read:?}");
    assert!(sink.rejects[0].1.starts_with("1-binance.0001.zst is torn: "), "{:?}", sink.rejects);
    let (sink, _) = replay(&directory);
    assert_eq!(sink.rejects.len(), 1);
}

#[test]
fn a_damaged_middle_loses_itself_and_the_trust_in_books() {
    let parent = tempdir().unwrap();
    let directory = framed(&parent, 3, 2);
    let file = &data_files(&directory)[0];
    let mut bytes = fs::read(file).unwrap();
    let starts: Vec<usize> =
        (0..bytes.len() - 4).filter(|&at| bytes[at..at + 4] == [0x28, 0xb5, 0x2f, 0xfd]).collect();
    // The head's frame, the listing's block, and one for each later block.
    assert_eq!(starts.len(), 4);
    bytes[starts[2] + 20] ^= 0xff;
    fs::write(file, &bytes).unwrap();
    let (read, _) = read(&directory, 0);
    let at = starts[2] as u64;
    let hole =
        Hole::Damaged { file: "1-binance.0001.zst".to_owned(), at, bytes: starts[3] as u64 - at };
    let expected = [
        (START, diff(0, 1, 1)),
        (START + 1, diff(0, 2, 2)),
        (START + 1, Owned::Hole(hole)),
        (START + 4, diff(0, 5, 5)),
        (START + 5, diff(0, 6, 6)),
    ];
    assert_eq!(read, expected);
}

/// Nothing of what is left is damaged: only the manifest knows.
#[test]
fn a_file_that_ends_between_two_frames_is_a_hole() {
    let parent = tempdir().unwrap();
    let directory = framed(&parent, 3, 2);
    let file = &data_files(&directory)[0];
    let bytes = fs::read(file).unwrap();
    let last = bytes.windows(4).rposition(|four| four == [0x28, 0xb5, 0x2f, 0xfd]).unwrap();
    fs::write(file, &bytes[..last]).unwrap();
    let (short, _) = read(&directory, 0);
    let name = "1-binance.0001.zst".to_owned();
    let hole = Hole::Miscounted { file: name, read: 4, expected: 6 };
    assert_eq!((short.len(), &short[4]), (5, &(START + 3, Owned::Hole(hole))));
    fs::write(file, [&bytes[..], &bytes[last..]].concat()).unwrap();
    let (long, sink) = read(&directory, 0);
    assert_eq!(long.len(), 9);
    assert_eq!(sink.rejects[0].1, "1-binance.0001.zst holds 8 inputs, the manifest says 6");
    // A file that was open goes on where the manifest ends; it does not end before.
    let text = fs::read_to_string(directory.join(MANIFEST)).unwrap();
    fs::write(directory.join(MANIFEST), text.replace("closed", "open")).unwrap();
    assert_eq!(read(&directory, 0).0.len(), 8);
    fs::write(file, &bytes[..last]).unwrap();
    assert_eq!(read(&directory, 0).0, short);
}

#[test]
fn a_damaged_beginning_has_the_time_of_what_follows() {
    let parent = tempdir().unwrap();
    let directory = framed(&parent, 2, 1);
    fs::remove_file(directory.join(MANIFEST)).unwrap();
    let file = &data_files(&directory)[0];
    let mut bytes = fs::read(file).unwrap();
    bytes[10] ^= 0xff;
    fs::write(file, &bytes).unwrap();
    let (read, sink) = read(&directory, 0);
    assert_eq!(sink.rejects.len(), 1);
    assert!(matches!(&read[0], (START, Owned::Hole(Hole::Damaged { at: 0, .. }))), "{read:?}");
    assert_eq!(read[1..], [(START, diff(0, 1, 1)), (START + 1, diff(0, 2, 2))]);
    // The name says whose it is.
    let recording = Recording::open(&directory).unwrap();
    assert_eq!(recording.feeds()[0].venue.name, "binance");
    assert_eq!(recording.feeds()[0].listings, listings(BINANCE));
}

/// Whatever becomes of a file, what is read of it was recorded, in that order, and what is missing
/// is told.
#[test]
fn a_file_that_was_tampered_with_gives_only_what_was_recorded() {
    let parent = tempdir().unwrap();
    let directory = framed(&parent, 4, 3);
    let file = &data_files(&directory)[0];
    let bytes = fs::read(file).unwrap();
    let (recorded, _) = read(&directory, 0);
    let mut runner = TestRunner::new(ProptestConfig { cases: 200, ..ProptestConfig::default() });
    let change = (0..bytes.len(), any::<Vec<u8>>(), any::<bool>());
    runner
        .run(&prop::collection::vec(change, 1..4), |changes| {
            let mut bytes = bytes.clone();
            for (at, new, insert) in changes {
                let at = at.min(bytes.len());
                let end = if insert { at } else { (at + new.len() + 1).min(bytes.len()) };
                bytes.splice(at..end, new);
            }
            fs::write(file, &bytes).unwrap();
            let (read, sink) = read(&directory, 0);
            let mut rest = recorded.iter();
            let mut inputs = 0;
            for record in read.iter().filter(|(_, record)| !matches!(record, Owned::Hole(_))) {
                prop_assert!(rest.any(|one| one == record), "{record:?}");
                inputs += 1;
            }
            prop_assert!(inputs == recorded.len() || !sink.rejects.is_empty());
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_hole_makes_a_live_book_unknown() {
    let parent = tempdir().unwrap();
    let (recorder, _) = start(parent.path(), rotating());
    let stats = recorder.stats();
    let mut tap = tap(&recorder, "binance");
    tap.listed(&listings(BINANCE));
    // The chain of diffs has no hole: nobody else would notice.
    let inputs = [snapshot(1), trade(0, "BTCUSDT", 1), diff(0, 2, 2)];
    for (n, input) in inputs.iter().enumerate() {
        tap.keep(START, &input.input());
        while stats.messages() < n as u64 + 1 {
            std::thread::yield_now();
        }
    }
    let directory = recorder.directory().to_owned();
    recorder.close();
    let states = || -> Vec<FeedState> {
        let (sink, _) = replay(&directory);
        // But what is told before it begins.
        let status = sink.ticks.iter().filter(|tick| tick.kind == Kind::Status && tick.ts_recv > 0);
        status.map(|tick| tick.as_status().state).collect()
    };
    assert_eq!(states(), [FeedState::Live]);
    // The trade's. (What was listed may be in a file of its own, before the snapshot's.)
    let [.., trade, _diff] = &data_files(&directory)[..] else { panic!("a file for each input") };
    fs::remove_file(trade).unwrap();
    assert_eq!(states(), [FeedState::Live, FeedState::Resync]);
    let (read, _) = read(&directory, 0);
    assert!(matches!(&read[1].1, Owned::Hole(Hole::Missing { .. })), "{read:?}");
}

#[test]
fn what_the_disk_is_too_slow_for_is_a_gap_in_the_recording() {
    let parent = tempdir().unwrap();
    let (recorder, _) = start(parent.path(), ENDLESS);
    let stats = recorder.stats();
    let mut tap = tap(&recorder, "binance");
    // More than may wait comes at once: the writer looks twice a second.
    let large = Owned::Message(0, vec![b'x'; 1 << 20]);
    let small = trade(0, "BTCUSDT", 1);
    let mut kept = 0;
    while stats.dropped() < 3 {
        tap.keep(START + kept, &large.input());
        // What would still fit comes after the gap, not before it.
        tap.keep(START + kept + 1, &small.input());
        kept += 2;
    }
    let directory = recorder.directory().to_owned();
    while stats.messages() + stats.dropped() < kept {
        std::thread::yield_now();
    }
    tap.keep(START + kept, &large.input());
    recorder.close();
    let (read, _) = read(&directory, 0);
    let mut seen = 0;
    for (recv, record) in &read {
        if let Owned::Hole(Hole::Dropped(inputs)) = record {
            seen += inputs;
            continue;
        }
        let expected = if seen % 2 == 0 { &large } else { &small };
        assert!(*recv == START + seen && record == expected, "input {seen}");
        seen += 1;
    }
    assert_eq!(seen, kept + 1);
    let manifest = Manifest::read(&directory).unwrap().unwrap();
    assert_eq!(manifest.feeds[0].files[0].dropped, stats.dropped());
}

#[test]
fn the_manifest_may_be_missing() {
    let parent = tempdir().unwrap();
    let (original, directory) = play(parent.path(), ENDLESS);
    fs::remove_file(directory.join(MANIFEST)).unwrap();
    let (sink, _) = replay(parent.path());
    assert_eq!(sink.ticks[3..], original.ticks);
}

#[test]
fn a_later_version_is_told() {
    let parent = tempdir().unwrap();
    let (_, directory) = play(parent.path(), ENDLESS);
    fs::write(directory.join(MANIFEST), "{\"version\":2}").unwrap();
    let open = || Recording::open(&directory).unwrap_err().to_string();
    assert!(open().contains("recording.json` has the format's version 2"), "{}", open());
    fs::remove_file(directory.join(MANIFEST)).unwrap();
    let head = b"# tickcast recording {\"version\":3}\n";
    fs::write(&data_files(&directory)[0], zstd::bulk::compress(head, 3).unwrap()).unwrap();
    assert!(open().contains("1-binance.0001.zst` has the format's version 3"), "{}", open());
}

#[test]
fn a_venue_without_a_parser_is_told() {
    let parent = tempdir().unwrap();
    let (_, directory) = play(parent.path(), ENDLESS);
    let path = directory.join(MANIFEST);
    let text = fs::read_to_string(&path).unwrap().replace("\"coinbase\"", "\"mtgox\"");
    fs::write(&path, text).unwrap();
    let error = Recording::open(&directory).unwrap_err().to_string();
    assert!(error.contains("of venue `mtgox`: expected one of"), "{error}");
}

#[test]
fn a_recording_goes_into_a_directory_of_its_own() {
    let parent = tempdir().unwrap();
    let begin = |path: &Path| {
        Recorder::start(path, ENDLESS, "test", START, Box::new(|_| {})).map(|recorder| {
            let directory = recorder.directory().to_owned();
            recorder.close();
            directory
        })
    };
    let new = parent.path().join("a/b");
    let first = begin(&new).unwrap();
    assert_eq!(first, new.join("20240808T235413Z"));
    assert_eq!(begin(&new).unwrap(), new.join("20240808T235413Z-2"));
    let error = begin(&first).unwrap_err().to_string();
    assert!(error.contains("is a recording: expected the directory around it"), "{error}");
    let error = begin(parent.path()).unwrap_err().to_string();
    assert!(error.contains("is not empty and holds no recordings"), "{error}");
    fs::write(new.join("notes"), "mine").unwrap();
    assert!(begin(&new).is_err());
    assert_eq!(fs::read_dir(&new).unwrap().count(), 3, "nothing was made on the way");
    fs::remove_file(new.join("notes")).unwrap();
    // Somebody was killed at the very beginning.
    fs::create_dir(new.join("20240808T235500Z")).unwrap();
    fs::write(new.join("20240808T235500Z/recording.json.new"), "{").unwrap();
    begin(&new).unwrap();
    let spec: FeedSpec = format!("replay:{}", new.display()).parse().unwrap();
    let error = spec.open(&Arc::default()).err().unwrap().to_string();
    assert!(error.contains("holds 3 recordings") && error.contains("20240808T235413Z-3"));
    let spec: FeedSpec = format!("replay:{}", first.display()).parse().unwrap();
    let error = spec.open(&Arc::default()).err().unwrap().to_string();
    assert!(error.contains("nothing was recorded in"), "{error}");
}

#[test]
fn a_file_of_a_recording_is_not_taken_for_a_capture() {
    let parent = tempdir().unwrap();
    let (_, directory) = play(parent.path(), ENDLESS);
    let file = data_files(&directory)[0].clone();
    let spec: FeedSpec = format!("replay:{}", file.display()).parse().unwrap();
    let error = spec.open(&Arc::default()).err().unwrap().to_string();
    assert!(error.contains("is a file of a recording"), "{error}");
}
