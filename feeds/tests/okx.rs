//! OKX: single messages of every kind, in the shapes that its documents show.

use std::sync::Arc;

use tickcast_feeds::tick::flags;
use tickcast_feeds::venue::{self, Heard, Input, Venue};
use tickcast_feeds::{FeedState, Instruments, Kind, Tick, VecSink};

const RECV: u64 = 1_790_000_000_000_000_000;
const LIST: &str = "/api/v5/public/instruments?instType=SWAP";

/// A list of instruments: two that are linear, one of them with an underscore, and one inverse.
const SWAPS: &str = r#"{"code":"0","msg":"","data":[
 {"instType":"SWAP","instId":"BTC-USDT-SWAP","uly":"BTC-USDT","instFamily":"BTC-USDT","baseCcy":"","quoteCcy":"","settleCcy":"USDT","ctVal":"0.01","ctMult":"1","ctValCcy":"BTC","ctType":"linear","tickSz":"0.1","lotSz":"0.02","minSz":"0.02","state":"live"},
 {"instType":"SWAP","instId":"SOL-USD_UM-SWAP","uly":"SOL-USD","instFamily":"SOL-USD_UM","baseCcy":"","quoteCcy":"","settleCcy":"USD","ctVal":"2","ctMult":"0.5","ctValCcy":"SOL","ctType":"linear","tickSz":"0.01","lotSz":"1","minSz":"1","state":"live"},
 {"instType":"SWAP","instId":"BTC-USD-SWAP","uly":"BTC-USD","instFamily":"BTC-USD","baseCcy":"","quoteCcy":"","settleCcy":"BTC","ctVal":"100","ctMult":"1","ctValCcy":"USD","ctType":"inverse","tickSz":"0.1","lotSz":"1","minSz":"1","state":"live"},
 {"instType":"SWAP","instId":"","uly":"","ctVal":"","ctMult":"","ctValCcy":"","ctType":"","tickSz":"","lotSz":"","state":"preopen"}]}"#;

struct Feed {
    parser: Box<dyn Venue>,
    instruments: Arc<Instruments>,
    sink: VecSink,
}

impl Feed {
    fn new() -> Self {
        let instruments = Arc::new(Instruments::new());
        let parser = venue::find("okx").unwrap().parser(&instruments);
        Feed { parser, instruments, sink: VecSink::default() }
    }

    fn hear(&mut self, link: u16, text: &str) -> Heard {
        let input = Input::Message { link, text: text.as_bytes() };
        input.apply(&mut *self.parser, RECV, &mut self.sink)
    }

    fn reply(&mut self, text: &str) {
        let input = Input::Reply { url: LIST, text: text.as_bytes() };
        input.apply(&mut *self.parser, RECV, &mut self.sink);
    }

    /// The ticks since the last call, each in one line.
    fn put(&mut self) -> Vec<String> {
        assert!(self.sink.rejects.is_empty(), "{:?}", self.sink.rejects);
        self.sink.ticks.drain(..).map(|tick| show(&tick)).collect()
    }

    fn wants(&self) -> Vec<String> {
        let mut wants = Vec::new();
        self.parser.wants(&mut wants);
        wants.iter().map(|want| format!("{:?} {}", want.how, want.native)).collect()
    }

    fn ignored(&self, name: &str) -> u64 {
        self.parser.ignored().get(name)
    }
}

fn show(tick: &Tick) -> String {
    let bits = [
        (flags::FIRST, '<'),
        (flags::LAST, '>'),
        (flags::SNAPSHOT, 'S'),
        (flags::AGGREGATE, 'A'),
        (flags::EMPTY, 'E'),
    ];
    let marks: String = bits.iter().filter(|bit| tick.has(bit.0)).map(|bit| bit.1).collect();
    let payload = match tick.kind {
        Kind::Trade => {
            let t = tick.as_trade();
            format!("trade {:?} {} x {} id {}", t.side, t.price, t.size, t.id)
        }
        Kind::Quote => {
            let q = tick.as_quote();
            format!("quote {} x {}, {} x {}", q.bid, q.bid_size, q.ask, q.ask_size)
        }
        Kind::Level => {
            let l = tick.as_level();
            format!("level {:?} {} x {} from {}", l.side, l.price, l.size, l.first)
        }
        Kind::Bar | Kind::Cut => unreachable!("no parser makes bars"),
        Kind::Status => {
            return format!("#{} {}", tick.instrument.0, tick.as_status().state.as_str());
        }
    };
    let ms = tick.ts_event / 1_000_000;
    format!("#{} {payload} seq {} at {ms} {marks}", tick.instrument.0, tick.seq)
}

