//! The replay: what is in a capture comes out once, in order, when it is due.

mod pace;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use flate2::Compression;
use flate2::write::GzEncoder;
use pace::{TestClock, captures};
use tempfile::TempDir;
use tickcast_feeds::replay::{BAD_LINE, Decoder, MAX_LINE_BYTES, ReplayFeed};
use tickcast_feeds::spec::Speed;
use tickcast_feeds::{
    Decimal, Feed, FeedError, FeedSpec, InstrumentId, Instruments, ReplaySpec, RunContext, Side,
    Sink, SinkClosed, Stamp, Tick, Trade, VecSink,
};

const MS: u64 = 1_000_000;
const NOW: u64 = 1_800_000_000_000_000_000;

/// What a decoder was given: which decoder, when, the URL, the text.
type Given = Arc<Mutex<Vec<(usize, u64, Option<String>, String)>>>;

/// Notes what it is given and puts a trade with the time five milliseconds before the receipt;
/// `{"unstamped"...` has no venue time.
struct Notes {
    number: usize,
    given: Given,
    restarts: Arc<AtomicUsize>,
}

impl Decoder for Notes {
    fn message(&mut self, text: &[u8], recv_ns: u64, url: Option<&str>, sink: &mut dyn Sink) {
        let text = String::from_utf8_lossy(text).into_owned();
        let event =
            if text.starts_with("{\"unstamped") { 0 } else { recv_ns.saturating_sub(5 * MS) };
        let mut given = self.given.lock().unwrap();
        let stamp = Stamp { event, recv: recv_ns, seq: given.len() as u64 };
        let one = Decimal::new(1, 0);
        let trade = Trade { price: one, size: one, id: 0, side: Side::Buy };
        sink.put(&Tick::trade(InstrumentId(0), stamp, &trade));
        given.push((self.number, recv_ns, url.map(str::to_owned), text));
    }

    fn restart(&mut self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }
}

/// A replay of files in a folder of its own, by a clock of its own.
struct Bench {
    folder: TempDir,
    given: Given,
    restarts: Arc<AtomicUsize>,
    made_for: Vec<PathBuf>,
    clock: TestClock,
    sink: VecSink,
}

