//! What goes over the wire: the native dialect out and in, Binance's, and RFC 6455 frames.

pub mod binance;
pub mod deflate;
pub mod encode;
pub mod form;
pub mod frame;
pub mod native;
pub mod request;
