//! Nothing is allocated per tick once everything has its size: from a venue's text to the ring, and from the ring to the
//! sockets of clients. The only tests of this program, as they count its memory (each that of its own thread).

mod common;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use allocation_counter::{AllocationInfo, measure};
use flate2::Crc;
use flate2::read::MultiGzDecoder;
use tickcast::bench::{FeedSide, Reactor};
use tickcast::derive::bar::Deal;
use tickcast::derive::{Bar, Span};
use tickcast::wire::binance::{Unit, encode};
use tickcast::wire::deflate::{Deflater, Inflater};
use tickcast::wire::request::Channel;
use tickcast_feeds::venue::{Binance, Coinbase, Context, Kraken, Venue};
use tickcast_feeds::{
    InstrumentId, Instruments, Quote, Side, Sink, SinkClosed, Stamp, Tick, Trade,
};

const RECV_NS: u64 = 1_723_161_255_343_000_000;

/// Rounds after which every buffer has the size that it will have: histories of trades grow up to 1,000, and the first
/// bar of a second is over.
const WARM_UP: u64 = 1_100;
const ROUNDS: u64 = 1_000;

/// Allocations of what was measured, by number and bytes.
fn allocated(info: &AllocationInfo) -> (u64, u64) {
    (info.count_total, info.bytes_total)
}

/// Messages as Binance sends them about two symbols: of each a trade, a quote and a book event a round.
struct Messages {
    texts: Vec<String>,
}

impl Messages {
    const PER_ROUND: usize = 6;

    /// All messages of rounds 1 up to `rounds`, made beforehand.
    fn new(rounds: u64) -> Self {
        let texts = (1..=rounds).flat_map(|round| ["BTC", "ETH"].map(|base| Self::of(base, round)));
        Messages { texts: texts.flatten().collect() }
    }

    fn of(base: &str, round: u64) -> [String; 3] {
        let (symbol, low) = (format!("{base}USDT"), base.to_lowercase());
        let (time, id) = (1_723_161_255_343 + round, 3_735_683_259 + round);
        // Levels come and go around a book that stays as large as it is.
        let (there, gone) = if round.is_multiple_of(2) { ("0.5", "0") } else { ("0", "0.5") };
        let cents = round % 100;
        [
            format!(
                r#"{{"stream":"{low}usdt@trade","data":{{"e":"trade","E":{time},"s":"{symbol}","t":{id},"p":"61837.{cents:02}000000","q":"0.02000000","T":{time},"m":true,"M":true}}}}"#
            ),
            format!(
                r#"{{"stream":"{low}usdt@bookTicker","data":{{"u":{id},"s":"{symbol}","b":"61837.63000000","B":"3.{cents:02}826000","a":"61837.64000000","A":"1.54698000"}}}}"#
            ),
            format!(
                r#"{{"stream":"{low}usdt@depth@100ms","data":{{"e":"depthUpdate","E":{time},"s":"{symbol}","U":{id},"u":{id},"b":[["61837.10000000","{there}"],["61837.00000000","{gone}"]],"a":[["61838.04000000","{there}"],["61839.00000000","3.{cents:02}000000"]]}}}}"#
            ),
        ]
    }

    fn round(&self, round: u64) -> &[String] {
        let at = (round as usize - 1) * Self::PER_ROUND;
        &self.texts[at..at + Self::PER_ROUND]
    }
}

/// The snapshot that the first diff of [`Messages`] follows.
const SNAPSHOT: &str = r#"{"lastUpdateId":3735683259,"bids":[["61837.63000000","3.78"],["61837.10000000","0.6"]],"asks":[["61837.64000000","1.6"],["61838.04000000","1"],["61839","2"]]}"#;

/// A parser and what is behind it, up to the ring, with both books known.
struct Feed {
    parser: Binance,
    side: FeedSide,
    messages: Messages,
}

