//! Signed tokens from end to end: by every way in, with keys from files and from a publisher, until they expire or
//! are taken back. What they open and what stays shut is in `tests/access`, which asks with both kinds of token.
#![allow(missing_docs, unreachable_pub)]

#[path = "../common/mod.rs"]
mod common;
mod publisher;
mod signer;

use common::kept::{ALL, Kept, one_and_all};
use common::tls::Pair;
use common::{Client, pause};
use publisher::{Answer, Publisher};
use serde_json::{Value, json};
use signer::{Signer, soon};

/// An issuer of this name with its key from here.
fn issuer(name: &str, algorithm: &str, key: &str, more: &str) -> String {
    format!(
        "[[issuer]]\nname = \"{name}\"\niss = \"{name}\"\naud = \"tickcast\"\n\
         algorithms = [\"{algorithm}\"]\n{key}\nsymbols = [\"*\"]\n{more}\n"
    )
}

fn file(field: &str, name: &str) -> String {
    format!("{field} = {:?}", signer::path(name))
}

fn claims(iss: &str, seconds: i64) -> Value {
    json!({"iss": iss, "aud": "tickcast", "sub": "ann", "exp": soon(seconds)})
}

fn auth(client: &mut Client, token: &str) -> Value {
    client.ask(&json!({"method": "auth", "params": {"token": token}}))
}

#[test]
fn each_algorithm_opens_by_each_way_in() {
    let all = [
        ("hs", Signer::hs256(), file("secret_file", "secret.txt")),
        ("rs", Signer::rs256("rsa.pem"), file("key_file", "rsa_public.pem")),
        ("ed", Signer::eddsa(), file("key_file", "ed25519_public.pem")),
        ("es", Signer::es256(), file("key_file", "p256_public.pem")),
    ];
    let issuers: String =
        all.iter().map(|(name, signer, key)| issuer(name, signer.alg(), key, "")).collect();
    let kept = Kept::new(&(one_and_all() + &issuers), &[]);
    for (name, signer, _) in &all {
        let token = signer.token(&claims(name, 3_600));
        assert_eq!(kept.get(Some(&token), "/v1/symbols").0, 200, "{name}");
        for path in ["/metrics", "/v1/stats", "/v1/connections"] {
            assert_eq!(kept.get(Some(&token), path).0, 403, "{name} is no operator");
        }
        let key = format!("X-MBX-APIKEY: {token}\r\n");
        let request = format!(
            "GET /api/v3/exchangeInfo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{key}\r\n"
        );
        assert_eq!(kept.server.request(&request).0, 200, "{name}");
        let offer = format!("Sec-WebSocket-Protocol: tickcast.v1.json, tickcast.token.{token}\r\n");
        let (stream, head) = kept.upgrade("/v1/ws", &offer);
        assert!(head.contains("tickcast.v1.json") && !head.contains(&token), "{head}");
        let mut page = Client::upgraded(stream);
        assert_eq!(page.subscribe("trade", &["*"])["result"][0]["matched"], 4);
        let mut later = Client::native(&kept.server);
        let answer = auth(&mut later, &token);
        assert_eq!(answer["result"]["name"], format!("{name}/ann"), "{answer}");
        assert!(answer["result"]["expires"].is_u64(), "{answer}");
        // One byte of it changed, at each of its three parts.
        let ends: Vec<usize> = token.match_indices('.').map(|(at, _)| at).collect();
        for at in [ends[0] - 2, ends[1] - 2, token.len() - 4] {
            let mut wrong = token.clone().into_bytes();
            wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
            let wrong = String::from_utf8(wrong).expect("text");
            let (status, body) = kept.get(Some(&wrong), "/v1/symbols");
            assert_eq!((status, body.contains("unauthorized")), (401, true), "{name}: {body}");
        }
    }
    let mut client = Client::native(&kept.server);
    let late = all[0].1.token(&claims("hs", -60));
    let refused = auth(&mut client, &late);
    assert_eq!(refused["error"]["message"], "the token has expired", "{refused}");
    assert_eq!(kept.get(Some(&late), "/v1/symbols").0, 401);
}

