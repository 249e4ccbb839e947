//! The flags about clients' addresses.

use clap::Args;

use crate::limits;

/// What one address may have, as the texts that were given.
#[derive(Debug, Args)]
pub struct AddressArgs {
    /// Clients at a time from one address (of IPv6: from one /64); more are answered 429; 0: no limit
    #[arg(long, value_name = "N", env = "TICKCAST_MAX_CLIENTS_PER_ADDRESS", help_heading = "Limits",
          default_value_t = limits::CLIENTS_PER_ADDRESS.to_string())]
    pub max_clients_per_address: String,
    /// Connections from one address that have not finished their upgrade; more are closed; 0: no
    /// limit [default: a quarter of --max-handshakes]
    #[arg(
        long,
        value_name = "N",
        env = "TICKCAST_MAX_HANDSHAKES_PER_ADDRESS",
        help_heading = "Limits"
    )]
    pub max_handshakes_per_address: Option<String>,
    /// New connections per second from one address, ten times as many at once; more are closed; 0: no
    /// limit
    #[arg(long, value_name = "N", env = "TICKCAST_CONNECT_RATE", help_heading = "Limits",
          default_value_t = limits::CONNECT_RATE.to_string())]
    pub connect_rate: String,
    /// Address or network to which these three limits do not apply, repeatable; none: they apply to all
    #[arg(long, value_name = "NETWORK", env = "TICKCAST_EXEMPT_ADDRESS", help_heading = "Limits",
          default_values = limits::EXEMPT_ADDRESSES)]
    pub exempt_address: Vec<String>,
}
