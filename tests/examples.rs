//! The examples of docs/PROTOCOL.md, as they are printed there but for the address: each is told
//! updates.
//! Those for a browser are run by tests/browser/events.mjs.

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::Server;
use common::python::interpreter;

/// Where the examples think that the server is.
const PRINTED: &str = "127.0.0.1:7070";

/// What stands in fences of a language, for this server.
fn examples(language: &str, server: &Server) -> Vec<String> {
    let text = include_str!("../docs/PROTOCOL.md");
    let fence = format!("```{language}\n");
    let blocks = text.split(fence.as_str()).skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().expect("a block"));
    blocks.map(|block| block.replace(PRINTED, &server.address.to_string())).collect()
}

/// Ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs it until it has printed the answer and some updates, in order.
fn is_told_updates(command: &mut Command, what: &str) {
    let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().expect("it runs");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let _running = Running(child);
    let (mut answers, mut updates) = (0, 0);
    for line in lines {
        let line = line.expect("text");
        answers += usize::from(line.contains("\"method\":\"subscribe\",\"success\":true"));
        updates += usize::from(line.contains("\"type\":\"update\""));
        assert!(updates == 0 || answers == 1, "{what}: {line}");
        if updates == 3 {
            return;
        }
    }
    panic!("{what}: ended after {answers} answers and {updates} updates");
}

#[test]
fn the_example_in_python_runs_as_printed() {
    let Some(python) = interpreter() else { return };
    let server = Server::start(&[]);
    let [example] = &examples("python", &server)[..] else { panic!("one example") };
    is_told_updates(Command::new(python).args(["-c", example]), "python");
}

#[test]
fn the_examples_for_a_shell_run_as_printed() {
    let server = Server::start(&[]);
    let examples = examples("sh", &server);
    assert_eq!(examples.len(), 3);
    // What scripts of the project install comes first.
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin");
    let path = std::env::var("PATH").expect("a path");
    let path = format!("{}:{path}", tools.display());
    for example in examples {
        let program = if example.contains("websocat") { "websocat" } else { "curl" };
        let there = Command::new(program).env("PATH", &path).arg("--version").output();
        if there.is_err() {
            eprintln!("SKIPPED: no {program}");
            continue;
        }
        is_told_updates(Command::new("sh").env("PATH", &path).args(["-c", &example]), program);
    }
}
