//! `tickcast watch`: what it prints, what it does about a connection's troubles, how it ends.

mod common;

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::Instant;

use common::kept::{Kept, ONE, one_and_all, token};
use common::{PATIENCE, Server, pause};
use serde_json::Value;

const MARKET: &[&str] = &["--feed", "synthetic:symbols=3,rate=500,names=numbered"];

/// A running `tickcast watch`, ended with the test.
struct Watching {
    child: Child,
    out: Option<Lines<BufReader<ChildStdout>>>,
    err: Lines<BufReader<ChildStderr>>,
}

impl Watching {
    fn start(url: &str, args: &[&str]) -> Self {
        let mut child = command(url, args).spawn().expect("the program starts");
        let out = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let err = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        Watching { child, out: Some(out), err }
    }

    fn line(&mut self) -> String {
        self.out.as_mut().expect("open").next().expect("a line").expect("text")
    }

    /// The next line of stderr.
    fn remark(&mut self) -> String {
        self.err.next().expect("a line").expect("text")
    }

    fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < until, "it does not end");
            pause();
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(url: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickcast"));
    command.env_remove("TICKCAST_TOKEN").args(["watch", "--url", url]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(url: &str, args: &[&str]) -> Output {
    command(url, args).output().expect("the program runs")
}

fn url(server: &Server) -> String {
    format!("ws://{}/v1/ws", server.address)
}

fn messages(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("one JSON message per line"))
        .collect()
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

#[test]
fn quotes_and_trades_of_everything_one_per_line_up_to_the_count() {
    let server = Server::start(MARKET);
    let output = run(&url(&server), &["--count", "400"]);
    assert_eq!(errors(&output), "");
    assert_eq!(output.status.code(), Some(0));
    let messages = messages(&output);
    assert_eq!(messages.len(), 400);
    let kinds = |channel: &str| messages.iter().filter(|m| m["channel"] == channel).count();
    assert!(kinds("quote") > 0 && kinds("trade") > 0);
    assert_eq!(kinds("quote") + kinds("trade"), 400, "only what was subscribed to");
    // It says goodbye: the server counts a client that closed, not one that was lost.
    let closed = "reason=\"closed_by_peer\"";
    server.wait_metric("tickcast_sessions_ended_total", closed, |ended| ended == 1.0);
}

#[test]
fn a_book_of_one_symbol_with_a_depth() {
    let server = Server::start(MARKET);
    let args = ["--channel", "book", "--depth", "2", "--count", "20", "sim:S0000-USD"];
    let output = run(&url(&server), &args);
    assert_eq!(errors(&output), "");
    let messages = messages(&output);
    assert_eq!(messages.len(), 20);
    for message in &messages {
        assert_eq!(message["channel"], "book");
        assert_eq!(message["symbol"], "sim:S0000-USD");
        assert_eq!(message["depth"], 2);
    }
    assert_eq!(messages[0]["type"], "snapshot");
}

#[test]
fn bars_of_an_interval_and_tickers() {
    let server = Server::start(MARKET);
    let channels = ["--channel", "bar", "--interval", "1s", "--channel", "ticker"];
    let output = run(&url(&server), &[&channels[..], &["--count", "60"]].concat());
    assert_eq!(errors(&output), "");
    let messages = messages(&output);
    let kinds = |channel: &str| messages.iter().filter(|m| m["channel"] == channel).count();
    assert!(kinds("bar") > 0 && kinds("ticker") > 0);
    assert_eq!(kinds("bar") + kinds("ticker"), 60);
    assert!(messages.iter().all(|m| m["channel"] == "ticker" || m["interval"] == "1s"));
}

#[test]
fn an_unknown_symbol_is_told_and_the_others_go_on() {
    let server = Server::start(MARKET);
    let args = ["--channel", "trade", "--count", "1", "sim:S000-USD", "sim:S0000-USD"];
    let output = run(&url(&server), &args);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(messages(&output).len(), 1);
    let errors = errors(&output);
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(errors.contains("sim:S000-USD, did you mean sim:S000"), "{errors}");
}

#[test]
fn nothing_to_watch_is_exit_1() {
    let server = Server::start(MARKET);
    let output = run(&url(&server), &["NOSUCH", "NEITHER"]);
    let errors = errors(&output);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("NOSUCH") && errors.contains("NEITHER"), "{errors}");
    assert!(errors.lines().last().is_some_and(|line| line.starts_with("error: ")), "{errors}");
}

#[test]
fn a_token_of_a_file_or_a_variable_opens_what_it_grants() {
    let kept = Kept::new(&one_and_all(), &[]);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), ONE.to_owned() + "\n").expect("writes");
    let path = file.path().to_str().expect("text");
    let watch = ["--count", "50", "*"];
    let given = [
        run(&url(&kept.server), &[&["--token-file", path], &watch[..]].concat()),
        command(&url(&kept.server), &watch).env("TICKCAST_TOKEN", ONE).output().expect("runs"),
    ];
    for output in &given {
        assert_eq!((errors(output).as_str(), output.status.code()), ("", Some(0)));
        let messages = messages(output);
        assert_eq!(messages.len(), 50);
        assert!(messages.iter().all(|message| message["symbol"] == "sim:S0001-USD"));
    }
    std::fs::write(file.path(), "another").expect("writes");
    for (args, code, why) in [
        (&[][..], 1, "it wants a token: --token-file FILE, or TICKCAST_TOKEN"),
        (&["--token-file", path], 1, "it does not take the token: no such token"),
        (&["--token-file", "/none"], 2, "--token-file \"/none\": cannot read it"),
    ] {
        let output = run(&url(&kept.server), args);
        let errors = errors(&output);
        assert_eq!((output.status.code(), errors.lines().count()), (Some(code), 1), "{errors}");
        assert!(errors.contains(why) && !errors.contains("start `tickcast`"), "{errors}");
    }
}

