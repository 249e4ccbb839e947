//! The four kinds of client there are, each on a library that is not ours, follow the same real captures
//! and end with the same books and trades: those that the captures are known to come to.
//!
//! Their scripts are in tests/clients/four.

mod common;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Instant;

use common::python::{self, Clients};
use common::{Client, PATIENCE, Server};
use serde_json::Value;

/// A kind of client.
struct Kind {
    name: &'static str,
    script: &'static str,
    /// It is there before the first tick, and has every trade.
    is_early: bool,
    /// How many levels a side it can have of a book.
    levels: usize,
}

const fn kind(name: &'static str, script: &'static str, is_early: bool, levels: usize) -> Kind {
    Kind { name, script, is_early, levels }
}

const KINDS: [Kind; 4] = [
    kind("native protocol (websockets)", "native.py", true, usize::MAX),
    kind("server-sent events (sseclient-py)", "events.py", true, usize::MAX),
    // As many as a poll has.
    kind("long polling (requests)", "poll.py", true, 1_000),
    // Its symbols must be listed before it asks for them.
    kind("Binance dialect (ccxt)", "dialect.py", false, usize::MAX),
];

/// A script that runs.
struct Script {
    name: &'static str,
    child: Child,
    lines: Receiver<String>,
}

impl Script {
    fn start(name: &'static str, file: &str, python: &Path, args: &[&str]) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/four");
        let mut child = Command::new(python)
            .arg(folder.join(file))
            .args(args)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdout(Stdio::piped())
            .spawn()
            .expect("python runs");
        let said = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        // It says that it is ready, and what it came to.
        let (tell, lines) = sync_channel(2);
        std::thread::spawn(move || said.map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Script { name, child, lines }
    }

    /// The next line that it says; `None`, with the reason, where it ends or hangs before.
    fn line(&self, until: Instant) -> Result<String, String> {
        let left = until.saturating_duration_since(Instant::now());
        self.lines.recv_timeout(left).map_err(|error| match error {
            RecvTimeoutError::Timeout => format!("{}: has not come to the end", self.name),
            RecvTimeoutError::Disconnected => format!("{}: failed (see above)", self.name),
        })
    }

    /// What it ended with, by symbol.
    fn end(&self, until: Instant) -> Result<Value, String> {
        let line = self.line(until)?;
        serde_json::from_str(&line).map_err(|_| format!("{}: said {line:?}", self.name))
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the captures come to, and what to run the clients on.
struct World {
    clients: Clients,
    binance: PathBuf,
    truth: Value,
}

impl World {
    /// `None`, said loudly, where something is missing.
    fn find() -> Option<Self> {
        let clients = Clients::find()?;
        let binance = python::with_clients_of_binance()?;
        let data = clients.data.display().to_string();
        let truth = Script::start("truth", "truth.py", &clients.python, &[&data]);
        let truth = truth.end(Instant::now() + PATIENCE).expect("what the captures come to");
        Some(World { clients, binance, truth })
    }

    /// The last sequences, as the scripts take them.
    fn ends(&self) -> Vec<String> {
        let symbols = self.truth.as_object().expect("symbols").iter();
        symbols.map(|(of, end)| format!("{of}={},{}", end["seq"], end["last"]["id"])).collect()
    }

    fn start(&self, server: &Server) -> Vec<Script> {
        let (address, ends) = (server.address.to_string(), self.ends());
        let mut args = vec![&*address];
        args.extend(ends.iter().map(String::as_str));
        let start = |kind: Kind| {
            let python = if kind.is_early { &self.clients.python } else { &self.binance };
            Script::start(kind.name, kind.script, python, &args)
        };
        KINDS.into_iter().map(start).collect()
    }

    /// Where a client differs from what the captures come to.
    fn differences(&self, kind: &Kind, got: &Value, out: &mut Vec<String>) {
        let &Kind { name, is_early, levels, .. } = kind;
        for (symbol, truth) in self.truth.as_object().expect("symbols") {
            let got = &got[symbol];
            for side in ["bids", "asks"] {
                let all = truth[side].as_array().expect("levels");
                let wanted = &all[..all.len().min(levels)];
                let have = got[side].as_array().map_or(&[][..], Vec::as_slice);
                let same = have.iter().zip(wanted).take_while(|(have, wanted)| have == wanted);
                let same = same.count();
                if have.len() != wanted.len() || same != wanted.len() {
                    let (have, wanted) = (have.get(same), wanted.get(same));
                    out.push(format!(
                        "{name}: {symbol} {side}: level {same} is {have:?}, not {wanted:?}"
                    ));
                }
            }
            for what in ["seq", "last"].into_iter().chain(is_early.then_some("trades")) {
                if got[what] != truth[what] {
                    let (got, truth) = (&got[what], &truth[what]);
                    out.push(format!("{name}: {symbol} {what}: {got}, not {truth}"));
                }
            }
        }
    }
}

#[test]
fn all_four_kinds_of_client_end_with_the_book_and_the_trades_of_the_captures() {
    let Some(world) = World::find() else { return };
    // It begins with the third that is subscribed to something: a poll is not, and ccxt waits for symbols.
    // What a slow machine is late with waits, in outboxes and the ring.
    let feed = world.clients.spot("speed=20,rebase=false,wait=3");
    let mut args = vec!["--reactors", "2", "--feed", &feed];
    args.extend(["--outbox-bytes", "256MiB", "--slow-grace", "60s", "--ring-slots", "2097152"]);
    let server = Server::start(&args);
    let scripts = world.start(&server);
    let soon = Instant::now() + PATIENCE;
    for script in &scripts {
        assert_eq!(script.line(soon), Ok("ready".to_owned()));
    }
    assert_eq!(server.metric("tickcast_ticks_total", ""), 0.0, "it waits for all");
    let mut starter = Client::native(&server);
    starter.subscribe("status", &["*"]);
    let until = Instant::now() + PATIENCE * 3;
    let mut differences = Vec::new();
    for (script, kind) in scripts.iter().zip(&KINDS) {
        match script.end(until) {
            Ok(got) => world.differences(kind, &got, &mut differences),
            Err(why) => differences.push(why),
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
    assert_eq!(server.metric("tickcast_slow_clients_total", ""), 0.0);
}