impl Bench {
    fn new() -> Self {
        Bench {
            folder: tempfile::tempdir().unwrap(),
            given: Given::default(),
            restarts: Arc::default(),
            made_for: Vec::new(),
            clock: TestClock::new(NOW, u64::MAX),
            sink: VecSink::default(),
        }
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn open(&mut self, spec: ReplaySpec) -> Result<ReplayFeed, FeedError> {
        let (given, restarts) = (Arc::clone(&self.given), Arc::clone(&self.restarts));
        let made_for = &mut self.made_for;
        ReplayFeed::open(spec, &mut |path: &Path| {
            made_for.push(path.to_owned());
            let (given, restarts) = (Arc::clone(&given), Arc::clone(&restarts));
            Box::new(Notes { number: made_for.len() - 1, given, restarts })
        })
    }

    fn run(&mut self, spec: ReplaySpec) -> Result<(), FeedError> {
        let feed = self.open(spec)?;
        feed.run_by(&self.clock, &mut self.sink, &self.clock.context())
    }

    fn texts(&self) -> Vec<String> {
        self.given.lock().unwrap().iter().map(|given| given.3.clone()).collect()
    }

    fn stamps(&self) -> Vec<(u64, u64)> {
        self.sink.ticks.iter().map(|tick| (tick.ts_event, tick.ts_recv)).collect()
    }
}

fn at_max(files: Vec<PathBuf>) -> ReplaySpec {
    ReplaySpec { speed: Speed::Max, ..ReplaySpec::new(files) }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

const LINES: &str = "1723161253937085768 {\"n\":1}\r\n\r\n\
    configuration: {\"trades\":[\"A-B\"]}\n\
    wss://x.example <-> 1723161253.5\n\
    wss://x.example <- 1723161253.6: {\"event\":\"subscribe\"}\n\
    https://x.example/depth?symbol=AB -> 1723161253.937085769: {\"n\":2}\n\
    1723161253.93708577: {\"n\":3}\n\
    \n\
    1723161253937085771 {\"n\":4}";

#[test]
fn every_format_and_compression_reads_the_same() {
    let bench = Bench::new();
    let half = LINES.len() / 2;
    let parts = [gzip(&LINES.as_bytes()[..half]), gzip(&LINES.as_bytes()[half..])].concat();
    let frames = [&LINES.as_bytes()[..half], &LINES.as_bytes()[half..]]
        .map(|part| zstd::encode_all(part, 3).unwrap())
        .concat();
    for (name, content) in [
        ("plain.jsonl", LINES.as_bytes().to_vec()),
        ("lies.zst", gzip(LINES.as_bytes())),
        ("members.gz", parts),
        ("frames", frames),
    ] {
        let mut bench = Bench { folder: tempfile::tempdir().unwrap(), ..Bench::new() };
        let file = bench.file(name, content);
        bench.run(ReplaySpec { rebase: false, ..at_max(vec![file]) }).unwrap();
        let url = Some("https://x.example/depth?symbol=AB".to_owned());
        let first = 1_723_161_253_937_085_768;
        let wanted = [
            (0, first, None, "{\"n\":1}".to_owned()),
            (0, first + 1, url, "{\"n\":2}".to_owned()),
            (0, first + 2, None, "{\"n\":3}".to_owned()),
            (0, first + 3, None, "{\"n\":4}".to_owned()),
        ];
        assert_eq!(*bench.given.lock().unwrap(), wanted, "{name}");
        assert!(bench.sink.rejects.is_empty(), "{name}");
        assert_eq!(bench.stamps()[3], (first + 3 - 5 * MS, first + 3));
        assert_eq!(bench.sink.restarts, 0);
    }
    drop(bench);
}

#[test]
fn malformed_lines_are_counted_and_kept_out() {
    let mut bench = Bench::new();
    let file =
        bench.file("a", b"1 {\"n\":1}\nnonsense\n2 {\"n\":2}\nx.example -> 3: {}\n99\n\x00\xff\n");
    bench.run(at_max(vec![file.clone()])).unwrap();
    assert_eq!(bench.texts(), ["{\"n\":1}", "{\"n\":2}"]);
    let rejects = &bench.sink.rejects;
    assert_eq!(rejects.len(), 4);
    assert!(rejects.iter().all(|(kind, ..)| *kind == BAD_LINE));
    let wanted =
        format!("{} line 2: expected a receive time, or a URL and an arrow", file.display());
    assert_eq!((rejects[0].1.as_str(), &rejects[0].2[..]), (wanted.as_str(), &b"nonsense"[..]));
    assert_eq!(rejects[2].2, b"99");
}

#[test]
fn a_line_without_an_end_is_skipped() {
    let mut bench = Bench::new();
    let mut content = b"1 {\"n\":1}\n2 ".to_vec();
    content.resize(MAX_LINE_BYTES + 100, b'x');
    content.extend_from_slice(b"\n3 {\"n\":3}\n");
    let file = bench.file("a", content);
    bench.run(at_max(vec![file])).unwrap();
    assert_eq!(bench.texts(), ["{\"n\":1}", "{\"n\":3}"]);
    assert_eq!(bench.sink.rejects.len(), 1);
    assert!(bench.sink.rejects[0].1.ends_with("line 2: expected at most 64 MiB in a line"));
}

#[test]
fn what_precedes_the_damage_of_a_file_counts() {
    let text: String =
        (1..=2_000).map(|n| format!("{n} {{\"n\":{}}}\n", n * 7_919 % 1_000)).collect();
    let zstd = zstd::encode_all(text.as_bytes(), 3).unwrap();
    for (name, whole) in [("a.gz", gzip(text.as_bytes())), ("a.zst", zstd)] {
        let mut bench = Bench::new();
        let broken = bench.file(name, &whole[..whole.len() - 9]);
        let good = bench.file("good", "1 {\"good\":1}\n5000 {\"good\":2}\n");
        let error = bench.run(at_max(vec![broken.clone(), good])).unwrap_err();
        let FeedError::Read { path, line, .. } = &error else { panic!("{error}") };
        assert_eq!(*path, broken);
        let texts = bench.texts();
        let good = texts.iter().filter(|text| text.contains("good")).count();
        assert_eq!(good, 2, "the other file goes on: {error}");
        assert_eq!((texts.len() - good) as u64, *line, "{error}");
        assert_eq!(bench.sink.ticks.len(), texts.len());
        assert!(error.to_string().starts_with(&format!("capture `{}` is damaged", path.display())));
    }
}

#[test]
fn files_merge_by_receive_time_and_keep_their_own_order() {
    let mut bench = Bench::new();
    let a = bench.file("a.x", "10 {a1}\n30 {a2}\n25 {a3}\n40 {a4}\n");
    let b = bench.file("b.x", "5 {b1}\n10 {b2}\n30 {b3}\n41 {b4}\n");
    let more = bench.file("a.y", "10 {y1}\n");
    bench.run(at_max(vec![a.clone(), b.clone(), more])).unwrap();
    assert_eq!(
        bench.texts(),
        ["{b1}", "{a1}", "{b2}", "{y1}", "{a2}", "{a3}", "{b3}", "{a4}", "{b4}"]
    );
    // `a.x` and `a.y` are one capture.
    assert_eq!(bench.made_for, [a, b]);
    let decoders: Vec<usize> = bench.given.lock().unwrap().iter().map(|given| given.0).collect();
    assert_eq!(decoders, [1, 0, 1, 0, 0, 0, 1, 0, 1]);
}

#[test]
fn a_directory_stands_for_its_captures() {
    let mut bench = Bench::new();
    bench.file("b.gz", gzip(b"\n7 {b}\n"));
    bench.file("a", "configuration: {}\n8 {a}\n");
    bench.file("c", "7 {c}\n");
    bench.file("LICENSE", "MIT License\n\n1 {licence}\n");
    bench.file("empty", "");
    fs::create_dir(bench.folder.path().join("deeper")).unwrap();
    bench.run(at_max(vec![bench.folder.path().to_owned()])).unwrap();
    assert_eq!(bench.texts(), ["{b}", "{c}", "{a}"]);
    let bare = bench.folder.path().join("deeper");
    let error = bench.run(at_max(vec![bare])).unwrap_err().to_string();
    assert!(error.starts_with("no capture in directory `"), "{error}");
}

/// Notes what the clock says at each tick.
struct Timed<'a> {
    clock: &'a TestClock,
    ticks: Vec<(u64, Tick)>,
    /// How many ticks each flush handed over.
    flushed: Vec<usize>,
    restarts: Vec<usize>,
}

impl Sink for Timed<'_> {
    fn put(&mut self, tick: &Tick) {
        self.ticks.push((self.clock.now.get(), *tick));
    }

