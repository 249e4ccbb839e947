//! Coinbase Exchange as a live venue: its rules, and the parser of listed instruments.

// The captures here hold no replies, whose URLs the others read.
#[allow(dead_code)]
#[path = "../common/mod.rs"]
mod common;

mod drops;
mod harness;
mod loss;
mod property;
mod rules;
