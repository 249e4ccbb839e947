//! How much live feeds take. Not run with the other tests: `scripts/flood` builds them optimised,
//! gives the server one core and the venues the other, and prints what came of it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::binance::{PLENTY, captured};
use super::bybit::exchange::{Bybit, Market, number_trades};
use super::coinbase::Coinbase;
use super::common::{Client, Received, Server};
use super::kraken::Kraken;
use super::local::{LocalVenue, Protocol, Sent};
use super::okx::exchange::Okx;
use super::world::{Happening, Step, World, invented};

/// The most messages in a second of the captures (PROVENANCE.md), times ten.
const PEAK_TIMES_TEN: u64 = 15_880;

/// So long is measured, in seconds.
const SECONDS: u64 = 10;

const SYMBOLS: usize = 40;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

/// The server, on the core that the script has for it.
fn server(args: &[&str]) -> Server {
    // Children inherit the affinity that this sets; the venues' threads have theirs already.
    Server::start_on(0, args)
}

/// CPU time of a process, seconds.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("proc");
    let after_name = stat.rsplit(')').next().expect("fields");
    let field = |n: usize| -> f64 {
        after_name.split_whitespace().nth(n).expect("a field").parse().expect("a number")
    };
    // utime and stime, in hundredths of a second.
    (field(11) + field(12)) / 100.0
}

/// Reads and forgets whatever a client subscribed to all of these channels gets.
fn listener(server: &Server, channels: &[&str], done: &Arc<AtomicBool>) {
    let mut client = Client::native(server);
    for channel in channels {
        let params = json!({"channel": channel, "symbol": "*"});
        client.send(&json!({"method": "subscribe", "params": params}));
    }
    let done = done.clone();
    std::thread::spawn(move || {
        while !done.load(Ordering::Relaxed) {
            match client.frame_in() {
                Received::Ping(payload) => client.frame(0x8a, &payload),
                Received::Close(..) | Received::End => return,
                _ => {}
            }
        }
    });
}

/// One venue with an invented history of 40 symbols at this rate.
struct Flood {
    venue: LocalVenue,
    spec: String,
    script: Vec<Step>,
}

fn flood<P: Protocol + 'static>(
    name: &str,
    native: impl Fn(usize) -> String,
    rate: u64,
    depth: usize,
    exchange: impl FnOnce(&World) -> P,
) -> Flood {
    let natives: Vec<String> = (0..SYMBOLS).map(native).collect();
    let natives: Vec<&str> = natives.iter().map(String::as_str).collect();
    let (world, mut script) =
        invented(&natives, (rate * SECONDS) as usize, 1_000_000_000 / rate, 5, depth, |_| 1);
    if name == "bybit" {
        number_trades(&mut script);
    }
    let venue = LocalVenue::start(exchange(&world), world);
    let spec = venue.spec(&format!("{name}:{}", natives.join(",")), "");
    Flood { venue, spec, script }
}