    fn flush(&mut self) -> Result<(), SinkClosed> {
        self.flushed.push(self.ticks.len());
        Ok(())
    }

    fn reject(&mut self, kind: &'static str, detail: &str, _: &[u8]) {
        panic!("{kind}: {detail}");
    }

    fn restart(&mut self) {
        self.restarts.push(self.ticks.len());
    }
}

fn run_timed<'a>(bench: &mut Bench, clock: &'a TestClock, spec: ReplaySpec) -> Timed<'a> {
    let feed = bench.open(spec).unwrap();
    let mut sink = Timed { clock, ticks: Vec::new(), flushed: Vec::new(), restarts: Vec::new() };
    feed.run_by(clock, &mut sink, &clock.context()).unwrap();
    sink
}

const PACED: &str = "1000000000 {1}\n1000000000 {2}\n1002000000 {\"unstamped\"}\n1500000000 {4}\n";

#[test]
fn messages_come_when_they_are_due_with_shifted_stamps() {
    for (speed, distances) in [
        (1_000_000, [0, 0, 2 * MS, 500 * MS]),
        (100_000, [0, 0, 20 * MS, 5_000 * MS]),
        (20_000_000, [0, 0, MS / 10, 25 * MS]),
    ] {
        let mut bench = Bench::new();
        let file = bench.file("a", PACED);
        let clock = TestClock::new(NOW, u64::MAX);
        let spec = ReplaySpec { speed: Speed::Millionths(speed), ..ReplaySpec::new(vec![file]) };
        let sink = run_timed(&mut bench, &clock, spec);
        let wanted = distances.map(|distance| NOW + distance);
        let times: Vec<u64> = sink.ticks.iter().map(|(at, _)| *at).collect();
        assert_eq!(times, wanted);
        let recv: Vec<u64> = sink.ticks.iter().map(|(_, tick)| tick.ts_recv).collect();
        assert_eq!(recv, wanted);
        let event: Vec<u64> = sink.ticks.iter().map(|(_, tick)| tick.ts_event).collect();
        let before = 5 * MS * 1_000_000 / speed;
        let [a, b, _, d] = wanted.map(|at| at - before);
        assert_eq!(event, [a, b, 0, d], "no time stays no time");
        assert_eq!(clock.longest.get().min(100 * MS), clock.longest.get());
        assert!(sink.flushed.contains(&2), "all that is due, then one flush: {:?}", sink.flushed);
        assert!(!sink.flushed.contains(&1));
        assert_eq!(sink.flushed.last(), Some(&4));
    }
}

