//! The wiring of the server.

use crate::config::Config;

/// Runs the server until it is told to stop.
///
/// # Errors
/// What keeps it from starting.
pub fn run(config: Config) -> anyhow::Result<()> {
    let Config { listen, feeds, .. } = config;
    drop(feeds);
    anyhow::bail!("nothing to serve on {listen} yet: the server is not wired")
}
