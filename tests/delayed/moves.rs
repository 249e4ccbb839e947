//! Clients whose market is another from here on: by `auth`, by a change of the file, by what a signed token says.

use std::io::{Read, Write};

use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::common::tls::{self, Pair};
use super::common::{self, Client, Server, pause};
use super::signer::{self, Signer, soon};
use super::{
    LATE, LATER, LIVE, MARKET, Two, access, all, assert_old, now_us, number, received, told_s,
};

fn auth(token: &str) -> Value {
    json!({"method": "auth", "req_id": 1, "params": {"token": token}})
}

fn trades(method: &str) -> Value {
    json!({"method": method, "req_id": 2, "params": {"channel": "trade", "symbol": "*"}})
}

/// The next trade of a client.
fn trade<S: Read + Write>(client: &mut Client<S>) -> String {
    client.until(|message| message["channel"] == "trade").to_string()
}

/// From nobody to who is delayed by a second, to who is not, and back.
fn goes_to_and_fro<S: Read + Write>(mut client: Client<S>) {
    // Both at once, as pages do: the second is for the other market already.
    let both =
        [auth(LATE), trades("subscribe")].map(|m| common::masked(0x81, m.to_string().as_bytes()));
    client.stream.write_all(&both.concat()).expect("writes");
    let answer = client.message();
    assert_eq!(
        (&answer["result"]["name"], number(&answer["result"], "delay_ms")),
        (&json!("late"), 1_000)
    );
    let answer = client.message();
    assert_eq!((&answer["success"], number(&answer, "delay_ms")), (&json!(true), 1_000));
    for _ in 0..100 {
        assert_old(&trade(&mut client), 1_000_000);
    }
    // With subscriptions it does not go.
    let answer = client.ask(&auth(LIVE));
    assert_eq!(answer["error"]["code"], "other_market", "{answer}");
    assert!(answer["error"]["message"].as_str().expect("text").contains("unsubscribe"), "{answer}");
    assert_old(&trade(&mut client), 1_000_000);
    client.ask(&trades("unsubscribe"));
    let answer = client.ask(&auth(LIVE));
    assert_eq!(
        (&answer["result"]["name"], answer["result"].get("delay_ms")),
        (&json!("live"), None)
    );
    assert_eq!(client.ask(&trades("subscribe")).get("delay_ms"), None);
    let mut youngest = u64::MAX;
    while youngest > 1_000_000 {
        let trade = trade(&mut client);
        youngest = youngest.min(now_us() - received(&trade)[0]);
    }
    // And back, with a fragmented request in two packets.
    client.ask(&trades("unsubscribe"));
    let text = auth(LATE).to_string();
    let (first, second) = text.as_bytes().split_at(20);
    client.frame(0x01, first);
    pause();
    client.frame(0x80, second);
    let answer = client.until(|message| message["method"] == "auth");
    assert_eq!(answer["result"]["name"], "late", "{answer}");
    assert_eq!(number(&client.ask(&trades("subscribe")), "delay_ms"), 1_000);
    assert_old(&trade(&mut client), 1_000_000);
}

#[test]
fn who_says_later_who_it_is_goes_to_its_market_with_its_connection() {
    let folder = TempDir::new().expect("a folder");
    let two = Two::new("1s", folder.path(), &["--feed", MARKET]);
    two.wait_late("sim:S0001-USD");
    goes_to_and_fro(Client::native(&two.server));
}

#[test]
fn the_rate_of_requests_goes_along() {
    let folder = TempDir::new().expect("a folder");
    let two = Two::new("1s", folder.path(), &["--feed", MARKET, "--request-rate", "1"]);
    two.wait_late("sim:S0001-USD");
    let mut client = Client::native(&two.server);
    let mut tokens = [LATE, LIVE].into_iter().cycle().take(40);
    let is_limited = |token| client.ask(&auth(token))["error"]["code"] == "rate_limited";
    assert!(tokens.any(is_limited), "each move is a new beginning");
}

