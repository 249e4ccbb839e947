//! Whole runs against a small server with flaws to order.

#![forbid(unsafe_code)]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use support::{FakeServer, Manners, SYMBOLS, by_name, load};
use tickcast_loadtest::RunError;
use tickcast_loadtest::client::SessionError;

fn polite(rate: u64) -> Manners {
    Manners { rate, ..Manners::default() }
}

#[test]
fn everything_is_delivered_and_counted_once() {
    let server = FakeServer::start(Manners { pings: true, ..polite(200) });
    let outcome = load(&server, "-n 6 --per 2 --threads 2 --duration 1 --assert-reach 1 --assert-no-gaps --assert-no-closes").unwrap();
    let good = &by_name(&outcome)["good"];
    assert_eq!(outcome.summary.failed, Vec::<String>::new());
    assert_eq!((good.clients, good.open_at_end, good.gaps), (6, 6, 0));
    // Every connection is ticked on a schedule of its own: the edges of the window cut off at most one tick each.
    let expected = 6 * 2 * 200;
    assert!(
        (expected - 24..=expected + 24).contains(&(good.deliveries as i64)),
        "{} of {expected}",
        good.deliveries
    );
    let latency = good.latency_us.as_ref().unwrap();
    assert_eq!(latency.count, good.deliveries);
    assert!(latency.p50 <= latency.p99 && latency.p99 <= latency.max && latency.max > 0.0);
    assert_eq!(outcome.summary.parameters.symbols, SYMBOLS.len(), "the server was asked");
    assert_eq!(outcome.summary.threads.len(), 2);
    assert!(server.seen.pongs.load(Ordering::Acquire) > 100, "pings are answered");
}

#[test]
fn a_hole_is_a_gap_and_costs_reach() {
    let server = FakeServer::start(Manners { hole: Some((0, 100)), ..polite(200) });
    let outcome = load(
        &server,
        "-n 3 --symbols sim:S0000-USD --duration 1.5 --assert-no-gaps --assert-reach 1",
    )
    .unwrap();
    let good = &by_name(&outcome)["good"];
    assert_eq!(good.gaps, 1);
    assert!(good.reach.unwrap() < 1.0);
    assert_eq!(outcome.summary.failed.len(), 2, "{:?}", outcome.summary.failed);
}

#[test]
fn who_is_cut_off_in_silence_is_missed_by_reach() {
    let server = FakeServer::start(Manners { silent: Some((0, 100)), ..polite(200) });
    let outcome =
        load(&server, "-n 4 --symbols sim:S0000-USD --duration 1 --assert-reach 0.95").unwrap();
    let good = &by_name(&outcome)["good"];
    assert_eq!(good.gaps, 0, "the chain of numbers has no break");
    assert!(good.reach.unwrap() < 0.95, "{:?}", good.reach);
    assert_eq!(outcome.summary.failed.len(), 1);
}

#[test]
fn stalled_clients_are_reported_apart_with_the_code_they_were_closed_with() {
    // Who reads is not to be taken for stalled because it was not run for a while.
    let evict = Some((4008, Duration::from_millis(300)));
    let server = FakeServer::start(Manners { evict, padding: 6_000, ..polite(300) });
    let outcome =
        load(&server, "-n 2 --stalled 3 --slow-rcvbuf 4096 --symbols sim:S0000-USD --duration 2")
            .unwrap();
    let groups = by_name(&outcome);
    assert_eq!(groups["stalled"].closes, BTreeMap::from([(4008, 3)]));
    assert_eq!(groups["stalled"].open_at_end, 0);
    assert_eq!((groups["good"].open_at_end, groups["good"].gaps), (2, 0));
    assert!(groups["good"].closes.is_empty());
    assert_eq!(groups["good"].reach, Some(1.0));
    assert_eq!(groups["stalled"].reach, None, "who does not read is owed nothing");
}

#[test]
fn slow_clients_read_at_their_pace() {
    let server = FakeServer::start(Manners { padding: 1000, ..polite(100) });
    let outcome = load(&server, "-n 1 --slow 2:2000 --symbols sim:S0000-USD --duration 2").unwrap();
    let groups = by_name(&outcome);
    let (slow, good) = (&groups["slow"], &groups["good"]);
    assert!(slow.arrived > 0, "it does read");
    // 2 clients at 2,000 bytes/s against about 1,200 bytes 100 times a second.
    assert!(slow.bytes_per_second <= 2.0 * 2000.0 * 1.3, "{}", slow.bytes_per_second);
    assert!(good.bytes_per_second > 2.0 * slow.bytes_per_second, "{}", good.bytes_per_second);
    assert_eq!(slow.gaps, 0);
}

