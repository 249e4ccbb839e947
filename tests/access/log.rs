//! What is told of who came and what of it became, and what is not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use serde_json::json;
use tempfile::NamedTempFile;

use crate::common::kept::{ALL, MARKET, ONE, hash, one_and_all};
use crate::common::{Client, PATIENCE, pause};
use crate::signer;

/// A server whose log is read to the end.
struct Logged {
    child: Child,
    address: String,
    log: JoinHandle<String>,
    _out: BufReader<ChildStdout>,
}

impl Logged {
    fn start(access: &NamedTempFile, level: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tickcast"))
            .args(["--listen", "127.0.0.1:0", "--log-level", level, "--feed", MARKET])
            .args(["--access", access.path().to_str().expect("text")])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut first = String::new();
        out.read_line(&mut first).expect("a line");
        let address = first.trim().strip_prefix("listening on http://").expect("an address");
        let mut err = child.stderr.take().expect("a pipe");
        let log = std::thread::spawn(move || {
            let mut text = String::new();
            err.read_to_string(&mut text).expect("text");
            text
        });
        Logged { child, address: address.to_owned(), log, _out: out }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// The status of the answer to a GET with these headers.
    fn get(&self, path: &str, headers: &str) -> u16 {
        let mut stream = self.connect();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).expect("writes");
        let mut status = [0; 12];
        stream.read_exact(&mut status).expect("an answer");
        std::str::from_utf8(&status[9..]).expect("text").parse().expect("a status")
    }

    /// Ends it, and gives all that it logged.
    fn end(mut self) -> String {
        pause();
        let pid = self.child.id().to_string();
        let killed = Command::new("kill").args(["-s", "TERM", &pid]).status();
        assert!(killed.expect("kill runs").success());
        self.child.wait().expect("ends");
        self.log.join().expect("a log")
    }
}

#[test]
fn the_audit_log_says_what_came_of_a_request() {
    let file = NamedTempFile::new().expect("a file");
    let path = signer::path("secret.txt");
    let issuer = format!(
        "[[issuer]]\nname = \"idp\"\nalgorithms = [\"HS256\"]\nsecret_file = {path:?}\n\
         symbols = [\"*\"]\nrevoked_jti = [\"no-18\"]\n"
    );
    std::fs::write(file.path(), one_and_all() + &issuer).expect("writes");
    let logged = Logged::start(&file, "info");
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let (one, all) = (bearer(ONE), bearer(ALL));
    while logged.get("/v1/ticker/sim:S0002-USD", &all) != 200 {
        pause();
    }
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let claims = json!({"sub": "ann", "jti": "no-18", "exp": signer::soon(3_600)});
    let gone = bearer(&signer::Signer::hs256().token(&claims));
    for (path, headers, status) in [
        ("/v1/book/sim:S0002-USD", one.clone(), 403),
        ("/v1/sse?subscribe=trade:sim:S0002-USD", one.clone(), 403),
        ("/v1/poll?subscribe=trade:sim:S0002-USD", one.clone(), 403),
        ("/v1/ws", format!("{one}{upgrade}{key}Origin: https://evil.example\r\n"), 403),
        ("/v1/ws", format!("{one}{upgrade}"), 400),
        // There only with `--echo`.
        ("/v1/echo", format!("{all}{upgrade}{key}"), 404),
        ("/metrics", one.clone(), 403),
        ("/v1/symbols", gone, 401),
        ("/v1/ws", format!("{one}{upgrade}{key}"), 101),
    ] {
        assert_eq!(logged.get(path, &headers), status, "{path} {headers}");
    }
    let log = logged.end();
    let told = |parts: &[&str]| {
        let has = |line: &&str| parts.iter().all(|part| line.contains(part));
        log.lines().filter(has).count()
    };
    assert_eq!(told(&["audit: granted", "who=\"one\""]), 1, "{log}");
    for (path, why) in [
        ("/v1/book/sim:S0002-USD", "sim:S0002-USD is not granted"),
        ("/v1/sse", "sim:S0002-USD is not granted"),
        ("/v1/poll", "sim:S0002-USD is not granted"),
        ("/v1/ws", "evil.example"),
        ("/metrics", "not an operator"),
    ] {
        let path = format!("path=\"{path}\"");
        assert_eq!(told(&["audit: refused", "who=\"one\"", &path, why]), 1, "{path}: {log}");
    }
    let parts = ["audit: refused", "who=\"idp/ann\"", "token=\"no-18\"", "taken back"];
    assert_eq!(told(&parts), 1, "{log}");
}

