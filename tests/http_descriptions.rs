//! docs/openapi.json and docs/asyncapi.json against a running server, by programs that are not
//! ours: what it says is what they say, whatever it is asked.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::Server;
use common::python::interpreter;

fn market() -> Server {
    // A script that checks every message is slower than a busy market.
    let feed = "synthetic:symbols=5,rate=300,zipf=0";
    let patient = ["--slow-grace", "60s", "--outbox-bytes", "64MiB"];
    let server = Server::start(&[&["--reactors", "2", "--feed", feed], &patient[..]].concat());
    // Everybody has traded, and a second is over.
    server.wait_metric("tickcast_ingest_ticks_total", "", |ticks| ticks > 1_000.0);
    server
}

/// A file that scripts/test installs; `None`, said loudly, where it has not run.
fn installed(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "no {}", path.display());
    eprintln!("SKIPPED: no {} (scripts/test installs it)", path.display());
    None
}

fn succeeded(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn answers_and_messages_are_as_described() {
    let Some(python) = interpreter() else { return };
    let Some(_) = installed("target/venv/bin/openapi-spec-validator") else { return };
    let schema = "target/tools/npm/node_modules/@asyncapi/specs/schemas/3.0.0.json";
    let Some(schema) = installed(schema) else { return };
    let mut server = market();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/descriptions.py");
    let output = Command::new(python)
        .arg(script)
        .args([format!("http://{}", server.address), server.pid().to_string()])
        .arg(schema)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python runs");
    println!("{}", succeeded(&output));
    assert!(server.wait().success());
}

#[test]
fn requests_made_up_from_the_description_find_no_fault() {
    let Some(tool) = installed("target/venv/bin/schemathesis") else { return };
    let server = market();
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(tool)
        .arg("run")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json"))
        .args(["--url", &format!("http://{}", server.address)])
        // The same requests each time, and no more than a machine of two cores makes in a minute.
        .args(["--generation-deterministic", "--max-examples", "40"])
        .args(["--phases", "examples,coverage,fuzzing", "--no-color"])
        // An answer that does not end is looked at by the other test.
        .args(["--exclude-path", "/v1/sse"])
        .current_dir(folder.path())
        .output()
        .expect("schemathesis runs");
    println!("{}", succeeded(&output));
    // Whatever was asked, the server goes on.
    assert_eq!(server.get("/healthz").0, 200);
}
