//! The Binance dialect from outside: a raw WebSocket client and plain HTTP against the real program.
#![allow(missing_docs, unreachable_pub)]

#[path = "../common/mod.rs"]
mod common;

#[path = "../neighbours/mod.rs"]
mod neighbours;

mod books;
mod desk;

mod depth;
mod requests;
mod rest;
mod slow;
mod streams;