#[test]
#[ignore = "a measurement: scripts/flood runs it"]
fn five_venues_of_forty_symbols_at_ten_times_the_peak() {
    let rate = number("FLOOD_RATE", PEAK_TIMES_TEN);
    let letter = |n: usize| char::from(b'A' + (n % 26) as u8);
    let base = |n: usize| format!("{}{}", letter(n / 26), letter(n));
    let joined = |n| format!("{}USDT", base(n));
    let all = usize::MAX;
    let floods = [
        flood("binance", joined, rate, all, |_| PLENTY),
        flood("coinbase", |n| format!("{}-USD", base(n)), rate, all, |_| Coinbase::default()),
        flood("kraken", |n| format!("{}/USD", base(n)), rate, 100, Kraken::new),
        flood("bybit", joined, rate, 200, |_| Bybit::new(Market::Spot, 200, 500, Arc::default())),
        flood("okx", |n| format!("{}-USDT", base(n)), rate, 400, |_| Okx::new(&Arc::default())),
    ];
    let mut args = vec!["--reactors", "1", "--pin", "false"];
    for one in &floods {
        args.extend(["--feed", &one.spec]);
    }
    let server = server(&args);
    for one in &floods {
        one.venue.wait_subscribed(3 * SYMBOLS);
    }
    server.wait_metric("tickcast_live_books_incomplete", "", |n| n == 0.0);
    let done = Arc::new(AtomicBool::new(false));
    listener(&server, &["trade", "quote", "status"], &done);
    let mut sent: Vec<Vec<Sent>> = floods.iter().map(|one| one.venue.render(&one.script)).collect();
    let before = (server.metric("tickcast_live_messages_total", ""), cpu_seconds(server.pid()));
    let began = Instant::now();
    let mut backlog = 0.0_f64;
    let (mut total, mut looked) = (0, began);
    while sent.iter().any(|left| !left.is_empty()) {
        let now_ns = began.elapsed().as_nanos() as u64;
        for (one, left) in floods.iter().zip(&mut sent) {
            let due = left.partition_point(|message| message.at_ns <= now_ns);
            total += one.venue.send_all(left.drain(..due));
        }
        if looked.elapsed() > Duration::from_millis(500) {
            looked = Instant::now();
            let taken = server.metric("tickcast_live_messages_total", "") - before.0;
            backlog = backlog.max(total as f64 - taken);
        }
        super::common::pause();
    }
    let taken = began.elapsed().as_secs_f64();
    server.wait_metric("tickcast_live_messages_total", "", |n| n - before.0 >= total as f64);
    let after = began.elapsed().as_secs_f64();
    let cpu = cpu_seconds(server.pid()) - before.1;
    done.store(true, Ordering::Relaxed);
    println!(
        "{total} messages of 5 venues x {SYMBOLS} symbols in {taken:.1} s ({:.0} a second), all taken \
         after {after:.1} s; backlog at most {backlog:.0}; server {cpu:.1} s of CPU, {:.2} us a message",
        total as f64 / taken,
        cpu * 1e6 / total as f64
    );
    for (metric, most) in [
        ("tickcast_ring_laps_total", 0.0),
        ("tickcast_live_losses_total", 0.0),
        ("tickcast_feed_rejected_total", 0.0),
        ("tickcast_ingest_book_errors_total", 0.0),
    ] {
        let value = server.metric(metric, "");
        println!("{metric} {value}");
        assert!(value <= most, "{metric} {value}");
    }
}

/// A text whose update and trade ids are written anew in every pass.
struct Looped {
    topic: String,
    /// What stands between the ids.
    parts: Vec<String>,
    /// The ids of the first pass, and what is added in each later one.
    ids: Vec<(u64, u64)>,
}

impl Looped {
    fn new(topic: &str, text: &str, update_span: u64, trade_span: u64) -> Self {
        let (mut parts, mut ids, mut rest) = (Vec::new(), Vec::new(), text);
        loop {
            let next = [("\"U\":", update_span), ("\"u\":", update_span), ("\"t\":", trade_span)]
                .into_iter()
                .filter_map(|(name, span)| rest.find(name).map(|at| (at + name.len(), span)))
                .min();
            let Some((at, span)) = next else { break };
            let end = rest[at..].find(|c: char| !c.is_ascii_digit()).expect("an end") + at;
            parts.push(rest[..at].to_owned());
            ids.push((rest[at..end].parse().expect("an id"), span));
            rest = &rest[end..];
        }
        parts.push(rest.to_owned());
        Looped { topic: topic.to_owned(), parts, ids }
    }

    fn text(&self, pass: u64) -> String {
        let mut text = String::with_capacity(256);
        for (part, (id, span)) in self.parts.iter().zip(&self.ids) {
            text.push_str(part);
            text.push_str(&(id + span * pass).to_string());
        }
        text.push_str(self.parts.last().expect("an end"));
        text
    }
}

