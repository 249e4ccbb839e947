#![no_main]

use tickcast_feeds::Listing;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let btc = Listing { quotes_from_book: true, ..Listing::pair("BTC-USD", "BTC", "USD") };
    tickcast_fuzz::stream_of("coinbase", &[btc], input);
});
