//! The parsers on captures of real traffic.

use std::collections::BTreeMap;
use std::sync::Arc;

use tickcast_feeds::tick::flags;
use tickcast_feeds::venue::{self, Context, Ignored, Venue};
use tickcast_feeds::{FeedState, InstrumentId, Instruments, Kind, Quote, Tick, VecSink};

mod common;
use common::{Book, Line, lines};

/// What came out of a capture.
struct Run {
    ticks: Vec<Tick>,
    ignored: Ignored,
    instruments: Arc<Instruments>,
}

/// Parses everything as the venue that the capture is recognised as; nothing may be rejected.
fn run(expected_venue: &str, lines: &[Line]) -> Run {
    let entry = lines.iter().find_map(|line| venue::recognise(line.json.as_bytes())).unwrap();
    assert_eq!(entry.name, expected_venue);
    let instruments = Arc::new(Instruments::new());
    let mut parser = entry.parser(&instruments);
    // The same with a space before each message: none is taken in its venue's usual form.
    let mut other = entry.parser(&Arc::new(Instruments::new()));
    let (mut sink, mut other_sink) = (VecSink::default(), VecSink::default());
    for line in lines {
        feed(&mut *parser, line, &mut sink);
        let spaced = Line { json: format!(" {}", line.json), url: line.url.clone(), ..*line };
        feed(&mut *other, &spaced, &mut other_sink);
    }
    assert!(sink.ticks == other_sink.ticks, "both ways lead to the same ticks");
    assert!(parser.ignored().iter().eq(other.ignored().iter()));
    assert!(sink.rejects.is_empty(), "{:?}", sink.rejects.first());
    let mut wants = Vec::new();
    parser.wants(&mut wants);
    assert!(wants.is_empty(), "{wants:?}");
    Run { ticks: sink.ticks, ignored: parser.ignored().clone(), instruments }
}

fn feed(parser: &mut dyn Venue, line: &Line, sink: &mut VecSink) {
    let context = Context { url: line.url.as_deref(), ..Context::default() };
    parser.message(line.json.as_bytes(), line.recv, context, sink);
}

impl Run {
    fn of(&self, kind: Kind) -> impl Iterator<Item = &Tick> {
        self.ticks.iter().filter(move |tick| tick.kind == kind)
    }

    fn count(&self, kind: Kind) -> usize {
        self.of(kind).count()
    }

    /// Book events, snapshots apart from diffs.
    fn events(&self) -> (usize, usize) {
        let first = || self.of(Kind::Level).filter(|tick| tick.has(flags::FIRST));
        let snapshots = first().filter(|tick| tick.has(flags::SNAPSHOT)).count();
        (snapshots, first().count() - snapshots)
    }

    /// The flags of every event are in order, and its levels are not interrupted.
    fn check_events(&self) {
        let mut open: Option<&Tick> = None;
        for tick in &self.ticks {
            if let Some(first) = open {
                assert_eq!((tick.kind, tick.instrument), (Kind::Level, first.instrument));
                assert_eq!((tick.seq, tick.ts_event), (first.seq, first.ts_event));
                assert_eq!(tick.has(flags::SNAPSHOT), first.has(flags::SNAPSHOT));
            }
            assert_eq!(tick.has(flags::FIRST), open.is_none());
            open = (!tick.has(flags::LAST)).then(|| open.unwrap_or(tick));
        }
        assert!(open.is_none());
    }

    /// Calls `check` after each book event with the instrument's book.
    fn books(&self, mut check: impl FnMut(&Tick, &Book)) -> BTreeMap<InstrumentId, Book> {
        let mut books: BTreeMap<InstrumentId, Book> = BTreeMap::new();
        for tick in self.of(Kind::Level) {
            let book = books.entry(tick.instrument).or_default();
            book.apply(tick);
            if tick.has(flags::LAST) {
                check(tick, book);
            }
        }
        books
    }
}

