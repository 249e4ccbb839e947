//! What a message of each venue costs, from its text to ticks: a trade, and a change of 200 levels.
//!
//! `cargo bench -p tickcast-feeds --bench venues`. Beside each stands serde_json reading the same
//! texts into its `Value`, which is where a client begins that has no parser of its own: no decimal
//! is read there, no chain followed and no tick made.

// criterion's macros make public functions without docs.
#![allow(missing_docs)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tickcast_feeds::venue::{self, Context};
use tickcast_feeds::{Instruments, Listing, Sink, SinkClosed, Tick};

/// Messages in a row, after a snapshot.
const RUN: usize = 500;

/// Levels a side of a change, and of the snapshot before it.
const LEVELS: usize = 100;

/// One venue's texts, by the number of the message.
struct Texts {
    venue: &'static str,
    native: &'static str,
    url: Option<&'static str>,
    snapshot: fn(u64) -> String,
    depth: fn(u64) -> String,
    trade: fn(u64) -> String,
}

/// `[price, quantity]` of a side, each put in this form.
fn levels(bid: bool, form: impl Fn(String, String) -> String) -> String {
    let price = |n: usize| if bid { 61_800 - n } else { 61_801 + n };
    let all = (0..LEVELS).map(|n| form(format!("{}.5", price(n)), format!("{}.25", n + 1)));
    all.collect::<Vec<_>>().join(",")
}

