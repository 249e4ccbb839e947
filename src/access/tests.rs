use std::io::Write;

use hyper::header::HeaderValue;
use proptest::prelude::*;
use tickcast_feeds::Instruments;

use super::grant::Pattern;
use super::*;
use crate::wire::request::Channel;

fn hash_of(token: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) struct File(tempfile::NamedTempFile);

impl File {
    pub(super) fn new(text: &str) -> Self {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("writes");
        File(file)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn rewrite(&self, text: &str) {
        std::fs::write(self.path(), text).expect("writes");
    }
}

fn desk(more: &str) -> String {
    format!(
        "[[token]]\nname = \"desk\"\nsha256 = \"{}\"\nsymbols = [\"binance:BTC-*\", \"kraken:*\"]\n{more}",
        hash_of("desk-token")
    )
}

fn held(access: &Access, token: &str) -> Result<Held, Refused> {
    access.of_token(Some(token.as_bytes()), 1_000, None)
}

#[test]
fn a_token_is_found_by_its_hash_and_nobody_elses() {
    // `printf %s desk-token | sha256sum`
    assert_eq!(
        hash_of("desk-token"),
        "6122302bcd3f8ce89bcc5c9198be780e54d4d4a74110b2b88ddf5abb6ccb17a8"
    );
    let file = File::new(&desk(""));
    let access = Access::load(file.path()).expect("a file");
    assert_eq!(held(&access, "desk-token").expect("in").name, "desk");
    for token in ["", "desk", "desk-toke", "desk-token ", &hash_of("desk-token")] {
        assert_eq!(held(&access, token).expect_err("out"), Refused::Unknown, "{token:?}");
    }
    assert_eq!(access.of_token(None, 0, None).expect_err("out"), Refused::NoToken);
    let open = Access::open();
    assert!(open.of_token(None, 0, None).expect("in").has_all());
    // Where nobody is kept out, whoever has a token is not either.
    assert!(open.of_token(Some(b"x"), 0, None).is_ok());
}

#[test]
fn tokens_come_in_three_ways() {
    let headers = |name: &'static str, value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).expect("a value"));
        token(&headers).map(|token| String::from_utf8(token).expect("text"))
    };
    assert_eq!(headers("authorization", "Bearer abc").as_deref(), Some("abc"));
    assert_eq!(headers("authorization", "bearer  abc ").as_deref(), Some("abc"));
    // Something is given, and it is none of ours: that is not the same as nothing.
    assert_eq!(headers("authorization", "Basic abc").as_deref(), Some(""));
    assert_eq!(headers("authorization", "abc").as_deref(), Some(""));
    assert_eq!(headers("x-mbx-apikey", "abc").as_deref(), Some("abc"));
    let offered = "tickcast.v1.json, tickcast.token.abc";
    assert_eq!(headers("sec-websocket-protocol", offered).as_deref(), Some("abc"));
    assert_eq!(headers("sec-websocket-protocol", "tickcast.v1.json"), None);
    assert_eq!(token(&HeaderMap::new()), None);
}

#[test]
fn a_grant_says_what_may_be_seen_and_why_not() {
    let file = File::new(&desk("channels = [\"quote\", \"book\"]\ndepth = 25\n"));
    let access = Access::load(file.path()).expect("a file");
    let grant = held(&access, "desk-token").expect("in");
    let all = Instruments::new();
    all.list("binance", "BTCUSDT", "BTC", "USDT");
    all.list("binance", "ETHUSDT", "ETH", "USDT");
    all.list("kraken", "ETH/USD", "ETH", "USD");
    let [btc, eth, kraken] = &all.since(0)[..] else { panic!("three") };
    assert_eq!(grant.allows(btc, Channel::Quote, 0), Ok(()));
    assert_eq!(grant.allows(kraken, Channel::Book, 25), Ok(()));
    assert_eq!(grant.allows(kraken, Channel::Status, 0), Ok(()));
    for (info, channel) in [btc, eth, kraken].iter().flat_map(|i| Channel::ALL.map(|c| (i, c))) {
        for depth in [0, 1, 25, 26] {
            let allowed = grant.allows(info, channel, depth).is_ok();
            assert_eq!(grant.covers(info, channel, depth), allowed, "{channel:?} {depth}");
        }
    }
    let why = |result: Result<(), Denied>| result.expect_err("denied").to_string();
    let no_symbol = "binance:ETH-USDT is not granted to desk, which has binance:BTC-*, kraken:*";
    assert_eq!(why(grant.allows(eth, Channel::Quote, 0)), no_symbol);
    assert_eq!(why(grant.allows(eth, Channel::Status, 0)), no_symbol);
    let no_trades = "trade is not granted to desk, which has quote, book";
    assert_eq!(why(grant.allows(btc, Channel::Trade, 0)), no_trades);
    for depth in [0, 26, 1_000] {
        let no_depth = "desk may see books of up to 25 levels";
        assert_eq!(why(grant.allows(btc, Channel::Book, depth)), no_depth);
    }
}

