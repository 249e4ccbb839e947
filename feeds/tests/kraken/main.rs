//! Kraken spot, WebSocket API v2: what is asked of it, what its messages become, and that a book
//! that is not the venue's is never shown.

mod books;
mod messages;
mod model;
mod rig;
mod rules;
