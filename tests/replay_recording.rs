//! A recording is replayed to the same bytes, every time.

mod common;

use std::path::PathBuf;

use common::{Client, Received, Server};
use serde_json::json;
use tickcast_feeds::Listing;
use tickcast_feeds::live::Tapped;
use tickcast_feeds::record::{Recorder, Rotation};
use tickcast_feeds::venue::Input;

const START: u64 = 1_723_161_253_000_000_000;

/// Each channel with what its last message has in it, the how manieth that does.
const CHANNELS: [(&str, &str, usize); 4] = [
    ("trade", "777.7", 1),
    ("quote", "777.7", 1),
    ("book", "777.7", 1),
    ("status", "\"symbol\":\"binance:ABCX-YZ\",\"state\":\"stale\"", 4),
];

/// A folder of the test's own, removed at its end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Trades, quotes and books of Binance on two links, with a loss and a break of the chain.
fn record(folder: &Folder) {
    let rotation = Rotation { bytes: u64::MAX, age_ns: u64::MAX };
    let on_stop = Box::new(|why: &_| panic!("{why}"));
    let recorder = Recorder::start(&folder.0, rotation, "test", START, on_stop).expect("starts");
    let make = recorder.taps();
    let mut tap = make(Tapped { feed: "binance:*", venue: "binance" }).expect("a tap");
    let tick_size = Some("0.01".parse().expect("a decimal"));
    // No rule would split this name.
    let odd = Listing { tick_size, ..Listing::pair("ABCXYZ", "ABCX", "YZ") };
    tap.listed(&[Listing::pair("BTCUSDT", "BTC", "USDT"), odd]);
    let natives = ["BTCUSDT".into(), "ABCXYZ".into()];
    let mut now = START;
    let mut keep = |input: &Input<'_>| {
        now += 1_000_003;
        tap.keep(now, input);
    };
    keep(&Input::Expect { natives: &natives, book: true });
    let snapshot = |last: u64| {
        format!(
            "{{\"lastUpdateId\":{last},\n\"bids\":[[\"99\",\"1\"]],\"asks\":[[\"101\",\"1\"]]}}"
        )
    };
    let reply = |text: &str, keep: &mut dyn FnMut(&Input<'_>)| {
        keep(&Input::Reply { url: "/api/v3/depth?symbol=BTCUSDT", text: text.as_bytes() });
    };
    reply(&snapshot(1), &mut keep);
    for n in 2..2_000_u64 {
        let link = (n % 2) as u16;
        let symbol = if n % 5 == 0 { "ABCXYZ" } else { "BTCUSDT" };
        for text in messages(n, symbol, &format!("101.{}", n % 50)) {
            keep(&Input::Message { link, text: text.as_bytes() });
        }
        match n {
            500 => keep(&Input::Lost { link: 0, orphans: &natives[1..] }),
            700 => keep(&Input::Lost { link: 1, orphans: &natives }),
            900 => keep(&Input::Distrust { native: "BTCUSDT" }),
            1_000 => reply(&snapshot(1_000), &mut keep),
            _ => {}
        }
    }
    for text in messages(2_000, "BTCUSDT", "777.7") {
        keep(&Input::Message { link: 0, text: text.as_bytes() });
    }
    keep(&Input::Lost { link: 0, orphans: &natives });
    drop(tap);
    recorder.close();
}

/// A trade and a quote of this symbol, and a change of BTCUSDT's book, all of them at this price.
fn messages(n: u64, symbol: &str, ask: &str) -> [String; 3] {
    let bid = format!("9{}.5", n % 9);
    [
        format!(
            r#"{{"e":"trade","E":1723161253000,"s":"{symbol}","t":{n},"p":"{ask}","q":"0.1","T":1723161253000,"m":true}}"#
        ),
        format!(r#"{{"u":{n},"s":"{symbol}","b":"{bid}","B":"1","a":"{ask}","A":"{n}"}}"#),
        format!(
            r#"{{"e":"depthUpdate","E":1723161253000,"s":"BTCUSDT","U":{n},"u":{n},"b":[["{bid}","{}"]],"a":[["{ask}","{n}"]]}}"#,
            n % 3
        ),
    ]
}

/// The texts that a client of each channel gets of a replay, from its start to its end.
fn replayed(folder: &Folder, keys: &str) -> Vec<Vec<String>> {
    let spec = format!("replay:{},rebase=false,wait=5{keys}", folder.0.display());
    let server = Server::start(&["--feed", &spec, "--reactors", "1"]);
    // Who is there before the symbols are is told of each as it comes, and who is not finds them there.
    let mut last = Client::native(&server);
    while last.ask(&json!({"method": "list_symbols"}))["result"] == json!([]) {
        common::pause();
    }
    let clients = CHANNELS.map(|(channel, last, mut times)| {
        let mut client = Client::native(&server);
        client.subscribe(channel, &["*"]);
        std::thread::spawn(move || {
            let mut texts = Vec::new();
            while times > 0 {
                match client.frame_in() {
                    // The time's, not the feed's.
                    Received::Text(text) if text.contains("heartbeat") => {}
                    Received::Text(text) => {
                        times -= usize::from(text.contains(last));
                        texts.push(text);
                    }
                    Received::Ping(payload) => client.frame(0x8a, &payload),
                    other => panic!("{channel}: expected a message, got {other:?}"),
                }
            }
            texts
        })
    });
    // The replay begins when all of them are there, with what they are told first: a snapshot that waits for its turn
    // on a busy machine would be of later. What is reported is of a moment ago.
    (0..30).for_each(|_| common::pause());
    server.wait_metric("tickcast_admission_waiting", "", |waiting| waiting == 0.0);
    last.subscribe("status", &["binance:ABCX-YZ"]);
    clients.into_iter().map(|client| client.join().expect("a client")).collect()
}

#[test]
fn every_replay_sends_the_same_bytes() {
    let name = format!("tickcast-replay-{}", std::process::id());
    let folder = Folder(std::env::temp_dir().join(name));
    record(&folder);
    let first = replayed(&folder, ",speed=max");
    let counts: Vec<usize> = first.iter().map(Vec::len).collect();
    assert!(counts[0] > 1_500 && counts[1] > 1_500 && counts[2] > 1_000, "{counts:?}");
    assert!(first[3].iter().any(|text| text.contains("\"resync\"")), "{:?}", first[3]);
    assert!(first[0].iter().any(|text| text.contains("binance:ABCX-YZ")));
    for keys in [",speed=max", ",speed=20"] {
        let again = replayed(&folder, keys);
        for ((channel, ..), (a, b)) in CHANNELS.iter().zip(first.iter().zip(&again)) {
            assert_eq!(a.len(), b.len(), "{channel} {keys}");
            if let Some((a, b)) = a.iter().zip(b).find(|(a, b)| a != b) {
                panic!("{channel} {keys}: {a}\n{b}");
            }
        }
    }
}
