//! The feed's side of the server on one core, the whole of it: a venue's text through the parser, the feed's sink,
//! the channel, numbering and state, up to the ring. `cargo bench --bench feed`
//!
//! Captures are found through `TICKCAST_DATA`; without them only synthesised messages of the same shape are measured. An
//! element is a message, and a message of trades is one trade. What the server does on two threads is done here in turn
//! on one, batch by batch as a replay flushes them; only the sleep of a thread that waits is missing.

use std::hint::black_box;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tickcast::bench::FeedSide;
use tickcast_feeds::venue::{Binance, Context, Venue};
use tickcast_feeds::{Instruments, Tick, VecSink};

/// Messages between two flushes, as a replay has them.
const FLUSH_MESSAGES: usize = 256;
/// Messages in a round.
const ROUND: usize = 8_192;
const RECV_NS: u64 = 1_723_161_255_343_000_000;

/// Messages as a combined stream of Binance carries trades, of `symbols` symbols in turn.
fn trades(symbols: usize) -> Vec<String> {
    let name = |at: usize| {
        let letter = |by: usize| char::from(b'A' + (at / by % 26) as u8);
        ['C', letter(676), letter(26), letter(1)].iter().collect::<String>()
    };
    let message = |at: usize| {
        let base = name(at % symbols);
        let time = 1_723_161_255_343 + at / 10;
        // Spread over the digits as prices and sizes are.
        let (price, size) = (6_183_763 + at * 7 % 90_000, 2_378_826 + at * 987_131 % 900_000_000);
        format!(
            r#"{{"stream":"{}usdt@trade","data":{{"e":"trade","E":{time},"s":"{base}USDT","t":{},"p":"{}.{:02}000000","q":"{}.{:08}","T":{time},"m":{},"M":true}}}}"#,
            base.to_lowercase(),
            3_735_683_259 + at,
            price / 100,
            price % 100,
            size / 100_000_000,
            size % 100_000_000,
            at.is_multiple_of(3),
        )
    };
    (0..ROUND).map(message).collect()
}

/// The messages of one capture, in order; `None` where there are no captures.
fn capture(belongs: fn(&str) -> bool) -> Option<Vec<String>> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("TICKCAST_DATA").map_or_else(beside, PathBuf::from);
    let path = folder.join("binance_spot/binance_spot_btcusdt_20240808.jsonl.gz");
    let Ok(file) = std::fs::File::open(&path) else {
        eprintln!("no capture at {}: measuring synthesised messages only", path.display());
        return None;
    };
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).expect("a gzip file");
    let messages = text.lines().filter_map(|line| Some(line.split_once(' ')?.1));
    Some(messages.filter(|message| belongs(message)).map(str::to_owned).collect())
}

/// A venue's parser before the feed's side of the server.
struct Path {
    parser: Binance,
    side: FeedSide,
}

impl Path {
    fn new() -> Self {
        let instruments = Arc::new(Instruments::new());
        Path { parser: Binance::new(instruments.clone()), side: FeedSide::new(instruments) }
    }

    /// A round of messages, from the text to the ring. As in a replay that loops, the venue's
    /// numbers may go back to where they were.
    fn run(&mut self, messages: &[String], flush: usize) {
        let context = Context { symbol: Some("BTCUSDT"), ..Context::default() };
        self.parser.restart();
        self.side.sink().restart();
        for batch in messages.chunks(flush) {
            for message in batch {
                self.parser.message(message.as_bytes(), RECV_NS, context, self.side.sink());
            }
            self.side.sink().flush().expect("an open sink");
            self.side.ingest();
        }
    }

    /// The ticks of a round, to be sure of what is measured.
    fn ticks(&mut self, messages: &[String], flush: usize) -> u64 {
        let before = self.side.report().ticks;
        self.run(messages, flush);
        self.side.report().ticks - before
    }
}

fn whole_path(c: &mut Criterion) {
    let mut group = c.benchmark_group("feed/text to ring");
    let mut case = |name: &str, messages: &[String], flush: usize| {
        let mut path = Path::new();
        for round in 0..2 {
            let ticks = path.ticks(messages, flush);
            assert!(ticks >= messages.len() as u64, "{name}: {ticks} ticks in round {round}");
        }
        group.throughput(Throughput::Elements(messages.len() as u64));
        group.bench_function(name, |b| b.iter(|| path.run(black_box(messages), flush)));
    };
    for (name, symbols) in [("trades of one symbol", 1), ("trades of 500 symbols", 500)] {
        let messages = trades(symbols);
        case(name, &messages, FLUSH_MESSAGES);
    }
    // As on a quiet socket: each message is a batch of its own.
    case("trades of 500 symbols, each flushed alone", &trades(500), 1);
    if let Some(messages) = capture(|message| message.contains(r#""e":"trade""#)) {
        case("captured trades", &messages, FLUSH_MESSAGES);
    }
    if let Some(messages) = capture(|_| true) {
        case("captured trades, quotes and depth", &messages, FLUSH_MESSAGES);
    }
    group.finish();
}

/// The two halves of the path.
fn parts(c: &mut Criterion) {
    let mut group = c.benchmark_group("feed/part");
    let messages = trades(500);
    group.throughput(Throughput::Elements(messages.len() as u64));

    let mut parser = Binance::new(Arc::new(Instruments::new()));
    let mut made = VecSink::default();
    let mut parse = |made: &mut VecSink| {
        parser.restart();
        made.ticks.clear();
        for message in &messages {
            parser.message(black_box(message.as_bytes()), RECV_NS, Context::default(), made);
        }
    };
    group.bench_function("text to ticks", |b| b.iter(|| parse(&mut made)));

    parse(&mut made);
    let ticks: Vec<Tick> = made.ticks;
    assert_eq!(ticks.len(), messages.len(), "what is measured");
    let mut side = FeedSide::new(Arc::new(Instruments::new()));
    group.bench_function("ticks to ring", |b| {
        b.iter(|| {
            side.sink().restart();
            black_box(&ticks).chunks(FLUSH_MESSAGES).for_each(|batch| side.publish(batch));
        });
    });
    group.finish();
}

criterion_group!(feed, whole_path, parts);
criterion_main!(feed);
