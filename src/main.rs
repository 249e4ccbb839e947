//! tickcast.
fn main() {}
