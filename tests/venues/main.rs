//! Live feeds from end to end: a venue on the loopback, over real TLS, into the real program, into a
//! client that checks every book that it sees against what was true at the venue.
#![allow(missing_docs, unreachable_pub)]

#[path = "../common/mod.rs"]
mod common;

mod checker;
mod local;
mod world;

mod binance;
mod binance_requests;
mod binance_usdm;
mod binance_usdm_faults;
mod bybit;
mod coinbase;
mod engine;
mod flood;
mod kraken;
mod okx;
mod recording;