#[test]
fn a_token_that_was_replaced_is_read_again() {
    let kept = Kept::new(&one_and_all(), &[]);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), ONE).expect("writes");
    let path = file.path().to_str().expect("text");
    let mut watching = Watching::start(&url(&kept.server), &["--token-file", path, "*"]);
    watching.line();
    std::fs::write(file.path(), "the-next-one").expect("writes");
    kept.rewrite(&token("next", "the-next-one", "symbols = [\"sim:S0002-*\"]"));
    let remark = watching.remark();
    assert!(remark.contains("4003 the token was taken back; connecting again"), "{remark}");
    while !watching.line().contains("sim:S0002-USD") {}
}

#[test]
fn no_server_is_one_line_that_says_how_to_mend_it() {
    let free = TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("an address");
    let silent = TcpListener::bind("127.0.0.1:0").expect("binds");
    let other = silent.local_addr().expect("an address");
    let talk = std::thread::spawn(move || {
        let (mut stream, _) = silent.accept().expect("accepts");
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").expect("writes");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    for address in [free, other] {
        let output = run(&format!("ws://{address}"), &[]);
        let errors = errors(&output);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(errors.contains(&address.to_string()) && errors.contains("--url"), "{errors}");
    }
    talk.join().expect("the other server saw a client");
}

#[test]
fn wrong_usage_is_exit_2_and_one_line() {
    let wrong: &[(&[&str], &str)] = &[
        (&["--url", "http://127.0.0.1:7070"], "ws://HOST:PORT/v1/ws"),
        (&["--ca", "ca.pem"], "--url wss://"),
        (&["--url", "wss://127.0.0.1:7070", "--ca", "/nowhere"], "cannot read certificates"),
        (&["--channel", "bars"], "quote"),
        (&["--channel", "bar", "--interval", "2m"], "1s, 1m, 5m, 1h"),
        (&["--interval", "1m"], "--channel bar"),
        (&["--depth", "0", "--channel", "book"], "1 to 1000"),
        (&["--depth", "10"], "--channel book"),
        (&["--count", "0"], "from 1"),
        (&["--colour"], "--colour"),
    ];
    for (args, advice) in wrong {
        let output = Command::new(env!("CARGO_BIN_EXE_tickcast"))
            .arg("watch")
            .args(*args)
            .output()
            .expect("the program runs");
        let errors = errors(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{args:?}: {errors}");
        assert!(errors.contains(advice), "{args:?}: {errors}");
    }
}

#[test]
fn a_signal_ends_it_well() {
    let server = Server::start(MARKET);
    for signal in ["INT", "TERM"] {
        let mut watching = Watching::start(&url(&server), &[]);
        watching.line();
        let pid = watching.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status().expect("kill runs");
        assert!(sent.success());
        // What is in the pipe must not hold it.
        drop(watching.out.take());
        assert_eq!(watching.wait().code(), Some(0));
    }
}

#[test]
fn the_end_of_its_reader_ends_it_well() {
    let server = Server::start(MARKET);
    let mut watching = Watching::start(&url(&server), &[]);
    watching.line();
    drop(watching.out.take());
    assert_eq!(watching.wait().code(), Some(0));
    assert!(watching.err.next().is_none(), "without a word");
}

#[test]
fn the_drain_of_a_server_is_understood() {
    let server = Server::start(&[MARKET, &["--drain-spread", "30s..40s"]].concat());
    let mut watching = Watching::start(&url(&server), &[]);
    watching.line();
    server.signal("TERM");
    // Read on: the server waits for its clients to take what is queued.
    let lines = watching.out.take().expect("open");
    let printed = std::thread::spawn(move || {
        lines.map_while(Result::ok).filter(|line| line.contains("status")).collect::<Vec<_>>()
    });
    let remark = watching.remark();
    assert!(remark.contains("the server stops; connecting again in 3"), "{remark}");
    watching.child.kill().expect("runs still");
    assert_eq!(printed.join().expect("reads"), Vec::<String>::new(), "the drain is no tick");
}

/// A server that does what a test wants.
struct Script(TcpListener);

impl Script {
    fn new() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let url = format!("ws://{}", listener.local_addr().expect("an address"));
        (Script(listener), url)
    }

    /// Takes a client in, up to its subscription.
    fn accept(&self) -> TcpStream {
        let (mut stream, _) = self.0.accept().expect("accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a request");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("text").to_lowercase();
        assert!(head.starts_with("get /v1/ws http/1.1\r\n"), "{head}");
        assert!(head.contains("sec-websocket-protocol: tickcast.v1.json\r\n"), "{head}");
        let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                      Connection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";
        stream.write_all(answer.as_bytes()).expect("writes");
        let (opcode, request) = client_frame(&mut stream);
        assert_eq!(opcode, 1);
        let request: Value = serde_json::from_slice(&request).expect("JSON");
        assert_eq!(request["method"], "subscribe");
        assert_eq!(request["params"]["symbol"], serde_json::json!(["*"]));
        frame(&mut stream, 1, br#"{"method":"subscribe","req_id":0,"success":true,"result":[{}]}"#);
        stream
    }
}

/// Sends an unmasked frame of up to 125 bytes.
fn frame(stream: &mut TcpStream, opcode: u8, payload: &[u8]) {
    let len = u8::try_from(payload.len()).ok().filter(|len| *len < 126).expect("short");
    stream.write_all(&[&[0x80 | opcode, len], payload].concat()).expect("writes");
}

/// The next frame of the client, which must be short and masked.
fn client_frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 6];
    stream.read_exact(&mut head).expect("a frame");
    assert!((0x80..0x80 + 126).contains(&head[1]), "short and masked: {head:?}");
    let mut payload = vec![0; usize::from(head[1] & 0x7f)];
    stream.read_exact(&mut payload).expect("a payload");
    payload.iter_mut().enumerate().for_each(|(i, byte)| *byte ^= head[2 + i % 4]);
    (head[0] & 0x0f, payload)
}

