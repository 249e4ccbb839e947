//! Which JSON reader the parsers should use, and what a whole parser costs.
//!
//! `cargo bench -p tickcast-feeds --bench parse`, with captures found through `TICKCAST_DATA` (a few
//! messages of the same shape stand in where there are none). Each reader takes the same messages
//! of Binance and finds the same fields; what it finds is compared before anything is measured.
//!
//! The choice is the tape. The fastest samples of a run on a busy machine of 2 cores, so good for
//! the ratios only, nanoseconds per message:
//!
//! | reader | trade, book ticker | depth update | snapshot of 1000 x 1000 |
//! |---|---|---|---|
//! | simd-json tape, buffers reused | 213 | 1,805 | 102,764 |
//! | simd-json serde, buffers reused | 351 | 2,597 | 132,207 |
//! | simd-json borrowed value | 368 | 4,077 | 216,884 |
//! | serde_json serde | 456 | 2,791 | 132,475 |
//! | the whole parser, on the tape | 257 | 2,062 | 116,098 |

// criterion's macros make public functions without docs.
#![allow(missing_docs)]

use std::fmt;
use std::hint::black_box;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use simd_json::prelude::*;
use simd_json::tape::Tape;
use simd_json::{Buffers, INPUT_PADDING};
use tickcast_feeds::venue::{Binance, Context, Venue};
use tickcast_feeds::{Decimal, Instruments, Sink, SinkClosed, Tick};

/// Messages of every kind of the captures, for machines that have none.
const STAND_INS: [&str; 4] = [
    r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}"#,
    r#"{"stream":"btcusdt@bookTicker","data":{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000","a":"61837.64000000","A":"1.54698000"}}"#,
    r#"{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255308,"s":"BTCUSDT","U":50093239203,"u":50093239207,"b":[["55653.87000000","0.00000000"]],"a":[["61838.04000000","0.32332000"],["61844.30000000","0.40163000"],["61862.50000000","0.05019000"],["61862.51000000","0.00000000"]]}}"#,
    r#"{"lastUpdateId":50093239218,"bids":[["61837.63000000","3.78826000"],["61837.62000000","0.61700000"]],"asks":[["61837.64000000","1.60520000"]]}"#,
];

/// Puts the book in a state where the captures' diffs (the stand-in too) follow and are applied.
const START: &str = r#"{"lastUpdateId":50093239202,"bids":[],"asks":[]}"#;

/// Messages per group, at most.
const SAMPLE: usize = 2_000;

fn messages() -> Vec<String> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("TICKCAST_DATA").map_or_else(beside, PathBuf::from);
    let path = folder.join("binance_spot/binance_spot_btcusdt_20240808.jsonl.gz");
    let Ok(file) = std::fs::File::open(&path) else {
        eprintln!("no captures at {}: measuring stand-ins", path.display());
        return STAND_INS.map(str::to_owned).to_vec();
    };
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).expect("a gzip file");
    text.lines().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect()
}

/// The sum of every number that a parser needs: all readers must find the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found(u64);

impl Found {
    fn id(&mut self, id: Option<u64>) {
        self.0 = self.0.wrapping_add(id.unwrap_or(0));
    }

    fn text(&mut self, text: Option<&str>) {
        self.0 = self.0.wrapping_add(text.map_or(0, |text| text.len() as u64));
    }

    fn decimal(&mut self, text: Option<&str>) {
        let number = text.and_then(|text| Decimal::parse(text.as_bytes()).ok());
        self.0 = self.0.wrapping_add(number.map_or(0, |number| number.mantissa as u64));
    }
}

/// simd-json's tape, with every buffer reused: one walk over the keys.
struct TapeReader {
    text: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
}

impl TapeReader {
    fn new() -> Self {
        TapeReader { text: Vec::new(), buffers: Buffers::default(), tape: Tape(Vec::new()) }
    }

