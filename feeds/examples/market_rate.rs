//! How many events a second one core can make: the market alone, no clock and no sink.
//!
//! `cargo run --release -p tickcast-feeds --example market_rate -- synthetic:symbols=500,only=trade`

use std::time::Instant;

use tickcast_feeds::synthetic::Market;
use tickcast_feeds::{FeedSpec, Instruments};

fn main() {
    let text = std::env::args().nth(1).unwrap_or_else(|| "synthetic".to_owned());
    let spec = match text.parse() {
        Ok(FeedSpec::Synthetic(spec)) => spec,
        Ok(other) => return eprintln!("{other}: expected a synthetic feed"),
        Err(error) => return eprintln!("{error}"),
    };
    let mut market = Market::new(&spec, &Instruments::new());
    for index in 0..market.len() {
        market.snapshot(index);
    }
    let events = 5_000_000;
    let mut ticks = 0;
    let start = Instant::now();
    for _ in 0..events {
        ticks += market.next_event().len();
    }
    let seconds = start.elapsed().as_secs_f64();
    let millions = |n: usize| n as f64 / seconds / 1e6;
    println!("{spec}: {:.2} M events/s, {:.2} M ticks/s", millions(events), millions(ticks));
}
