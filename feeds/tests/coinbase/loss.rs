//! What is lost, and how it shows.

use tickcast_feeds::venue::Heard;
use tickcast_feeds::{FeedState, Kind};

use crate::harness::{Live, heartbeat, last_match, matched, snapshot, ticker, update};

use FeedState::{Live as Up, Resync, Stale};

const BIDS: &[(u64, u64)] = &[(100, 5), (99, 4), (98, 3)];
const ASKS: &[(u64, u64)] = &[(102, 5), (103, 4), (104, 3)];

/// A listed product whose book is live on connection 1, with an update at 1 s.
fn live() -> Live {
    let mut live = Live::new(&["BTC-USD"]);
    live.expect("BTC-USD");
    assert!(live.wants());
    live.feed(1, &snapshot(BIDS, ASKS));
    live.feed(1, &update(1_000, &[("buy", 97, 1), ("sell", 105, 1)]));
    assert_eq!((live.state(), live.wants()), (Some(Up), false));
    live
}

/// The book was thrown away for this cause; nothing of it goes out until it comes anew.
fn check_recovery(mut live: Live, cause: &str) {
    assert_eq!((live.state(), live.wants()), (Some(Resync), true), "{cause}");
    assert_eq!(live.ignored(cause), 1);
    let levels = live.count(Kind::Level);
    live.feed(1, &update(90_000, &[("buy", 97, 9)]));
    assert_eq!(live.count(Kind::Level), levels);
    live.feed(1, &snapshot(&[(50, 1)], &[(60, 1)]));
    assert_eq!((live.state(), live.wants()), (Some(Up), false));
    assert_eq!(live.books[&0].best().bid.to_string(), "50");
    live.feed(1, &update(91_000, &[("buy", 51, 1)]));
    assert_eq!(live.books[&0].best().bid.to_string(), "51");
    assert_eq!(live.history(), [Up, Resync, Up]);
    assert_eq!(live.count(Kind::Quote), 0);
    assert!(live.sink.rejects.is_empty());
}

#[test]
fn a_listed_book_puts_no_quotes() {
    let mut live = live();
    live.feed(1, &ticker(1_200, 100, 102));
    live.feed(1, &update(1_300, &[("buy", 101, 1)]));
    assert_eq!((live.count(Kind::Quote), live.count(Kind::Level)), (0, 9));
    // Nor does a ticker that comes before the book.
    let mut early = Live::new(&["BTC-USD"]);
    early.feed(1, &ticker(1_200, 100, 102));
    assert_eq!((early.sink.ticks.len(), early.sink.rejects.len()), (0, 0));
}

#[test]
fn confirmations_and_refusals() {
    let mut live = live();
    let confirmed = r#"{"type":"subscriptions","channels":[{"name":"level2_50","product_ids":["BTC-USD"],"account_ids":null}]}"#;
    assert_eq!(live.feed(1, confirmed), Heard::Confirmed);
    let refused = r#"{"type":"error","message":"Failed to subscribe","reason":"X-USD is not a valid product"}"#;
    assert_eq!(live.feed(1, refused), Heard::RefusedAll(None));
    let [(kind, detail, _)] = &live.sink.rejects[..] else { panic!() };
    assert_eq!(*kind, "venue_error");
    assert!(detail.contains("Failed to subscribe: X-USD is not a valid product"), "{detail}");
    for text in [
        r#"{"type":"status","products":[],"currencies":[]}"#,
        r#"{"type":"rfq_match","trade_id":1,"product_id":"BTC-USD"}"#,
    ] {
        assert_eq!(live.feed(1, text), Heard::Alive);
    }
    assert_eq!((live.ignored("status"), live.ignored("rfq_match")), (1, 1));
    assert_eq!((live.sink.rejects.len(), live.history()), (1, vec![Up]));
}

#[test]
fn a_crossed_book_is_never_put() {
    let mut live = live();
    live.feed(1, &update(1_100, &[("buy", 102, 1)]));
    assert_eq!(live.books[&0].best().bid.to_string(), "100");
    check_recovery(live, "crossed book");

    // Both sides move past each other in one message: that is no crossing.
    let mut moved = self::live();
    moved.feed(1, &update(1_100, &[("buy", 103, 1), ("sell", 102, 0), ("sell", 103, 0)]));
    assert_eq!(moved.history(), [Up]);
}