#[test]
fn one_that_expires_is_told_renewed_or_closed() {
    let text = one_and_all()
        + &issuer("hs", "HS256", &file("secret_file", "secret.txt"), "leeway = 0\nconnections = 2");
    let kept = Kept::new(&text, &[]);
    let brief = Signer::hs256().token(&claims("hs", 6));
    let (mut ends, mut renews) = (kept.client("/v1/ws", &brief), kept.client("/v1/ws", &brief));
    for client in [&mut ends, &mut renews] {
        client.until(|message| message["type"] == "token");
    }
    assert_eq!(renews.subscribe("trade", &["sim:S0001-USD"])["success"], true);
    // All its connections are in use: one that is renewed is none more.
    let answer = auth(&mut renews, &Signer::hs256().token(&claims("hs", 3_600)));
    assert_eq!(answer["success"], true, "{answer}");
    assert_eq!(ends.close(), Some((Some(4003), "the token has expired".to_owned())));
    for _ in 0..200 {
        renews.until(|message| message["channel"] == "trade");
    }
}

#[test]
fn what_is_taken_back_ends_and_the_rest_stays() {
    let one = |more: &str| issuer("hs", "HS256", &file("secret_file", "secret.txt"), more);
    let two = issuer("rs", "RS256", &file("key_file", "rsa_public.pem"), "");
    let kept = Kept::new(&(one_and_all() + &one("") + &two), &[]);
    let hs = Signer::hs256().token(&claims("hs", 3_600));
    let mut first = kept.client("/v1/ws", &hs);
    let mut binance = kept.client("/ws/s0001usd@trade", &hs);
    let rs = Signer::rs256("rsa.pem").token(&claims("rs", 3_600));
    let mut second = kept.client("/v1/ws", &rs);
    assert_eq!(second.subscribe("trade", &["*"])["success"], true);
    kept.rewrite(&(one_and_all() + &one("depth = 5") + &two));
    let closed = Some((Some(4003), "the token, or the key that signed it, was changed".to_owned()));
    assert_eq!((first.close(), binance.close()), (closed.clone(), closed.clone()));
    assert_eq!(kept.get(Some(&hs), "/v1/book/sim:S0001-USD?depth=6").0, 403);
    assert_eq!(kept.get(Some(&hs), "/v1/book/sim:S0001-USD?depth=5").0, 200);
    for _ in 0..200 {
        second.message();
    }
    kept.rewrite(&(one_and_all() + &one("depth = 5")));
    assert_eq!(second.close(), closed);
    assert_eq!(kept.get(Some(&rs), "/v1/symbols").0, 401);
}

#[test]
fn a_single_token_is_taken_back_from_who_has_it() {
    let one = |more: &str| issuer("hs", "HS256", &file("secret_file", "secret.txt"), more);
    let kept = Kept::new(&(one_and_all() + &one("")), &[]);
    let token = |jti: &str| {
        let mut claims = claims("hs", 3_600);
        claims["jti"] = json!(jti);
        Signer::hs256().token(&claims)
    };
    let (lost, good) = (token("lost"), token("good"));
    let mut thief = kept.client("/v1/ws", &lost);
    let mut later = kept.client("/v1/ws", &good);
    assert_eq!(auth(&mut later, &lost)["success"], true);
    let mut owner = kept.client("/v1/ws", &good);
    assert_eq!(owner.subscribe("trade", &["*"])["success"], true);
    kept.rewrite(&(one_and_all() + &one("revoked_jti = [\"lost\"]")));
    let closed = Some((Some(4003), "the token was taken back".to_owned()));
    assert_eq!((thief.close(), later.close()), (closed.clone(), closed));
    assert_eq!(kept.get(Some(&lost), "/v1/symbols").0, 401);
    assert_eq!(kept.get(Some(&good), "/v1/symbols").0, 200);
    for _ in 0..200 {
        owner.message();
    }
}

fn keys(keys: &[Value]) -> Answer {
    Answer::Text(200, json!({"keys": keys}).to_string())
}

fn published(publisher: &Publisher) -> String {
    one_and_all() + &issuer("idp", "RS256", &format!("jwks_url = \"{}\"", publisher.url()), "")
}

const FETCHES: &str = "tickcast_access_jwks_fetches_total";

