//! tickcast.