/// As many messages as the captures have in a day, over wss, recorded, at some 370 times their pace.
#[test]
#[ignore = "a measurement: scripts/flood runs it"]
fn a_days_worth_of_messages_recorded_in_flat_memory() {
    let (world, script) = captured().expect("the captures");
    let day = number("FLOOD_DAY_MESSAGES", 216 * 86_400);
    let rate = number("FLOOD_DAY_RATE", 80_000) as f64;
    // Where each symbol's ids begin, and how the book at the end becomes that of the beginning.
    let start: HashMap<String, (u64, super::world::Book)> =
        world.truths.iter().map(|(n, t)| (n.clone(), (t.last, t.book.clone()))).collect();
    let mut end = super::world::World { depth: usize::MAX, ..Default::default() };
    for (native, (last, book)) in &start {
        let truth = super::world::Truth::new(book.clone(), *last, usize::MAX);
        end.truths.insert(native.clone(), truth);
    }
    script.iter().for_each(|step| end.happen(step));
    let trade_span = 10_000_000;
    let mut looped = Vec::new();
    for step in &script {
        let (topic, text) = step.captured.as_ref().expect("captured");
        let update_span = end.truths[&step.native].last + 1 - start[&step.native].0;
        looped.push(Looped::new(topic, text, update_span, trade_span));
    }
    for (native, (first, book)) in &start {
        let truth = &end.truths[native];
        let changes = truth.book.changes_to(book);
        let step = Step {
            native: native.clone(),
            at_ns: 0,
            what: Happening::Book { first: truth.last + 1, last: truth.last + 1, changes },
            captured: None,
        };
        let (topic, text) = { PLENTY }.messages(&step, &end).remove(0);
        looped.push(Looped::new(&topic, &text, truth.last + 1 - first, trade_span));
    }

    let folder = tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).expect("a folder");
    let venue = LocalVenue::start(PLENTY, world);
    let spec = venue.spec("binance:BTCUSDT,ETHUSDT", ",depth=5000");
    let record = folder.path().display().to_string();
    let server =
        server(&["--reactors", "1", "--pin", "false", "--feed", &spec, "--record", &record]);
    venue.wait_subscribed(6);
    server.wait_metric("tickcast_live_books_incomplete", "", |n| n == 0.0);
    let done = Arc::new(AtomicBool::new(false));
    listener(&server, &["trade", "quote", "status"], &done);
    let began = Instant::now();
    let (mut count, mut pass) = (0, 0);
    let mut memory = Vec::new();
    while count < day {
        for chunk in looped.chunks(500) {
            let texts = chunk.iter().map(|one| Sent {
                at_ns: 0,
                topic: one.topic.clone(),
                text: one.text(pass),
            });
            count += venue.send_all(texts) as u64;
            // At most some thousand are on their way, and no more than the recording can write that
            // shares the core.
            while venue.waiting() > 5_000 || count as f64 / began.elapsed().as_secs_f64() > rate {
                super::common::pause();
            }
        }
        pass += 1;
        if pass % 25 == 0 {
            memory.push(server.rss() >> 20);
            println!("{count} messages, {} MiB resident", memory[memory.len() - 1]);
        }
    }
    server.wait_metric("tickcast_live_messages_total", "", |n| n >= count as f64);
    let seconds = began.elapsed().as_secs_f64();
    done.store(true, Ordering::Relaxed);
    let bytes = server.metric("tickcast_record_compressed_bytes_total", "");
    println!(
        "{count} messages in {seconds:.0} s ({:.0} a second); recorded {:.0} MiB; memory {memory:?} MiB",
        count as f64 / seconds,
        bytes / 1048576.0
    );
    for metric in [
        "tickcast_record_dropped_total",
        "tickcast_ring_laps_total",
        "tickcast_live_losses_total",
        "tickcast_feed_rejected_total",
        "tickcast_ingest_book_errors_total",
    ] {
        assert_eq!(server.metric(metric, ""), 0.0, "{metric}");
    }
    assert_eq!(server.metric("tickcast_record_state", ""), 1.0);
    // What a tenth of the day needed, the whole may need, and little more.
    let early = memory[memory.len() / 10];
    let late = memory[memory.len() - 1];
    assert!(late <= early + early / 10 + 8, "{early} MiB, later {late} MiB");
}
