use super::*;
use crate::instrument::Listing;
use crate::sink::VecSink;
use crate::tick::{FeedState, Kind};
use crate::venue;

const BYBIT_BOOK: &str = r#"{"topic":"orderbook.50.AUSDT","type":"snapshot","ts":1,"data":{"s":"AUSDT","b":[["1","1"]],"a":[["2","1"]],"u":7,"seq":7},"cts":1}"#;

/// An engine that is connected to nothing, of a feed of these symbols.
fn engine<'a>(spec: LiveSpec, natives: &[Box<str>], sink: &'a mut VecSink) -> Engine<'a> {
    let entry = venue::find(spec.venue).unwrap();
    let rules = entry.rules(spec.options()).unwrap().unwrap();
    let instruments = Arc::new(Instruments::new());
    for native in natives {
        let base = native.strip_suffix("USDT").unwrap().trim_end_matches('-');
        instruments.list_as(spec.venue, &Listing::pair(native, base, "USDT"));
    }
    Engine::new(Parts {
        venue: entry.parser(&instruments),
        dialer: Dialer::plain().unwrap(),
        ws: Endpoint::new(rules.ws()).unwrap(),
        rest: Endpoint::new(rules.rest()).unwrap(),
        stats: Arc::default(),
        tap: None,
        rules,
        spec,
        instruments,
        sink,
    })
}

fn spec(venue: &'static str) -> LiveSpec {
    LiveSpec::new(venue, vec!["*".to_owned()])
}

/// Opens a connection for each route.
fn open(engine: &Engine<'_>, natives: &[Box<str>]) -> Vec<(u16, Rc<Link>)> {
    let routes = engine.rules.routes();
    let shards = routes.iter().flat_map(|r| Shard::cut(r, natives, engine.spec.channels.book));
    shards.map(|shard| engine.open(&shard)).collect()
}

fn states(sink: &VecSink) -> Vec<FeedState> {
    let statuses = sink.ticks.iter().filter(|tick| tick.kind == Kind::Status);
    statuses.map(|tick| tick.as_status().state).collect()
}

fn many(count: usize) -> Vec<Box<str>> {
    (0..count).map(|n| format!("S{n}USDT").into()).collect()
}

#[test]
fn of_many_books_no_more_are_fetched_than_can_be_and_none_twice() {
    let (natives, mut sink) = (many(300), VecSink::default());
    let engine = engine(spec("binance"), &natives, &mut sink);
    let links = open(&engine, &natives);
    links.iter().for_each(|(_, link)| engine.confirmed(link));
    let tick = || {
        engine.skip.set(0);
        engine.tick();
        let fetches = engine.take_tasks().into_iter().filter_map(|task| match task {
            Task::Fetch(native, get) => Some((native, get)),
            _ => None,
        });
        fetches.collect::<Vec<_>>()
    };
    let first = tick();
    assert_eq!(first.len(), MAX_FETCHES);
    // Also not when everything is subscribed to anew meanwhile.
    engine.recovery.borrow_mut().expect(&natives, engine.clock.now());
    assert!(tick().is_empty());
    for (native, get) in &first {
        let text = r#"{"lastUpdateId":7,"bids":[["1","1"]],"asks":[["2","1"]]}"#;
        engine.fetched(native, get, Ok(text.into()));
    }
    let second = tick();
    assert_eq!(second.len(), MAX_FETCHES);
    assert!(second.iter().all(|(native, _)| first.iter().all(|(known, _)| known != native)));
    // The venue wants to be left alone.
    for (native, get) in &second {
        let status = hyper::StatusCode::TOO_MANY_REQUESTS;
        let error = rest::RestError::Status { status, after: None, text: String::new() };
        engine.fetched(native, get, Err(error));
    }
    assert!(tick().is_empty());
}

#[test]
fn books_that_broke_together_are_subscribed_to_together_and_once() {
    let (natives, mut sink) = (many(5), VecSink::default());
    let engine = engine(spec("bybit"), &natives, &mut sink);
    let (number, link) = open(&engine, &natives).remove(0);
    engine.confirmed(&link);
    for native in &natives {
        engine.message(number, BYBIT_BOOK.replace("AUSDT", native).as_bytes());
    }
    engine.tick();
    natives.iter().for_each(|native| {
        engine.input(&Input::Distrust { native });
    });
    engine.tick();
    let sent = engine.resubscribe(&link);
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert!(natives.iter().all(|native| sent.iter().all(|text| text.contains(&**native))));
    // They come, and break twice, while the venue's limits let nothing more be sent.
    for _ in 0..2 {
        for native in &natives {
            engine.message(number, BYBIT_BOOK.replace("AUSDT", native).as_bytes());
        }
        engine.tick();
        natives.iter().for_each(|native| {
            engine.input(&Input::Distrust { native });
        });
        engine.tick();
    }
    assert_eq!(engine.resubscribe(&link).len(), 2);
    assert_eq!(engine.resubscribe(&link).len(), 0);
}

