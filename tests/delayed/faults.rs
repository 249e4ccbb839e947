//! Clocks, disks and deaths: what is missing is a gap, and nothing comes sooner for it.

use std::collections::HashMap;
use std::time::Instant;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;
use tempfile::TempDir;

use super::common::{Client, PATIENCE, Server, pause};
use super::{LATE, LATER, LIVE, MARKET, PATIENT, Two, access, all, assert_old, now_us, number};

/// A delayed client that follows a book and says what becomes of it: every update is the next one to what it
/// has, until a status says that the book is not known.
struct Follower {
    client: Client,
    last: HashMap<String, u64>,
    /// What it was told last of each symbol's feed.
    states: HashMap<String, String>,
    lost: usize,
    updates: usize,
}

impl Follower {
    fn new(two: &Two) -> Self {
        let mut client = two.client(LATE, "/v1/ws");
        for channel in ["status", "book"] {
            client.subscribe(channel, &["*"]);
        }
        Follower { client, last: HashMap::new(), states: HashMap::new(), lost: 0, updates: 0 }
    }

    fn step(&mut self) {
        let message = self.client.message();
        let symbol = message["symbol"].as_str().unwrap_or("").to_owned();
        if let Some(state) = message["state"].as_str() {
            // The synthetic market says nothing of its state: the live one is live throughout.
            assert!(["live", "resync"].contains(&state), "{message}");
            self.states.insert(symbol.clone(), state.to_owned());
        }
        match (message["channel"].as_str(), message["type"].as_str()) {
            (Some("book"), Some("snapshot")) => {
                self.last.insert(symbol, number(&message, "seq"));
            }
            (Some("book"), Some("update")) => {
                let seq = number(&message, "seq");
                assert_eq!(
                    self.last.insert(symbol, seq),
                    Some(number(&message, "prev")),
                    "{message}"
                );
                self.updates += 1;
            }
            (Some("status"), _) if message["state"] == "resync" => {
                self.last.remove(&symbol);
                self.lost += 1;
            }
            _ => {}
        }
    }

    /// Goes on until books were lost.
    fn until_lost(&mut self, books: usize) {
        let until = Instant::now() + PATIENCE;
        while self.lost < books {
            assert!(Instant::now() < until, "nobody says that something is missing");
            self.step();
        }
    }

    fn live(&self) -> usize {
        self.states.values().filter(|state| *state == "live").count()
    }

    /// Goes on until books were lost and all are followed again, of feeds that are live as they are in the other
    /// market.
    fn until_whole_again(&mut self, books: usize) {
        self.until_lost(books);
        while self.last.len() < books {
            self.step();
        }
        let updates = self.updates + 200;
        while self.updates < updates {
            self.step();
        }
        assert_eq!(self.live(), books, "{:?}", self.states);
    }
}

#[test]
fn a_clock_that_is_put_forward_makes_nothing_come_sooner() {
    const DRILL: &str = "a drill that nobody guesses";
    let folder = TempDir::new().expect("a folder");
    let start = |args: &[&str]| Server::start_with_variable("TICKCAST_DRILL", DRILL, args);
    let two = Two::start(start, &access("2s"), folder.path(), &["--feed", MARKET]);
    two.wait_late("sim:S0001-USD");
    let mut late = two.client(LATE, "/v1/ws");
    late.subscribe("trade", &["*"]);
    let mut live = two.client(LIVE, "/v1/ws");
    for seconds in [3_600, -7_200] {
        live.text(&format!("{DRILL} clock {seconds}"));
        // An answer behind it: the clock was set.
        let time = number(&live.ask(&json!({"method": "ping"})), "time_in");
        assert!(time.abs_diff(now_us()) > 3_000_000_000, "{time}");
        for _ in 0..500 {
            let trade = late.until(|message| message["channel"] == "trade");
            assert_old(&trade.to_string(), 2_000_000);
        }
    }
}

#[test]
fn what_there_is_no_room_for_is_a_gap_and_then_it_goes_on() {
    let folder = TempDir::new().expect("a folder");
    let feed = "synthetic:symbols=4,rate=20000,names=numbered";
    let args = [&["--feed", feed, "--spool-bytes", "1MiB"], &PATIENT[..]].concat();
    let two = Two::new("4s", folder.path(), &args);
    let mut follower = Follower::new(&two);
    two.wait_metric("tickcast_spool_gaps_total", "bound", |gaps| gaps > 0.0);
    assert!(two.metric("tickcast_spool_bytes", "") <= 1_048_576.0);
    assert!(two.metric("tickcast_spool_lost_ticks_total", "") > 0.0);
    follower.until_whole_again(4);
}