#[test]
fn late_wakes_do_not_shift_what_follows() {
    let mut bench = Bench::new();
    let file = bench.file("a", PACED);
    let clock = TestClock { late: MS, ..TestClock::new(NOW, u64::MAX) };
    let sink = run_timed(&mut bench, &clock, ReplaySpec::new(vec![file]));
    let times: Vec<(u64, u64)> =
        sink.ticks.iter().map(|(at, tick)| (at - NOW, tick.ts_recv - NOW)).collect();
    assert_eq!(times, [(0, 0), (0, 0), (3 * MS, 2 * MS), (501 * MS, 500 * MS)]);
}

#[test]
fn at_full_speed_nobody_sleeps_and_flushes_are_frequent() {
    let mut bench = Bench::new();
    let text: String =
        (0..1_000u64).map(|n| format!("{} {{}}\n", (n + 1) * 1_000_000_000)).collect();
    let file = bench.file("a", text);
    let clock = TestClock::new(NOW, u64::MAX);
    let sink = run_timed(&mut bench, &clock, at_max(vec![file]));
    assert_eq!(clock.sleeps.get(), 0);
    assert_eq!(sink.flushed, [256, 512, 768, 1_000]);
    // Received when read; the venue's time keeps its distance.
    assert!(sink.ticks.iter().all(|(_, t)| (t.ts_recv, t.ts_event) == (NOW, NOW - 5 * MS)));
}

#[test]
fn a_loop_starts_over_with_rising_stamps() {
    for (rebase, speed) in [
        (true, Speed::Millionths(1_000_000)),
        (false, Speed::Millionths(1_000_000)),
        (true, Speed::Max),
    ] {
        let mut bench = Bench::new();
        let file = bench.file("a", PACED);
        // Full speed never sleeps by itself: a sink that takes its time makes the clock go on.
        let clock = TestClock::new(NOW, 1_400 * MS);
        let spec = ReplaySpec { repeat: true, rebase, speed, ..ReplaySpec::new(vec![file]) };
        let feed = bench.open(spec).unwrap();
        let mut sink = SlowSink(Timed {
            clock: &clock,
            ticks: Vec::new(),
            flushed: Vec::new(),
            restarts: Vec::new(),
        });
        feed.run_by(&clock, &mut sink, &clock.context()).unwrap();
        let sink = sink.0;
        assert!(sink.ticks.len() >= 9, "{}", sink.ticks.len());
        assert_eq!(sink.restarts[..2], [4, 8]);
        assert_eq!(bench.restarts.load(Ordering::Relaxed), sink.restarts.len());
        let recv: Vec<u64> = sink.ticks.iter().map(|(_, tick)| tick.ts_recv).collect();
        if rebase {
            assert!(recv.is_sorted(), "{recv:?}");
            assert!(recv[4] > recv[3]);
        } else {
            assert_eq!(recv[..4], recv[4..8]);
            assert_eq!(recv[0], 1_000_000_000);
        }
        assert!(sink.ticks[4].0 > sink.ticks[3].0, "passes follow each other");
    }
}

/// Takes a millisecond to flush.
struct SlowSink<'a>(Timed<'a>);

