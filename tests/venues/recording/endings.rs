//! How recordings end: in order, by a kill, for want of room; and what `tickcast inspect` tells then.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;
use tempfile::TempDir;

use super::*;

/// The trades of a tape.
fn trades(taped: &Taped, symbol: &str) -> Vec<u64> {
    let texts = &taped[&("trade".to_owned(), symbol.to_owned())];
    let id = |text: &String| serde_json::from_str::<Value>(text).expect("JSON")["id"].as_u64();
    texts.iter().map(|text| id(text).expect("an id")).collect()
}

#[test]
fn a_kill_costs_the_last_moment_only() {
    let folder = TempDir::new().expect("a folder");
    let (venue, script) = venue(900);
    let mut server = recording_server(&folder, &[&spec(&venue, "")]);
    let checker = Checker::start(&server, &venue, &SYMBOLS);
    venue.wait_subscribed(6);
    play(&venue, &script[..600], |_, _| None);
    checker.finish();
    // What has come until now is on the disk after two more writes.
    let received = server.metric("tickcast_live_messages_total", "");
    let written = server.wait_metric("tickcast_record_messages_total", "", |n| n >= received);
    let known = SYMBOLS.map(|(_, native)| venue.world(|w| w.truths[native].trades.clone()));
    play(&venue, &script[600..], |_, _| None);
    server.signal("KILL");
    server.wait();
    let told = inspected(&folder);
    assert_eq!(told["recordings"][0]["state"], "open");
    assert!(told["messages"].as_f64().expect("a number") >= written, "{told}");
    let count = told["feeds"][0]["symbols"].as_array().expect("symbols").iter().map(|one| {
        let of = |name: &str| one[name].as_u64().expect("a number");
        of("trades") + of("quotes") + of("books")
    });
    let taped = sorted(replayed(&folder, count.sum::<u64>() as usize));
    for ((symbol, _), known) in SYMBOLS.iter().zip(&known) {
        assert!(trades(&taped, symbol).starts_with(known), "{symbol}");
    }
}

/// `tickcast record`, ended with the test.
struct Recording(Child);

impl Recording {
    fn start(spec: &str, folder: &TempDir) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tickcast"))
            .args(["record", "--log-level", "warn", "--feed", spec])
            .arg(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("a pipe");
        let line = BufReader::new(stdout).lines().next().expect("a line").expect("text");
        assert!(line.starts_with("recording to "), "{line}");
        Recording(child)
    }

    /// Ctrl-C.
    fn interrupt(&mut self) {
        let kill = Command::new("kill").args(["-s", "INT", &self.0.id().to_string()]).status();
        assert!(kill.expect("kill runs").success());
        assert!(self.0.wait().expect("a child").success());
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Of a symbol, what an inspection tells.
fn of_symbol<'a>(told: &'a Value, symbol: &str) -> Option<&'a Value> {
    told["feeds"][0]["symbols"].as_array()?.iter().find(|one| one["symbol"] == symbol)
}