/// Another market waits for an hour, and frees nothing: who has played what there is need not wait for that to know.
#[test]
fn what_is_missing_is_told_while_it_lasts() {
    let folder = TempDir::new().expect("a folder");
    let feed = "synthetic:symbols=4,rate=20000,names=numbered";
    let text = access("1s") + &all("later", LATER, "delay = \"1h\"");
    let args = [&["--feed", feed, "--spool-bytes", "1MiB"], &PATIENT[..]].concat();
    let two = Two::start(Server::start, &text, folder.path(), &args);
    two.wait_late("sim:S0001-USD");
    Follower::new(&two).until_lost(4);
    assert_eq!(two.metric("tickcast_spool_gaps_total", "bound"), 1.0);
    let states = two.get(LATE, "/v1/poll?subscribe=status:*").2;
    assert_eq!(states.matches("\"state\":\"resync\"").count(), 4, "{states}");
}

#[test]
fn where_a_start_of_the_server_ended_is_told_before_the_next_one_brings_something() {
    let folder = TempDir::new().expect("a folder");
    let first = Two::new("1s", folder.path(), &["--feed", MARKET]);
    first.wait_metric("tickcast_spool_ticks_total", "", |ticks| ticks > 1_000.0);
    drop(first);
    // Nobody publishes anything.
    let silent = format!("unix:{}", folder.path().join("silent").display());
    let second = Two::new("1s", folder.path(), &["--feed", &silent]);
    while second.get(LATE, "/v1/ticker/sim:S0001-USD").0 != 200 {
        pause();
    }
    Follower::new(&second).until_lost(4);
}

#[test]
fn a_disk_that_takes_nothing_is_a_gap_and_then_it_goes_on() {
    let folder = TempDir::new().expect("a folder");
    let two = Two::new("2s", folder.path(), &["--feed", MARKET]);
    two.wait_late("sim:S0001-USD");
    let mut follower = Follower::new(&two);
    while follower.updates < 50 {
        follower.step();
    }
    let pid = Pid::from_raw(two.server.pid() as i32).expect("a process");
    let limit = |bytes| {
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Some(pid), Resource::Fsize, limit).expect("a limit");
    };
    limit(Some(1));
    two.wait_metric("tickcast_spool_failing", "", |failing| failing == 1.0);
    two.wait_metric("tickcast_spool_lost_ticks_total", "", |ticks| ticks > 500.0);
    assert_eq!(two.metric("tickcast_spool_gaps_total", "disk"), 1.0);
    // Books are not known from where something is missing, not only when it goes on.
    follower.until_lost(4);
    limit(None);
    two.wait_metric("tickcast_spool_failing", "", |failing| failing == 0.0);
    follower.until_whole_again(4);
    let files = std::fs::read_dir(folder.path()).expect("a folder").count();
    assert!(files < 8, "{files}: what holds nothing stays");
}

#[test]
fn after_a_kill_it_goes_on_from_what_is_on_disk() {
    let folder = TempDir::new().expect("a folder");
    let first = Two::new("3s", folder.path(), &["--feed", MARKET]);
    let mut live = first.client(LIVE, "/v1/ws");
    live.subscribe("trade", &["sim:S0003-USD"]);
    let mut last = 0;
    for _ in 0..50 {
        last = number(&live.until(|message| message["channel"] == "trade"), "seq");
    }
    let written = first.metric("tickcast_spool_ticks_total", "");
    first.wait_metric("tickcast_spool_ticks_total", "", |ticks| ticks > written + 1_000.0);
    drop(first);
    // Another one, with fewer symbols: of the others only the spool knows.
    let second =
        Two::new("3s", folder.path(), &["--feed", "synthetic:symbols=1,rate=500,names=numbered"]);
    second.wait_late("sim:S0003-USD");
    let listed = second.get(LIVE, "/v1/symbols").2;
    assert!(!listed.contains("S0003"), "{listed}");
    let path = "/v1/trades/sim:S0003-USD?limit=1000";
    loop {
        let trades = second.get(LATE, path).2;
        assert_old(&trades, 3_000_000);
        if trades.contains(&format!("\"seq\":{last},")) {
            break;
        }
        pause();
    }
    // What comes of the new one follows, and its book is whole.
    let mut follower = Follower::new(&second);
    follower.until_whole_again(1);
    let state = |symbol: &str| {
        let body = second.get(LATE, &format!("/v1/snapshot?symbols={symbol}")).2;
        let states = ["live", "resync", "stale"].into_iter();
        let said = |state: &&str| body.contains(&format!("\"state\":\"{state}\""));
        states.filter(said).collect::<Vec<_>>().join(" ")
    };
    assert_eq!([state("sim:S0000-USD"), state("sim:S0003-USD")], ["live", "resync"]);
    assert!(
        second.get(LATE, "/v1/book/sim:S0003-USD").2.contains("resync"),
        "it is not there any more"
    );
}
