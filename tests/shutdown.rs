//! The end: everybody is told, nobody is cut off, the exit code is 0.

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use common::{Client, Received, Server, masked};

#[test]
fn every_client_is_told_when_to_come_back_and_the_server_exits_in_time() {
    let mut server = Server::start(&["--reactors", "2", "--feed", "synthetic:rate=2000"]);
    let mut clients: Vec<Client> = (0..20).map(|_| Client::native(&server)).collect();
    let mut echo = Client::open(&server, "/v1/echo");
    for client in &mut clients {
        assert_eq!(client.subscribe("trade", &["*"])["success"], true);
    }
    server.signal("TERM");
    for client in &mut clients {
        let drain = client.until(|message| message["type"] == "drain");
        assert_eq!(drain["channel"], "status");
        assert_eq!(drain["reconnect_ms"], serde_json::json!([500, 8000]));
        match client.frame_in() {
            Received::Close(code, _) => assert_eq!(code, Some(1012)),
            other => panic!("{other:?} between the drain status and the close"),
        }
        assert_eq!(client.frame_in(), Received::End);
    }
    assert_eq!(echo.close().expect("a close frame").0, Some(1012));
    drop((clients, echo));
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_client_that_does_not_read_holds_the_exit_up_to_the_deadline_only() {
    let mut server = Server::start(&[
        "--drain-deadline",
        "2500ms",
        "--feed",
        "synthetic:rate=200000,only=trade",
    ]);
    let mut stalled = Client::native(&server);
    stalled.subscribe("trade", &["*"]);
    server.wait_metric("tickcast_sends_blocked_total", "", |blocked| blocked > 0.0);
    server.signal("INT");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_taken_port_is_one_clear_line() {
    let server = Server::start(&["--feed", "synthetic:symbols=1,rate=1"]);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tickcast"))
        .args(["--listen", &server.address.to_string(), "--log-level", "error"])
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(&server.address.to_string()), "{text}");
}

#[test]
fn a_drain_in_the_middle_of_a_storm_ends_like_any_other() {
    let mut server = Server::start(&["--reactors", "2", "--feed", "synthetic:rate=2000"]);
    let mut clients: Vec<Client> = (0..10).map(|_| Client::native(&server)).collect();
    for client in &mut clients {
        assert_eq!(client.subscribe("trade", &["*"])["success"], true);
    }
    // They come as fast as they can, in whatever state the server meets them, and again until nobody listens.
    let address = server.address;
    let storm: Vec<_> = (0..4).map(|_| std::thread::spawn(move || come_again(address))).collect();
    // Ten of them are not the storm's.
    server.wait_metric("tickcast_upgrades_total", "", |n| n > 210.0);
    server.signal("TERM");
    for client in &mut clients {
        client.until(|message| message["type"] == "drain");
        assert_eq!(client.close().expect("a close frame").0, Some(1012));
    }
    drop(clients);
    for thread in storm {
        thread.join().expect("it ends");
    }
    assert_eq!(server.wait().code(), Some(0));
}

/// Connects and subscribes, reads a little and goes, until the server is gone.
fn come_again(address: SocketAddr) {
    let request =
        b"GET /v1/ws HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let subscribe = br#"{"method":"subscribe","params":{"channel":"book","symbol":"*"}}"#;
    while let Ok(mut stream) = TcpStream::connect(address) {
        // Any of it may fail: the server is ending.
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let _ = stream.write_all(request);
        let _ = stream.read(&mut [0; 64]);
        let _ = stream.write_all(&masked(0x81, subscribe));
        let _ = stream.read(&mut [0; 4096]);
    }
}
