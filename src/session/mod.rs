//! One client: what it sends ([`reader`], behind its [`guard`]), and why it is slow ([`cause`], from what [`sock_diag`] tells).

mod assembly;
pub mod cause;
pub mod guard;
pub mod reader;
pub mod sock_diag;
