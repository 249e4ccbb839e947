//! `tickcast watch` on a terminal: what a person sees, what keys do, and how the terminal is left.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use common::kept::{Kept, one_and_all};
use common::terminal::Terminal;
use common::{PATIENCE, Server};
use serde_json::{Value, json};

const MARKET: &[&str] = &["--feed", "synthetic:symbols=3,rate=500,names=numbered"];

fn watch(size: (u16, u16), url: &str, args: &[&str]) -> Terminal {
    Terminal::start(size.0, size.1, &[&["watch", "--url", url], args].concat(), &[])
}

fn url(address: SocketAddr) -> String {
    format!("ws://{address}/v1/ws")
}

#[test]
fn a_symbol_has_its_ladder_and_trades_and_q_restores_the_terminal() {
    let server = Server::start(MARKET);
    let mut terminal = watch((80, 24), &url(server.address), &["s0000-usd"]);
    let seen = [
        "sim:S0000-USD",
        "● live",
        "● connected",
        " ms",
        "last ",
        "high ",
        "bid ",
        "spread ",
        "▸",
        "0 gaps",
    ];
    let text = terminal.until_all(&seen);
    // Both sides, of which the bars and prices are 9 rows and more, and trades beside them.
    terminal.until(|text| {
        text.lines().filter(|line| line.contains('▲') || line.contains('▼')).count() > 5
    });
    assert_eq!(text.lines().count(), 24, "{text}");
    assert!(terminal.is_raw() && terminal.screen().screen().alternate_screen());
    terminal.press("q");
    terminal.ends_well();
    // It says goodbye: the server counts a client that closed, not one that was lost.
    let closed = "reason=\"closed_by_peer\"";
    server.wait_metric("tickcast_sessions_ended_total", closed, |ended| ended == 1.0);
}

#[test]
fn every_way_out_restores_the_terminal() {
    let server = Server::start(MARKET);
    for way in ["\u{3}", "TERM", "INT", "HUP"] {
        let mut terminal = watch((80, 24), &url(server.address), &["sim:S0000-USD"]);
        terminal.until_all(&["● live", "spread"]);
        match way {
            "\u{3}" => terminal.press(way),
            signal => terminal.signal(signal),
        }
        terminal.ends_well();
    }
}

#[test]
fn a_table_is_filtered_and_opens_ladders() {
    let server = Server::start(MARKET);
    let mut terminal = watch((80, 24), &url(server.address), &[]);
    terminal.until_all(&["3 symbols", "sim:S0000-USD", "sim:S0002-USD", "% ● live", "change"]);
    terminal.press("/02");
    terminal.until(|text| text.contains("1 of 3 symbols") && !text.contains("sim:S0000-USD"));
    terminal.press("\r");
    terminal.until_all(&["Esc clear"]);
    terminal.press("\r");
    terminal.until_all(&["sim:S0002-USD", "spread", "Esc back"]);
    terminal.press("\u{1b}");
    terminal.until_all(&["1 of 3 symbols"]);
    terminal.press("\u{1b}");
    terminal.until(|text| text.contains("3 symbols") && !text.contains(" of "));
    // Down twice from the first.
    terminal.press("\u{1b}[A\u{1b}[A\u{1b}[A\u{1b}[Bj\r");
    terminal.until_all(&["sim:S0002-USD", "spread"]);
    terminal.press("q");
    terminal.ends_well();
}

#[test]
fn it_fits_every_window_and_fills_large_ones() {
    let server = Server::start(MARKET);
    let mut terminal = watch((20, 5), &url(server.address), &["sim:S0000-USD"]);
    terminal.until_all(&["sim:S0000-USD", "q quit"]);
    terminal.resize(1, 1);
    terminal.until(|text| !text.is_empty());
    terminal.resize(120, 50);
    // More levels than the first subscription had.
    terminal.until(|text| text.lines().filter(|line| line.contains('.')).count() > 40);
    terminal.press("q");
    terminal.ends_well();
}