/// A message of `books`; `levels` are `asks` and `bids` as JSON.
fn book(native: &str, action: &str, levels: (&str, &str), ts: u64, prev: i64, seq: u64) -> String {
    let (asks, bids) = levels;
    format!(
        r#"{{"arg":{{"channel":"books","instId":"{native}"}},"action":"{action}","data":[{{"asks":[{asks}],"bids":[{bids}],"ts":"{ts}","checksum":0,"prevSeqId":{prev},"seqId":{seq}}}]}}"#
    )
}

fn snapshot(ts: u64, seq: u64) -> String {
    let levels = (r#"["101.0","2","0","13"],["102","0.5","0","1"]"#, r#"["100.0","1.5","0","2"]"#);
    book("BTC-USDT", "snapshot", levels, ts, -1, seq)
}

fn update(ts: u64, prev: i64, seq: u64) -> String {
    book("BTC-USDT", "update", (r#"["102","0","0","0"]"#, ""), ts, prev, seq)
}

fn trade(native: &str, id: u64, ts: u64, source: u8) -> String {
    format!(
        r#"{{"arg":{{"channel":"trades","instId":"{native}"}},"data":[{{"instId":"{native}","tradeId":"{id}","px":"100.5","sz":"3","side":"sell","ts":"{ts}","count":"1","source":"{source}","seqId":77}}]}}"#
    )
}

fn quote(native: &str, seq: u64, ts: u64) -> String {
    format!(
        r#"{{"arg":{{"channel":"bbo-tbt","instId":"{native}"}},"data":[{{"asks":[["101.0","20","0","13"]],"bids":[["100.95","7","0","2"]],"ts":"{ts}","seqId":{seq}}}]}}"#
    )
}

#[test]
fn messages_become_ticks() {
    let mut feed = Feed::new();
    for text in [
        r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"130639474","px":"42219.9","sz":"0.12060306","side":"buy","ts":"1630048897897","count":"3","source":"0","seqId":1234}]}"#,
        r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"130639475","px":"42219.8","sz":"0.1","side":"sell","ts":"1630048897898"},{"instId":"BTC-USDT","tradeId":"130639476","px":"42219.7","sz":"0.2","side":"sell","ts":"1630048897898","count":"1"}]}"#,
        r#"{"arg":{"channel":"bbo-tbt","instId":"ETH-USDT"},"data":[{"asks":[["3000.5","2","0","13"]],"bids":[["3000.49","0.75","0","2"]],"ts":"1630048897900","seqId":363996337}]}"#,
        r#"{"arg":{"channel":"bbo-tbt","instId":"ETH-USDT"},"data":[{"asks":[],"bids":[["3000.49","0.75","0","2"]],"ts":"1630048897910","seqId":363996338}]}"#,
        &snapshot(1_630_048_898_000, 123_456),
        &update(1_630_048_898_100, 123_456, 123_460),
        &book("BTC-USDT", "update", ("", ""), 1_630_048_898_200, 123_460, 123_461),
    ] {
        assert_eq!(feed.hear(0, text), Heard::Alive);
    }
    assert_eq!(
        feed.put(),
        [
            "#0 trade Buy 42219.9 x 0.12060306 id 130639474 seq 130639474 at 1630048897897 <>A",
            "#0 trade Sell 42219.8 x 0.1 id 130639475 seq 130639475 at 1630048897898 <>",
            "#0 trade Sell 42219.7 x 0.2 id 130639476 seq 130639476 at 1630048897898 <>",
            "#1 quote 3000.49 x 0.75, 3000.5 x 2 seq 363996337 at 1630048897900 <>",
            "#1 quote 3000.49 x 0.75, 0 x 0 seq 363996338 at 1630048897910 <>",
            "#0 level Buy 100 x 1.5 from 123456 seq 123456 at 1630048898000 <S",
            "#0 level Sell 101 x 2 from 123456 seq 123456 at 1630048898000 S",
            "#0 level Sell 102 x 0.5 from 123456 seq 123456 at 1630048898000 >S",
            "#0 live",
            "#0 level Sell 102 x 0 from 123457 seq 123460 at 1630048898100 <>",
            "#0 level Buy 0 x 0 from 123461 seq 123461 at 1630048898200 <>E",
        ]
    );
    let symbols: Vec<_> = feed.instruments.since(0).iter().map(|i| i.symbol.clone()).collect();
    assert_eq!(symbols, ["okx:BTC-USDT", "okx:ETH-USDT"]);
}

