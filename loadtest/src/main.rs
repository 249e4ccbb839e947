//! Open-loop load generator for tickcast.
fn main() {}
