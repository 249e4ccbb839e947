//! One client: what it sends ([`reader`], behind its [`guard`]).

mod assembly;
pub mod guard;
pub mod reader;
