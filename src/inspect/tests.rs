//! What an inspection tells of recordings whose content is known.

use std::fs;
use std::io::Write as _;

use tickcast_feeds::live::Tapped;
use tickcast_feeds::record::{MANIFEST, Recorder, Rotation};
use tickcast_feeds::{Listing, replay};

use super::*;

const START: u64 = 1_723_161_253_000_000_000;
const MS: u64 = 1_000_000;

/// A folder of the test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("tickcast-inspect-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn diff(first: u64, last: u64) -> String {
    format!(
        r#"{{"e":"depthUpdate","E":1723161253000,"s":"BTCUSDT","U":{first},"u":{last},"b":[["100","{last}"]],"a":[]}}"#
    )
}

fn trade(id: u64) -> String {
    format!(
        r#"{{"e":"trade","E":1723161253000,"s":"ETHUSDT","t":{id},"p":"100.5","q":"0.1","T":1723161253000,"m":true}}"#
    )
}

/// Records what happens at these milliseconds.
fn record(folder: &Folder, inputs: &[(u64, Input<'_>)]) -> PathBuf {
    let rotation = Rotation { bytes: u64::MAX, age_ns: u64::MAX };
    let recorder =
        Recorder::start(&folder.0, rotation, "test", START, Box::new(|why| panic!("{why}")))
            .unwrap();
    let make = recorder.taps();
    let feed = "binance:*,url=wss://me:secret@host/ws";
    let mut tap = make(Tapped { feed, venue: "binance" }).unwrap();
    let pairs = [("BTCUSDT", "BTC"), ("ETHUSDT", "ETH"), ("BNBUSDT", "BNB")];
    tap.listed(&pairs.map(|(native, base)| Listing::pair(native, base, "USDT")));
    for (ms, input) in inputs {
        tap.keep(START + ms * MS, input);
    }
    let directory = recorder.directory().to_owned();
    recorder.close();
    directory
}

fn message(link: u16, text: &str) -> Input<'_> {
    Input::Message { link, text: text.as_bytes() }
}

/// Two symbols on two links with a break of the chain, a loss, and a message that is none.
fn eventful(folder: &Folder) -> PathBuf {
    let natives = ["BTCUSDT".into(), "ETHUSDT".into()];
    let (url, first) =
        ("/api/v3/depth?symbol=BTCUSDT", r#"{"lastUpdateId":4,"bids":[],"asks":[]}"#);
    let second = first.replace('4', "9");
    let reply = |text| Input::Reply { url, text };
    let (diffs, trades) =
        ([diff(5, 6), diff(7, 7), diff(9, 9), diff(10, 10)], [1, 1, 2].map(trade));
    let inputs = [
        (0, Input::Expect { natives: &natives, book: true }),
        (0, message(0, &diffs[0])),
        (10, reply(first.as_bytes())),
        (20, message(0, &diffs[1])),
        (20, message(1, &trades[0])),
        (20, message(0, &trades[1])),
        // The diff of 8 is missing, for 400 ms.
        (1_000, message(0, &diffs[2])),
        (1_400, reply(second.as_bytes())),
        (1_500, message(1, r#"{"e":"trade","s":"ETHUSDT"}"#)),
        (2_500, Input::Lost { link: 0, orphans: &natives[..1] }),
        (3_000, message(1, &trades[2])),
        (5_000, message(2, &diffs[3])),
        (6_000, Input::Distrust { native: "BTCUSDT" }),
        (7_000, message(2, r#"{"result":null,"id":1}"#)),
    ];
    record(folder, &inputs)
}

#[test]
fn it_tells_what_is_there_and_what_is_wrong() {
    let folder = Folder::new("eventful");
    let directory = eventful(&folder);
    let report = inspect(std::slice::from_ref(&folder.0)).unwrap();
    assert_eq!(report.recordings[0].path, directory.display().to_string());
    assert_eq!((report.first_ns, report.last_ns), (START, START + 7_000 * MS));
    assert_eq!((report.messages, report.symbols), (11, 3));
    let said = &report.recordings[0];
    assert_eq!((said.disk_files, said.disk_bytes), (1, said.files[0].compressed));
    // 5 messages in the first second, then 3, 0, 1, 0, 1, 0, 1.
    assert_eq!((report.rate.mean, report.rate.p99, report.rate.peak), (1.6, 5, 5));
    assert_eq!(report.rate.peak_at, "2024-08-08T23:54:13.000Z");
    let feed = &report.feeds[0];
    assert_eq!(feed.name, "binance:*,url=wss://host/ws");
    assert_eq!((feed.messages, feed.replies, feed.confirmed, feed.distrusted), (11, 2, 1, 1));
    let kinds: Vec<_> = feed.kinds.iter().map(|kind| (kind.kind, kind.messages)).collect();
    // Without a tick: a diff that waits, a trade that came twice, what breaks the chain and so
    // waits too, what is none, an answer.
    assert_eq!(kinds, [("trade", 2), ("quote", 0), ("book", 4), ("none", 5)]);
    let links = feed.links.iter().map(|l| (l.link, l.messages, l.lost, l.silence_ms));
    assert_eq!(links.collect::<Vec<_>>(), [(0, 4, 1, 980), (1, 3, 0, 4_000), (2, 2, 0, 2_000)]);
    assert_eq!(feed.links[1].silence_at, "2024-08-08T23:54:16.000Z");
    let [btc, eth] = &feed.symbols[..] else { panic!("{:?}", feed.symbols) };
    assert_eq!((btc.symbol.as_str(), btc.messages, btc.snapshots), ("binance:BTC-USDT", 4, 2));
    // Down by the gap for 400 ms, by the loss for 2.5 s, and by the distrust to the end.
    assert_eq!((btc.gaps, btc.resyncs, btc.down_ms, btc.down), (1, 2, 3_900, true));
    assert_eq!((eth.symbol.as_str(), eth.trades, eth.resyncs), ("binance:ETH-USDT", 2, 0));
    assert_eq!((feed.rejects.len(), feed.rejects[0].count), (1, 1));
    assert!(report.notices.is_empty() && feed.holes.is_empty());
}

#[test]
fn both_forms_hold_what_matters() {
    let folder = Folder::new("forms");
    eventful(&folder);
    let report = inspect(std::slice::from_ref(&folder.0)).unwrap();
    let text = table::text(&report);
    for part in [
        "closed",
        "11 messages of ",
        "binance:BTC-USDT",
        "3900 ms+",
        "! 1 times a book turned out to be wrong",
        "! 1 rejected, ",
        "lost 1 times",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    assert!(!text.contains("secret"));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["feeds"][0]["symbols"][0]["gaps"], 1);
    assert_eq!(json["recordings"][0]["state"], "closed");
}

#[test]
fn a_torn_recording_without_a_manifest_is_read_all_the_same() {
    let folder = Folder::new("torn");
    let directory = eventful(&folder);
    fs::remove_file(directory.join(MANIFEST)).unwrap();
    let file = directory.join("1-binance.0001.zst");
    fs::OpenOptions::new()
        .append(true)
        .open(file)
        .unwrap()
        .write_all(b"\x28\xb5\x2f\xfdx")
        .unwrap();
    let report = inspect(&[directory]).unwrap();
    assert!(report.recordings[0].rebuilt);
    assert_eq!(report.messages, 11);
    let hole = &report.feeds[0].holes[0];
    assert!(hole.contains("1-binance.0001.zst is torn: its last 5 bytes"), "{hole}");
    assert!(report.rejects.is_empty(), "a hole is told once: {:?}", report.rejects);
}

#[test]
fn what_the_manifest_says_and_the_file_does_not_hold_is_told() {
    let folder = Folder::new("short");
    let directory = eventful(&folder);
    let file = directory.join("1-binance.0001.zst");
    let bytes = fs::read(&file).unwrap();
    let last = bytes.windows(4).rposition(|four| four == b"\x28\xb5\x2f\xfd").unwrap();
    fs::write(&file, &bytes[..last]).unwrap();
    let report = inspect(&[directory]).unwrap();
    assert!(report.messages < 11, "{}", report.messages);
    let text = table::text(&report);
    assert!(text.contains("! 1-binance.0001.zst holds 0 inputs, the manifest says 14"), "{text}");
}

#[test]
fn captures_are_inspected_like_recordings() {
    let folder = Folder::new("capture");
    let lines: String =
        (0..5).map(|n| format!("{} {}\n", START + n * 100 * MS, trade(n))).collect();
    fs::write(folder.0.join("eth.jsonl"), lines + "nonsense\n").unwrap();
    let report = inspect(std::slice::from_ref(&folder.0)).unwrap();
    assert!(report.recordings.is_empty());
    assert_eq!((report.messages, report.symbols), (5, 1));
    assert_eq!(report.feeds[0].symbols[0].trades, 5);
    assert_eq!((report.rejects[0].kind, report.rejects[0].count), (replay::BAD_LINE, 1));
    assert!(inspect(&[folder.0.join("nothing")]).is_err());
}