const TRADE: &[u8] = br#"{"channel":"trade", "price":"1.50" ,"symbol":"x:A-B"}"#;

#[test]
fn it_answers_pings_and_finds_back() {
    let (script, url) = Script::new();
    let mut watching = Watching::start(&url, &["--channel", "trade", "--count", "4"]);

    let mut client = script.accept();
    frame(&mut client, 1, TRADE);
    frame(&mut client, 9, b"are you there");
    assert_eq!(client_frame(&mut client), (10, b"are you there".to_vec()));
    assert_eq!(watching.line().as_bytes(), TRADE, "as it came, to the byte");
    drop(client); // without a close frame
    assert!(watching.remark().contains("connection lost"));

    let mut client = script.accept();
    frame(&mut client, 1, br#"{"channel":"heartbeat","time":1}"#);
    frame(&mut client, 1, br#"{"channel":"status","type":"drain","reconnect_ms":[1,2]}"#);
    frame(&mut client, 8, &1012u16.to_be_bytes());
    assert!(watching.remark().contains("the server stops; connecting again in 0.0 s"));

    let mut client = script.accept();
    frame(&mut client, 1, TRADE);
    frame(&mut client, 1, br#"{"channel":"status","type":"lag","policy":"disconnect"}"#);
    frame(&mut client, 8, &[&4008u16.to_be_bytes()[..], b"slow consumer"].concat());
    assert!(watching.remark().contains(r#""type":"lag""#));
    assert!(watching.remark().contains("4008 slow consumer; connecting again in"));

    let mut client = script.accept();
    frame(&mut client, 1, br#"{"channel":"status","type":"feed","symbol":"x:A-B"}"#);
    frame(&mut client, 1, TRADE);
    assert_eq!(client_frame(&mut client), (8, 1000u16.to_be_bytes().to_vec()));
    let lines: Vec<String> = (0..3).map(|_| watching.line()).collect();
    assert!(lines[1].contains(r#""type":"feed""#), "{lines:?}");
    assert_eq!(watching.wait().code(), Some(0));
}
