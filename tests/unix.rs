//! The unix socket: the same server by a path, for programs on the same machine.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use common::stream::Links;
use common::{Client, PATIENCE, Server};
use serde_json::Value;
use tempfile::TempDir;

const MARKET: &str = "synthetic:symbols=2,rate=1000,names=numbered";

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn get(path: &Path, what: &str) -> String {
    let mut stream = connect(path);
    let request = format!("GET {what} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn clients_are_served_by_a_path() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("tickcast.sock");
    // What a server that was killed leaves behind is in nobody's way.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    let text = path.to_str().expect("text");
    let mut server = Server::start(&["--listen-unix", text, "--feed", MARKET]);
    assert!(get(&path, "/v1/symbols").contains("sim:S0001-USD"));
    let mut client = Client::upgrade(connect(&path), "/v1/ws");
    let mut links = Links::default();
    links.subscribe(&mut client, "trade", &["*"]);
    for _ in 0..500 {
        links.read(&mut client);
    }
    let shown = get(&path, "/v1/connections");
    let shown: Value =
        serde_json::from_str(shown.split_once("\r\n\r\n").expect("a body").1).expect("JSON");
    assert_eq!(shown["connections"][0]["peer"], "unix", "{shown}");
    // Whoever may enter the folder, whatever the umask is.
    assert_eq!(std::fs::metadata(&path).expect("a socket").permissions().mode() & 0o777, 0o666);
    // Nobody else's door is taken over.
    let refused = |path: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_tickcast"))
            .args(["--listen", "127.0.0.1:0", "--listen-unix", path])
            .output()
            .expect("runs");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let why = refused(text);
    assert!(why.contains("is another tickcast running?"), "{why}");
    let why = refused("/none/tickcast.sock");
    assert!(why.contains("No such file") && !why.contains("another tickcast"), "{why}");
    assert!(get(&path, "/healthz").starts_with("HTTP/1.1 200 "));
    server.signal("TERM");
    drop(client);
    assert!(server.wait().success());
    assert!(!path.exists(), "the socket is left behind");
}

#[test]
fn a_path_may_be_the_only_door() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("only.sock");
    let mut child = Command::new(env!("CARGO_BIN_EXE_tickcast"))
        .args(["--listen", "none", "--listen-unix", path.to_str().expect("text"), "--feed", MARKET])
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut first = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    out.read_line(&mut first).expect("a line");
    assert_eq!(first, format!("listening at {}\n", path.display()));
    assert!(get(&path, "/healthz").starts_with("HTTP/1.1 200 "));
    child.kill().expect("ends");
    child.wait().expect("ends");
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "mine").expect("writes");
    let started = Command::new(env!("CARGO_BIN_EXE_tickcast"))
        .args(["--listen", "127.0.0.1:0", "--listen-unix", path.to_str().expect("text")])
        .output()
        .expect("runs");
    assert!(!started.status.success());
    assert_eq!(std::fs::read_to_string(&path).expect("reads"), "mine");
}
