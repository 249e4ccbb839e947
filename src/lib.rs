//! tickcast.

pub mod ring;
pub mod books;