#[test]
fn contracts_become_units_of_the_base() {
    let mut feed = Feed::new();
    feed.hear(0, &trade("BTC-USDT-SWAP", 1, 1_000, 0));
    let (kind, detail, _) = feed.sink.rejects.pop().unwrap();
    assert_eq!(kind, "unknown_contract", "{detail}");
    assert!(feed.instruments.is_empty(), "nothing is listed for a message that was rejected");

    feed.reply(SWAPS);
    assert_eq!(feed.ignored("instruments"), 1);
    assert!(feed.instruments.is_empty(), "a list of instruments lists none by itself");
    feed.hear(0, &trade("BTC-USDT-SWAP", 1, 1_000, 0));
    feed.hear(0, &quote("BTC-USDT-SWAP", 5, 1_000));
    let levels = (r#"["101.0","413.28","0","13"]"#, r#"["100.0","0","0","0"]"#);
    feed.hear(0, &book("BTC-USDT-SWAP", "snapshot", levels, 1_000, -1, 9));
    feed.hear(0, &book("BTC-USDT-SWAP", "update", levels, 1_100, 9, 10));
    feed.hear(0, &trade("SOL-USD_UM-SWAP", 1, 1_000, 0));
    feed.hear(0, &trade("BTC-USDT", 1, 1_000, 0));
    assert_eq!(
        feed.put(),
        [
            "#0 trade Sell 100.5 x 0.03 id 1 seq 1 at 1000 <>",
            "#0 quote 100.95 x 0.07, 101 x 0.2 seq 5 at 1000 <>",
            "#0 level Buy 100 x 0 from 9 seq 9 at 1000 <S",
            "#0 level Sell 101 x 4.1328 from 9 seq 9 at 1000 >S",
            "#0 live",
            "#0 level Buy 100 x 0 from 10 seq 10 at 1100 <",
            "#0 level Sell 101 x 4.1328 from 10 seq 10 at 1100 >",
            "#1 trade Sell 100.5 x 3 id 1 seq 1 at 1000 <>",
            "#2 trade Sell 100.5 x 3 id 1 seq 1 at 1000 <>",
        ]
    );
    let listed: Vec<_> = feed
        .instruments
        .since(0)
        .iter()
        .map(|i| format!("{} {} {:?}", i.symbol, i.native, i.lot_size.map(|lot| lot.to_string())))
        .collect();
    assert_eq!(
        listed,
        [
            r#"okx:BTC-USDT-SWAP BTC-USDT-SWAP Some("0.0002")"#,
            r#"okx:SOL-USD-UM-SWAP SOL-USD_UM-SWAP Some("1")"#,
            "okx:BTC-USDT BTC-USDT None",
        ]
    );
    // An inverse contract has no size in units of the base.
    feed.hear(0, &trade("BTC-USD-SWAP", 1, 1_000, 0));
    assert_eq!(feed.sink.rejects.pop().unwrap().0, "unknown_contract");
    // A size that does not fit is no reason to put a rounded one.
    feed.reply(&SWAPS.replace("\"0.01\"", "\"0.123456789\""));
    let levels = (r#"["101.0","98765432101234567","0","13"]"#, "");
    feed.hear(0, &book("BTC-USDT-SWAP", "update", levels, 1_200, 10, 11));
    let (kind, detail, _) = feed.sink.rejects.pop().unwrap();
    assert_eq!((kind, feed.sink.ticks.len()), ("bad_value", 0), "{detail}");
}

#[test]
fn a_trade_that_is_overtaken_on_another_connection_is_put_and_none_twice() {
    let mut feed = Feed::new();
    // Those from 3 on are heard on a younger connection first, and come on the older one later.
    let heard = [(0, 1), (0, 2), (1, 5), (1, 6), (0, 3), (0, 4), (0, 5), (0, 6), (1, 7), (0, 7)];
    for (link, id) in heard.into_iter().chain([(1, 1), (0, 4)]) {
        feed.hear(link, &trade("BTC-USDT", id, 1_000 + id, 0));
    }
    let put: Vec<_> = feed.sink.ticks.iter().map(|tick| (tick.as_trade().id, tick.seq)).collect();
    assert_eq!(put, [(1, 1), (2, 2), (5, 5), (6, 6), (3, 0), (4, 0), (7, 7)]);
    // Before all that is known it is taken for a copy.
    let many = 300;
    for id in (8..8 + many).filter(|id| id % 2 == 0) {
        feed.hear(1, &trade("BTC-USDT", id, 1_000 + id, 0));
    }
    for id in 8 + many..8 + 3 * many {
        feed.hear(1, &trade("BTC-USDT", id, 1_000 + id, 0));
    }
    feed.sink.ticks.clear();
    feed.hear(0, &trade("BTC-USDT", 9, 1_009, 0));
    assert!(feed.sink.ticks.is_empty());
    // Numbers that start over; none of before is known by its number alone.
    for (id, at) in [(3, 60_000), (4, 60_001), (3, 60_000), (4, 60_001)] {
        feed.hear(0, &trade("BTC-USDT", id, at, 0));
    }
    assert_eq!(feed.sink.ticks.len(), 2);
}

#[test]
fn no_trade_is_put_twice_and_no_kind_of_makers_hides_the_other() {
    let mut feed = Feed::new();
    for (link, id, source) in [
        (0, 10, 0),
        (1, 10, 0),
        (0, 13, 0),
        // The fill of another kind of makers within those that 13 sums.
        (0, 12, 1),
        (1, 13, 0),
        (1, 12, 1),
        (1, 14, 0),
        (0, 14, 0),
        (0, 13, 1),
    ] {
        feed.hear(link, &trade("BTC-USDT", id, 1_000 + id, source));
    }
    let put: Vec<_> = feed.sink.ticks.iter().map(|tick| (tick.as_trade().id, tick.seq)).collect();
    assert_eq!(put, [(10, 10), (13, 13), (12, 0), (14, 14), (13, 0)]);
    assert_eq!(feed.ignored("duplicate trade"), 4);
    // Ids that start over are told by their time.
    feed.hear(0, &trade("BTC-USDT", 1, 9_000, 0));
    feed.hear(1, &trade("BTC-USDT", 1, 9_000, 0));
    feed.hear(1, &trade("BTC-USDT", 15, 1_015, 0));
    let put: Vec<_> = feed.sink.ticks[5..].iter().map(|t| (t.as_trade().id, t.seq)).collect();
    assert_eq!(put, [(1, 0), (15, 15)], "a copy from before a reset is not told from a new one");
}

#[test]
fn no_quote_is_put_twice_and_a_reset_does_not_stop_them() {
    let mut feed = Feed::new();
    for (link, seq, ts) in
        [(0, 10, 100), (1, 10, 101), (0, 14, 110), (1, 12, 112), (0, 14, 60_110), (0, 3, 61_000)]
    {
        feed.hear(link, &quote("BTC-USDT", seq, ts));
    }
    // The keep-alive repeats the number of the last; 3 is of the numbers after maintenance.
    feed.hear(0, &quote("BTC-USDT", 5, 61_010));
    let put: Vec<_> = feed.sink.ticks.iter().map(|t| (t.ts_event / 1_000_000, t.seq)).collect();
    assert_eq!(put, [(100, 10), (110, 14), (61_000, 0), (61_010, 0)]);
    assert_eq!(feed.ignored("duplicate bbo-tbt"), 3);
}

#[test]
fn the_documented_sequence_is_one_chain() {
    let mut feed = Feed::new();
    let texts = [
        snapshot(1_000, 10),
        update(1_100, 10, 15),
        book("BTC-USDT", "update", ("", ""), 61_100, 15, 15),
        update(61_200, 15, 3),
        update(61_300, 3, 5),
    ];
    for text in &texts {
        feed.hear(0, text);
    }
    let first = |tick: &&Tick| tick.kind == Kind::Level && tick.has(flags::FIRST);
    let levels = feed.sink.ticks.iter().filter(first);
    let seqs: Vec<_> = levels.map(|t| (t.as_level().first, t.seq)).collect();
    assert_eq!(seqs, [(10, 10), (11, 15), (3, 3), (4, 5)]);
    assert_eq!(feed.ignored("books without a change"), 1);
    // The other connection is behind: none of its copies is taken or breaks the book.
    feed.sink.ticks.clear();
    for text in &texts {
        feed.hear(1, text);
    }
    assert_eq!(feed.put(), [""; 0]);
    assert_eq!(feed.ignored("duplicate books"), 4);
    assert_eq!(feed.ignored("snapshot not newer than the book"), 1);
    feed.hear(1, &update(61_400, 5, 9));
    feed.hear(0, &update(61_400, 5, 9));
    assert_eq!(feed.put(), ["#0 level Sell 102 x 0 from 6 seq 9 at 61400 <>"]);
    assert_eq!(feed.wants(), [""; 0]);
}

#[test]
fn a_gap_is_told_at_once_and_mended_by_subscribing_anew() {
    let mut feed = Feed::new();
    feed.hear(0, &snapshot(1_000, 10));
    feed.sink.ticks.clear();
    feed.hear(0, &update(1_200, 15, 18));
    assert_eq!(feed.put(), ["#0 resync"]);
    assert_eq!(feed.wants(), ["Resubscribe BTC-USDT"]);
    feed.hear(0, &update(1_300, 18, 20));
    assert_eq!((feed.put().len(), feed.ignored("gap before books")), (0, 1));
    feed.hear(0, r#"{"event":"unsubscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"a4d3ae55"}"#);
    // The snapshot lies before what waits: that goes on from it.
    feed.hear(0, &snapshot(1_200, 18));
    let put = feed.put();
    assert_eq!(put[3..], ["#0 level Sell 102 x 0 from 19 seq 20 at 1300 <>", "#0 live"]);
    assert_eq!(feed.wants(), [""; 0]);
}

#[test]
fn a_pause_that_names_another_number_is_a_gap() {
    let mut feed = Feed::new();
    feed.hear(0, &snapshot(1_000, 10));
    feed.hear(0, &book("BTC-USDT", "update", ("", ""), 61_000, 15, 15));
    assert_eq!(feed.put()[4..], ["#0 resync"]);
    assert_eq!(feed.wants(), ["Resubscribe BTC-USDT"]);
}

#[test]
fn a_snapshot_of_a_quiet_book_is_older_than_its_last_pause() {
    let mut feed = Feed::new();
    feed.hear(0, &snapshot(1_000, 10));
    feed.hear(0, &book("BTC-USDT", "update", ("", ""), 61_000, 15, 15));
    feed.sink.ticks.clear();
    feed.hear(0, &snapshot(1_100, 15));
    assert_eq!(feed.put().last().unwrap(), "#0 live");
    assert_eq!(feed.wants(), [""; 0]);
}

#[test]
fn a_clock_that_is_put_back_breaks_no_chain() {
    let mut feed = Feed::new();
    feed.hear(0, &snapshot(1_000, 10));
    feed.hear(0, &update(900, 10, 12));
    feed.hear(0, &update(950, 12, 15));
    feed.hear(0, &update(1_050, 15, 16));
    assert_eq!((feed.sink.ticks.len(), feed.ignored("duplicate books")), (3 + 1 + 3, 0));
}

#[test]
fn a_lost_reset_is_found_out() {
    let mut feed = Feed::new();
    feed.hear(0, &snapshot(1_000, 10));
    feed.sink.ticks.clear();
    // `prevSeqId` 10, `seqId` 3 is lost: 3 is not what this connection sent last.
    feed.hear(0, &update(1_200, 3, 5));
    assert_eq!((feed.put(), feed.wants().len()), (vec!["#0 resync".to_owned()], 1));
    feed.hear(0, &snapshot(1_200, 5));
    assert_eq!(feed.put().last().unwrap(), "#0 live");
    // A reset that follows something else that was lost.
    feed.hear(0, &update(1_400, 12, 2));
    assert_eq!((feed.put(), feed.wants().len()), (vec!["#0 resync".to_owned()], 1));
}

#[test]
fn a_connection_that_is_behind_and_stamps_its_own_time_breaks_nothing() {
    let mut feed = Feed::new();
    for (link, text) in [
        (0, snapshot(1_000, 10)),
        (1, snapshot(1_050, 10)),
        (0, update(1_100, 10, 12)),
        (0, update(1_200, 12, 15)),
        (1, update(1_250, 10, 12)),
        (1, update(1_350, 12, 15)),
        (0, update(1_400, 15, 16)),
    ] {
        feed.hear(link, &text);
    }
    let states = feed.sink.ticks.iter().filter(|tick| tick.kind == Kind::Status).count();
    assert_eq!((states, feed.ignored("duplicate books"), feed.wants().len()), (1, 2, 0));
    assert_eq!(feed.put().last().unwrap(), "#0 level Sell 102 x 0 from 16 seq 16 at 1400 <>");
}

#[test]
fn two_connections_carry_one_book_and_the_death_of_one_loses_nothing() {
    let mut feed = Feed::new();
    let natives: Vec<Box<str>> = vec!["BTC-USDT".into()];
    feed.hear(0, &snapshot(1_000, 10));
    // The second joins behind the first, then is ahead of it.
    feed.hear(1, &snapshot(900, 8));
    feed.hear(1, &update(1_000, 8, 10));
    feed.hear(1, &update(1_100, 10, 12));
    feed.hear(0, &update(1_100, 10, 12));
    feed.hear(1, &update(1_200, 12, 13));
    feed.put();
    feed.parser.lost(0, &[], RECV, &mut feed.sink);
    feed.hear(1, &update(1_300, 13, 17));
    assert_eq!(feed.put(), ["#0 level Sell 102 x 0 from 14 seq 17 at 1300 <>"]);
    // The last one goes too: stale, and live again with the next connection's snapshot.
    feed.parser.lost(1, &natives, RECV, &mut feed.sink);
    assert_eq!((feed.put(), feed.wants()), (vec!["#0 stale".to_owned()], vec![]));
    feed.parser.expect(&natives, true, RECV, &mut feed.sink);
    assert_eq!(feed.wants(), ["Resubscribe BTC-USDT"]);
    feed.hear(2, &snapshot(9_000, 4));
    assert_eq!(feed.put().last().unwrap(), "#0 live");
    feed.parser.distrust("BTC-USDT", RECV, &mut feed.sink);
    assert_eq!((feed.put(), feed.wants().len()), (vec!["#0 resync".to_owned()], 1));
}

#[test]
fn the_short_book_comes_whole_every_time() {
    let mut feed = Feed::new();
    let five = |ts: u64, seq: u64| {
        format!(
            r#"{{"arg":{{"channel":"books5","instId":"BTC-USDT"}},"data":[{{"asks":[["101","2","0","1"]],"bids":[],"instId":"BTC-USDT","ts":"{ts}","seqId":{seq}}}]}}"#
        )
    };
    for (ts, seq) in [(1_000, 10), (1_100, 15), (1_000, 10), (61_100, 15), (99_000, 2)] {
        feed.hear(0, &five(ts, seq));
    }
    let seqs: Vec<_> =
        feed.sink.ticks.iter().filter(|t| t.kind == Kind::Level).map(|t| t.seq).collect();
    assert_eq!(seqs, [10, 15, 2]);
    assert!(
        feed.sink.ticks.iter().filter(|t| t.kind == Kind::Level).all(|t| t.has(flags::SNAPSHOT))
    );
    let states: Vec<_> = feed.sink.ticks.iter().filter(|t| t.kind == Kind::Status).collect();
    assert_eq!((states.len(), states[0].as_status().state), (1, FeedState::Live));
}

#[test]
fn what_is_said_of_the_connection() {
    let mut feed = Feed::new();
    for (text, heard) in [
        ("pong", Heard::Alive),
        (
            r#"{"id":"1512","event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"a4d3ae55"}"#,
            Heard::Confirmed,
        ),
        (
            r#"{"event":"unsubscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"a4d3ae55"}"#,
            Heard::Alive,
        ),
        (
            r#"{"event":"channel-conn-count","channel":"orders","connCount":"2","connId":"abcd1234"}"#,
            Heard::Alive,
        ),
        (
            r#"{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. Please reconnect.","connId":"a4d3ae55"}"#,
            Heard::Leaving,
        ),
        (r#"{"event":"notice","code":"64000","msg":"","connId":"a4d3ae55"}"#, Heard::Alive),
        (r#"{"code":"0","msg":"","data":[{"ts":"1597026383085"}]}"#, Heard::Alive),
        (r#"{"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[{}]}"#, Heard::Alive),
    ] {
        assert_eq!(feed.hear(0, text), heard, "{text}");
    }
    assert_eq!(feed.put(), [""; 0]);
    for (text, detail) in [
        (
            r#"{"id":"1512","event":"error","code":"60018","msg":"Wrong URL or channel","connId":"a4d3ae55"}"#,
            "the venue reports: error 60018 Wrong URL or channel",
        ),
        (
            r#"{"code":"50011","msg":"Too Many Requests","data":[]}"#,
            "the venue reports: 50011 Too Many Requests",
        ),
    ] {
        assert_eq!(feed.hear(0, text), Heard::Refused);
        assert_eq!(feed.sink.rejects.pop().unwrap().1, detail);
    }
}

/// What is left of a message when any one byte is gone, or everything from there on: rejected, or
/// understood, and then never in part.
#[test]
fn a_damaged_message_puts_nothing() {
    let good = [
        snapshot(1_000, 10),
        update(1_000, 10, 15),
        trade("BTC-USDT", 1, 1_000, 0),
        quote("BTC-USDT", 5, 1_000),
    ];
    for text in &good {
        for at in 0..text.len() {
            let mut feed = Feed::new();
            feed.hear(0, &text[..at]);
            assert_eq!((feed.sink.ticks.len(), feed.sink.rejects.len()), (0, 1), "{}", &text[..at]);
        }
    }
    for (from, to) in [
        ("\"ts\":", "\"tz\":"),
        ("\"seqId\":10", "\"seqId\":-1"),
        ("\"100.0\"", "\"-100.0\""),
        ("\"1.5\"", "\"NaN\""),
        ("\"bids\"", "\"bidz\""),
        ("\"snapshot\"", "\"other\""),
        ("\"BTC-USDT\"", "\"BTC\""),
        ("\"asks\":[", "\"asks\":[[],"),
        ("[{", "[{},{"),
    ] {
        let mut feed = Feed::new();
        let bad = good[0].replace(from, to);
        assert_ne!(bad, good[0], "{from}");
        feed.hear(0, &bad);
        assert_eq!((feed.sink.ticks.len(), feed.sink.rejects.len()), (0, 1), "{bad}");
        assert!(feed.instruments.is_empty());
    }
}
