//! That it is delayed is shown to whom it is shown. The page is looked at by tests/browser/doors.mjs.

use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::common::Server;
use super::common::terminal::Terminal;
use super::{MARKET, Two, access};

/// Whoever gives no token is delayed by a second.
fn delayed_for_all(folder: &TempDir) -> (Two, String) {
    let anonymous = "[anonymous]\nsymbols = [\"*\"]\ndelay = \"1s\"\n";
    let text = access("1s") + anonymous;
    let two = Two::start(Server::start, &text, folder.path(), &["--feed", MARKET]);
    two.wait_late("sim:S0001-USD");
    let url = format!("ws://{}/v1/ws", two.server.address);
    (two, url)
}

#[test]
fn watch_says_on_its_screen_that_it_is_delayed() {
    let folder = TempDir::new().expect("a folder");
    let (_two, url) = delayed_for_all(&folder);
    for symbol in ["*", "sim:S0001-USD"] {
        let mut terminal = Terminal::start(80, 24, &["watch", "--url", &url, symbol], &[]);
        terminal.until_all(&["sim:S0001-USD", "● live", "delayed 1 s  ● connected"]);
        terminal.press("q");
        terminal.ends_well();
    }
}

#[test]
fn beside_its_lines_watch_says_once_that_they_are_delayed() {
    let folder = TempDir::new().expect("a folder");
    let (_two, url) = delayed_for_all(&folder);
    let output = Command::new(env!("CARGO_BIN_EXE_tickcast"))
        .args(["watch", "--url", &url, "--count", "20", "sim:S0001-USD"])
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{output:?}");
    let [lines, told] = [output.stdout, output.stderr].map(|b| String::from_utf8(b).expect("text"));
    assert_eq!(told, "tickcast watch: what is printed is delayed 1 s from here on\n");
    assert_eq!(lines.lines().count(), 20);
    super::assert_old(&lines, 1_000_000);
}
