//! What is asked of OKX: how much, how often, and what becomes of what it refuses.

use tickcast_feeds::spec::Kinds;
use tickcast_feeds::venue::rules::{Options, Rate};

use super::*;

/// "Each with less than 30 channels" of 400 levels; requests of at most 64 KB, 480 an hour.
#[test]
fn of_many_symbols_each_connection_carries_what_the_venue_recommends() {
    let natives: Vec<String> = (0..120).map(|n| format!("C{n:03}-USDT")).collect();
    let natives: Vec<&str> = natives.iter().map(String::as_str).collect();
    let (world, script) = history(&natives, 1_500);
    let run = begin_with(world, script, &natives, "", |_| {});
    assert_eq!(run.venue.connections(), (5, 5));
    let mut asked = Vec::new();
    for (_, text) in run.venue.heard() {
        assert!(text.len() <= 64_000, "{}", text.len());
        let request: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(request["op"], "subscribe");
        let args = request["args"].as_array().expect("args");
        assert!(args.iter().filter(|arg| arg["channel"] == "books").count() < 30);
        asked.extend(args.iter().map(Value::to_string));
    }
    assert_eq!(run.requests().len(), 5, "one for each connection");
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 360, "each channel once");
    run.play_all();
    let seen = run.checker.finish();
    assert!(seen.values().all(|seen| troubles(seen).is_empty() && seen.books > 0));
}

#[test]
fn connections_and_requests_keep_to_the_documented_budgets() {
    let options = Options { channels: Kinds::ALL, depth: None };
    let rules = tickcast_feeds::venue::find("okx").expect("known").rules(options);
    let limits = rules.expect("can be connected to").expect("good options").limits();
    assert_eq!(limits.requests, Rate::new(480, 3_600), "subscribe and unsubscribe, a connection");
    assert_eq!(limits.connects, Rate::new(3, 1));
    // A ping, and as long again for its pong.
    assert!(limits.silence < Duration::from_secs(30));
}

#[test]
fn a_symbol_that_is_refused_harms_no_other() {
    let natives = ["BTC-USDT", "ETH-USDT", "GONE-USDT"];
    let (world, script) = history(&natives, 1_500);
    let mood = Arc::<Mutex<Mood>>::default();
    mood.lock().refuses = ["GONE-USDT".to_owned()].into();
    let venue = Arc::new(LocalVenue::start(Okx::new(&mood), world));
    let spec = venue.spec(&format!("okx:{}", natives.join(",")), "");
    let server = Server::start(&[&PATIENT[..], &["--feed", &spec]].concat());
    let checker = Checker::start(
        &server,
        &venue,
        &[("okx:BTC-USDT", "BTC-USDT"), ("okx:ETH-USDT", "ETH-USDT")],
    );
    venue.wait_subscribed(6);
    venue.play(&script, 1.0, |_, _| None);
    server.wait_metric("tickcast_live_refused_total", "", |count| count == 3.0);
    server.wait_metric("tickcast_live_books_incomplete", "", |count| count == 1.0);
    let (_, feeds) = server.get("/v1/feeds");
    assert!(feeds.contains("error 60018 Wrong URL or channel:"), "{feeds}");
    assert!(feeds.contains("instId:GONE-USDT doesn't exist"), "{feeds}");
    assert_eq!(venue.connections(), (1, 1));
    let seen = checker.finish();
    all_whole(&seen, &venue);
    assert!(seen.values().all(|seen| troubles(seen).is_empty()));
}

#[test]
fn a_connection_that_is_refused_everything_is_tried_again() {
    let (world, script) = history(&NATIVES, 600);
    let run = begin_with(world, script, &NATIVES, "", |mood| mood.too_frequent = 1);
    run.play_all();
    run.finish_whole();
}

/// Each channel of each symbol is confirmed by itself, and here they are so far apart that the
/// first ones are older than the overlap of two connections when the last ones come.
#[test]
fn a_younger_connection_takes_over_when_it_carries_all() {
    let run = begin(7_000, "");
    run.venue.delay_answers(Duration::from_millis(700));
    std::thread::scope(|scope| {
        scope.spawn(|| run.play_all());
        run.venue.announce_shutdown();
        run.wait_live("replaced_total", |n| n == 1.0);
    });
    assert!(run.finish_whole().values().all(|seen| troubles(seen).is_empty()));
}

/// The younger one is refused what the old one has; then the old one dies.
#[test]
fn what_a_younger_connection_is_refused_is_not_said_to_be_live() {
    let run = begin(2_000, "");
    run.venue.play(&run.script[..500], 1.0, |_, _| None);
    run.mood.lock().refuses = ["ETH-USDT".to_owned()].into();
    run.venue.announce_shutdown();
    run.wait_live("refused_total", |n| n >= 3.0);
    run.venue.abort_first();
    wait_for(|| (!run.checker.is_mended("ETH-USDT", 0)).then_some(()));
    // What the younger one carries goes on.
    run.venue.play(&run.script[500..1_000], 1.0, |_, _| None);
    wait_for(|| run.checker.is_mended("BTC-USDT", 0).then_some(()));
    assert!(!run.checker.is_mended("ETH-USDT", 0));
    run.mood.lock().refuses.clear();
    run.venue.abort_all();
    run.venue.wait_subscribed(6);
    run.venue.play(&run.script[1_000..], 1.0, |_, _| None);
    let seen = run.checker.finish();
    assert_eq!(seen["okx:BTC-USDT"].times("resync"), 0);
}
