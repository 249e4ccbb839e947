//! The flags of `check`.

use clap::Args;

use super::ServeArgs;

/// The flags of `check`: those of `serve`, and how to print.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// What would be served.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

pub(super) const AFTER_CHECK: &str = "\
Reads the configuration as serve would, with the same flags, variables and file, and looks at this
machine: limits, cores, the kernel's network settings, the clock, memory, disks, certificates. It
opens no feed and no socket. Each line is ok, consider (not everything that was configured can
happen at once) or change, with what mends it. Run it as the user and in the unit or container that
serves: limits are theirs.

Exit codes: 0 nothing must change, 1 something must, 2 the configuration is wrong.

Examples:
  tickcast check --config tickcast.toml
  tickcast check --max-clients 50000 --json | jq '.checks[] | select(.verdict != \"ok\")'";