impl Feed {
    fn new() -> Self {
        let instruments = Arc::new(Instruments::new());
        let mut feed = Feed {
            parser: Binance::new(instruments.clone()),
            side: FeedSide::new(instruments),
            messages: Messages::new(WARM_UP + ROUNDS),
        };
        for symbol in ["BTCUSDT", "ETHUSDT"] {
            let context = Context { symbol: Some(symbol), ..Context::default() };
            feed.parser.message(SNAPSHOT.as_bytes(), RECV_NS, context, feed.side.sink());
        }
        feed.side.sink().flush().unwrap();
        feed.side.ingest();
        feed
    }

    fn round(&mut self, round: u64) {
        for text in self.messages.round(round) {
            let context = Context::default();
            let recv_ns = RECV_NS + round * 1_000_000;
            self.parser.message(text.as_bytes(), recv_ns, context, self.side.sink());
        }
        self.side.sink().flush().unwrap();
        self.side.ingest();
    }
}

#[test]
fn from_text_to_ring_nothing_is_allocated() {
    let mut feed = Feed::new();
    (1..=WARM_UP).for_each(|round| feed.round(round));
    let before = feed.side.report();
    let info = measure(|| (WARM_UP + 1..=WARM_UP + ROUNDS).for_each(|round| feed.round(round)));
    let report = feed.side.report();
    // Of both symbols: a trade, a quote, four levels.
    assert_eq!(report.ticks - before.ticks, ROUNDS * 12);
    assert_eq!((report.duplicates, report.book_errors), (0, 0));
    assert_eq!(allocated(&info), (0, 0), "in {ROUNDS} rounds");
}

/// A sink that only counts.
#[derive(Default)]
struct Count(u64);

impl Sink for Count {
    fn put(&mut self, _: &Tick) {
        self.0 += 1;
    }

    fn flush(&mut self) -> Result<(), SinkClosed> {
        Ok(())
    }

    fn reject(&mut self, kind: &'static str, detail: &str, _: &[u8]) {
        panic!("{kind}: {detail}");
    }

    fn restart(&mut self) {}
}

#[test]
fn coinbase_s_parser_allocates_nothing_either() {
    let mut parser = Coinbase::new(Arc::new(Instruments::new()));
    let mut sink = Count::default();
    let texts: Vec<String> = (0..WARM_UP + ROUNDS)
        .map(|at| {
            let id = 181_000_000 + at;
            format!(
                r#"{{"type":"match","trade_id":{id},"maker_order_id":"a","taker_order_id":"b","side":"buy","size":"0.01","price":"50000.5","product_id":"BTC-USD","sequence":{id},"time":"2021-04-17T16:43:36.989711Z"}}"#
            )
        })
        .collect();
    let mut read = |texts: &[String]| {
        for text in texts {
            parser.message(text.as_bytes(), RECV_NS, Context::default(), &mut sink);
        }
    };
    let (first, then) = texts.split_at(WARM_UP as usize);
    read(first);
    let info = measure(|| read(then));
    assert_eq!(sink.0, WARM_UP + ROUNDS);
    assert_eq!(allocated(&info), (0, 0), "in {ROUNDS} trades");
}