#[test]
fn a_crossed_snapshot_is_no_book() {
    let mut live = live();
    live.feed(1, &snapshot(&[(103, 1)], ASKS));
    assert_eq!(live.books[&0].best().bid.to_string(), "100");
    check_recovery(live, "crossed snapshot");
}

#[test]
fn a_jump_of_the_trade_ids_is_a_loss() {
    let mut live = live();
    live.feed(1, &last_match(10));
    live.feed(1, &matched(11));
    // Late, or twice: not a loss, and not put again.
    live.feed(1, &matched(11));
    live.feed(1, &matched(9));
    assert_eq!((live.history(), live.ignored("duplicate match")), (vec![Up], 2));
    live.feed(1, &matched(14));
    assert_eq!((live.count(Kind::Trade), live.ignored("missed trades")), (3, 2));
    check_recovery(live, "gap before match");
}

#[test]
fn a_trade_that_a_heartbeat_names_has_until_the_next_one() {
    let mut live = live();
    live.feed(1, &last_match(10));
    live.feed(1, &heartbeat(100, 11));
    live.feed(1, &matched(11));
    live.feed(1, &heartbeat(101, 12));
    assert_eq!(live.history(), [Up]);
    live.feed(1, &heartbeat(102, 12));
    assert_eq!((live.state(), live.ignored("match missing at heartbeat")), (Some(Resync), 1));
    // It is told once, and is missed for good only when the next one comes.
    live.feed(1, &heartbeat(103, 12));
    assert_eq!(live.ignored("missed trades"), 0);
    live.feed(1, &matched(13));
    assert_eq!((live.ignored("missed trades"), live.ignored("gap before match")), (1, 0));
    check_recovery(live, "match missing at heartbeat");
}

#[test]
fn heartbeats_that_say_nothing_of_trades_prove_nothing() {
    let mut live = live();
    for sequence in 100..103 {
        // No trade was seen at all: only the book is subscribed to.
        live.feed(1, &heartbeat(sequence, 500));
    }
    live.feed(1, &last_match(10));
    for sequence in 103..106 {
        live.feed(1, &heartbeat(sequence, 0));
        live.feed(
            1,
            &heartbeat(sequence, 0).replace("\"last_trade_id\":0", "\"last_trade_id\":null"),
        );
    }
    assert_eq!(live.history(), [Up]);
    assert!(live.sink.rejects.is_empty(), "{:?}", live.sink.rejects);
}

#[test]
fn a_sequence_that_goes_back_is_a_new_start() {
    let mut live = live();
    live.feed(1, &heartbeat(100, 0));
    live.feed(1, &heartbeat(100, 0));
    assert_eq!(live.history(), [Up]);
    live.feed(1, &heartbeat(99, 0));
    check_recovery(live, "sequence went back");
}

#[test]
fn two_connections_are_each_their_own_witness() {
    let mut live = live();
    live.feed(1, &last_match(10));
    live.feed(2, &last_match(10));
    // What the other one brings first is no loss of this one, nor put twice.
    for (link, id) in [(1, 11), (2, 11), (2, 12), (2, 13), (1, 12), (1, 13)] {
        live.feed(link, &matched(id));
    }
    assert_eq!((live.count(Kind::Trade), live.history()), (4, vec![Up]));
    // A loss on the one that does not carry the book harms nothing.
    live.feed(1, &matched(14));
    live.feed(2, &matched(15));
    assert_eq!((live.ignored("gap before match"), live.history()), (1, vec![Up]));
    live.feed(1, &matched(15));
    assert_eq!((live.ignored("missed trades"), live.count(Kind::Trade)), (0, 6));
    // Updates of both interleaved: only the owner's count.
    live.feed(2, &update(1_100, &[("buy", 100, 0)]));
    assert_eq!(live.books[&0].best().bid.to_string(), "100");
    live.feed(1, &update(1_100, &[("buy", 100, 0)]));
    assert_eq!(live.books[&0].best().bid.to_string(), "99");
    assert_eq!(live.ignored("l2update of another connection"), 1);
    // The owner goes; the other one goes on when it is subscribed to anew.
    live.lost(1, &[]);
    assert_eq!((live.state(), live.wants()), (Some(Resync), true));
    live.feed(2, &update(1_150, &[("buy", 99, 0)]));
    live.feed(2, &snapshot(&[(98, 3)], ASKS));
    live.feed(2, &update(1_200, &[("buy", 99, 7)]));
    assert_eq!((live.state(), live.books[&0].best().bid.to_string().as_str()), (Some(Up), "99"));
    // From now on a loss on it is one of the book's.
    live.feed(2, &matched(17));
    assert_eq!(live.state(), Some(Resync));
}