/// The figures of one symbol, taken from the capture by other means.
struct Expected {
    symbol: &'static str,
    file: &'static str,
    quotes: usize,
    trades: usize,
    diffs: usize,
    last_update: u64,
    best: [&'static str; 4],
    levels: (usize, usize),
}

fn check_spot(expected: &Expected) {
    let Some(lines) = lines(&[expected.file]) else { return };
    let run = run("binance", &lines);
    run.check_events();
    assert_eq!(run.instruments.find(expected.symbol), Some(InstrumentId(0)));
    assert_eq!(run.instruments.len(), 1);
    assert_eq!(run.count(Kind::Quote), expected.quotes);
    assert_eq!(run.count(Kind::Trade), expected.trades);
    // Two diffs precede the snapshot.
    assert_eq!(run.events(), (1, expected.diffs));
    assert_eq!(run.ignored.iter().count(), 0, "{:?}", run.ignored);
    let states: Vec<_> = run.of(Kind::Status).map(|tick| tick.as_status().state).collect();
    assert_eq!(states, [FeedState::Live]);

    let ids: Vec<u64> = run.of(Kind::Trade).map(|tick| tick.as_trade().id).collect();
    assert!(ids.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    assert!(run.of(Kind::Trade).all(|tick| tick.seq == tick.as_trade().id));

    let mut quotes: Vec<(u64, Quote)> =
        run.of(Kind::Quote).map(|tick| (tick.seq, tick.as_quote())).collect();
    quotes.sort_by_key(|(seq, _)| *seq);
    let mut equal = 0;
    let mut last_update = 0;
    let books = run.books(|tick, book| {
        if tick.has(flags::SNAPSHOT) {
            last_update = tick.seq;
            return;
        }
        assert!(tick.as_level().first <= last_update + 1, "a gap before {}", tick.seq);
        last_update = tick.seq;
        // The newest quote that the event includes must be what the book shows.
        let newest = quotes.partition_point(|(seq, _)| *seq <= tick.seq);
        equal += usize::from(newest > 0 && quotes[newest - 1].1 == book.best());
    });
    assert_eq!(equal, expected.diffs, "events whose best bid and ask equal the book ticker");
    assert_eq!(last_update, expected.last_update);
    let book = &books[&InstrumentId(0)];
    let Quote { bid, bid_size, ask, ask_size } = book.best();
    assert_eq!([bid, bid_size, ask, ask_size].map(|d| d.to_string()), expected.best);
    assert_eq!((book.bids.len(), book.asks.len()), expected.levels);
}

#[test]
fn binance_spot_btcusdt_matches_its_book_tickers() {
    check_spot(&Expected {
        symbol: "binance:BTC-USDT",
        file: "binance_spot/binance_spot_btcusdt_20240808.jsonl.gz",
        quotes: 28_040,
        trades: 9_757,
        diffs: 3_449,
        last_update: 50_093_421_584,
        best: ["61685.99", "1.0087", "61686", "2.29327"],
        levels: (1_209, 2_196),
    });
}

#[test]
fn binance_spot_ethusdt_matches_its_book_tickers() {
    check_spot(&Expected {
        symbol: "binance:ETH-USDT",
        file: "binance_spot/binance_spot_ethusdt_20240808.jsonl.gz",
        quotes: 24_077,
        trades: 6_106,
        diffs: 3_432,
        last_update: 35_346_671_849,
        best: ["2682.5", "3.3168", "2682.51", "48.9739"],
        levels: (1_195, 1_158),
    });
}

/// Four symbols with aggregate trades, and REST snapshots that only their URL names.
fn check_misc(files: &[&str], symbols: [&str; 4], quotes: usize, trades: usize) -> Option<Run> {
    let run = run("binance", &lines(files)?);
    run.check_events();
    let mut listed: Vec<_> = run.instruments.since(0).iter().map(|i| i.symbol.clone()).collect();
    listed.sort();
    assert_eq!(listed, symbols);
    assert_eq!((run.count(Kind::Quote), run.count(Kind::Trade)), (quotes, trades));
    assert!(run.of(Kind::Trade).all(|tick| tick.has(flags::AGGREGATE)));
    assert_eq!(run.events().0, 4);
    assert_eq!(run.ignored.get("exchangeInfo"), 1);
    let books = run.books(|tick, book| assert!(!book.is_crossed(), "crossed at {}", tick.seq));
    assert_eq!(books.len(), 4);
    Some(run)
}

#[test]
fn binance_com_with_rest_snapshots() {
    let files = ["BINANCE.0.gz", "BINANCE.http.0.0.gz", "BINANCE.ws.1.0.gz"]
        .map(|f| format!("binance_misc/{f}"));
    let symbols = ["binance:BLZ-ETH", "binance:LRC-BTC", "binance:NKN-USDT", "binance:RUNE-EUR"];
    let Some(run) = check_misc(&files.each_ref().map(|f| &**f), symbols, 84, 2) else { return };
    assert_eq!(run.ignored.get("kline"), 2);
}

#[test]
fn binance_us_with_rest_snapshots() {
    let files = ["BINANCE_US.0.gz", "BINANCE_US.http.0.0.gz", "BINANCE_US.ws.1.0.gz"]
        .map(|f| format!("binance_misc/{f}"));
    let symbols = ["binance:COMP-USDT", "binance:CRV-USDT", "binance:OMG-BUSD", "binance:ZRX-USDT"];
    let Some(run) = check_misc(&files.each_ref().map(|f| &**f), symbols, 128, 11) else { return };
    assert_eq!(run.ignored.get("kline"), 5);
}

#[test]
fn coinbase_books_never_cross_and_give_the_quotes() {
    let Some(lines) = lines(&["coinbase_exchange_2021/COINBASE.ws.28.0.gz"]) else { return };
    let run = run("coinbase", &lines);
    run.check_events();
    assert_eq!(run.instruments.len(), 10);
    assert_eq!(run.events(), (10, 9_719));
    assert_eq!(run.count(Kind::Trade), 107);
    assert_eq!(run.ignored.get("ticker without sizes"), 107);
    assert_eq!(run.ignored.get("subscriptions"), 3);
    assert_eq!(run.ignored.get("crossed book"), 0);

    // Every quote is the book's top, and each change of the top is a quote.
    let mut books: BTreeMap<InstrumentId, (Book, Quote)> = BTreeMap::new();
    let nothing = Book::default().best();
    let mut quotes = 0;
    for tick in &run.ticks {
        let (book, shown) =
            books.entry(tick.instrument).or_insert_with(|| (Book::default(), nothing));
        match tick.kind {
            Kind::Level => {
                if tick.has(flags::FIRST) && !tick.has(flags::SNAPSHOT) {
                    assert_eq!(book.best(), *shown);
                }
                book.apply(tick);
                assert!(!tick.has(flags::LAST) || !book.is_crossed());
            }
            Kind::Quote => {
                assert_ne!(tick.as_quote(), *shown);
                *shown = tick.as_quote();
                assert_eq!(book.best(), *shown);
                quotes += 1;
            }
            _ => {}
        }
    }
    assert!(quotes > 1_000, "{quotes}");
}
