//! What the parser targets share.

use std::sync::Arc;

use tickcast_feeds::tick::flags;
use tickcast_feeds::venue::{self, Context};
use tickcast_feeds::{Instruments, Kind, Tick, VecSink};

/// Feeds the lines of `input` to a venue's parser, as one stream, and checks after each message:
/// it put whole events or nothing, a rejected one put nothing, and its text was kept.
pub fn stream(venue: &str, input: &[u8]) {
    stream_of(Arc::new(Instruments::new()), venue, input);
}

/// The same with instruments that a live feed has listed.
pub fn stream_of(instruments: Arc<Instruments>, venue: &str, input: &[u8]) {
    let mut parser = venue::find(venue).expect("a known venue").parser(&instruments);
    let mut sink = VecSink::default();
    for line in input.split(|&byte| byte == b'\n') {
        let (ticks, rejects) = (sink.ticks.len(), sink.rejects.len());
        parser.message(line, 1, Context::default(), &mut sink);
        assert!(sink.ticks.iter().all(|tick| tick.instrument.index() < instruments.len()));
        check_events(&sink.ticks[ticks..]);
        if let [(_, _, text), more @ ..] = &sink.rejects[rejects..] {
            assert!(more.is_empty() && text == line && sink.ticks.len() == ticks);
        }
    }
}

/// Checks that these are whole events.
pub fn check_events(ticks: &[Tick]) {
    let mut open = false;
    for tick in ticks {
        assert_eq!(tick.has(flags::FIRST), !open);
        open = !tick.has(flags::LAST);
        assert!(!open || tick.kind == Kind::Level);
    }
    assert!(!open, "an event without an end");
}
