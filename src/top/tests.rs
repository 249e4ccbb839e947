//! Samples in, rows and pictures out.

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Modifier;
use serde_json::{Value, json};

use super::model::Model;
use super::sample::{Connections, Sample};
use super::view;
use crate::watch::theme::Theme;

/// What a server of two reactors says that has been running for so many seconds.
fn stats(epoch: &str, seconds: u64) -> Value {
    let reactor = |id: u64| {
        json!({
            "id": id, "state": "running", "clients": 6_000 + id, "subscriptions": 12_000, "ticks": 0,
            "deliveries": 250_000 * seconds * (id + 1), "sends": 10_000 * seconds,
            "sent_bytes": 50_000_000 * seconds, "lapped": id, "ring_lag": 7,
            "cpu_s": 0.46 * (id + 1) as f64 * seconds as f64,
            "latency_us": {"p99": 1.0, "buckets": [[100.0, 990 * seconds], [200.0, 8 * seconds], [150_000.0, 2 * seconds]]},
        })
    };
    json!({
        "version": "0.1.0", "epoch": epoch, "uptime_s": 3_600 + seconds, "symbols": 500,
        "clients": 12_001, "subscriptions": 24_000, "ticks": 9_000 * seconds,
        "reactors": [reactor(0), reactor(1)],
        "feeds": [
            {"name": "binance:*", "state": "running", "ticks": 9_000 * seconds, "rejected": 3, "idle_ms": 12},
            {"name": "kraken:BTC/USD", "state": "failed", "ticks": 0, "rejected": 0, "idle_ms": null},
        ],
    })
}

fn connections() -> Value {
    json!({"connections": [
        {"id": "1-17-204", "peer": "192.0.2.7:50123", "name": "desk-1", "dialect": "native", "subscriptions": 4,
         "queued_bytes": 1_258_291, "lag_ms": 3_412, "cause": "peer_window", "conflated": true, "closing": null},
        {"id": "0-3-4", "peer": "[2001:db8::7]:50123", "name": "everybody\u{7}", "dialect": "binance",
         "subscriptions": 1, "queued_bytes": 900, "lag_ms": 40, "cause": "network", "closing": "slow_stalled"},
        {"id": "0-1-2", "peer": "192.0.2.8:1", "name": "x", "dialect": "sse", "subscriptions": 1,
         "queued_bytes": 0, "lag_ms": 0, "cause": null, "closing": null},
    ]})
}

fn sample(epoch: &str, seconds: u64) -> Sample {
    let stats = serde_json::from_value(stats(epoch, seconds)).expect("statistics");
    let all: Connections = serde_json::from_value(connections()).expect("connections");
    Sample { stats, connections: all.connections }
}

/// A model that has looked twice, two seconds apart.
fn model() -> (Model, Instant) {
    let mut model = Model::new("http://127.0.0.1:7071");
    let now = Instant::now();
    model.looked(sample("a", 10), now);
    model.looked(sample("a", 12), now + Duration::from_secs(2));
    (model, now + Duration::from_secs(2))
}

#[test]
fn rates_are_of_two_samples_of_one_server() {
    let mut model = Model::new("u");
    let now = Instant::now();
    model.looked(sample("a", 10), now);
    assert_eq!(model.totals().ticks_s, None, "of one there is no rate");
    assert_eq!(model.reactors()[1].p99_us, None);
    let (mut model, now) = {
        drop(model);
        self::model()
    };
    let close = |a: Option<f64>, b: f64| a.is_some_and(|a| (a - b).abs() < 1e-6);
    assert!(close(model.totals().ticks_s, 9_000.0));
    assert!(close(model.totals().deliveries_s, 750_000.0));
    let reactor = &model.reactors()[1];
    assert!(close(reactor.deliveries_s, 500_000.0) && close(reactor.busy, 0.92), "{reactor:?}");
    assert!(close(model.feeds()[0].ticks_s, 9_000.0));
    // Another server has counted from nothing: its first sample has no rates, its second has.
    model.failed("connection refused");
    model.looked(sample("b", 1), now + Duration::from_secs(1));
    assert_eq!((model.totals().ticks_s, &model.trouble), (None, &None));
    model.looked(sample("b", 2), now + Duration::from_secs(2));
    assert!(close(model.totals().ticks_s, 9_000.0));
}

#[test]
fn a_percentile_is_of_the_writes_since_the_sample_before() {
    let (model, _) = model();
    // Of 2,000 in two seconds, 1,980 took up to 100 µs.
    assert_eq!(model.reactors()[0].p99_us, Some(100.0));
    let mut model = Model::new("u");
    let now = Instant::now();
    let with = |buckets: Value| {
        let mut sample = sample("a", 1);
        sample.stats.reactors[0].latency_us =
            serde_json::from_value(json!({"buckets": buckets})).expect("buckets");
        sample
    };
    model.looked(with(json!([[100.0, 1_000_000]])), now);
    model.looked(
        with(json!([[100.0, 1_000_098], [200.0, 0], [400.0, 2]])),
        now + Duration::from_secs(1),
    );
    assert_eq!(model.reactors()[0].p99_us, Some(400.0));
    model.looked(
        with(json!([[100.0, 1_000_098], [200.0, 0], [400.0, 2]])),
        now + Duration::from_secs(2),
    );
    assert_eq!(model.reactors()[0].p99_us, None, "nothing was written");
}

