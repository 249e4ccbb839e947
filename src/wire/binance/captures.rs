//! Real traffic of Binance through its parser and back: what this dialect writes is what Binance
//! wrote, byte for byte. Captures are found through `TICKCAST_DATA`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tickcast_feeds::tick::flags;
use tickcast_feeds::venue::{Binance, Context, Venue};
use tickcast_feeds::{Instruments, Kind, Side, Tick, VecSink};

use super::Unit;
use super::encode::{Covered, Envelope, Heads, book_ticker, depth_update, time_of, trade};
use super::names::Names;

/// The captures' folder; `None`, loudly, where there is none (a failure on CI).
fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("TICKCAST_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "no captures at {}", folder.display());
    eprintln!("SKIPPED: no captures at {} (set TICKCAST_DATA)", folder.display());
    None
}

/// The message that these ticks are.
fn written(names: &Names, event: &[Tick]) -> String {
    let last = event.last().unwrap();
    let symbol = names.symbol_of(last.instrument.0);
    let heads = Heads::new(symbol);
    let mut out = Vec::new();
    let around = |out: &mut Vec<u8>, kind: &str, message: &dyn Fn(&mut Vec<u8>)| {
        Envelope::new(&format!("{}@{kind}", symbol.to_lowercase())).around(out, message);
    };
    match last.kind {
        Kind::Trade => around(&mut out, "trade", &|out| trade(out, &heads, last, Unit::Milli)),
        Kind::Quote => around(&mut out, "bookTicker", &|out| book_ticker(out, &heads, last)),
        _ => {
            let side = |side| {
                let levels =
                    event.iter().filter(|tick| !tick.has(flags::EMPTY)).map(Tick::as_level);
                levels
                    .filter(move |level| level.side == side)
                    .map(|level| (level.price, level.size))
            };
            let first = event[0].as_level().first;
            let covered = Covered { first, last: last.seq, time_ns: time_of(last) };
            around(&mut out, "depth@100ms", &|out| {
                depth_update(out, &heads, covered, side(Side::Buy), side(Side::Sell), Unit::Milli);
            });
        }
    }
    String::from_utf8(out).unwrap()
}

/// `E` of a trade is when Binance sent it, which is not kept: here it is `T`.
fn with_trade_time(text: &str) -> String {
    let field = |name: &str| {
        let start = text.find(name).unwrap() + name.len();
        let end = start + text[start..].find(',').unwrap();
        start..end
    };
    let time = text[field("\"T\":")].to_owned();
    let mut text = text.to_owned();
    text.replace_range(field("\"E\":"), &time);
    text
}

/// All of a capture; `counts` is how many trades, quotes and diffs that has to be.
fn there_and_back(symbol: &str, counts: [usize; 3]) {
    let Some(folder) = data() else { return };
    let file = format!("binance_spot/binance_spot_{}_20240808.jsonl.gz", symbol.to_lowercase());
    let mut text = String::new();
    let file = File::open(folder.join(file)).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();

    let instruments = Arc::new(Instruments::new());
    let mut parser = Binance::new(instruments.clone());
    let mut names = Names::default();
    let [mut trades, mut quotes, mut diffs] = [0; 3];
    for line in text.lines() {
        let (recv, raw) = line.split_once(' ').unwrap();
        let context = Context { symbol: Some(symbol), ..Context::default() };
        let mut sink = VecSink::default();
        parser.message(raw.as_bytes(), recv.parse().unwrap(), context, &mut sink);
        for info in instruments.since(names.len()) {
            names.list(&info);
        }
        let ticks: Vec<Tick> =
            sink.ticks.into_iter().filter(|tick| tick.kind != Kind::Status).collect();
        // A snapshot comes with diffs that were held back for it: several messages in one.
        let Some(last) = ticks.last().filter(|_| !raw.contains("lastUpdateId")) else { continue };
        let wanted = match last.kind {
            Kind::Trade => with_trade_time(raw),
            _ => raw.to_owned(),
        };
        assert_eq!(written(&names, &ticks), wanted);
        match last.kind {
            Kind::Trade => trades += 1,
            Kind::Quote => quotes += 1,
            _ => diffs += 1,
        }
    }
    assert_eq!([trades, quotes, diffs], counts);
}

#[test]
fn btcusdt_is_written_as_binance_wrote_it() {
    // Of 3,451 diffs two are older than the snapshot, and one comes along with it.
    there_and_back("BTCUSDT", [9_757, 28_040, 3_448]);
}

#[test]
fn ethusdt_is_written_as_binance_wrote_it() {
    // Of 3,434 diffs two are older than the snapshot.
    there_and_back("ETHUSDT", [6_106, 24_077, 3_432]);
}
