#![no_main]

use std::sync::Arc;

use tickcast_feeds::{Instruments, Listing};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let instruments = Arc::new(Instruments::new());
    let btc = Listing { quotes_from_book: true, ..Listing::pair("BTC-USD", "BTC", "USD") };
    instruments.list_as("coinbase", &btc);
    tickcast_fuzz::stream_of(instruments, "coinbase", input);
});