/// A book of Kraken of one level a side, or what makes another such one of it, and a trade and a quote.
fn kraken_round(at: u64) -> [String; 3] {
    let kind = if at == 0 { "snapshot" } else { "update" };
    let (gone, bid) = (64_000 + (at + 1) % 2, 64_000 + at % 2);
    let bids =
        format!(r#"{{"price":{gone}.1,"qty":0.00000000}},{{"price":{bid}.1,"qty":0.50000000}}"#);
    let mut crc = Crc::new();
    crc.update(format!("64100415000000{bid}150000000").as_bytes());
    let checksum = crc.sum();
    let time = "2023-10-06T17:35:55.440295Z";
    let (asks, id) = (r#"{"price":64100.4,"qty":0.15000000}"#, 1_000 + at);
    [
        format!(
            r#"{{"channel":"book","type":"{kind}","data":[{{"symbol":"BTC/USD","bids":[{bids}],"asks":[{asks}],"checksum":{checksum},"timestamp":"{time}"}}]}}"#
        ),
        format!(
            r#"{{"channel":"trade","type":"update","data":[{{"symbol":"BTC/USD","side":"buy","price":{bid}.1,"qty":0.00027625,"ord_type":"limit","trade_id":{id},"timestamp":"{time}"}}]}}"#
        ),
        format!(
            r#"{{"channel":"ticker","type":"update","data":[{{"symbol":"BTC/USD","bid":{bid}.1,"bid_qty":0.50000000,"ask":64100.4,"ask_qty":0.15000000,"last":64000.1,"timestamp":"{time}"}}]}}"#
        ),
    ]
}

#[test]
fn neither_does_kraken_s_which_keeps_books() {
    let mut parser = Kraken::new(Arc::new(Instruments::new()));
    let mut sink = Count::default();
    let texts: Vec<String> = (0..WARM_UP + ROUNDS).flat_map(kraken_round).collect();
    let mut read = |texts: &[String]| {
        for text in texts {
            parser.message(text.as_bytes(), RECV_NS, Context::default(), &mut sink);
        }
    };
    let (first, then) = texts.split_at(3 * WARM_UP as usize);
    read(first);
    let info = measure(|| read(then));
    // Three levels, a trade and a quote a round; at the start a status in place of the level that is gone.
    assert_eq!(sink.0, 5 * (WARM_UP + ROUNDS));
    assert_eq!(allocated(&info), (0, 0), "in {ROUNDS} rounds");
}

/// A capture's messages in order, without those that have no object.
fn messages(capture: &Path) -> Vec<Vec<u8>> {
    let mut text = Vec::new();
    MultiGzDecoder::new(File::open(capture).unwrap()).read_to_end(&mut text).unwrap();
    let message = |line: &[u8]| Some(line[line.iter().position(|&b| b == b'{')?..].to_vec());
    text.split(|&b| b == b'\n').filter_map(message).collect()
}

#[test]
fn real_messages_of_binance_are_parsed_without_allocations() {
    let Some(folder) = common::captures() else { return };
    for symbol in ["BTCUSDT", "ETHUSDT"] {
        let name = format!("binance_spot_{}_20240808.jsonl.gz", symbol.to_lowercase());
        let messages = messages(&folder.join("binance_spot").join(name));
        // The book's snapshot is the largest message; it comes soon.
        let (first, then) = messages.split_at(messages.len() / 4);
        let mut parser = Binance::new(Arc::new(Instruments::new()));
        let mut sink = Count::default();
        let mut read = |messages: &[Vec<u8>]| {
            let context = Context { symbol: Some(symbol), ..Context::default() };
            for text in messages {
                parser.message(text, RECV_NS, context, &mut sink);
            }
        };
        read(first);
        let info = measure(|| read(then));
        assert!(sink.0 > 30_000, "{symbol}: {} ticks", sink.0);
        assert_eq!(allocated(&info), (0, 0), "{symbol}, in {} messages", then.len());
    }
}

/// How many messages there were and how many of them allocated: those that hold `what`, and the others. The first quarter
/// only warms up.
fn allocating(messages: &[Vec<u8>], what: &[u8], mut take: impl FnMut(&[u8])) -> [(u32, u32); 2] {
    let (first, then) = messages.split_at(messages.len() / 4);
    first.iter().for_each(|text| take(text));
    let mut sums = [(0, 0); 2];
    for text in then {
        let holds = text.windows(what.len()).any(|part| part == what);
        let info = measure(|| take(text));
        let (all, some) = &mut sums[usize::from(!holds)];
        *all += 1;
        *some += u32::from(info.count_total > 0);
    }
    sums
}

#[test]
fn real_book_diffs_of_coinbase_allocate_rarely_and_its_trades_never() {
    let Some(folder) = common::captures() else { return };
    let messages = messages(&folder.join("coinbase_exchange_2021/COINBASE.ws.28.0.gz"));
    let mut parser = Coinbase::new(Arc::new(Instruments::new()));
    let mut sink = Count::default();
    let sums = allocating(&messages, b"l2update", |text| {
        parser.message(text, RECV_NS, Context::default(), &mut sink);
    });
    println!("coinbase's parser, (messages, of these allocating), diffs and others: {sums:?}");
    let [diffs, others] = sums;
    // Nodes of the tree that quotes come from.
    assert!(diffs.0 > 5_000 && diffs.1 * 20 < diffs.0, "{diffs:?}");
    assert!(others.0 > 100 && others.1 == 0, "{others:?}");
}

#[test]
fn up_to_the_ring_real_messages_allocate_only_for_books_and_rarely() {
    let Some(folder) = common::captures() else { return };
    let messages = messages(&folder.join("binance_spot/binance_spot_btcusdt_20240808.jsonl.gz"));
    let instruments = Arc::new(Instruments::new());
    let (mut parser, mut side) = (Binance::new(instruments.clone()), FeedSide::new(instruments));
    let context = Context { symbol: Some("BTCUSDT"), ..Context::default() };
    let sums = allocating(&messages, b"depthUpdate", |text| {
        parser.message(text, RECV_NS, context, side.sink());
        side.sink().flush().unwrap();
        side.ingest();
    });
    println!("binance up to the ring, (messages, of these allocating), diffs and others: {sums:?}");
    let [diffs, others] = sums;
    assert!(diffs.0 > 2_000 && diffs.1 * 20 < diffs.0, "{diffs:?}");
    // The history of the bars of seconds doubles up to 1,000, the minutes' to 8.
    assert!(others.0 > 25_000 && others.1 <= 4, "{others:?}");
}

#[test]
fn bars_and_tickers_are_made_and_sent_without_allocations() {
    let mut feed = Feed::new();
    let mut reactor = Reactor::new(&feed.side).unwrap();
    let mut clients = connect(&mut reactor, 5);
    for (id, _) in clients.iter().enumerate() {
        for instrument in [0, 1] {
            for interval in 0..4 {
                reactor.subscribe(id as u32, Channel::Bar, instrument, interval);
            }
            reactor.subscribe(id as u32, Channel::Ticker, instrument, 0);
        }
    }
    reactor.turns(7, |_| {});
    let mut buffer = vec![0; 64 << 10];
    let mut round = 0;
    let mut run = |rounds: u64| {
        let before = reactor.report();
        let info = measure(|| {
            reactor.turns(rounds, |_| {
                clients.iter_mut().for_each(|client| client.read(&mut buffer));
                round += 1;
                feed.round(round);
            });
        });
        (allocated(&info), reactor.report().encoded - before.encoded)
    };
    run(WARM_UP);
    // Another quarter of a second, in which each was sent again.
    run(250);
    let ((few, _), (many, encoded)) = (run(10), run(690));
    assert_eq!(many, few);
    // Of both symbols: trade, quote, book at two depths in each round; bars and tickers twice or more.
    assert!(encoded >= 690 * 8 + 2 * 5 * 2, "{encoded}");
}

/// A client's end of its connection.
struct Client {
    stream: TcpStream,
    /// Bytes that came.
    got: u64,
}

impl Client {
    /// Reads what has come.
    fn read(&mut self, buffer: &mut [u8]) {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => panic!("the reactor closed the connection"),
                Ok(count) => self.got += count as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Every message of Binance's dialect.
#[test]
fn the_binance_dialect_is_written_without_allocations() {
    let stamp = Stamp { event: RECV_NS, recv: RECV_NS, seq: 1 };
    let price = |text: &str| text.parse().unwrap();
    let trade = Trade { price: price("1.5"), size: price("2"), id: 1, side: Side::Buy };
    let trade = Tick::trade(InstrumentId(0), stamp, &trade);
    let (bid, ask) = (price("1.25"), price("1.5"));
    let quote = Quote { bid, bid_size: price("1e9"), ask, ask_size: price("1e-9") };
    let quote = Tick::quote(InstrumentId(0), stamp, &quote).unwrap();
    let bar = Bar::new(Span::Minute, RECV_NS / 1_000_000_000, &Deal::new(&trade));
    let day = encode::Day { bar: &bar, quote: Some(&quote), trade: Some(&trade) };
    let (heads, unit) = (encode::Heads::new("BTCUSDT"), Unit::Milli);
    let envelope = encode::Envelope::new("btcusdt@ticker");
    let covered = encode::Covered { first: 1, last: 2, time_ns: RECV_NS };
    let levels = || [(bid, ask)].into_iter();
    let mut out = Vec::with_capacity(16 * 1024);
    let info = measure(|| {
        encode::trade(&mut out, &heads, &trade, unit);
        encode::agg_trade(&mut out, &heads, &trade, unit);
        encode::book_ticker(&mut out, &heads, &quote);
        encode::depth_update(&mut out, &heads, covered, levels(), levels(), unit);
        encode::partial_depth(&mut out, 1, levels(), levels());
        encode::mini_ticker(&mut out, &heads, &bar, unit);
        encode::kline(&mut out, &heads, &bar, unit);
        envelope.around(&mut out, |out| encode::ticker(out, &heads, &day, unit));
    });
    assert!(out.len() > 1_000, "{}", out.len());
    assert_eq!(allocated(&info), (0, 0));
}

/// Clients of a reactor: all of them take all channels of both symbols.
fn connect(reactor: &mut Reactor, count: u64) -> Vec<Client> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let client = |_| {
        let stream = TcpStream::connect(address).unwrap();
        let (near, _) = listener.accept().unwrap();
        for end in [&stream, &near] {
            end.set_nonblocking(true).unwrap();
        }
        let id = reactor.connect(near).unwrap();
        for instrument in [0, 1] {
            for channel in [Channel::Trade, Channel::Quote, Channel::Status] {
                reactor.subscribe(id, channel, instrument, 0);
            }
            for depth in [0, 10] {
                reactor.subscribe(id, Channel::Book, instrument, depth);
            }
        }
        Client { stream, got: 0 }
    };
    (0..count).map(client).collect()
}

#[test]
fn from_ring_to_sockets_nothing_is_allocated() {
    const CLIENTS: u64 = 20;
    const FEW: u64 = 10;
    let mut feed = Feed::new();
    let mut reactor = Reactor::new(&feed.side).unwrap();
    let mut clients = connect(&mut reactor, CLIENTS);
    // Snapshots first: a subscription hears nothing before its own.
    // However slow the clock makes it, a turn without ticks serves one client at least.
    reactor.turns(CLIENTS + 2, |_| {});
    let mut buffer = vec![0; 64 << 10];
    let mut round = 0;
    let mut run = |rounds: u64| {
        let before = reactor.report();
        let info = measure(|| {
            reactor.turns(rounds, |_| {
                clients.iter_mut().for_each(|client| client.read(&mut buffer));
                round += 1;
                feed.round(round);
            });
        });
        clients.iter_mut().for_each(|client| client.read(&mut buffer));
        let report = reactor.report();
        // Of both symbols: a trade, a quote, four levels.
        assert_eq!(report.ticks - before.ticks, rounds * 12);
        // Of both symbols: trade, quote, and the book at two depths, in one write.
        assert_eq!(report.deliveries - before.deliveries, rounds * CLIENTS * 8);
        assert_eq!(report.sends - before.sends, rounds * CLIENTS);
        assert_eq!((report.blocked, report.lapped), (0, 0));
        assert_eq!(clients.iter().map(|client| client.got).sum::<u64>(), report.sent_bytes);
        allocated(&info)
    };
    run(WARM_UP);
    // What tokio allocates when its runtime is entered is the same for few turns as for many.
    let (few, many) = (run(FEW), run(ROUNDS - FEW));
    assert_eq!(many, few, "in {ROUNDS} rounds, against {FEW}");
    assert!(few.0 < FEW, "{few:?} in {FEW} rounds");
}

#[test]
fn a_message_is_compressed_and_inflated_without_allocating() {
    let (mut deflater, mut inflater) = (Deflater::default(), Inflater::default());
    let messages = Messages::new(100);
    let mut round = |texts: &[String]| {
        for text in texts {
            let payload = deflater.deflate(text.as_bytes());
            assert!(payload.len() < text.len());
            let message = inflater.inflate(payload, 1 << 20).expect("valid");
            assert_eq!(message, text.as_bytes());
        }
    };
    round(&messages.texts);
    let info = measure(|| round(&messages.texts));
    assert_eq!(allocated(&info), (0, 0));
}
