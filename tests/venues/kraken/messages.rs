//! What happens to single messages.

use super::*;

#[test]
fn an_undisturbed_stream_is_whole_and_never_resyncs() {
    let run = begin(1_000, "");
    run.play_all();
    let venue = run.venue.clone();
    let (_, feeds) = run.server.get("/v1/feeds");
    let feeds: Value = serde_json::from_str(&feeds).expect("JSON");
    assert_eq!(feeds["feeds"][0]["rejects"], json!([]), "{feeds}");
    let seen = run.finish_whole();
    assert!(seen.values().all(|seen| seen.times("resync") == 0 && seen.times("stale") <= 1));
    assert!(seen.values().all(|seen| seen.quotes > 10), "{seen:?}");
    // One request a channel, as the documentation shows them.
    let requests = requests(&venue);
    let channels: Vec<_> = requests.iter().map(|r| r["params"]["channel"].clone()).collect();
    assert_eq!(channels, ["book", "ticker", "trade"], "{requests:?}");
    for request in &requests {
        assert_eq!(request["method"], "subscribe");
        assert_eq!(request["params"]["symbol"], json!(["BTC/USD", "ETH/USD"]));
    }
    assert_eq!(requests[0]["params"]["depth"], 10);
    assert_eq!(requests[1]["params"]["event_trigger"], "bbo");
}

#[test]
fn a_lost_update_is_noticed_by_the_next_checksum_and_the_book_rebuilt() {
    let run = begin(LONG, "");
    run.play_until_resynced(2, 100, Fault::Drop, |_| true);
    let venue = run.venue.clone();
    run.checker.finish();
    // A new subscription to the book alone; nothing is asked for over REST.
    let again = requests(&venue);
    let of = |method: &str| again[3..].iter().filter(|r| r["method"] == method).count();
    assert!(of("unsubscribe") >= 2 && of("unsubscribe") == of("subscribe"), "{again:?}");
    assert!(again[3..].iter().all(|r| r["params"]["channel"] == "book"), "{again:?}");
    assert_eq!(venue.asked().len(), 1, "{:?}", venue.asked());
}

#[test]
fn what_comes_twice_is_put_once() {
    let run = begin(1_000, "");
    run.play_with(7, Fault::Repeat);
    let seen = run.finish_whole();
    assert_eq!(resyncs(&seen), 0, "{seen:?}");
}

#[test]
fn what_comes_late_breaks_the_checksum_and_is_never_applied_in_the_wrong_order() {
    let run = begin(LONG, "");
    run.play_until_resynced(1, 100, Fault::Late, |_| true);
    run.checker.finish();
}

#[test]
fn a_wrong_digit_breaks_the_checksum() {
    let run = begin(LONG, "");
    // Of a quote or a trade nothing would tell.
    let is_book = |step: &Step| matches!(step.what, Happening::Book { .. });
    run.play_until_resynced(2, 50, Fault::Corrupt, is_book);
    let (_, feeds) = run.server.get("/v1/feeds");
    run.finish_whole();
    assert!(feeds.contains("bad checksum"), "{feeds}");
}

#[test]
fn what_is_cut_is_kept_for_inspection_and_the_books_rebuilt() {
    let run = begin(LONG, "");
    // Nobody knows of which book a cut text was: all are rebuilt.
    run.play_until_resynced(2, 100, Fault::Cut, |_| true);
    let (_, feeds) = run.server.get("/v1/feeds");
    let feeds: Value = serde_json::from_str(&feeds).expect("JSON");
    let rejects = &feeds["feeds"][0]["rejects"][0];
    assert_eq!(rejects["kind"], "bad_json", "{feeds}");
    assert!(rejects["text"].as_str().expect("the text").starts_with("{\"channel\""), "{rejects}");
    run.checker.finish();
}

/// The status channel tells of the trading engine: no data are lost by it.
#[test]
fn a_status_of_the_trading_engine_changes_nothing() {
    let run = begin(600, "");
    for system in ["maintenance", "cancel_only", "post_only", "online"] {
        run.venue.say(
            &json!({"channel": "status", "type": "update", "data": [{"api_version": "v2",
                "connection_id": 12_393_906_104_898_154_338_u64, "system": system,
                "version": "2.0.4"}]})
            .to_string(),
        );
    }
    run.play_all();
    let seen = run.finish_whole();
    assert!(seen.values().all(|seen| seen.times("resync") == 0 && seen.times("stale") <= 1));
}

#[test]
fn the_snapshot_may_come_long_after_the_subscription() {
    for early_updates in [false, true] {
        let run = begin_as(1_000, "", |venue| {
            (venue.late, venue.early_updates) = (100, early_updates);
        });
        run.play_all();
        let venue = run.venue.clone();
        let seen = run.finish_whole();
        assert_eq!(resyncs(&seen), 0, "{seen:?}");
        // It did not have to be asked for.
        assert_eq!(requests(&venue).len(), 3, "{:?}", venue.heard());
    }
}

/// A pair that the list has and the stream refuses, alone among three.
#[test]
fn a_symbol_that_is_refused_harms_no_other() {
    let names = ["BTC/USD", "ETH/USD", "OLD/USD"];
    let (world, script) = invented(&names, 1_500, 1_000_000, 7, CHECKED, |_| 1);
    let mut protocol = Kraken::new(&world);
    protocol.unsupported = Some("OLD/USD");
    let venue = Arc::new(LocalVenue::start(protocol, world));
    let server = serve(&venue, "kraken:*,depth=10");
    let checker = Checker::start(&server, &venue, &SYMBOLS);
    venue.wait_subscribed(6);
    let run = Run { venue, server, checker, script };
    run.play_all();
    // Once for each channel.
    run.wait_live("refused_total", |n| n >= 3.0);
    let (_, feeds) = run.server.get("/v1/feeds");
    assert!(feeds.contains("Currency pair not supported OLD/USD"), "{feeds}");
    let seen = run.finish_whole();
    assert_eq!(resyncs(&seen), 0, "{seen:?}");
}