#[test]
fn trades_made_while_away_are_missed_but_no_loss() {
    let mut live = live();
    live.feed(1, &last_match(10));
    live.lost(1, &["BTC-USD"]);
    assert_eq!(live.history(), [Up, Stale]);
    // The number may be given again.
    live.feed(1, &snapshot(BIDS, ASKS));
    live.feed(1, &last_match(20));
    live.feed(1, &matched(21));
    assert_eq!((live.ignored("missed trades"), live.ignored("gap before match")), (9, 0));
    assert_eq!(live.state(), Some(Up));
    // The trades alone are subscribed to anew.
    live.feed(1, &last_match(30));
    assert_eq!((live.state(), live.ignored("gap before match")), (Some(Up), 0));
    // Also where a trade comes before `last_match`.
    live.lost(1, &["BTC-USD"]);
    live.feed(1, &snapshot(BIDS, ASKS));
    live.feed(1, &matched(40));
    assert_eq!((live.state(), live.ignored("gap before match")), (Some(Up), 0));
    assert_eq!(live.ignored("missed trades"), 9 + 8 + 9);
}

/// Tickers and updates, then whether the tickers have refuted the book.
fn refuted(messages: &[String]) -> bool {
    let mut live = live();
    // They agree at first.
    live.feed(1, &ticker(1_200, 100, 102));
    for message in messages {
        assert_eq!(live.ignored("book contradicted by tickers"), 0, "before {message}");
        live.feed(1, message);
    }
    let refuted = live.ignored("book contradicted by tickers") == 1;
    if refuted {
        check_recovery(live, "book contradicted by tickers");
    } else {
        assert_eq!(live.history(), [Up]);
    }
    refuted
}

#[test]
fn tickers_refute_a_best_level_that_stands_for_a_second() {
    let past = |ms| update(ms, &[("buy", 90, 1)]);
    // The removal of the bid at 100 was lost: trades at ever other bids.
    assert!(refuted(&[ticker(2_000, 99, 102), ticker(3_000, 98, 102), past(3_101)]));
    // The bid at 101 was lost.
    assert!(refuted(&[ticker(2_000, 101, 102), ticker(3_000, 101, 102), past(3_101)]));
    // Likewise for asks; no bid at all.
    assert!(refuted(&[ticker(2_000, 100, 103), ticker(3_000, 100, 104), past(3_101)]));
    assert!(refuted(&[ticker(2_000, 100, 101), ticker(3_000, 100, 101), past(3_101)]));
    assert!(refuted(&[ticker(2_000, 0, 102), ticker(3_000, 0, 102), past(3_101)]));
}

#[test]
fn less_than_that_proves_nothing() {
    let past = |ms| update(ms, &[("buy", 90, 1)]);
    let (first, last) = (ticker(2_000, 99, 102), ticker(3_000, 99, 102));
    // Not a second, one ticker only, the same one twice.
    assert!(!refuted(&[first.clone(), ticker(2_999, 99, 102), past(9_000)]));
    assert!(!refuted(&[first.clone(), past(9_000)]));
    assert!(!refuted(&[first.clone(), first.clone(), past(9_000)]));
    // The book has not gone past the last of them, or holds it only now.
    assert!(!refuted(&[first.clone(), last.clone(), past(3_100)]));
    let removed = update(3_200, &[("buy", 100, 0)]);
    assert!(!refuted(&[first.clone(), last.clone(), removed, past(9_000)]));
    // A ticker agrees in between.
    assert!(!refuted(&[first.clone(), ticker(2_500, 100, 102), last.clone(), past(3_200)]));
    // The level is touched, or the one that is said to be the best.
    for touch in [("buy", 100, 9), ("buy", 99, 9)] {
        let touched = update(2_500, &[touch]);
        assert!(!refuted(&[first.clone(), touched, last.clone(), past(3_200)]));
    }
    // Touched a moment before the first: it may be of the same batch.
    let touched = update(1_950, &[("buy", 100, 9)]);
    assert!(!refuted(&[touched, first, last, past(3_200)]));
    // Better prices, each another: orders that came and went.
    assert!(!refuted(&[ticker(2_000, 101, 103), ticker(3_000, 100, 102), past(3_200)]));
    let mut live = live();
    live.feed(1, &snapshot(&[(100, 5)], &[(105, 5)]));
    live.feed(1, &update(1_000, &[("buy", 90, 1)]));
    for (ms, bid) in [(1_200, 100), (2_000, 101), (3_000, 102), (4_000, 103)] {
        live.feed(1, &ticker(ms, bid, 105));
    }
    live.feed(1, &past(5_000));
    assert_eq!(live.state(), Some(Up));
}