    fn read(&mut self, text: &[u8]) -> Found {
        self.text.clear();
        self.text.extend_from_slice(text);
        self.text.resize(text.len() + INPUT_PADDING, b' ');
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        simd_json::fill_tape_padded(&mut self.text, text.len(), &mut self.buffers, &mut tape)
            .expect("valid JSON");
        let mut found = Found::default();
        walk_tape(tape.as_value(), &mut found);
        self.tape = tape.reset();
        found
    }
}

fn walk_tape(value: simd_json::tape::Value<'_, '_>, found: &mut Found) {
    for (key, value) in &value.as_object().expect("an object") {
        match key {
            "data" => walk_tape(value, found),
            "e" | "s" => found.text(value.as_str()),
            "E" | "T" | "t" | "U" | "u" | "lastUpdateId" => found.id(value.as_u64()),
            "p" | "q" | "B" | "A" => found.decimal(value.as_str()),
            "b" | "a" | "bids" | "asks" => match value.as_array() {
                None => found.decimal(value.as_str()),
                Some(levels) => {
                    for level in &levels {
                        let level = level.as_array().expect("a level");
                        level.iter().for_each(|part| found.decimal(part.as_str()));
                    }
                }
            },
            _ => {}
        }
    }
}

/// simd-json's tree of borrowed values, with its parse buffers reused.
struct TreeReader {
    text: Vec<u8>,
    buffers: Buffers,
}

impl TreeReader {
    fn read(&mut self, text: &[u8]) -> Found {
        self.text.clear();
        self.text.extend_from_slice(text);
        let value = simd_json::to_borrowed_value_with_buffers(&mut self.text, &mut self.buffers)
            .expect("valid JSON");
        let mut found = Found::default();
        walk_tree(&value, &mut found);
        found
    }
}

fn walk_tree(value: &simd_json::BorrowedValue<'_>, found: &mut Found) {
    for (key, value) in value.as_object().expect("an object") {
        match &**key {
            "data" => walk_tree(value, found),
            "e" | "s" => found.text(value.as_str()),
            "E" | "T" | "t" | "U" | "u" | "lastUpdateId" => found.id(value.as_u64()),
            "p" | "q" | "B" | "A" => found.decimal(value.as_str()),
            "b" | "a" | "bids" | "asks" => match value.as_array() {
                None => found.decimal(value.as_str()),
                Some(levels) => {
                    for level in levels {
                        let level = level.as_array().expect("a level");
                        level.iter().for_each(|part| found.decimal(part.as_str()));
                    }
                }
            },
            _ => {}
        }
    }
}

/// A price, or the levels of a side: `b` and `a` are both.
enum Either<'a> {
    Price(&'a str),
    Levels(Vec<[&'a str; 2]>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Either<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Both;
        impl<'de> Visitor<'de> for Both {
            type Value = Either<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a price or levels")
            }

            fn visit_borrowed_str<E>(self, price: &'de str) -> Result<Either<'de>, E> {
                Ok(Either::Price(price))
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Either<'de>, S::Error> {
                let mut levels = Vec::new();
                while let Some(level) = seq.next_element()? {
                    levels.push(level);
                }
                Ok(Either::Levels(levels))
            }
        }
        from.deserialize_any(Both)
    }
}

/// A message or its payload, for serde: the keys have the venue's names.
#[derive(serde::Deserialize)]
#[allow(non_snake_case)]
struct Message<'a> {
    #[serde(borrow)]
    data: Option<Box<Message<'a>>>,
    e: Option<&'a str>,
    s: Option<&'a str>,
    E: Option<u64>,
    T: Option<u64>,
    t: Option<u64>,
    U: Option<u64>,
    u: Option<u64>,
    lastUpdateId: Option<u64>,
    p: Option<&'a str>,
    q: Option<&'a str>,
    B: Option<&'a str>,
    A: Option<&'a str>,
    b: Option<Either<'a>>,
    a: Option<Either<'a>>,
    bids: Option<Either<'a>>,
    asks: Option<Either<'a>>,
}