impl Sink for SlowSink<'_> {
    fn put(&mut self, tick: &Tick) {
        self.0.put(tick);
    }

    fn flush(&mut self) -> Result<(), SinkClosed> {
        let clock = self.0.clock;
        clock.now.set(clock.now.get() + MS);
        // As at a stop of the process.
        if clock.now.get() >= clock.end { Err(SinkClosed) } else { self.0.flush() }
    }

    fn reject(&mut self, kind: &'static str, detail: &str, text: &[u8]) {
        self.0.reject(kind, detail, text);
    }

    fn restart(&mut self) {
        self.0.restart();
    }
}

#[test]
fn waits_for_clients() {
    let mut bench = Bench::new();
    let file = bench.file("a", PACED);
    let spec = ReplaySpec { wait: 3, ..at_max(vec![file]) };
    let asked = AtomicUsize::new(0);
    let subscribers = move || asked.fetch_add(1, Ordering::Relaxed);
    let clock = TestClock::new(NOW, u64::MAX);
    let context = RunContext::new(clock.stop.clone(), Arc::new(subscribers));
    let feed = bench.open(spec).unwrap();
    let mut sink = VecSink::default();
    feed.run_by(&clock, &mut sink, &context).unwrap();
    assert_eq!(clock.sleeps.get(), 3, "0, 1 and 2 clients were too few");
    assert_eq!(sink.ticks[0].ts_recv, NOW + 30 * MS, "now is when it starts");
}

#[test]
fn a_stop_ends_the_wait_and_the_pace() {
    for wait in [0, 1] {
        let mut bench = Bench::new();
        let file = bench.file("a", "1000000000 {1}\n9000000000000 {2}\n");
        bench.clock = TestClock::new(NOW, 450 * MS);
        bench.run(ReplaySpec { wait, ..ReplaySpec::new(vec![file]) }).unwrap();
        assert_eq!(bench.sink.ticks.len(), 1 - wait);
        assert!(bench.clock.longest.get() <= 100 * MS);
        assert!(bench.clock.sleeps.get() < 50);
    }
}

#[test]
fn what_cannot_be_read_stops_the_start() {
    let mut bench = Bench::new();
    let missing = bench.folder.path().join("missing.gz");
    let spec: FeedSpec = format!("replay:{}", missing.display()).parse().unwrap();
    let error = spec
        .open_with(&Arc::new(Instruments::new()), &mut |path| panic!("{path:?}"))
        .err()
        .map(|error| error.to_string())
        .unwrap();
    let wanted = format!("cannot open capture `{}`: ", missing.display());
    assert!(error.starts_with(&wanted) && !error.contains('\n'), "{error}");

    let file = bench.file("notes", "nothing\nof interest\n");
    let error = bench.run(ReplaySpec { repeat: true, ..at_max(vec![file]) }).unwrap_err();
    assert!(error.to_string().starts_with("no message in `replay:"), "{error}");
    assert_eq!(bench.sink.rejects.len(), 2);
}

#[test]
fn a_feed_says_what_it_is() {
    let mut bench = Bench::new();
    let file = bench.file("a", PACED);
    let feed = bench.open(at_max(vec![file.clone()])).unwrap();
    assert!(feed.lossless());
    assert_eq!(feed.thread_name(), "replay");
    assert_eq!(
        feed.name(),
        format!("replay:{},speed=max,loop=false,rebase=true,wait=0", file.display())
    );
    assert!(!bench.open(ReplaySpec::new(vec![file])).unwrap().lossless());
}