#[test]
fn keys_are_published_and_change() {
    let (old, new) = (Signer::rs256("rsa.pem"), Signer::rs256("rsa_other.pem"));
    let ec = json!({"kty": "EC", "crv": "P-256", "kid": "ec", "x": "AA", "y": "AA"});
    let publisher = Publisher::new(keys(&[ec.clone(), old.jwk("old")]));
    let kept = Kept::new(&published(&publisher), &[]);
    let claims = claims("idp", 3_600);
    let (first, second) = (old.named("old", &claims), new.named("new", &claims));
    // They are there before the first who comes.
    let mut client = kept.client("/v1/ws", &first);
    assert_eq!(publisher.asked(), 1);
    assert_eq!(kept.metric("tickcast_access_jwks_keys", "idp"), 1.0);
    // Rubbish is asked for once, not each time.
    for n in 0..50 {
        let rubbish = new.named(&format!("rubbish-{n}"), &claims);
        assert_eq!(kept.get(Some(&rubbish), "/v1/symbols").0, 401);
    }
    let asked = publisher.asked();
    assert!(asked <= 4, "{asked} times");
    publisher.set(keys(&[ec, old.jwk("old"), new.jwk("new")]));
    while kept.get(Some(&second), "/v1/symbols").0 != 200 {
        pause();
    }
    // The old one is still one of them.
    assert_eq!(client.subscribe("trade", &["*"])["success"], true);
    assert_eq!(kept.get(Some(&first), "/v1/symbols").0, 200);
    publisher.set(keys(&[new.jwk("new")]));
    kept.server.signal("HUP");
    let closed = Some((Some(4003), "the token, or the key that signed it, was changed".to_owned()));
    assert_eq!(client.close(), closed);
    assert_eq!(kept.get(Some(&first), "/v1/symbols").0, 401);
    assert_eq!(kept.get(Some(&second), "/v1/symbols").0, 200);
}

#[test]
fn keys_come_by_tls_from_whom_the_system_trusts() {
    let signer = Signer::eddsa();
    let pair = Pair::new(&["localhost"]);
    let publisher = Publisher::secure(keys(&[signer.jwk("a")]), &pair);
    let url = format!("jwks_url = \"{}\"", publisher.url());
    let text = one_and_all() + &issuer("idp", "EdDSA", &url, "");
    let token = signer.named("a", &claims("idp", 3_600));
    let stranger = Pair::new(&["localhost"]);
    for (trusted, status) in [(&pair, 200), (&stranger, 401)] {
        let chain = trusted.chain();
        let variables = [("SSL_CERT_FILE", chain.to_str().expect("text"))];
        let kept = Kept::new_in(&variables, &text, &[]);
        assert_eq!(kept.get(Some(&token), "/v1/symbols").0, status);
    }
}

#[test]
fn a_publisher_that_fails_takes_no_keys_away() {
    let signer = Signer::rs256("rsa.pem");
    let publisher = Publisher::new(keys(&[signer.jwk("a")]));
    // The client answers no pings while others ask.
    let kept = Kept::new(&published(&publisher), &["--ping-interval", "10m"]);
    let token = signer.named("a", &claims("idp", 3_600));
    let mut client = kept.client("/v1/ws", &token);
    let mut failed = 0.0;
    for answer in [
        Answer::Text(302, String::new()),
        Answer::Text(200, "<html>sign in</html>".to_owned()),
        Answer::Gone,
        Answer::Endless,
        Answer::Nothing,
    ] {
        publisher.set(answer);
        // It is asked again for who has a key that is not known, once in a while.
        while kept.metric(FETCHES, "failed") == failed {
            assert_eq!(
                kept.get(Some(&signer.named("b", &claims("idp", 60))), "/v1/symbols").0,
                401
            );
            assert_eq!(kept.get(Some(&token), "/v1/symbols").0, 200);
            pause();
        }
        failed = kept.metric(FETCHES, "failed");
    }
    assert_eq!(kept.metric("tickcast_access_jwks_keys", "idp"), 1.0);
    assert_eq!(client.subscribe("trade", &["*"])["success"], true);
}

#[test]
fn a_server_starts_without_its_publisher() {
    let signer = Signer::rs256("rsa.pem");
    let publisher = Publisher::new(Answer::Nothing);
    // It serves those whom it knows, while the other is asked.
    let kept = Kept::new(&published(&publisher), &[]);
    let token = signer.named("a", &claims("idp", 3_600));
    assert_eq!(kept.metric(FETCHES, "failed"), 1.0);
    assert_eq!(kept.get(Some(ALL), "/v1/symbols").0, 200);
    assert_eq!(kept.get(Some(&token), "/v1/symbols").0, 401);
    publisher.set(keys(&[signer.jwk("a")]));
    while kept.get(Some(&token), "/v1/symbols").0 != 200 {
        pause();
    }
}