#[test]
fn connections_are_counted_while_they_live_and_time_runs_out() {
    let file = File::new(&desk("connections = 2\nexpires = 1970-01-01T00:00:02Z\n"));
    let access = Access::load(file.path()).expect("a file");
    let _first = held(&access, "desk-token").expect("in");
    let second = held(&access, "desk-token").expect("in");
    assert_eq!(held(&access, "desk-token").expect_err("out"), Refused::Full);
    drop(second);
    let again = held(&access, "desk-token").expect("in");
    assert!(!again.is_over(1_999) && again.is_over(2_000));
    assert_eq!(
        access.of_token(Some(b"desk-token"), 2_000, None).expect_err("out"),
        Refused::Expired
    );
}

#[test]
fn what_changes_in_the_file_ends_and_the_rest_stays() {
    let other = format!(
        "[[token]]\nname = \"free\"\nsha256 = \"{}\"\nsymbols = [\"sim:*\"]\n",
        hash_of("free-token")
    );
    let file = File::new(&format!("[anonymous]\nsymbols = []\n{}{other}", desk("")));
    let access = Access::load(file.path()).expect("a file");
    let (desk_held, free, nobody) = (
        held(&access, "desk-token").expect("in"),
        held(&access, "free-token").expect("in"),
        access.of_token(None, 0, None).expect("in"),
    );
    let over = || [&desk_held, &free, &nobody].map(|held| held.is_over(0));
    // Rubbish changes nothing.
    file.rewrite("[[token]]\nname = ");
    assert!(access.reload(true).expect_err("rubbish").to_string().contains("line 2"));
    assert_eq!(over(), [false; 3]);
    // Another order and a comment are no change.
    file.rewrite(&format!("# all\n{other}{}\n[anonymous]\nsymbols = []\n", desk("")));
    assert!(access.reload(true).expect("a file"));
    assert_eq!(over(), [false; 3]);
    // One is gone, one may see less, one is as before.
    file.rewrite(&format!("[anonymous]\nsymbols = []\n{}", desk("depth = 5\n")));
    assert!(access.reload(true).expect("a file"));
    assert_eq!(over(), [true, true, false]);
    let less = held(&access, "desk-token").expect("in");
    assert!(
        less.allows_kind(Channel::Book, 6).is_err() && less.allows_kind(Channel::Book, 5).is_ok()
    );
    assert_eq!(held(&access, "free-token").expect_err("out"), Refused::Unknown);
}

#[test]
fn errors_of_the_file_are_one_line_and_show_no_hash() {
    let secret = hash_of("desk-token");
    for (text, expected) in [
        ("[[token]]\nsymbols = [\"*\"]", "[[token]] 1 of the file: expected a `name`"),
        ("[[token]]\nname = \"a\"\nsymbols = []\nsha256 = \"abc\"", "`sha256` of 3 characters"),
        ("[anonymous]\nsymbols = [\"btc\"]", "symbol \"btc\", expected * or a pattern"),
        ("[anonymous]\nsymbols = []\nchannels = [\"trades\"]", "expected some of trade, quote"),
        ("[anonymous]\nsymbols = []\ndepth = 0", "`depth` is not 1 to 1000"),
        ("[anonymous]\nsymbols = []\nmax_hz = 1000", "`max_hz` is not 0.1 to 100"),
        (
            "[anonymous]\nsymbols = []\ndelay = \"15\"",
            "`delay` \"15\", expected whole seconds from 1s",
        ),
        ("[anonymous]\nsymbols = []\ndelay = \"1500ms\"", "expected whole seconds"),
        ("[anonymous]\nsymbols = []\ndelay = \"25h\"", "from 1s to 24h, such as 15m"),
        ("[anonymous]\nsymbols = []\ndelay = \"1m\"\noperator = true", "`delay` and `operator`"),
        ("[anonymous]\nsymbols = []\nexpires = 2027-01-01", "a time with its zone"),
        ("[anonymous]\nsymbols = []\nsymbol = []", "line 3: unknown field `symbol`"),
        (&format!("{}{}", desk(""), desk("")), "its hash is there twice"),
        ("x", "line 1: "),
        ("", "nobody is in it"),
    ] {
        let file = File::new(text);
        let error = Access::load(file.path()).expect_err("an error").to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(!error.contains(&secret), "{error}");
    }
    let error = Access::load(Path::new("/nowhere")).expect_err("no file").to_string();
    assert!(error.starts_with("/nowhere: cannot read it"), "{error}");
}

/// The obvious way, which may take for ever.
fn slowly(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|at| slowly(rest, &text[at..])),
        Some((first, rest)) => {
            text.split_first().is_some_and(|(t, r)| t == first && slowly(rest, r))
        }
    }
}

proptest! {
    #[test]
    fn patterns_match_what_they_say(pattern in "[ab*]{1,8}", text in "[ab]{0,10}") {
        let whole = format!("v:{}", pattern.to_uppercase());
        let symbol = format!("v:{}", text.to_uppercase());
        let matched = Pattern::new(&whole).expect("a pattern").matches(&symbol);
        prop_assert_eq!(matched, slowly(whole.as_bytes(), symbol.as_bytes()));
    }
}
