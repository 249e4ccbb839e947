//! What each fuzz target asserts, as a function of the input: it panics where the program is wrong, and returns whether the input was
//! understood, as opposed to refused in order.
//!
//! Two call them: `fuzz_targets/`, with what libFuzzer makes up (`scripts/fuzz`), and `tests/fuzz`, with the inputs in `seeds/` and what a
//! seeded generator makes of them. That one is a part of the tests and includes this file, so that no sanitizer has to be built for it.

mod binance_client;
mod client_input;
mod config;
mod feed_spec;
mod head;
mod lines;
mod proxied;
mod recording;
mod request;
mod spool;
mod token;
mod venues;

pub use binance_client::binance_client;
pub use client_input::client_input;
pub use config::config;
pub use feed_spec::feed_spec;
pub use head::head;
pub use lines::lines;
pub use proxied::proxied;
pub use recording::recording;
pub use request::request;
pub use spool::spool;
pub use token::token;
pub use venues::{binance, binance_usdm, bybit, coinbase, coinbase_live, kraken, okx};

/// The text that the input begins with.
fn text(input: &[u8]) -> &str {
    let valid = match std::str::from_utf8(input) {
        Ok(text) => return text,
        Err(error) => &input[..error.valid_up_to()],
    };
    std::str::from_utf8(valid).expect("valid up to there")
}
