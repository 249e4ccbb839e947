//! Captures of real traffic all the way from the file to ticks, as a feed.

#[allow(dead_code)] // the parsers' tests use the rest
mod common;
mod pace;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{Book, data};
use pace::context;
use tickcast_feeds::replay::UNKNOWN_VENUE;
use tickcast_feeds::tick::flags;
use tickcast_feeds::{FeedSpec, Instruments, Kind, Quote, Sink, SinkClosed, Stop, Tick, VecSink};

/// Runs a replay of these captures by the real clock, at full speed.
fn replay(files: &str, keys: &str) -> Option<(Vec<Tick>, VecSink, Arc<Instruments>)> {
    let folder = data()?;
    let files: Vec<String> =
        files.split('+').map(|file| folder.join(file).display().to_string()).collect();
    let spec: FeedSpec = format!("replay:{},speed=max{keys}", files.join("+")).parse().unwrap();
    let instruments = Arc::new(Instruments::new());
    let feed = spec.open(&instruments).unwrap();
    assert!(feed.lossless());
    let mut sink = VecSink::default();
    feed.run(&mut sink, &context(&Stop::new())).unwrap();
    Some((std::mem::take(&mut sink.ticks), sink, instruments))
}

const SPOT: &str = "binance_spot/binance_spot_btcusdt_20240808.jsonl.gz+\
    binance_spot/binance_spot_ethusdt_20240808.jsonl.gz";

fn quote(bid: [&str; 2], ask: [&str; 2]) -> Quote {
    let [bid, bid_size] = bid.map(|text| text.parse().unwrap());
    let [ask, ask_size] = ask.map(|text| text.parse().unwrap());
    Quote { bid, bid_size, ask, ask_size }
}

#[test]
fn two_symbols_end_with_the_books_of_the_record() {
    let Some((ticks, sink, instruments)) = replay(SPOT, ",rebase=false") else { return };
    assert!(sink.rejects.is_empty(), "{:?}", sink.rejects[0]);
    for (symbol, trades, diffs, last, best, levels) in [
        (
            "binance:BTC-USDT",
            9_757,
            3_449,
            50_093_421_584,
            quote(["61685.99", "1.0087"], ["61686.00", "2.29327"]),
            (1_209, 2_196),
        ),
        (
            "binance:ETH-USDT",
            6_106,
            3_432,
            35_346_671_849,
            quote(["2682.50", "3.3168"], ["2682.51", "48.9739"]),
            (1_195, 1_158),
        ),
    ] {
        let id = instruments.find(symbol).unwrap();
        let of = |kind| ticks.iter().filter(move |t| t.instrument == id && t.kind == kind);
        assert_eq!(of(Kind::Trade).count(), trades);
        let mut book = Book::default();
        of(Kind::Level).for_each(|tick| book.apply(tick));
        assert_eq!(book.best(), best);
        assert_eq!((book.bids.len(), book.asks.len()), levels);
        assert_eq!(of(Kind::Level).next_back().unwrap().seq, last);
        let events = of(Kind::Level).filter(|t| t.has(flags::LAST) && !t.has(flags::SNAPSHOT));
        assert_eq!(events.count(), diffs);
    }
}

#[test]
fn rebased_stamps_keep_the_clocks_difference() {
    let Some((original, ..)) = replay(SPOT, ",rebase=false") else { return };
    let Some((rebased, ..)) = replay(SPOT, "") else { return };
    assert_eq!(original.len(), rebased.len());
    let apart = |tick: &Tick| tick.ts_event.abs_diff(tick.ts_recv);
    for (a, b) in original.iter().zip(&rebased).filter(|(a, _)| a.ts_event != 0) {
        // Diffs that waited for the snapshot come with its receive time.
        assert_eq!(apart(a), apart(b), "{a:?} {b:?}");
        assert!(b.ts_recv > a.ts_recv);
    }
    assert!(original.iter().zip(&rebased).all(|(a, b)| (a.ts_event == 0) == (b.ts_event == 0)));
}