#[test]
fn real_captures_are_read_whole() {
    let Some(folder) = captures() else { return };
    let mut bench = Bench::new();
    let spot = folder.join("binance_spot");
    let files = ["btcusdt", "ethusdt"]
        .map(|symbol| spot.join(format!("binance_spot_{symbol}_20240808.jsonl.gz")));
    bench.run(at_max(files.to_vec())).unwrap();
    assert!(bench.sink.rejects.is_empty(), "{:?}", bench.sink.rejects[0]);
    assert_eq!(bench.made_for, files);
    let given = bench.given.lock().unwrap();
    let count = |what: &str| given.iter().filter(|given| given.3.contains(what)).count();
    // The figures of PROVENANCE.md.
    assert_eq!(given.iter().filter(|given| given.0 == 0).count(), 41_249);
    assert_eq!(given.iter().filter(|given| given.0 == 1).count(), 33_618);
    assert_eq!(count("{\"stream\":\"btcusdt@bookTicker\""), 28_040);
    assert_eq!(count("{\"stream\":\"btcusdt@trade\""), 9_757);
    assert_eq!(count("{\"stream\":\"btcusdt@depth@100ms\""), 3_451);
    assert_eq!(count("{\"lastUpdateId\":"), 2);
    assert!(given.iter().all(|given| given.3.ends_with('}')));
    for decoder in [0, 1] {
        assert!(given.iter().filter(|given| given.0 == decoder).is_sorted_by_key(|given| given.1));
    }
    assert!(given.is_sorted_by_key(|given| given.1));
}

#[test]
fn real_captures_of_the_other_format_are_read_whole() {
    let Some(folder) = captures() else { return };
    for (name, messages, replies) in [
        ("coinbase_exchange_2021/COINBASE.ws.28.0.gz", 9_946, 0),
        ("binance_misc/BINANCE.http.0.0.gz", 4, 4),
        ("kraken_v1/KRAKEN.0.gz", 1, 1),
    ] {
        let mut bench = Bench::new();
        bench.run(at_max(vec![folder.join(name)])).unwrap();
        assert!(bench.sink.rejects.is_empty(), "{name}: {:?}", bench.sink.rejects);
        let given = bench.given.lock().unwrap();
        assert_eq!(given.len(), messages, "{name}");
        assert_eq!(given.iter().filter(|given| given.2.is_some()).count(), replies, "{name}");
        assert!(given.iter().all(|given| given.3.starts_with(['{', '['])), "{name}");
    }
    // Whole folders: BINANCE and BINANCE_US are a capture each, of three files.
    let mut bench = Bench::new();
    bench.run(at_max(vec![folder.join("binance_misc")])).unwrap();
    assert!(bench.sink.rejects.is_empty(), "{:?}", bench.sink.rejects);
    assert_eq!(bench.made_for.len(), 2);
    let given = bench.given.lock().unwrap();
    let url = |given: &&(usize, u64, Option<String>, String)| {
        given.2.as_deref().is_some_and(|url| url.ends_with("symbol=NKNUSDT&limit=1000"))
    };
    assert_eq!(given.iter().filter(url).count(), 1);
}

#[test]
fn the_shortest_loop_does_not_spin() {
    let mut bench = Bench::new();
    let file = bench.file("a", "1000000000 {1}\n");
    bench.clock = TestClock::new(NOW, 20 * MS);
    bench.run(ReplaySpec { repeat: true, ..ReplaySpec::new(vec![file]) }).unwrap();
    let times: Vec<u64> = bench.sink.ticks.iter().map(|tick| (tick.ts_recv - NOW) / MS).collect();
    assert_eq!(times, (0..20).collect::<Vec<_>>());
    assert_eq!(bench.clock.sleeps.get(), 20);
}

#[test]
fn a_stop_ends_the_shortest_loop_at_full_speed() {
    /// Stops the feed, without closing, when it starts over.
    struct Stopping(tickcast_feeds::Stop, usize);

    impl Sink for Stopping {
        fn put(&mut self, _: &Tick) {
            self.1 += 1;
        }
        fn flush(&mut self) -> Result<(), SinkClosed> {
            Ok(())
        }
        fn reject(&mut self, _: &'static str, _: &str, _: &[u8]) {}
        fn restart(&mut self) {
            self.0.stop();
        }
    }

    let mut bench = Bench::new();
    let file = bench.file("a", "1000000000 {1}\n");
    let feed = bench.open(ReplaySpec { repeat: true, ..at_max(vec![file]) }).unwrap();
    let mut sink = Stopping(bench.clock.stop.clone(), 0);
    feed.run_by(&bench.clock, &mut sink, &bench.clock.context()).unwrap();
    assert_eq!(sink.1, 1, "a pass of nothing but this is followed by a pause");
}
