//! `tickcast top`: what an operator sees on a terminal and in a pipe, and how the terminal is left.

mod common;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use common::terminal::Terminal;
use common::{Client, Server};
use tempfile::TempDir;

const TOKEN: &str = "the-token-of-operators";
const MARKET: [&str; 2] = ["--feed", "synthetic:symbols=3,rate=20000,only=trade"];
/// Nobody is closed for being slow.
const PATIENT: [&str; 4] = ["--slow-grace", "10m", "--outbox-bytes", "256MiB"];

/// A folder with a token in it, and the path of that.
fn token() -> (TempDir, String) {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("token");
    std::fs::write(&path, TOKEN).expect("writes");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("rights");
    let text = path.to_str().expect("text").to_owned();
    (folder, text)
}

fn server(admin: &str, token: &str) -> Server {
    let door = ["--admin-listen", admin, "--admin-token-file", token, "--reactors", "2"];
    Server::start(&[&door, &MARKET[..], &PATIENT[..]].concat())
}

fn url(server: &Server) -> String {
    format!("http://{}", server.admin.expect("a door"))
}

fn once(args: &[&str], token: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickcast"));
    command.env_remove("TICKCAST_TOKEN").arg("top").args(args);
    command.envs(token.map(|token| ("TICKCAST_TOKEN", token))).output().expect("runs")
}

#[test]
fn the_screen_shows_reactors_feeds_and_who_lags_and_finds_back() {
    let (_folder, token) = token();
    let first = server("127.0.0.1:0", &token);
    let door: SocketAddr = first.admin.expect("a door");
    let at = url(&first);
    let mut terminal = Terminal::start(110, 24, &["top", &at, "--token-file", &token], &[]);
    terminal.until_all(&["● live", "REACTOR", "synthetic:", "running", "nobody lags", "q quit"]);
    assert!(terminal.is_raw() && terminal.screen().screen().alternate_screen());
    let mut slow = Client::native(&first);
    slow.subscribe("trade", &["*"]);
    let peer = slow.stream.local_addr().expect("an address").to_string();
    let text = terminal.until_all(&[&peer, "peer_window", "native", "everybody"]);
    let rows = |text: &str| -> Vec<String> {
        let from = text.lines().skip_while(|line| !line.starts_with("REACTOR")).skip(1);
        from.take_while(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    assert_eq!(rows(&text).len(), 2, "{text}");
    // The one that the client is on delivers.
    terminal.until(|text| {
        rows(text).iter().any(|row| {
            let mut words = row.split_whitespace();
            words.nth(1) == Some("1") && words.nth(1).is_some_and(|rate| rate != "0" && rate != "-")
        })
    });
    drop((slow, first));
    terminal.until_all(&["○ offline, all of this is old", "REACTOR", "synthetic:"]);
    let second = server(&door.to_string(), &token);
    terminal.until_all(&["● live", "nobody lags"]);
    terminal.resize(40, 8);
    terminal.until(|text| text.contains("tickcast") && text.lines().count() <= 8);
    terminal.press("q");
    terminal.ends_well();
    drop(second);
}

#[test]
fn one_picture_goes_into_a_pipe() {
    let (folder, token) = token();
    let server = server("127.0.0.1:0", &token);
    let at = url(&server);
    let file = ["--token-file", &token];
    for (args, variable) in [
        (vec![&at, "--once", file[0], file[1]], None),
        (vec![&at, file[0], file[1]], None),
        (vec![&at, "--once"], Some(TOKEN)),
        // By the clients' listener, which asks for no token here.
        (vec![&format!("http://{}", server.address), "--once"], None),
    ] {
        let output = once(&args, variable);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        for part in ["● live", "REACTOR", "FEED", "synthetic:", "nobody lags"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        // A second's ticks, and no escapes of a terminal.
        assert!(!text.contains("ticks/s -") && !text.contains('\u{1b}'), "{text}");
    }
    let wrong = folder.path().join("wrong");
    std::fs::write(&wrong, "sha256:00").expect("writes");
    let wrong = wrong.to_str().expect("text");
    for (args, code, why) in [
        (vec![at.as_str()], 1, "it wants an operator's token"),
        (vec!["http://127.0.0.1:1"], 1, "cannot look at http://127.0.0.1:1"),
        (vec!["127.0.0.1:7070"], 2, "expected http://HOST:PORT"),
        (vec![&at, "--token-file", "/none"], 2, "cannot read it"),
        (vec![&at, "--token-file", wrong], 2, "expected the token itself"),
    ] {
        let output = once(&args, None);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.lines().count() == 1 && text.contains(why), "{why}: {text}");
    }
}

#[test]
fn a_door_at_a_path_is_looked_at() {
    let (folder, token) = token();
    let path = folder.path().join("admin.sock");
    let at = format!("unix:{}", path.display());
    let _server = server(&at, &token);
    let output = once(&[&at, "--once", "--token-file", &token], None);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("REACTOR") && text.contains(&at),
        "{output:?}"
    );
}
