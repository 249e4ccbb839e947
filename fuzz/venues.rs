//! The parsers of the venues' messages.

use std::sync::Arc;

use tickcast_feeds::tick::flags;
use tickcast_feeds::venue::{self, Context, Venue};
use tickcast_feeds::{FeedState, Instruments, Kind, Listing, Tick, VecSink};

/// Binance, spot.
pub fn binance(input: &[u8]) -> bool {
    stream("binance", &[], input)
}

/// Binance, USD-M futures.
pub fn binance_usdm(input: &[u8]) -> bool {
    stream("binance-usdm", &[], input)
}

/// Bybit, as spot and as linear: understood is what is a stream of either.
pub fn bybit(input: &[u8]) -> bool {
    stream("bybit", &[], input) | stream("bybit-linear", &[], input)
}

/// Coinbase, as in captures.
pub fn coinbase(input: &[u8]) -> bool {
    stream("coinbase", &[], input)
}

/// Coinbase with a product that is listed, as live.
pub fn coinbase_live(input: &[u8]) -> bool {
    let btc = Listing { quotes_from_book: true, ..Listing::pair("BTC-USD", "BTC", "USD") };
    stream("coinbase", &[btc], input)
}

/// Kraken.
pub fn kraken(input: &[u8]) -> bool {
    stream("kraken", &[], input)
}

/// OKX.
pub fn okx(input: &[u8]) -> bool {
    stream("okx", &[], input)
}

/// Feeds the lines of `input` to a venue's parser, as one stream, and checks after each message:
/// it put whole events or nothing, one that was rejected put nothing but that a book is not known from here on, and
/// its text was kept. `listings` are the instruments that a live feed has listed. True where something was put and
/// nothing rejected.
fn stream(venue: &str, listings: &[Listing], input: &[u8]) -> bool {
    let listed = || {
        let instruments = Arc::new(Instruments::new());
        for listing in listings {
            instruments.list_as(venue, listing);
        }
        instruments
    };
    let instruments = listed();
    let entry = venue::find(venue).expect("a known venue");
    let mut parser = entry.parser(&instruments);
    let mut sink = VecSink::default();
    let mut spaced = Spaced::new(entry.parser(&listed()));
    for line in input.split(|&byte| byte == b'\n') {
        let (ticks, rejects) = (sink.ticks.len(), sink.rejects.len());
        parser.message(line, 1, Context::default(), &mut sink);
        spaced.check(line, &sink, ticks);
        assert!(sink.ticks.iter().all(|tick| tick.instrument.index() < instruments.len()));
        check_events(&sink.ticks[ticks..]);
        if let [(_, _, text), more @ ..] = &sink.rejects[rejects..] {
            assert!(more.is_empty() && text == line);
            assert!(sink.ticks[ticks..].iter().all(is_resync), "{:?}", &sink.ticks[ticks..]);
        }
    }
    !sink.ticks.is_empty() && sink.rejects.is_empty()
}

/// What an update that cannot be read comes to: it is a lost one.
fn is_resync(tick: &Tick) -> bool {
    tick.kind == Kind::Status && tick.as_status().state == FeedState::Resync
}

/// A second parser, which is sent each message with a space before it: none of those is read straight from its text.
struct Spaced {
    parser: Box<dyn Venue>,
    sink: VecSink,
    text: Vec<u8>,
}

impl Spaced {
    fn new(parser: Box<dyn Venue>) -> Self {
        Spaced { parser, sink: VecSink::default(), text: Vec::new() }
    }

    /// Checks that the message does here what it did in the other parser, whose ticks of it begin at `from`.
    fn check(&mut self, line: &[u8], other: &VecSink, from: usize) {
        self.text.clear();
        // One message is no JSON: OKX's answer to a ping.
        if line != b"pong" {
            self.text.push(b' ');
        }
        self.text.extend_from_slice(line);
        self.parser.message(&self.text, 1, Context::default(), &mut self.sink);
        assert!(self.sink.ticks[from..] == other.ticks[from..], "both ways lead to the same ticks");
        assert_eq!(self.sink.rejects.len(), other.rejects.len());
    }
}

/// Checks that these are whole events.
pub(crate) fn check_events(ticks: &[Tick]) {
    let mut open = false;
    for tick in ticks {
        assert_eq!(tick.has(flags::FIRST), !open);
        open = !tick.has(flags::LAST);
        assert!(!open || tick.kind == Kind::Level);
    }
    assert!(!open, "an event without an end");
}