fn pairs(bid: bool) -> String {
    levels(bid, |price, size| format!(r#"["{price}","{size}"]"#))
}

fn kraken_book(kind: &str) -> String {
    let bare = |bid| levels(bid, |price, size| format!(r#"{{"price":{price},"qty":{size}}}"#));
    // The ten best of each side, as the guide to checksums has it.
    let digits = |bid: bool| {
        let price = |n: usize| if bid { 61_800 - n } else { 61_801 + n };
        (0..10).map(|n| format!("{}5{}25", price(n), n + 1)).collect::<String>()
    };
    let checksum = crc32fast::hash((digits(false) + &digits(true)).as_bytes());
    format!(
        r#"{{"channel":"book","type":"{kind}","data":[{{"symbol":"BTC/USD","bids":[{}],"asks":[{}],"checksum":{checksum},"timestamp":"2024-08-08T23:54:13.937085Z"}}]}}"#,
        bare(true),
        bare(false)
    )
}

const ALL: [Texts; 5] = [
    Texts {
        venue: "binance",
        native: "BTCUSDT",
        url: Some("/api/v3/depth?symbol=BTCUSDT&limit=1000"),
        snapshot: |_| {
            format!(r#"{{"lastUpdateId":999,"bids":[{}],"asks":[{}]}}"#, pairs(true), pairs(false))
        },
        depth: |n| {
            let (id, bids, asks) = (1_000 + n, pairs(true), pairs(false));
            format!(
                r#"{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":1723161255308123,"s":"BTCUSDT","U":{id},"u":{id},"b":[{bids}],"a":[{asks}]}}}}"#
            )
        },
        trade: |n| {
            format!(
                r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":1723161255343123,"s":"BTCUSDT","t":{},"p":"61837.63000000","q":"0.02000000","T":1723161255342123,"m":true,"M":true}}}}"#,
                3_735_683_259 + n
            )
        },
    },
    Texts {
        venue: "coinbase",
        native: "BTC-USD",
        url: None,
        snapshot: |_| {
            format!(
                r#"{{"type":"snapshot","product_id":"BTC-USD","bids":[{}],"asks":[{}]}}"#,
                pairs(true),
                pairs(false)
            )
        },
        depth: |_| {
            let side = |bid, name| levels(bid, |p, s| format!(r#"["{name}","{p}","{s}"]"#));
            format!(
                r#"{{"type":"l2update","product_id":"BTC-USD","changes":[{},{}],"time":"2024-08-08T23:54:13.937085Z"}}"#,
                side(true, "buy"),
                side(false, "sell")
            )
        },
        trade: |n| {
            format!(
                r#"{{"type":"match","trade_id":{},"maker_order_id":"ac928c66-ca53-498f-9c13-a110027a60e8","taker_order_id":"132fb6ae-456b-4654-b4e0-d681ac05cea1","side":"sell","size":"0.23512","price":"61800.23","product_id":"BTC-USD","sequence":{},"time":"2024-08-08T23:54:13.028459Z"}}"#,
                10 + n,
                50 + n
            )
        },
    },
    Texts {
        venue: "kraken",
        native: "BTC/USD",
        url: None,
        snapshot: |_| kraken_book("snapshot"),
        depth: |_| kraken_book("update"),
        trade: |n| {
            format!(
                r#"{{"channel":"trade","type":"update","data":[{{"symbol":"BTC/USD","side":"buy","price":61800.5,"qty":0.02346326,"ord_type":"limit","trade_id":{},"timestamp":"2024-08-08T23:54:13.925533Z"}}]}}"#,
                4_665_846 + n
            )
        },
    },
    Texts {
        venue: "bybit",
        native: "BTCUSDT",
        url: None,
        snapshot: |_| bybit_book("snapshot", 999),
        depth: |n| bybit_book("delta", 1_000 + n),
        trade: |n| {
            format!(
                r#"{{"topic":"publicTrade.BTCUSDT","ts":1790398535416,"type":"snapshot","data":[{{"i":"221000000{n:010}","T":1790398535414,"p":"61800.50","v":"0.001","S":"Buy","seq":{},"s":"BTCUSDT","BT":false,"RPI":false}}]}}"#,
                162_270_086_950 + n
            )
        },
    },
    Texts {
        venue: "okx",
        native: "BTC-USDT",
        url: None,
        snapshot: |_| okx_book("snapshot", -1, 999),
        depth: |n| okx_book("update", 999 + n as i64, 1_000 + n),
        trade: |n| {
            format!(
                r#"{{"arg":{{"channel":"trades","instId":"BTC-USDT"}},"data":[{{"instId":"BTC-USDT","tradeId":"{}","px":"61800.5","sz":"0.12060306","side":"buy","ts":"1630048897897","count":"3","source":"0","seqId":{}}}]}}"#,
                130_639_474 + n,
                1_234 + n
            )
        },
    },
];

fn bybit_book(kind: &str, id: u64) -> String {
    format!(
        r#"{{"topic":"orderbook.200.BTCUSDT","type":"{kind}","ts":1672304484978,"data":{{"s":"BTCUSDT","b":[{}],"a":[{}],"u":{id},"seq":{}}},"cts":1672304484976}}"#,
        pairs(true),
        pairs(false),
        7_000 + id
    )
}

fn okx_book(action: &str, previous: i64, id: u64) -> String {
    let side = |bid| levels(bid, |p, s| format!(r#"["{p}","{s}","0","13"]"#));
    format!(
        r#"{{"arg":{{"channel":"books","instId":"BTC-USDT"}},"action":"{action}","data":[{{"asks":[{}],"bids":[{}],"ts":"{}","checksum":0,"prevSeqId":{previous},"seqId":{id}}}]}}"#,
        side(false),
        side(true),
        1_597_026_383_085 + id
    )
}

/// Counts.
#[derive(Default)]
struct Count {
    ticks: usize,
    rejects: Vec<String>,
}

impl Sink for Count {
    fn put(&mut self, tick: &Tick) {
        black_box(tick);
        self.ticks += 1;
    }

    fn flush(&mut self) -> Result<(), SinkClosed> {
        Ok(())
    }

    fn reject(&mut self, kind: &'static str, detail: &str, _: &[u8]) {
        self.rejects.push(format!("{kind}: {detail}"));
    }

    fn restart(&mut self) {}
}

fn measure(c: &mut Criterion) {
    for (name, text, ticks) in [
        ("trade", Texts::trade as fn(&Texts, u64) -> String, 1),
        ("200 levels", Texts::depth, 2 * LEVELS),
    ] {
        let mut group = c.benchmark_group(format!("venues/{name}"));
        group.throughput(Throughput::Elements(RUN as u64));
        for texts in &ALL {
            let messages: Vec<String> = (0..RUN as u64).map(|n| text(texts, n)).collect();
            texts.bench(&mut group, &messages, ticks);
        }
        group.finish();
    }
}

type Group<'a> = criterion::BenchmarkGroup<'a, criterion::measurement::WallTime>;

impl Texts {
    fn trade(&self, n: u64) -> String {
        (self.trade)(n)
    }

    fn depth(&self, n: u64) -> String {
        (self.depth)(n)
    }

    fn bench(&self, group: &mut Group<'_>, messages: &[String], ticks: usize) {
        let instruments = Arc::new(Instruments::new());
        let pair = self.native.replace(['-', '/'], "");
        let mut listing = Listing::pair(self.native, &pair[..3], &pair[3..]);
        listing.quotes_from_book = self.venue == "coinbase";
        instruments.list_as(self.venue, &listing);
        let mut parser = venue::find(self.venue).expect("a venue").parser(&instruments);
        let snapshot = (self.snapshot)(0);
        let context = Context { url: self.url, ..Context::default() };
        let mut sink = Count::default();
        let mut run = |sink: &mut Count| {
            // Sequences start over, so that nothing is dropped as a duplicate.
            parser.restart();
            parser.message(snapshot.as_bytes(), 1, context, sink);
            for message in messages {
                parser.message(message.as_bytes(), 1, Context::default(), sink);
            }
        };
        run(&mut sink);
        assert!(sink.rejects.is_empty(), "{}: {:?}", self.venue, sink.rejects.first());
        assert!(sink.ticks >= ticks * RUN, "{}: {} ticks", self.venue, sink.ticks);
        group.bench_function(BenchmarkId::new("parser", self.venue), |b| b.iter(|| run(&mut sink)));
        group.bench_function(BenchmarkId::new("serde_json", self.venue), |b| {
            b.iter(|| {
                for message in messages {
                    let value: serde_json::Value =
                        serde_json::from_str(message).expect("valid JSON");
                    black_box(value);
                }
            });
        });
    }
}

criterion_group!(venues, measure);
criterion_main!(venues);