#[test]
fn tickers_that_never_agreed_are_not_believed() {
    let mut live = live();
    for second in 2..60 {
        live.feed(1, &ticker(second * 1_000, 50, 51));
        live.feed(1, &update(second * 1_000 + 500, &[("buy", 90, second)]));
    }
    assert_eq!((live.history(), live.ignored("ticker")), (vec![Up], 58));
}

#[test]
fn a_capture_is_read_as_it_was() {
    // The same messages, and nobody has listed the product: all goes out, with quotes.
    let mut capture = Live::new(&[]);
    for text in [
        snapshot(BIDS, ASKS),
        last_match(10),
        matched(12),
        update(1_100, &[("buy", 102, 1)]),
        update(1_200, &[("buy", 102, 0)]),
    ] {
        capture.feed(0, &text);
    }
    assert_eq!((capture.history(), capture.wants()), (vec![Up], false));
    assert_eq!((capture.count(Kind::Level), capture.count(Kind::Quote)), (8, 1));
    assert_eq!(capture.ignored("gap before match"), 1);
    assert_eq!(capture.ignored("missed trades"), 1);
}

/// It is lost, and whose book it was in is not right any more.
#[test]
fn an_update_that_cannot_be_understood_is_a_lost_one() {
    let (other, own) = (FeedState::Live, Resync);
    let cases = [
        // It may have been of any product.
        (r#"{"type":"l2update","product_id":"BTC-USD","chan"#, [own, own]),
        (r#"{"type":"l2update","changes":[]}"#, [own, own]),
        (r#"{"type":"l2update","product_id":"BTC-USD","changes":[["buy","x","1"]]}"#, [own, other]),
        (r#"{"type":"match","product_id":"BTC-USD"}"#, [other, other]),
    ];
    for (text, expected) in cases {
        let mut live = Live::new(&["BTC-USD", "ETH-USD"]);
        for product in ["BTC-USD", "ETH-USD"] {
            live.expect(product);
            live.feed(1, &snapshot(BIDS, ASKS).replace("BTC-USD", product));
        }
        // Of a connection that has no book, nothing is known to be missing.
        live.feed(2, text);
        assert_eq!(live.states.values().collect::<Vec<_>>(), [&Up, &Up], "{text}");
        live.feed(1, text);
        assert_eq!(live.states.values().copied().collect::<Vec<_>>(), expected, "{text}");
        assert_eq!(live.sink.rejects.len(), 2);
    }
}

/// A younger connection may be heard before what still lies in the buffer of the older one.
#[test]
fn a_trade_that_a_younger_connection_overtook_is_put() {
    let mut live = live();
    live.feed(1, &matched(10));
    live.feed(2, &last_match(12));
    live.feed(2, &matched(13));
    for id in [11, 12, 13, 14] {
        live.feed(1, &matched(id));
    }
    live.feed(2, &matched(14));
    live.feed(2, &matched(15));
    let trades = live.sink.ticks.iter().filter(|tick| tick.kind == Kind::Trade);
    assert_eq!(trades.map(|tick| tick.as_trade().id).collect::<Vec<_>>(), [10, 11, 12, 13, 14, 15]);
    assert_eq!(live.history(), [Up]);
}