#[test]
fn churning_and_storming_clients_come_back_and_are_subscribed_again() {
    let server = FakeServer::start(polite(100));
    let outcome =
        load(&server, "-n 2 --churn 3:0.2 --storm 4 --symbols sim:S0000-USD --duration 2").unwrap();
    let groups = by_name(&outcome);
    assert!(groups["churn"].reconnects >= 3, "{}", groups["churn"].reconnects);
    assert!(groups["churn"].closes.is_empty(), "a close that was asked for is not the server's");
    assert_eq!((groups["storm"].reconnects, groups["storm"].open_at_end), (4, 4));
    assert_eq!(groups["storm"].recovery_us.as_ref().unwrap().count, 4);
    let storm = outcome.summary.storm.as_ref().unwrap();
    assert_eq!((storm.clients, storm.back), (4, 4));
    assert!(storm.seconds.unwrap() > 0.0 && storm.p99_ratio.unwrap() > 0.0);
    let parts = [&storm.before_us, &storm.during_us, &storm.after_us];
    let counted: u64 = parts.iter().map(|part| part.as_ref().map_or(0, |l| l.count)).sum();
    assert_eq!(counted, groups["good"].latency_us.as_ref().unwrap().count);
    assert_eq!((groups["good"].gaps, groups["good"].reconnects), (0, 0));
    assert_eq!(
        groups["churn"].gaps + groups["storm"].gaps,
        0,
        "a new subscription begins a new chain"
    );
    let subscribes = server.seen.subscribes.load(Ordering::Acquire) as u64;
    assert!(subscribes >= 9 + groups["churn"].reconnects + 4, "{subscribes}");
}

#[test]
fn a_server_that_closes_good_clients_fails_the_thresholds() {
    let server = FakeServer::start(Manners { close_after: Some((1012, 60)), ..polite(100) });
    let outcome = load(
        &server,
        "-n 3 --symbols sim:S0000-USD --duration 1 --assert-no-closes --assert-p99 0",
    )
    .unwrap();
    assert_eq!(by_name(&outcome)["good"].closes, BTreeMap::from([(1012, 3)]));
    assert_eq!(outcome.summary.failed.len(), 2, "{:?}", outcome.summary.failed);
    assert!(
        outcome
            .summary
            .warnings
            .iter()
            .any(|warning| warning.contains("3 good clients were closed"))
    );
}

#[test]
fn idle_clients_only_connect() {
    let server = FakeServer::start(polite(100));
    let outcome = load(&server, "-n 10 --idle --duration 0.2").unwrap();
    assert_eq!(server.seen.subscribes.load(Ordering::Acquire), 0);
    assert_eq!(by_name(&outcome)["good"].open_at_end, 10);
    assert!(outcome.summary.connecting.per_second > 0.0);
}

#[test]
fn the_servers_process_is_read() {
    let server = FakeServer::start(polite(100));
    let own = std::process::id();
    let outcome =
        load(&server, &format!("-n 2 --symbols sim:S0000-USD --duration 0.5 --server-pid {own}"))
            .unwrap();
    let read = outcome.summary.server.unwrap();
    assert!(
        read.cpu_seconds > 0.0
            && read.cpu_us_per_delivery.unwrap() > 0.0
            && read.resident_before > 0
    );
}