#[test]
fn inspect_tells_what_the_venue_sent_and_what_was_lost() {
    let folder = TempDir::new().expect("a folder");
    let (venue, script) = venue(600);
    let mut recording = Recording::start(&spec(&venue, ""), &folder);
    venue.wait_subscribed(6);
    // What is sent: an answer to the subscription, replies, and what the history gives.
    let mut sent = 1;
    let of_steps =
        |part: &[Step]| -> u64 { part.iter().map(|step| if is_book(step) { 2 } else { 1 }).sum() };
    let is_whole = |resyncs: u64| {
        wait_for(|| {
            let told = try_inspect(&folder).ok()?;
            let symbols = SYMBOLS.map(|(symbol, _)| of_symbol(&told, symbol).cloned());
            let whole = |s: &Option<Value>| s.as_ref().is_some_and(|s| s["down"] == false);
            let count = symbols[0].as_ref()?["resyncs"].as_u64()?;
            (symbols.iter().all(whole) && count >= resyncs).then_some(())
        });
    };
    is_whole(0);
    // Three times a diff of the first symbol is lost, and noticed by the next.
    for (round, part) in script[..450].chunks(150).enumerate() {
        let mut lost = false;
        play(&venue, part, |index, step| {
            let now = index > 50 && !lost && is_book(step) && step.native == "BTCUSDT";
            lost |= now;
            now.then_some(Fault::Drop)
        });
        // With the quote of the same step.
        sent += of_steps(part) - 2;
        is_whole(round as u64 + 1);
    }
    play(&venue, &script[450..], |index, _| (index % 10 == 0).then_some(Fault::Repeat));
    let repeated: Vec<Step> = script[450..].iter().step_by(10).cloned().collect();
    sent += of_steps(&script[450..]) + of_steps(&repeated) + venue.asked().len() as u64;
    wait_for(|| (inspected(&folder)["messages"].as_u64() >= Some(sent)).then_some(()));
    recording.interrupt();
    let told = inspected(&folder);
    assert_eq!(told["recordings"][0]["state"], "closed");
    assert_eq!((told["messages"].as_u64(), told["symbols"].as_u64()), (Some(sent), Some(2)));
    let feed = &told["feeds"][0];
    assert_eq!(feed["replies"].as_u64(), Some(venue.asked().len() as u64));
    assert_eq!((&feed["links"][0]["lost"], &feed["distrusted"]), (&0.into(), &0.into()));
    assert!(feed["rejects"].as_array().expect("rejects").is_empty(), "{feed}");
    assert!(feed["holes"].as_array().expect("holes").is_empty(), "{feed}");
    for ((symbol, native), gaps) in SYMBOLS.iter().zip([3, 0]) {
        let one = of_symbol(&told, symbol).expect("the symbol");
        assert_eq!((&one["gaps"], &one["down"]), (&gaps.into(), &false.into()), "{one}");
        let trades = venue.world(|world| world.truths[*native].trades.len());
        assert_eq!(one["trades"].as_u64(), Some(trades as u64), "{one}");
    }
}

#[test]
fn a_recording_that_finds_no_room_stops_alone() {
    let folder = TempDir::new().expect("a folder");
    let (venue, script) = venue(900);
    let mut server = recording_server(&folder, &[&spec(&venue, "")]);
    let checker = Checker::start(&server, &venue, &SYMBOLS);
    venue.wait_subscribed(6);
    play(&venue, &script[..300], |_, _| None);
    let stats = || -> Value { serde_json::from_str(&server.get("/v1/stats").1).expect("JSON") };
    wait_for(|| (stats()["recording"]["messages"].as_u64() > Some(300)).then_some(()));
    let recording = stats()["recording"].clone();
    assert_eq!((&recording["state"], &recording["dropped"]), (&"recording".into(), &0.into()));
    assert!(recording["bytes"].as_u64() > recording["compressed"].as_u64(), "{recording}");
    assert_eq!(server.metric("tickcast_record_state", ""), 1.0);
    // Enough for the manifest, and for no more messages.
    let pid = Pid::from_raw(server.pid() as i32).expect("a pid");
    let room = Rlimit { current: Some(8 << 10), maximum: Some(8 << 10) };
    prlimit(Some(pid), Resource::Fsize, room).expect("a limit");
    play(&venue, &script[300..600], |_, _| None);
    server.wait_metric("tickcast_record_state", "", |state| state == 0.0);
    assert_eq!(stats()["recording"]["state"], "stopped");
    play(&venue, &script[600..], |_, _| None);
    // Nobody else has noticed.
    let seen = checker.finish();
    assert!(seen.values().all(|seen| seen.times("resync") == 0), "{seen:?}");
    server.signal("TERM");
    assert!(server.wait().success());
    let told = inspected(&folder);
    let said = &told["recordings"][0];
    assert_eq!(said["state"], "stopped");
    let error = said["error"].as_str().expect("why");
    assert!(error.contains("1-binance.0001.zst`: File too large"), "{error}");
    // What was written is there, to the last frame.
    assert_eq!(told["feeds"][0]["holes"], Value::Array(Vec::new()));
    assert!(told["messages"].as_u64() > Some(300));
}