#[test]
fn a_reactor_that_has_panicked_is_down() {
    let mut model = Model::new("u");
    let mut sample = sample("a", 1);
    sample.stats.reactors[1].state = "failed".to_owned();
    model.looked(sample, Instant::now());
    let lines = picture(&model, 100, 20);
    assert!(!lines[4].ends_with("down") && lines[5].ends_with("down"), "{}", lines.join("\n"));
}

fn picture(model: &Model, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("no terminal");
    let drawn = terminal
        .draw(|frame| view::draw(model, Theme::plain(), frame.area(), frame.buffer_mut()))
        .expect("no terminal");
    let buffer = drawn.buffer;
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| row(y).trim_end().to_owned()).collect()
}

#[test]
fn a_picture_has_everything_in_its_place() {
    let (mut model, _) = model();
    let expected = "\
tickcast 0.1.0  http://127.0.0.1:7071  up 1h 00m                                              ● live
clients 12001  subscriptions 24000  symbols 500  ticks/s 9000  delivered/s 750k  sent 95.4 MiB/s

REACTOR   CLIENTS      SUBS  DELIVERED/S   WRITES/S  P99 FLUSH  RING LAG    LAPS  BUSY
      0      6000     12000         250k      10000     100 µs         7       0   46%
      1      6001     12000         500k      10000     100 µs         7       1   92%

FEED                                      STATE       TICKS/S       IDLE  REJECTED
binance:*                                 running        9000      12 ms         3
kraken:BTC/USD                            failed            0      never         0

SLOWEST           PEER                   NAME        DIALECT  SUBS    QUEUED       LAG  CAUSE
1-17-204          192.0.2.7:50123        desk-1      native      4   1.2 MiB   3412 ms  peer_window, conflated
0-3-4             [2001:db8::7]:50123    everybody?  binance     1     900 B     40 ms  closing: slow_stalled";
    let lines = picture(&model, 100, 20);
    let wanted: Vec<&str> = expected.lines().collect();
    for (line, wanted) in lines.iter().zip(&wanted) {
        let wanted: String = wanted.chars().take(100).collect();
        assert_eq!(*line, wanted.trim_end(), "\n{}", lines.join("\n"));
    }
    assert!(lines[wanted.len()..19].iter().all(String::is_empty));
    assert_eq!(lines[19], "q quit");
    // As text it is the same, whatever the height.
    let text = view::text(&model, 100);
    assert_eq!(text.trim_end(), expected);
    model.failed("connection refused");
    let lines = picture(&model, 100, 20);
    assert!(
        lines[0].ends_with("○ offline, all of this is old: connection refused"),
        "{}",
        lines[0]
    );
    assert!(lines[4].starts_with("      0      6000"), "the picture stays");
}

#[test]
fn what_is_wrong_is_noticed_without_colours_too() {
    let (model, _) = model();
    let mut terminal = Terminal::new(TestBackend::new(120, 24)).expect("no terminal");
    let drawn = terminal
        .draw(|frame| view::draw(&model, Theme::plain(), frame.area(), frame.buffer_mut()))
        .expect("no terminal");
    let bold = |x, y| drawn.buffer[(x, y)].modifier.contains(Modifier::BOLD);
    let column = |heading: &str, line: &str| heading.find(line).expect("a column") as u16;
    let heading: String = (0..120).map(|x| drawn.buffer[(x, 3)].symbol()).collect();
    let busy = column(&heading, "BUSY") + 1;
    assert!(!bold(busy, 4) && bold(busy, 5), "46% and 92%");
    let laps = column(&heading, "LAPS") + 3;
    assert!(!bold(laps, 4) && bold(laps, 5));
    assert!(bold(42, 9) && !bold(42, 8), "failed and running");
}

#[test]
fn it_fits_every_window_and_says_what_it_leaves_out() {
    let (_, now) = model();
    let mut many = sample("a", 1);
    many.stats.reactors = (0..40).map(|_| many.stats.reactors[0].clone()).collect();
    many.stats.feeds = (0..20).map(|_| many.stats.feeds[0].clone()).collect();
    many.connections = (0..100).map(|_| many.connections[0].clone()).collect();
    let mut model = Model::new("u");
    model.looked(many, now);
    for (width, height) in [(1, 1), (20, 5), (80, 12), (80, 13), (80, 24), (200, 100), (80, 300)] {
        let lines = picture(&model, width, height);
        assert_eq!(lines.len(), usize::from(height));
        if height >= 24 {
            let shown = |heading: &str| lines.iter().position(|line| line.starts_with(heading));
            for heading in ["REACTOR", "FEED", "SLOWEST"] {
                let at =
                    shown(heading).unwrap_or_else(|| panic!("{heading}\n{}", lines.join("\n")));
                assert!(!lines[at + 1].is_empty(), "{heading}\n{}", lines.join("\n"));
            }
            let more = lines.iter().filter(|line| line.contains("more")).count();
            assert_eq!(more, if height == 300 { 0 } else { more.max(1) }, "{}", lines.join("\n"));
            assert_eq!(lines[usize::from(height) - 1], "q quit");
        }
    }
    let text = view::text(&model, 120);
    assert_eq!(text.lines().filter(|line| line.contains("peer_window")).count(), 100);
}