#[test]
fn tokens_are_in_no_log() {
    let file = NamedTempFile::new().expect("a file");
    let path = signer::path("secret.txt");
    let issuer = format!(
        "[[issuer]]\nname = \"idp\"\nalgorithms = [\"HS256\"]\nsecret_file = {path:?}\n\
         symbols = [\"sim:S0001-*\"]\n"
    );
    std::fs::write(file.path(), one_and_all() + &issuer).expect("writes");
    let claims = json!({"sub": "ann\nERROR forged", "jti": "no-17", "exp": signer::soon(3_600)});
    let signed = signer::Signer::hs256().token(&claims);
    let forged = signer::Signer::secret(&[7; 32]).token(&claims);
    let tokens: [&str; 4] = [ONE, "a-wrong-secret", &signed, &forged];
    let logged = Logged::start(&file, "trace");
    let connect = || logged.connect();
    for token in tokens {
        let mut client = Client::over(connect(), "/v1/ws");
        for params in [
            json!({"token": token, "more": token}),
            json!({"token": {"deep": token}}),
            json!({"token": token}),
        ] {
            let answer = client.ask(&json!({"method": "auth", "params": params}));
            assert!(!answer.to_string().contains(token), "{answer}");
        }
        if token == ONE {
            let others = ["sim:S0000-USD", "sim:S0002-USD", "sim:S0003-USD"];
            let answer = client.subscribe("trade", &others);
            assert_eq!(answer["errors"].as_array().map(Vec::len), Some(3), "{answer}");
        }
        for header in
            ["Authorization: Bearer ", "X-MBX-APIKEY: ", "Sec-WebSocket-Protocol: tickcast.token."]
        {
            let mut stream = connect();
            let text = format!(
                "GET /v1/symbols HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}{token}\r\n\r\n"
            );
            stream.write_all(text.as_bytes()).expect("writes");
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            assert!(!String::from_utf8_lossy(&answer).contains(token));
        }
    }
    // Sessions that come with their token.
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (path, more) in [("/v1/ws", upgrade), ("/ws", upgrade), ("/v1/sse?subscribe=trade:*", "")] {
        let mut stream = connect();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {signed}\r\n{more}\r\n"
        );
        stream.write_all(head.as_bytes()).expect("writes");
        let mut status = [0; 10];
        stream.read_exact(&mut status).expect("an answer");
        assert!(matches!(&status, b"HTTP/1.1 1" | b"HTTP/1.1 2"), "{path}");
    }
    let log = logged.end();
    assert!(log.contains("audit") && log.contains("refused") && log.contains("granted"), "{log}");
    // Each grant to a session is told, by which way it came, and which token it was.
    let granted: Vec<&str> = log.lines().filter(|line| line.contains("audit: granted")).collect();
    for path in ["path=\"/v1/ws\"", "path=\"/ws\"", "path=\"/v1/sse\""] {
        let told = |line: &&&str| line.contains(path) && line.contains("token=\"no-17\"");
        assert_eq!(granted.iter().filter(told).count(), 1, "{path}: {granted:?}");
    }
    let by_auth = |line: &&&str| line.contains("token=\"no-17\"") && !line.contains("path=");
    assert_eq!(granted.iter().filter(by_auth).count(), 1, "{granted:?}");
    // What a request is refused is one line, however much it is.
    let refused: Vec<_> = log.lines().filter(|line| line.contains("is not granted")).collect();
    assert!(refused.len() == 1 && refused[0].contains("count=3"), "{refused:?}");
    // Nor a part of one that is signed: its end alone is a secret, its middle says who it is of.
    let parts = [&signed, &forged].map(|token| token.split('.').skip(1).map(str::to_owned));
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let secrets = tokens.iter().map(|token| (*token).to_owned()).chain(parts);
    for secret in secrets.chain([hash(ONE), signer::text("secret.txt").trim().to_owned()]) {
        assert!(!log.contains(&secret), "{secret} is in the log: {log}");
    }
    assert!(log.contains("idp/ann\\\\nERROR") && !log.contains("\nERROR forged"), "{log}");
}