#[test]
fn colours_are_refused_by_a_variable() {
    let server = Server::start(MARKET);
    let url = url(server.address);
    let args = ["watch", "--url", &url, "sim:S0000-USD"];
    for (variables, coloured) in [(&[("NO_COLOR", "1")][..], false), (&[("NO_COLOR", "")], true)] {
        let terminal = Terminal::start(80, 24, &args, variables);
        terminal.until_all(&["● live", "spread", "▸"]);
        let parser = terminal.screen();
        let screen = parser.screen();
        let cells =
            (0..24).flat_map(|row| (0..80).filter_map(move |column| screen.cell(row, column)));
        let default = vt100::Color::Default;
        let any =
            cells.into_iter().any(|cell| cell.fgcolor() != default || cell.bgcolor() != default);
        assert_eq!(any, coloured);
    }
}

#[test]
fn lines_come_where_they_are_asked_for() {
    let server = Server::start(MARKET);
    let url = url(server.address);
    for (args, term) in [
        (&["--json", "sim:S0000-USD"][..], "xterm"),
        (&["--channel", "trade"], "xterm"),
        (&["sim:S0000-USD"], "dumb"),
    ] {
        let args = [&["watch", "--url", &url][..], args].concat();
        let mut terminal = Terminal::start(80, 24, &args, &[("TERM", term)]);
        terminal.until_all(&["{\"channel\":\"", "\"symbol\":\"sim:S000"]);
        assert!(!terminal.is_raw() && !terminal.screen().screen().alternate_screen());
        // The terminal makes a signal of it.
        terminal.press("\u{3}");
        terminal.ends_well();
    }
}

#[test]
fn what_cannot_be_watched_is_a_line_and_no_screen() {
    let server = Server::start(MARKET);
    let mut terminal = watch((120, 24), &url(server.address), &["sim:S000-USD"]);
    assert_eq!(terminal.wait().code(), Some(1));
    let text = terminal.until_all(&[
        "error: nothing to watch: no such symbol: sim:S000-USD, did you mean sim:S000",
    ]);
    assert!(!terminal.screen().screen().alternate_screen(), "{text}");
    let kept = Kept::new(&one_and_all(), &[]);
    let mut terminal = watch((120, 24), &url(kept.server.address), &["*"]);
    assert_eq!(terminal.wait().code(), Some(1));
    let text =
        terminal.until_all(&["error: nothing to watch: it wants a token: --token-file FILE"]);
    assert!(!terminal.screen().screen().alternate_screen(), "{text}");
}

/// Passes connections on to whichever server there is.
struct Proxy {
    address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
}

impl Proxy {
    fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("an address");
        let target = Arc::new(Mutex::new(target));
        let to = Arc::clone(&target);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(*to.lock().expect("no panic"));
                let Ok(server) = server else { continue };
                pass(&client, &server);
                pass(&server, &client);
            }
        });
        Proxy { address, target }
    }
}

/// Copies one direction, and its end.
fn pass(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) =
        (from.try_clone().expect("a handle"), to.try_clone().expect("a handle"));
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
}

#[test]
fn a_server_that_dies_is_waited_for_and_its_return_is_live_again() {
    let server = Server::start(MARKET);
    let proxy = Proxy::to(server.address);
    let mut terminal = watch((80, 24), &url(proxy.address), &["sim:S0000-USD"]);
    terminal.until_all(&["● live", "● connected", "spread", "▸"]);
    drop(server);
    let text = terminal.until_all(&["○ offline", "reconnecting", ", try 2", "all of this is old"]);
    assert!(text.contains("spread"), "the picture stays: {text}");
    let server = Server::start(MARKET);
    *proxy.target.lock().expect("no panic") = server.address;
    terminal.until(|text| {
        text.contains("● live")
            && text.contains("spread")
            && text.contains("0 gaps")
            && !text.contains("offline")
    });
    terminal.press("q");
    terminal.ends_well();
}

#[test]
fn a_terminal_that_takes_nothing_makes_no_slow_consumer_and_can_be_ended() {
    let busy = ["--feed", "synthetic:symbols=1,rate=1500,names=numbered", "--slow-grace", "3s"];
    let server = Server::start(&busy);
    let mut terminal = watch((200, 60), &url(server.address), &["sim:S0000-USD"]);
    terminal.until_all(&["● live", "spread"]);
    terminal.pause(true);
    let before = server.metric("tickcast_sent_bytes_total", "");
    // Many times what a socket and the outbox hold for one that does not read.
    server.wait_metric("tickcast_sent_bytes_total", "", |sent| sent > before + 4e6);
    assert_eq!(server.metric("tickcast_sessions", ""), 1.0);
    assert_eq!(server.metric("tickcast_slow_clients_total", ""), 0.0);
    terminal.signal("TERM");
    assert_eq!(terminal.wait().code(), Some(0));
    assert!(terminal.has_modes_of_before());
}