#[test]
fn a_book_that_comes_when_nobody_carries_it_any_more_is_not_live() {
    let (natives, mut sink) = (many(1), VecSink::default());
    let engine = engine(spec("binance"), &natives, &mut sink);
    let (number, link) = open(&engine, &natives).remove(0);
    engine.confirmed(&link);
    engine.tick();
    let Some(Task::Fetch(native, get)) = engine.take_tasks().pop() else { panic!("a fetch") };
    engine.lost(number);
    let text = r#"{"lastUpdateId":7,"bids":[["1","1"]],"asks":[["2","1"]]}"#;
    engine.fetched(&native, &get, Ok(text.into()));
    // It is fetched again for the next connection.
    let (_, link) = open(&engine, &natives).remove(0);
    engine.confirmed(&link);
    engine.tick();
    let Some(Task::Fetch(native, get)) = engine.take_tasks().pop() else { panic!("a fetch") };
    engine.fetched(&native, &get, Ok(text.into()));
    drop(engine);
    assert_eq!(states(&sink), [FeedState::Stale, FeedState::Live]);
}

#[test]
fn a_connection_that_ends_before_it_is_confirmed_leaves_nothing_live() {
    let (natives, mut sink) = (many(2), VecSink::default());
    let engine = engine(spec("bybit"), &natives, &mut sink);
    let (number, _) = open(&engine, &natives).remove(0);
    engine.message(number, BYBIT_BOOK.replace("AUSDT", &natives[0]).as_bytes());
    engine.lost(number);
    drop(engine);
    assert_eq!(states(&sink), [FeedState::Live, FeedState::Stale, FeedState::Stale]);
}

#[test]
fn without_books_a_symbol_is_live_while_all_its_connections_are() {
    let (natives, mut sink) = (many(1), VecSink::default());
    let channels = Kinds { trade: true, quote: true, book: false };
    let spec = LiveSpec { channels, ..spec("binance-usdm") };
    let engine = engine(spec, &natives, &mut sink);
    let links = open(&engine, &natives);
    assert_eq!(links.len(), 2, "quotes and trades come over connections of their own");
    engine.confirmed(&links[0].1);
    engine.confirmed(&links[1].1);
    engine.lost(links[0].0);
    engine.lost(links[1].0);
    let links = open(&engine, &natives);
    engine.confirmed(&links[1].1);
    engine.confirmed(&links[0].1);
    drop(engine);
    use FeedState::{Live, Stale};
    let mut states = states(&sink);
    states.dedup();
    assert_eq!(states, [Live, Stale, Live]);
    let first = sink.ticks.iter().filter(|tick| tick.as_status().state == Live).count();
    assert_eq!(first, 2, "said when the last of them came");
}

#[test]
fn a_venue_may_want_to_be_left_alone_for_ever() {
    let mut sink = VecSink::default();
    let engine = engine(spec("binance"), &[], &mut sink);
    let after = Some(Duration::from_secs(u64::MAX));
    let status = hyper::StatusCode::IM_A_TEAPOT;
    engine.rest_failed(&rest::RestError::Status { status, after, text: String::new() });
    let now = engine.clock.now();
    assert_eq!(engine.weight.borrow_mut().take(now, 1), Err(u64::MAX));
}

#[test]
fn a_book_that_a_younger_connection_has_begun_goes_on_when_the_older_one_dies() {
    let (natives, mut sink) = ([Box::from("S-USDT")], VecSink::default());
    let engine = engine(spec("coinbase"), &natives, &mut sink);
    let text = r#"{"type":"snapshot","product_id":"S-USDT","bids":[["1","1"]],"asks":[["2","1"]]}"#;
    let (old, link) = open(&engine, &natives).remove(0);
    engine.confirmed(&link);
    engine.message(old, text.as_bytes());
    // Its subscriptions are not all confirmed yet.
    let (young, link) = open(&engine, &natives).remove(0);
    engine.message(young, text.as_bytes());
    engine.lost(old);
    engine.confirmed(&link);
    let text = r#"{"type":"l2update","product_id":"S-USDT","changes":[["buy","1","2"]],"time":"2024-08-08T00:00:00.000000Z"}"#;
    engine.message(young, text.as_bytes());
    engine.lost(young);
    drop(engine);
    assert_eq!(states(&sink), [FeedState::Live, FeedState::Stale]);
    assert!(sink.rejects.is_empty(), "{:?}", sink.rejects);
    let levels = sink.ticks.iter().filter(|tick| tick.kind == Kind::Level);
    assert_eq!(levels.count(), 5);
}

#[test]
fn of_two_lines_the_one_that_speaks_is_asked() {
    let (natives, mut sink) = (many(1), VecSink::default());
    let engine = engine(spec("bybit"), &natives, &mut sink);
    let lines: Vec<_> = (0..8).map(|_| open(&engine, &natives).remove(0)).collect();
    for (number, link) in &lines {
        engine.confirmed(link);
        link.heard_ns.set(1);
        engine.message(*number, BYBIT_BOOK.replace("AUSDT", &natives[0]).as_bytes());
    }
    lines[5].1.heard_ns.set(2);
    engine.tick();
    engine.input(&Input::Distrust { native: &natives[0] });
    engine.tick();
    let asked: Vec<_> = lines.iter().map(|(_, link)| engine.resubscribe(link).len()).collect();
    assert_eq!(asked, [0, 0, 0, 0, 0, 2, 0, 0]);
}