#[test]
fn refusals_stop_the_run_and_say_why() {
    let server = FakeServer::start(Manners { refuse: Some("unknown_symbol"), ..polite(1) });
    match load(&server, "-n 2 --symbols x --duration 1") {
        Err(RunError::Session(SessionError::Subscribe(why))) => {
            assert_eq!(why, "unknown_symbol: no such symbol: x")
        }
        other => panic!("{other:?}"),
    }
    let server = FakeServer::start(Manners {
        status: Some("HTTP/1.1 503 Service Unavailable"),
        ..polite(1)
    });
    match load(&server, "-n 2 --symbols x --duration 1") {
        Err(RunError::Session(SessionError::Refused(status))) => {
            assert_eq!(status, "HTTP/1.1 503 Service Unavailable")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn nobody_listening_is_an_error_with_the_address() {
    let address = {
        let server = FakeServer::start(polite(1));
        server.address
    };
    use clap::Parser;
    let url = format!("ws://{address}/");
    let args = tickcast_loadtest::args::Args::parse_from([
        "x",
        "--url",
        &url,
        "--symbols",
        "a",
        "-n",
        "1",
        "-q",
    ]);
    match tickcast_loadtest::run::run(&args) {
        Err(error @ RunError::Connect(..)) => {
            assert!(error.to_string().contains(&address.to_string()), "{error}")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_reports_say_the_same_and_need_nothing_else() {
    let server = FakeServer::start(polite(200));
    let outcome = load(
        &server,
        "-n 3 --symbols sim:S0000-USD --storm 1 --duration 1 --expect-rate 200 --title <Tom&Jerry>",
    )
    .unwrap();
    let good = &by_name(&outcome)["good"];

    let json: serde_json::Value =
        serde_json::from_str(&tickcast_loadtest::report::json::render(&outcome.summary)).unwrap();
    assert_eq!(json["schema"], "tickcast-loadtest/1");
    assert_eq!(json["groups"][0]["name"], "good");
    assert_eq!(json["groups"][0]["deliveries"], good.deliveries);
    for field in ["p50", "p90", "p99", "p99_9", "p99_99", "max", "mean", "count"] {
        assert!(json["groups"][0]["latency_us"][field].is_number(), "{field}");
    }
    for field in [
        "parameters",
        "connecting",
        "window_seconds",
        "server",
        "threads",
        "seconds",
        "warnings",
        "failed",
        "reach_by_rate",
    ] {
        assert!(json.get(field).is_some(), "{field}");
    }
    assert!(
        (json["reach_by_rate"].as_f64().unwrap() - 1.0).abs() < 0.05,
        "{}",
        json["reach_by_rate"]
    );

    let html = tickcast_loadtest::report::html::render(&outcome);
    assert!(html.contains("<polyline class=\"line series-good\" points=\""), "the plot is there");
    assert!(
        html.contains("series-storm")
            && html.contains(">99 %<")
            && html.contains("prefers-color-scheme: dark")
    );
    assert!(html.contains("&lt;Tom&amp;Jerry&gt;") && !html.contains("<Tom"));
    for outside in ["http:", "https:", "src=", "<link", "<script", "@import", "url("] {
        assert!(!html.contains(outside), "{outside} would need something else");
    }

    let table = tickcast_loadtest::report::table::render(&outcome.summary);
    for part in ["deliveries/s", "reach", "p99.99", "connect", "this program", "storm", "came back"]
    {
        assert!(table.contains(part), "{part} is missing from\n{table}");
    }
}

#[test]
fn the_command_writes_its_files_and_tells_by_its_exit_code() {
    let server = FakeServer::start(polite(200));
    let folder = std::env::temp_dir().join(format!("tickcast-loadtest-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let run = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tickcast-loadtest"));
        command.args([
            "--url",
            &server.url(),
            "-n",
            "2",
            "--symbols",
            "sim:S0000-USD",
            "--duration",
            "0.5",
            "--warmup",
            "0",
            "--settle",
            "0",
        ]);
        for (flag, file) in [("--json", "a.json"), ("--hgrm", "a.hgrm"), ("--html", "a.html")] {
            command.arg(flag).arg(folder.join(file));
        }
        command.args(more).output().unwrap()
    };
    let fine = run(&["--assert-reach", "1", "--assert-no-gaps"]);
    assert_eq!(fine.status.code(), Some(0), "{}", String::from_utf8_lossy(&fine.stderr));
    assert!(String::from_utf8_lossy(&fine.stderr).contains("updates/s"), "progress goes to stderr");
    assert!(String::from_utf8_lossy(&fine.stdout).contains("p99.99"));
    for (file, begins) in
        [("a.json", "{"), ("a.hgrm", "       Value"), ("a.html", "<!doctype html>")]
    {
        assert!(std::fs::read_to_string(folder.join(file)).unwrap().starts_with(begins), "{file}");
    }
    assert_eq!(run(&["--assert-p99", "0"]).status.code(), Some(1));
    assert_eq!(run(&["--per", "2"]).status.code(), Some(2));
    let stopped = {
        let server = FakeServer::start(polite(1));
        server.url()
    };
    let mut nobody = std::process::Command::new(env!("CARGO_BIN_EXE_tickcast-loadtest"));
    assert_eq!(
        nobody.args(["--url", &stopped, "--symbols", "a"]).output().unwrap().status.code(),
        Some(3)
    );
    std::fs::remove_dir_all(&folder).unwrap();
}