/// A server that says what a test wants, and what it is asked.
struct Script(TcpStream);

impl Script {
    fn accept(listener: &TcpListener) -> Self {
        let (mut stream, _) = listener.accept().expect("accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a request");
            head.push(byte[0]);
        }
        let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                      Connection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";
        stream.write_all(answer.as_bytes()).expect("writes");
        Script(stream)
    }

    fn frame(&mut self, first: u8, payload: &[u8]) {
        let length = u16::try_from(payload.len()).expect("short").to_be_bytes();
        let head = [&[first, 126][..], &length].concat();
        self.0.write_all(&[&head[..], payload].concat()).expect("writes");
    }

    fn say(&mut self, message: &Value) {
        self.frame(0x81, message.to_string().as_bytes());
    }

    /// The next frame of the client, which is masked.
    fn hear_frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).expect("a frame");
        let mut length = usize::from(head[1] & 0x7f);
        if length == 126 {
            let mut long = [0; 2];
            self.0.read_exact(&mut long).expect("a length");
            length = usize::from(u16::from_be_bytes(long));
        }
        let mut mask = [0; 4];
        self.0.read_exact(&mut mask).expect("a mask");
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).expect("a payload");
        payload.iter_mut().enumerate().for_each(|(i, byte)| *byte ^= mask[i % 4]);
        (head[0] & 0x0f, payload)
    }

    /// The next request for a subscription.
    fn subscription(&mut self) -> Value {
        loop {
            let (_, text) = self.hear_frame();
            let request: Value = serde_json::from_slice(&text).expect("JSON");
            if request["method"] == "subscribe" {
                return request;
            }
        }
    }

    fn answer(&mut self, request: &Value) {
        self.say(&json!({"method": "subscribe", "req_id": request["req_id"], "success": true,
            "result": [{"channel": request["params"]["channel"], "symbol": "x:A-B", "seq": 0}]}));
    }
}

fn book(seq: u64, prev: Option<u64>, bids: &Value) -> Value {
    let mut book = json!({"channel": "book", "type": "snapshot", "symbol": "x:A-B", "depth": 25,
        "seq": seq, "bids": bids, "asks": [], "ts": {"recv": 1}});
    if let Some(prev) = prev {
        (book["type"], book["prev"]) = (json!("update"), json!(prev));
    }
    book
}

#[test]
fn a_gap_is_told_asked_about_and_mended() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("an address");
    let terminal = watch((80, 40), &url(address), &["x:A-B"]);
    let mut server = Script::accept(&listener);
    let mut depth = Value::Null;
    while depth != 25 {
        let request = server.subscription();
        server.answer(&request);
        depth = request["params"]["depth"].clone();
    }
    server.say(&book(5, None, &json!([["100.000000000000001", "7"]])));
    terminal.until_all(&["100.000000000000001", "0 gaps"]);
    server.say(&book(9, Some(8), &json!([["99", "1"]])));
    terminal.until_all(&["gap in the book of x:A-B", "waiting for the book", "1 gap"]);
    let again = server.subscription();
    assert_eq!(
        (&again["params"]["channel"], &again["params"]["depth"]),
        (&json!("book"), &json!(25))
    );
    server.answer(&again);
    server.say(&book(11, None, &json!([["98.5", "1.25"]])));
    terminal.until(|text| text.contains("98.5") && !text.contains("waiting for the book"));

    // Pings are answered, and a lag is told with its cause.
    server.frame(0x89, b"are you there");
    while server.hear_frame() != (10, b"are you there".to_vec()) {}
    server.say(
        &json!({"channel": "status", "type": "lag", "policy": "disconnect", "cause": "network"}),
    );
    terminal.until_all(&["lagging: the network loses segments (disconnect)"]);
    let close = [&4008u16.to_be_bytes()[..], b"slow consumer"].concat();
    server.frame(0x88, &close);
    terminal.until_all(&["reconnecting", "closed by the server: 4008 slow consumer"]);
}