impl Message<'_> {
    fn walk(&self, found: &mut Found) {
        if let Some(data) = &self.data {
            data.walk(found);
        }
        [self.e, self.s].into_iter().for_each(|text| found.text(text));
        [self.E, self.T, self.t, self.U, self.u, self.lastUpdateId]
            .into_iter()
            .for_each(|id| found.id(id));
        [self.p, self.q, self.B, self.A].into_iter().for_each(|text| found.decimal(text));
        for side in [&self.b, &self.a, &self.bids, &self.asks].into_iter().flatten() {
            match side {
                Either::Price(price) => found.decimal(Some(price)),
                Either::Levels(levels) => {
                    levels.iter().flatten().for_each(|part| found.decimal(Some(part)));
                }
            }
        }
    }
}

fn read_serde(text: &[u8]) -> Found {
    let message: Message<'_> = serde_json::from_slice(text).expect("valid JSON");
    let mut found = Found::default();
    message.walk(&mut found);
    found
}

/// simd-json under the same serde types, with its buffers reused.
impl TreeReader {
    fn read_serde(&mut self, text: &[u8]) -> Found {
        self.text.clear();
        self.text.extend_from_slice(text);
        let message: Message<'_> =
            simd_json::serde::from_slice_with_buffers(&mut self.text, &mut self.buffers)
                .expect("valid JSON");
        let mut found = Found::default();
        message.walk(&mut found);
        found
    }
}

/// A sink that only counts.
#[derive(Default)]
struct Count(u64);

impl Sink for Count {
    fn put(&mut self, tick: &Tick) {
        black_box(tick);
        self.0 += 1;
    }

    fn flush(&mut self) -> Result<(), SinkClosed> {
        Ok(())
    }

    fn reject(&mut self, kind: &'static str, detail: &str, _: &[u8]) {
        panic!("{kind}: {detail}");
    }

    fn restart(&mut self) {}
}

/// Whether a message belongs to a group.
type Filter = fn(&str) -> bool;

fn bench(c: &mut Criterion) {
    let all = messages();
    let groups: [(&str, Filter); 3] = [
        ("trade and book ticker", |m| !m.contains("depthUpdate") && m.len() < 1_000),
        ("depth update", |m| m.contains("depthUpdate")),
        ("snapshot", |m| m.starts_with(r#"{"lastUpdateId""#)),
    ];
    for (name, belongs) in groups {
        let sample: Vec<&[u8]> =
            all.iter().filter(|m| belongs(m)).take(SAMPLE).map(|m| m.as_bytes()).collect();
        bench_group(c, name, &sample);
    }
}

fn bench_group(c: &mut Criterion, name: &str, sample: &[&[u8]]) {
    let (mut tape, mut tree) =
        (TapeReader::new(), TreeReader { text: Vec::new(), buffers: Buffers::default() });
    for text in sample {
        let found = read_serde(text);
        assert_eq!(
            (tape.read(text), tree.read(text), tree.read_serde(text)),
            (found, found, found)
        );
    }
    let mut group = c.benchmark_group(name);
    // One element is one message.
    group.throughput(Throughput::Elements(sample.len() as u64));
    let mut case = |case: &str, read: &mut dyn FnMut(&[u8])| {
        group.bench_function(BenchmarkId::from_parameter(case), |b| {
            b.iter(|| sample.iter().for_each(|text| read(black_box(text))));
        });
    };
    case("simd-json tape", &mut |text| _ = black_box(tape.read(text)));
    case("simd-json borrowed value", &mut |text| _ = black_box(tree.read(text)));
    case("simd-json serde", &mut |text| _ = black_box(tree.read_serde(text)));
    case("serde_json serde", &mut |text| _ = black_box(read_serde(text)));

    let mut parser = Binance::new(Arc::new(Instruments::new()));
    let mut sink = Count::default();
    let context = Context { symbol: Some("BTCUSDT"), ..Context::default() };
    group.bench_function(BenchmarkId::from_parameter("whole parser"), |b| {
        b.iter(|| {
            // Sequences start over, so that nothing is dropped as a duplicate.
            parser.restart();
            parser.message(START.as_bytes(), 1, context, &mut sink);
            for text in sample {
                parser.message(text, 1, context, &mut sink);
            }
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