#[test]
fn with_tls_too() {
    let folder = TempDir::new().expect("a folder");
    let pair = Pair::new(&["localhost"]);
    let flags = pair.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let door = ["--feed", MARKET, "--listen-tls", "127.0.0.1:0"];
    let two = Two::new("1s", folder.path(), &[&door[..], &flags].concat());
    two.wait_late("sim:S0001-USD");
    let address = two.server.tls.expect("an address for TLS");
    for version in [&TLS12, &TLS13] {
        goes_to_and_fro(tls::native(address, &tls::trusting(&[&pair], &[version])));
    }
    // Three times each.
    let moved = "reason=\"moved\"";
    two.wait_metric("tickcast_sessions_ended_total", moved, |sessions| sessions == 6.0);
}

#[test]
fn a_delay_that_there_is_no_market_for_changes_nothing() {
    let folder = TempDir::new().expect("a folder");
    let two = Two::new("1s", folder.path(), &["--feed", MARKET]);
    two.wait_late("sim:S0001-USD");
    std::fs::write(two.file.path(), access("2s")).expect("writes");
    two.server.signal("HUP");
    // It is looked at every other second.
    let mut client = two.client(LATE, "/v1/ws");
    client.subscribe("trade", &["*"]);
    for _ in 0..50 {
        assert_old(&trade(&mut client), 1_000_000);
    }
    assert_eq!(number(&client.subscribe("quote", &["*"]), "delay_ms"), 1_000);
    // One that there is takes its holder there.
    let text = all("late", LATE, "") + &all("x", "x", "delay = \"1s\"");
    std::fs::write(two.file.path(), text).expect("writes");
    two.server.signal("HUP");
    assert_eq!(client.close().expect("a close").0, Some(4003));
    assert_eq!(two.client(LATE, "/v1/ws").subscribe("trade", &["*"]).get("delay_ms"), None);
}

/// A token of the issuer `app`, which says so much of what it grants.
fn signed(tickcast: &Value) -> String {
    Signer::hs256().token(&json!({"iss": "app", "aud": "tickcast", "sub": "ann",
        "exp": soon(3_600), "tickcast": tickcast}))
}

#[test]
fn a_signed_token_is_served_from_the_market_that_it_says_or_its_issuer() {
    let folder = TempDir::new().expect("a folder");
    let issuer = format!(
        "[[issuer]]\nname = \"app\"\niss = \"app\"\naud = \"tickcast\"\nalgorithms = [\"HS256\"]\n\
         secret_file = {:?}\nsymbols = [\"*\"]\ndelay = \"2s\"\n",
        signer::path("secret.txt")
    );
    // One with a shorter delay, one with a longer one.
    let text = access("1s") + &all("later", LATER, "delay = \"3s\"") + &issuer;
    let two = Two::start(Server::start, &text, folder.path(), &["--feed", MARKET]);
    for (claims, ms) in [(json!({}), 2_000), (json!({"delay": "3s"}), 3_000)] {
        let token = signed(&claims);
        let (status, head, _) = two.get(&token, "/v1/symbols");
        assert_eq!((status, told_s(&head)), (200, Some(ms / 1_000)), "{head}");
        // With the upgrade, and by `auth`.
        let mut later = Client::native(&two.server);
        let answer = later.ask(&auth(&token));
        assert_eq!(answer["result"]["name"], "app/ann", "{answer}");
        assert_eq!(number(&answer["result"], "delay_ms"), ms);
        for mut client in [two.client(&token, "/v1/ws"), later] {
            assert_eq!(number(&client.ask(&trades("subscribe")), "delay_ms"), ms);
            for _ in 0..50 {
                assert_old(&trade(&mut client), ms * 1_000);
            }
        }
    }
    // What comes sooner is more than its issuer may grant, and a market that there is not is none.
    let soon = "its `delay` is more than its issuer may grant";
    for (delay, why) in [("1s", soon), ("0s", "`delay`"), ("4s", "does not serve")] {
        let token = signed(&json!({"delay": delay}));
        let (status, _, body) = two.get(&token, "/v1/symbols");
        assert_eq!((status, body.contains(why)), (401, true), "{delay}: {body}");
        let answer = Client::native(&two.server).ask(&auth(&token));
        assert_eq!(answer["error"]["code"], "unauthorized", "{answer}");
    }
}