#[test]
fn folders_of_several_captures() {
    let Some((ticks, sink, instruments)) = replay("binance_misc", "") else { return };
    assert!(sink.rejects.is_empty(), "{:?}", sink.rejects[0]);
    let mut snapshots = BTreeMap::new();
    for tick in ticks.iter().filter(|t| t.has(flags::FIRST | flags::SNAPSHOT)) {
        let symbol = instruments.get(tick.instrument).unwrap().symbol.clone();
        *snapshots.entry(symbol).or_insert(0) += 1;
    }
    // The replies in the `.http` files are stitched to the streams in the `.ws` files.
    let eight = [
        "binance:BLZ-ETH",
        "binance:COMP-USDT",
        "binance:CRV-USDT",
        "binance:LRC-BTC",
        "binance:NKN-USDT",
        "binance:OMG-BUSD",
        "binance:RUNE-EUR",
        "binance:ZRX-USDT",
    ];
    assert_eq!(snapshots.keys().map(String::as_str).collect::<Vec<_>>(), eight);

    let Some((ticks, sink, instruments)) = replay("coinbase_exchange_2021", "") else { return };
    let kinds: Vec<_> = sink.rejects.iter().map(|reject| (reject.0, &reject.1)).collect();
    assert!(kinds.is_empty(), "{kinds:?}");
    assert!(instruments.find("coinbase:BTC-USD").is_none());
    assert!(instruments.find("coinbase:SKL-USD").is_some());
    assert!(ticks.len() > 9_000);
}

#[test]
fn a_venue_without_a_parser_is_counted() {
    let Some((ticks, sink, _)) = replay("bitstamp", "") else { return };
    assert!(ticks.is_empty());
    assert!(sink.rejects.len() > 90, "{}", sink.rejects.len());
    assert!(sink.rejects.iter().all(|reject| reject.0 == UNKNOWN_VENUE));
    // Of a venue that is known by its URL, in a protocol that it no longer speaks.
    let Some((ticks, sink, _)) = replay("kraken_v1", "") else { return };
    assert!(ticks.is_empty());
    assert!(sink.rejects.len() > 90, "{}", sink.rejects.len());
}

#[test]
fn a_loop_says_everything_again() {
    /// Stops the feed in its third pass.
    struct Twice(VecSink, Vec<usize>);

    impl Sink for Twice {
        fn put(&mut self, tick: &Tick) {
            self.0.put(tick);
        }
        fn flush(&mut self) -> Result<(), SinkClosed> {
            if self.1.len() == 2 { Err(SinkClosed) } else { Ok(()) }
        }
        fn reject(&mut self, kind: &'static str, detail: &str, _: &[u8]) {
            panic!("{kind}: {detail}");
        }
        fn restart(&mut self) {
            self.1.push(self.0.ticks.len());
        }
    }

    let Some(folder) = data() else { return };
    let file = folder.join("binance_misc/BINANCE_US.ws.1.0.gz");
    let rest = folder.join("binance_misc/BINANCE_US.http.0.0.gz");
    let spec = format!("replay:{}+{},speed=max,loop=true", file.display(), rest.display());
    let feed = spec.parse::<FeedSpec>().unwrap().open(&Arc::new(Instruments::new())).unwrap();
    let mut sink = Twice(VecSink::default(), Vec::new());
    feed.run(&mut sink, &context(&Stop::new())).unwrap();
    let first = sink.1[0];
    assert_eq!(sink.1[1], first * 2);
    let bare = |ticks: &[Tick]| -> Vec<Tick> {
        ticks.iter().map(|tick| Tick { ts_event: 0, ts_recv: 0, ..*tick }).collect()
    };
    assert_eq!(bare(&sink.0.ticks[..first]), bare(&sink.0.ticks[first..first * 2]));
    let recv: Vec<u64> = sink.0.ticks[..first * 2].iter().map(|tick| tick.ts_recv).collect();
    assert!(recv.is_sorted());
}
