//! Clients of Binance that are not ours, as they are, on the Binance dialect: only their URLs are changed.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Server, captures, pause, python};
use serde_json::Value;

/// Both Binance captures at ten times their speed, over and over, and what runs clients on it.
struct Venue {
    server: Server,
    python: PathBuf,
}

impl Venue {
    fn open() -> Option<Self> {
        let (data, python) = (captures()?, python::with_clients_of_binance()?);
        let file = |symbol: &str| {
            let name = format!("binance_spot/binance_spot_{symbol}_20240808.jsonl.gz");
            data.join(name).display().to_string()
        };
        let feed = format!("replay:{}+{},speed=10,loop=true", file("btcusdt"), file("ethusdt"));
        let server = Server::start(&["--reactors", "2", "--feed", &feed]);
        // Clients take what is listed and known when they begin.
        for what in ["depth?symbol=BTCUSDT", "depth?symbol=ETHUSDT", "ticker/24hr?symbol=BTCUSDT"] {
            while server.get(&format!("/api/v3/{what}")).0 != 200 {
                pause();
            }
        }
        Some(Venue { server, python })
    }

    /// What a script of tests/clients saw; it fails where the script does.
    fn run(&self, script: &str, args: &[&str]) -> Vec<Value> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let output = Command::new(&self.python)
            .arg(folder.join(script))
            .arg(self.server.address.to_string())
            .args(args)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .expect("python runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script} {args:?}: {said}\n{wrong}");
        let seen: Vec<Value> =
            said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let end = seen.last().expect("lines");
        assert_eq!(end["saw"], "end", "{end}");
        println!("{end}");
        assert_eq!(self.server.metric("tickcast_slow_clients_total", ""), 0.0);
        seen
    }
}

fn count(seen: &[Value], what: &str) -> usize {
    seen.iter().filter(|line| line["saw"] == what).count()
}

#[test]
fn ccxt_follows_trades_tickers_quotes_and_books() {
    let Some(venue) = Venue::open() else { return };
    let seen = venue.run("binance_ccxt.py", &["BTC/USDT", "20"]);
    assert_eq!(seen[0]["symbols"], serde_json::json!(["BTC/USDT", "ETH/USDT"]));
    for what in ["trade", "ticker", "quote", "book"] {
        assert_eq!(count(&seen, what), 20, "{what}");
    }
    let mut trades = seen.iter().filter(|line| line["saw"] == "trade");
    assert!(trades.all(|trade| trade["price"].as_f64() > Some(60_000.0)));
    let books = seen.iter().filter(|line| line["saw"] == "book");
    let nonces: Vec<_> = books.map(|book| book["nonce"].as_u64()).collect();
    assert!(nonces.is_sorted() && nonces[0] < nonces[19], "{nonces:?}");
}

#[test]
fn python_binance_keeps_a_book_and_asks_for_it_no_more_than_it_would_at_binance() {
    let Some(venue) = Venue::open() else { return };
    let seen = venue.run("binance_python.py", &["BTCUSDT", "50"]);
    assert_eq!((count(&seen, "trade"), count(&seen, "book")), (50, 50));
    // Once before it connects, and once when the first update does not follow that.
    let asked = seen.last().and_then(|end| end["books_asked_for"].as_u64());
    assert!((1..=2).contains(&asked.expect("a number")), "{asked:?}");
}

#[test]
fn the_gap_check_of_ccxt_is_silent_at_a_tenth_of_the_rate() {
    let Some(venue) = Venue::open() else { return };
    let seen = venue.run("binance_ccxt_slow.py", &["BTC/USDT", "60"]);
    let end = seen.last().expect("lines");
    assert_eq!((&end["asked"], &end["connections"]), (&1.into(), &1.into()), "{end}");
    // What it was late for was told in sums.
    assert!(venue.server.metric("tickcast_conflated_total", "") > 0.0);
}
