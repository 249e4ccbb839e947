//! tickcast.

pub mod books;
