use super::*;
use crate::claims::Allowance;
use crate::sink::VecSink;
use crate::tick::{FeedState, Kind};

const START: u64 = 1_000 * SECOND;
const TRADE: &str =
    "{\"channel\":\"trade\",\"symbol\":\"my:A-B\",\"price\":1,\"qty\":2,\"side\":\"buy\"}\n";

fn publisher(rate: u64) -> Publisher {
    let allowance = Arc::new(Allowance::new(10));
    let rules = Rules { venue: None, strict: true, allowance };
    let terms = Terms { rules, rate, idle_ns: 5 * SECOND };
    Publisher::new("a".into(), &terms, Arc::new(Instruments::new()), START)
}

fn codes(publisher: &mut Publisher) -> Vec<(&'static str, &'static str, u64)> {
    publisher.told().map(|told| (told.kind, told.code, told.line)).collect()
}

#[test]
fn rubbish_is_told_by_line_kept_and_ends_the_publisher() {
    let (mut a, mut sink) = (publisher(1_000), VecSink::default());
    a.take(format!("{TRADE}\nhello\n{TRADE}[").as_bytes(), START, &mut sink);
    assert_eq!(codes(&mut a), [("rejected", "bad_json", 3)]);
    assert_eq!(sink.rejects.len(), 1);
    assert_eq!((sink.rejects[0].0, &*sink.rejects[0].2), ("bad_json", &b"hello"[..]));
    assert!(sink.rejects[0].1.starts_with("a line 3: not JSON"), "{}", sink.rejects[0].1);
    assert_eq!(a.counts(), (3, 1));
    let rubbish = "x\n".repeat(1_000);
    a.take(rubbish.as_bytes(), START, &mut sink);
    assert!(a.is_closed());
    assert_eq!(sink.rejects.len(), 1 + MAX_RUBBISH as usize, "nothing is read after that");
    let told: Vec<_> = a.told().collect();
    assert_eq!(told.len(), TOLD_BURST as usize - 1 + 2);
    assert!(told[told.len() - 2].message.starts_with("81 more lines"), "{told:?}");
    assert_eq!(told.last().map(|told| (told.kind, told.code)), Some(("closing", "rubbish")));
}

#[test]
fn a_good_line_between_makes_it_no_rubbish() {
    let (mut a, mut sink) = (publisher(10_000), VecSink::default());
    for _ in 0..300 {
        a.take(format!("x\n{TRADE}").as_bytes(), START, &mut sink);
    }
    // Lines that are not its to send are no rubbish.
    let gap = "{\"channel\":\"book\",\"type\":\"update\",\"symbol\":\"my:A-B\",\"bids\":[]}\n";
    a.take(gap.repeat(300).as_bytes(), START, &mut sink);
    assert!(!a.is_closed());
    assert_eq!(a.told().len(), TOLD_BURST as usize);
    a.tend(START + SECOND, &mut sink);
    let told: Vec<_> = a.told().map(|told| told.message).collect();
    assert_eq!(told, [format!("{} more lines were rejected", 600 - TOLD_BURST)]);
}

#[test]
fn a_flood_owes_time_and_is_told_once() {
    let (mut a, mut sink) = (publisher(100), VecSink::default());
    a.take(TRADE.repeat(100).as_bytes(), START, &mut sink);
    assert_eq!((a.debt(), codes(&mut a).len()), (0, 0), "a second's worth at once");
    a.take(TRADE.repeat(50).as_bytes(), START, &mut sink);
    assert_eq!(a.debt(), SECOND / 2);
    a.take(TRADE.as_bytes(), START, &mut sink);
    assert_eq!(codes(&mut a), [("throttled", "rate_limited", 150)]);
    a.tend(START + SECOND / 4, &mut sink);
    assert_eq!(a.debt(), SECOND / 4 + SECOND / 100);
    a.tend(START + SECOND, &mut sink);
    assert_eq!((a.debt(), codes(&mut a).len()), (0, 0));
    assert_eq!(a.counts().0, 151, "late, not lost");
}

#[test]
fn levels_count_and_so_do_empty_lines() {
    let (mut a, mut sink) = (publisher(100), VecSink::default());
    let levels = "[1,1],".repeat(149) + "[1,1]";
    let book = format!(
        "{{\"channel\":\"book\",\"type\":\"snapshot\",\"symbol\":\"my:A-B\",\"bids\":[{levels}],\"asks\":[]}}\n"
    );
    a.take(book.as_bytes(), START, &mut sink);
    assert_eq!(a.debt(), SECOND / 2);
    let mut b = publisher(100);
    b.take("\n".repeat(150).as_bytes(), START, &mut sink);
    assert_eq!(b.debt(), SECOND / 2);
}

#[test]
fn silence_makes_symbols_stale_until_the_next_good_line() {
    let (mut a, mut sink) = (publisher(1_000), VecSink::default());
    a.take(TRADE.as_bytes(), START, &mut sink);
    let states = |sink: &VecSink| {
        let statuses = sink.ticks.iter().filter(|tick| tick.kind == Kind::Status);
        statuses.map(|tick| tick.as_status()).collect::<Vec<_>>()
    };
    // Half a line and rubbish are no sign of life.
    a.take(b"x\n{\"chan", START + 4 * SECOND, &mut sink);
    a.tend(START + 5 * SECOND - 1, &mut sink);
    assert_eq!(states(&sink).len(), 1);
    a.tend(START + 5 * SECOND, &mut sink);
    a.tend(START + 6 * SECOND, &mut sink);
    let last = *states(&sink).last().unwrap();
    assert_eq!((states(&sink).len(), last.state, last.age_ms), (2, FeedState::Stale, 5_000));
    assert_eq!(codes(&mut a)[1..], [("stale", "idle", 2)]);
    a.take(b"nel\":\"heartbeat\"}\n", START + 7 * SECOND, &mut sink);
    assert_eq!(states(&sink).last().unwrap().state, FeedState::Live);
    a.leave(START + 8 * SECOND, &mut sink);
    assert_eq!(states(&sink).last().unwrap().state, FeedState::Stale);
}

#[test]
fn what_is_told_is_json() {
    let message = "a \"b\" \\ \n é\u{1}".to_owned();
    let told = Told { kind: "rejected", line: 7, code: "bad_json", message: message.clone() };
    let mut out = Vec::new();
    told.write_json(&mut out);
    let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let wanted =
        serde_json::json!({"type":"rejected","line":7,"code":"bad_json","message":message});
    assert_eq!(read, wanted);
}
