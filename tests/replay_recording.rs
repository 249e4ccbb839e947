//! A recording is replayed to the same bytes, every time.

mod common;

use std::path::PathBuf;
use std::time::Instant;

use common::{Client, PATIENCE, Received, Server, pause};
use tickcast_feeds::Listing;
use tickcast_feeds::live::Tapped;
use tickcast_feeds::record::{Recorder, Rotation};
use tickcast_feeds::venue::Input;

const START: u64 = 1_723_161_253_000_000_000;
const CHANNELS: [&str; 4] = ["trade", "quote", "book", "status"];

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
        let texts = [
            format!(
                r#"{{"e":"trade","E":1723161253000,"s":"{symbol}","t":{n},"p":"100.{n}","q":"0.1","T":1723161253000,"m":true}}"#
            ),
            format!(r#"{{"u":{n},"s":"{symbol}","b":"99.{n}","B":"1","a":"101","A":"{n}"}}"#),
            format!(
                r#"{{"e":"depthUpdate","E":1723161253000,"s":"BTCUSDT","U":{n},"u":{n},"b":[["9{}.5","{}"]],"a":[["101.{}","{n}"]]}}"#,
                n % 9,
                n % 3,
                n % 50
            ),
        ];
        for text in &texts {
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
    drop(tap);
    recorder.close();
}

/// The texts that a client of each channel gets of a replay, from its start to its end.
fn replayed(folder: &Folder, keys: &str) -> Vec<Vec<String>> {
    let spec = format!("replay:{},rebase=false,wait=5{keys}", folder.0.display());
    let mut server = Server::start(&["--feed", &spec, "--reactors", "1"]);
    let clients = CHANNELS.map(|channel| {
        let mut client = Client::native(&server);
        client.subscribe(channel, &["*"]);
        std::thread::spawn(move || {
            let mut texts = Vec::new();
            loop {
                match client.frame_in() {
                    Received::Text(text) => texts.push(text),
                    Received::Close(..) | Received::End => return texts,
                    _ => {}
                }
            }
        })
    });
    // The replay begins when all of them are there.
    let mut last = Client::native(&server);
    last.subscribe("status", &["binance:ABCX-YZ"]);
    let until = Instant::now() + PATIENCE;
    while !server.get("/v1/feeds").1.contains("\"ended\"") {
        assert!(Instant::now() < until, "the replay does not end");
        pause();
    }
    server.signal("TERM");
    assert!(server.wait().success());
    // What is of the process (the answer with its epoch, the drain) or of the time (heartbeats).
    let of_the_feed = |text: &String| {
        !["\"method\"", "\"heartbeat\"", "\"drain\""].iter().any(|part| text.contains(part))
    };
    clients
        .into_iter()
        .map(|client| client.join().expect("a client").into_iter().filter(of_the_feed).collect())
        .collect()
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
        for (channel, (a, b)) in CHANNELS.iter().zip(first.iter().zip(&again)) {
            assert_eq!(a.len(), b.len(), "{channel} {keys}");
            if let Some((a, b)) = a.iter().zip(b).find(|(a, b)| a != b) {
                panic!("{channel} {keys}: {a}\n{b}");
            }
        }
    }
}
