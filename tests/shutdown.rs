//! The end: everybody is told, nobody is cut off, the exit code is 0.

mod common;

use common::{Client, Received, Server};

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
