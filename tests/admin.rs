//! What operators see and do by the door of their own, and who does not get in.

mod common;

use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use common::stream::Links;
use common::{Client, PATIENCE, Received, Server, exchange, pause};
use serde_json::{Value, json};
use tempfile::TempDir;

const TOKEN: &str = "the-token-of-operators";
const MARKET: [&str; 2] = ["--feed", "synthetic:symbols=3,rate=500,names=numbered"];

/// A folder with a token that its owner alone may read.
fn token() -> (TempDir, String) {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("token");
    std::fs::write(&path, TOKEN).expect("writes");
    close_to_others(&path);
    let text = path.to_str().expect("text").to_owned();
    (folder, text)
}

fn close_to_others(path: &std::path::Path) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).expect("rights");
}

/// A server with operators.
struct Kept {
    server: Server,
    folder: TempDir,
    log: Option<std::process::ChildStderr>,
}

impl Kept {
    fn new(more: &[&str]) -> Self {
        let (folder, path) = token();
        let admin = ["--admin-listen", "127.0.0.1:0", "--admin-token-file", &path];
        let (server, log) = Server::start_logged(&[&admin, &MARKET[..], more].concat());
        Kept { server, folder, log: Some(log) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server.admin.expect("a door")).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// The status, head and body of an answer.
    fn raw(&self, line: &str, headers: &str, body: &str) -> (u16, String, String) {
        let length = body.len();
        let text = format!(
            "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
        exchange(self.connect(), &text)
    }

    /// What somebody with the token is answered.
    fn ask(&self, line: &str, body: &str) -> (u16, Value) {
        let (status, head, body) =
            self.raw(line, &format!("Authorization: Bearer {TOKEN}\r\n"), body);
        let value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{head}\n\n{body}"));
        (status, value)
    }

    fn connections(&self, query: &str) -> Vec<Value> {
        let (status, all) = self.ask(&format!("GET /v1/admin/connections{query}"), "");
        assert_eq!(status, 200, "{all}");
        all["connections"].as_array().expect("a list").clone()
    }

    /// Ends the server and gives what it logged.
    fn log(mut self) -> String {
        self.server.signal("TERM");
        assert_eq!(self.server.wait().code(), Some(0));
        let mut text = String::new();
        self.log.take().expect("a pipe").read_to_string(&mut text).expect("text");
        text
    }
}

fn close_line(connection: &Value) -> String {
    format!("POST /v1/admin/connections/{}/close", connection["id"].as_str().expect("an id"))
}

#[test]
fn nobody_gets_in_without_the_token_and_no_page_with_it() {
    let kept = Kept::new(&[]);
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    for line in ["GET /v1/admin/connections", "POST /v1/admin/drain", "GET /metrics", "GET /x"] {
        for headers in [
            "",
            "Authorization: Bearer the-token-of-operator\r\n",
            "Authorization: Bearer \r\n",
            "Authorization: Basic dGhlLXRva2Vu\r\n",
            &format!("{right}{right}"),
        ] {
            let (status, head, body) = kept.raw(line, headers, "");
            assert_eq!(status, 401, "{line} {headers} {body}");
            assert!(head.contains("www-authenticate: Bearer"), "{head}");
        }
        for page in ["Origin: http://127.0.0.1\r\n", "Origin: null\r\n", "Sec-Fetch-Site: none\r\n"]
        {
            let (status, head, body) = kept.raw(line, &format!("{right}{page}"), "");
            assert_eq!(status, 403, "{line} {page} {body}");
            assert!(!head.contains("access-control"), "{head}");
        }
    }
    // Not even a browser's question beforehand.
    let (status, head, _) = kept.raw("OPTIONS /v1/admin/drain", "Origin: http://a.b\r\n", "");
    assert_eq!(status, 403);
    assert!(!head.contains("access-control"), "{head}");
    assert_eq!(kept.server.get("/readyz").0, 200, "nothing of that drained it");
    let metric = kept.server.metric("tickcast_admin_requests_total", "refused");
    assert_eq!(metric, (4.0 * 8.0) + 1.0);
    let log = kept.log();
    assert_eq!(log.matches("operator refused").count(), 33, "{log}");
    assert!(!log.contains(TOKEN), "{log}");
}

#[test]
fn clients_have_no_such_paths() {
    let kept = Kept::new(&[]);
    for line in
        ["GET /v1/admin/connections", "POST /v1/admin/drain", "PUT /v1/admin", "GET /v1/admin/x"]
    {
        let auth = format!("Authorization: Bearer {TOKEN}");
        let text = format!(
            "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{auth}\r\nContent-Length: 0\r\n\r\n"
        );
        let (status, _, body) = kept.server.request(&text);
        assert_eq!(status, 404, "{line}: {body}");
    }
    // And operators have no market there.
    let (status, error) = kept.ask("GET /v1/symbols", "");
    assert_eq!((status, &error["error"]["code"]), (404, &json!("not_found")), "{error}");
}

#[test]
fn a_slow_client_is_first_and_has_a_cause() {
    let kept = Kept::new(&["--reactors", "2", "--slow-grace", "10m", "--outbox-bytes", "64MiB"]);
    let mut clients: Vec<Client> = (0..4).map(|_| Client::native(&kept.server)).collect();
    let mut slow = Client::native(&kept.server);
    for client in clients.iter_mut().chain([&mut slow]) {
        client.subscribe("trade", &["*"]);
    }
    let local = slow.stream.local_addr().expect("an address").to_string();
    // It asks for a book again and again, and reads nothing.
    let ask = json!({"method": "snapshot", "params": {"channel": "book", "symbol": ["*"]}});
    let book = json!({"method": "subscribe", "params": {"channel": "book", "symbol": ["*"]}});
    slow.send(&book);
    let first = loop {
        slow.send(&ask);
        let all = kept.connections("?sort=lag&limit=3");
        assert_eq!(all.len(), 3);
        if all[0]["lag_ms"].as_u64().is_some_and(|ms| ms > 0) {
            break all[0].clone();
        }
        pause();
    };
    assert_eq!(first["peer"], local.as_str(), "{first}");
    assert_eq!(first["cause"], "peer_window", "{first}");
    assert_eq!((&first["dialect"], &first["name"]), (&json!("native"), &json!("everybody")));
    assert!(first["queued_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{first}");
    let others = kept.connections("");
    assert_eq!(others.len(), 5);
    assert!(others.iter().all(|one| one["cause"].is_null()), "not asked for");
    for bad in ["?limit=x", "?limit=100001", "?sort=age", "?sort", "?order=lag"] {
        let (status, _, body) = kept.raw(
            &format!("GET /v1/admin/connections{bad}"),
            &format!("Authorization: Bearer {TOKEN}\r\n"),
            "",
        );
        assert_eq!(status, 400, "{bad}: {body}");
    }
    // It is told why it goes, although it did not read.
    let goodbye = json!({"code": 4100, "reason": "too slow for us"}).to_string();
    let (status, closing) = kept.ask(&close_line(&first), &goodbye);
    assert_eq!((status, &closing["closing"]["peer"]), (200, &json!(local)), "{closing}");
    let (status, error) = kept.ask(&close_line(&first), &goodbye);
    assert_eq!(status, 409, "{error}");
    assert_eq!(slow.close(), Some((Some(4100), "too slow for us".to_owned())));
    drop(slow);
    kept.server.wait_metric("tickcast_sessions_ended_total", "\"operator\"", |ended| ended == 1.0);
    // Its neighbours stay.
    for client in &mut clients {
        client.until(|message| message["channel"] == "trade");
    }
    let log = kept.log();
    let line = log.lines().find(|line| line.contains("operator closes a connection"));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    for part in ["audit", &local, "too slow for us", "4100", first["id"].as_str().expect("an id")] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(log.contains("operator looked at connections"), "{log}");
}

#[test]
fn an_id_is_one_connection_for_good() {
    let kept = Kept::new(&["--reactors", "1"]);
    let mut links = Links::default();
    let mut client = Client::native(&kept.server);
    links.subscribe(&mut client, "trade", &["*"]);
    let first = kept.connections("").remove(0);
    let (status, closing) = kept.ask(&close_line(&first), "");
    assert_eq!(status, 200, "{closing}");
    assert_eq!(client.close(), Some((Some(1008), "closed by an operator".to_owned())));
    drop(client);
    kept.server.wait_metric("tickcast_sessions", "", |sessions| sessions == 0.0);
    // The next one has its place, but is not it.
    let mut client = Client::native(&kept.server);
    links.subscribe(&mut client, "trade", &["*"]);
    let second = kept.connections("").remove(0);
    assert_ne!(first["id"], second["id"]);
    let (status, error) = kept.ask(&close_line(&first), "");
    assert_eq!((status, &error["error"]["code"]), (404, &json!("not_found")), "{error}");
    for id in ["0", "0-0", "9-0-1", "0-0-0-1", "x", "-", "0-99999-1", "%30-0-1"] {
        let (status, error) = kept.ask(&format!("POST /v1/admin/connections/{id}/close"), "");
        assert_eq!(status, 404, "{id}: {error}");
    }
    let long = "x".repeat(124);
    for body in [
        json!({"code": 999}),
        json!({"code": 1005}),
        json!({"code": 5000}),
        json!({"code": 70_000}),
        json!({"code": "1000"}),
        json!({"reason": long}),
        json!({"why": "x"}),
        json!([]),
    ] {
        let (status, error) = kept.ask(&close_line(&second), &body.to_string());
        assert_eq!(status, 400, "{body}: {error}");
        assert!(error["error"]["message"].is_string(), "{error}");
    }
    let (status, error) = kept.ask(&close_line(&second), &"x".repeat(5_000));
    assert_eq!((status, &error["error"]["code"]), (413, &json!("too_large")));
    links.read(&mut client);
    for (line, allowed) in [
        ("GET /v1/admin/drain", "POST"),
        ("PUT /v1/admin/cordon", "POST, DELETE"),
        ("POST /v1/admin/log-level", "GET, PUT"),
        ("DELETE /v1/admin/connections", "GET"),
    ] {
        let (status, head, body) =
            kept.raw(line, &format!("Authorization: Bearer {TOKEN}\r\n"), "");
        assert_eq!(status, 405, "{line}: {body}");
        assert!(head.contains(&format!("allow: {allowed}\r\n")), "{head}");
    }
}

#[test]
fn a_cordon_keeps_newcomers_out_and_those_who_are_there_in() {
    let kept = Kept::new(&[]);
    let mut links = Links::default();
    let mut client = Client::native(&kept.server);
    links.subscribe(&mut client, "trade", &["*"]);
    assert_eq!(kept.ask("POST /v1/admin/cordon", ""), (200, json!({"cordoned": true})));
    let upgrade = "GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let (status, head, _) = kept.server.request(upgrade);
    assert!(status == 503 && head.contains("retry-after: "), "{head}");
    assert_eq!(kept.server.get("/readyz"), (503, "cordoned by an operator\n".to_owned()));
    assert_eq!(kept.server.get("/healthz").0, 200);
    assert_eq!(kept.server.metric("tickcast_cordoned", ""), 1.0);
    for _ in 0..100 {
        links.read(&mut client);
    }
    assert_eq!(kept.ask("DELETE /v1/admin/cordon", "{}"), (200, json!({"cordoned": false})));
    assert_eq!(kept.server.get("/readyz").0, 200);
    Client::native(&kept.server);
}

#[test]
fn draining_is_what_the_signal_does() {
    let mut kept = Kept::new(&["--drain-spread", "1s..2s"]);
    let mut client = Client::native(&kept.server);
    client.subscribe("trade", &["*"]);
    let (status, error) = kept.ask("POST /v1/admin/drain", "{\"now\":true}");
    assert_eq!(status, 400, "{error}");
    assert_eq!(kept.ask("POST /v1/admin/drain", ""), (202, json!({"draining": true})));
    let drain = client.until(|message| message["type"] == "drain");
    assert_eq!(drain["reconnect_ms"], json!([1000, 2000]));
    // Operators still see who is there.
    let all = kept.connections("");
    assert_eq!(all[0]["closing"], "drain", "{all:?}");
    assert!(matches!(client.frame_in(), Received::Close(Some(1012), _)));
    drop(client);
    assert_eq!(kept.server.wait().code(), Some(0));
    // Also where nobody is there, whoever asks is answered.
    let kept = Kept::new(&[]);
    assert_eq!(kept.ask("POST /v1/admin/drain", ""), (202, json!({"draining": true})));
}

#[test]
fn the_log_level_changes_while_it_runs() {
    let kept = Kept::new(&[]);
    assert_eq!(kept.ask("GET /v1/admin/log-level", "").0, 200);
    for bad in ["{\"level\":\"loud\"}", "{\"level\":\"\"}", "{}", "", "{\"level\":1}"] {
        let (status, error) = kept.ask("PUT /v1/admin/log-level", bad);
        assert_eq!(status, 400, "{bad}: {error}");
    }
    let hello = || drop(Client::native(&kept.server));
    hello();
    let (status, now) =
        kept.ask("PUT /v1/admin/log-level", "{\"level\":\"warn,tickcast::http=debug\"}");
    assert_eq!(status, 200, "{now}");
    assert!(now["level"].as_str().is_some_and(|l| l.contains("tickcast::http=debug")), "{now}");
    // hyper's error of a head that is none is a line of that.
    kept.server.request("\r\nNO HTTP\r\n\r\n");
    let log = kept.log();
    let (before, after) = log.split_once("operator sets the log level").expect("an audit line");
    assert!(!before.contains("DEBUG") && after.contains("DEBUG"), "{log}");
}

#[test]
fn reloading_says_what_was_read_and_what_is_wrong() {
    let folder = TempDir::new().expect("a folder");
    let file = |name: &str, text: &str| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("writes");
        path
    };
    let access = file("access.toml", "[anonymous]\nsymbols = [\"*\"]\n");
    let kept = Kept::new(&["--access", access.to_str().expect("text")]);
    let read = json!({"read": true});
    let (status, all) = kept.ask("POST /v1/admin/reload", "");
    assert_eq!(
        (status, &all),
        (200, &json!({"certificates": null, "access": read, "admin_token": read}))
    );
    file("access.toml", "[anonymous]\nsymbols = 7\n");
    let (status, all) = kept.ask("POST /v1/admin/reload", "");
    assert_eq!((status, &all["access"]["read"]), (422, &json!(false)), "{all}");
    assert!(all["access"]["error"].as_str().is_some_and(|e| e.contains("line 2")), "{all}");
    // A new token is in use from here on, and no other.
    let path = kept.folder.path().join("token");
    let old = std::fs::read_to_string(&path).expect("a token");
    std::fs::write(&path, "another-token-of-operators").expect("writes");
    kept.ask("POST /v1/admin/reload", "");
    let with = |token: &str| {
        let header = format!("Authorization: Bearer {token}\r\n");
        kept.raw("POST /v1/admin/reload", &header, "").0
    };
    assert_eq!((with(&old), with("another-token-of-operators")), (401, 422));
    // One that will not do leaves that.
    std::fs::write(&path, "short").expect("writes");
    assert_eq!((with("another-token-of-operators"), with("short")), (422, 401));
}

#[test]
fn the_door_may_be_a_path_and_opens_while_clients_queue() {
    let (folder, token) = token();
    let path = folder.path().join("admin.sock");
    let at = format!("unix:{}", path.display());
    let args = ["--admin-listen", &at, "--admin-token-file", &token, "--max-handshakes", "1"];
    let (mut server, mut log) = Server::start_logged(&[&args, &MARKET[..]].concat());
    // The one handshake that there may be is taken.
    let taken = TcpStream::connect(server.address).expect("connects");
    let ask = |line: &str| {
        let stream = UnixStream::connect(&path).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let text = format!(
            "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        );
        exchange(stream, &text)
    };
    for line in ["GET /healthz", "GET /readyz", "GET /metrics", "GET /v1/stats", "GET /v1/feeds"] {
        assert_eq!(ask(line).0, 200, "{line}");
    }
    drop(taken);
    // Who asks by a path is known by the kernel.
    assert_eq!(ask("GET /v1/admin/connections").0, 200);
    assert_eq!(ask("GET /v1/admin/other").0, 404);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    let mut text = String::new();
    log.read_to_string(&mut text).expect("text");
    let id = rustix::process::getuid().as_raw();
    let who = format!("who=\"unix uid={id} pid={}\"", std::process::id());
    for what in ["operator looked at connections", "operator's request failed"] {
        let line = text.lines().find(|line| line.contains(what));
        assert!(line.is_some_and(|line| line.contains(&who)), "{what}: {text}");
    }
}

#[test]
fn a_door_needs_a_token_that_is_kept_to_oneself() {
    let (folder, token) = token();
    let open = folder.path().join("open");
    std::fs::write(&open, TOKEN).expect("writes");
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o644)).expect("rights");
    let open = open.to_str().expect("text");
    for (args, why) in [
        (&["--admin-listen", "127.0.0.1:0"][..], "expected --admin-token-file FILE with it"),
        (&["--admin-token-file", &token], "expected --admin-listen"),
        (&["--admin-listen", "127.0.0.1:0", "--admin-token-file", open], "chmod 600"),
        (&["--admin-listen", "here", "--admin-token-file", &token], "or unix:PATH"),
        (&["--admin-listen", "unix:", "--admin-token-file", &token], "expected a file"),
        (&["--admin-listen", "127.0.0.1:0", "--admin-token-file", "/none"], "cannot read it"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tickcast"));
        let output = command.args(["--listen", "127.0.0.1:0"]).args(args).output().expect("runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.lines().count() == 1 && text.contains(why), "{why}: {text}");
        assert!(!text.contains(TOKEN), "{text}");
    }
}
