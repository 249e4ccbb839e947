//! The flags of the door of operators.

use clap::Args;

/// See the module.
#[derive(Debug, Args)]
pub struct AdminArgs {
    /// Address and port, or unix:PATH, where operators look at the server and steer it: /v1/admin/*
    /// [default: none]
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "TICKCAST_ADMIN_LISTEN",
        help_heading = "Operators"
    )]
    pub admin_listen: Option<String>,
    /// File with the token that operators must give (mode 600), or with sha256: and its hash
    #[arg(
        long,
        value_name = "FILE",
        env = "TICKCAST_ADMIN_TOKEN_FILE",
        help_heading = "Operators"
    )]
    pub admin_token_file: Option<String>,
}
