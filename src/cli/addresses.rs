//! The flags about clients' addresses, and about proxies that hide them.

use clap::Args;

use super::choice::{BOOL, Choice};
use crate::limits;

/// What one address may have, and who says what a client's is, as the texts that were given.
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
    /// HTTP requests per second from one address, upgrades included, ten times as many at once; more are
    /// answered 429; 0: no limit
    #[arg(long, value_name = "N", env = "TICKCAST_HTTP_RATE", help_heading = "Limits",
          default_value_t = limits::HTTP_RATE.to_string())]
    pub http_rate: String,
    /// Address or network to which these four limits do not apply, repeatable; none: they apply to all
    #[arg(long, value_name = "NETWORK", env = "TICKCAST_EXEMPT_ADDRESS", help_heading = "Limits",
          default_values = limits::EXEMPT_ADDRESSES)]
    pub exempt_address: Vec<String>,
    /// Proxy before the server that is believed whom it speaks for (X-Forwarded-For, X-Forwarded-Host),
    /// repeatable: an address, a network, or unix for who comes by --listen-unix [default: none]
    #[arg(long, value_name = "NETWORK", env = "TICKCAST_TRUSTED_PROXY", help_heading = "Network")]
    pub trusted_proxy: Vec<String>,
    /// Connections of trusted proxies begin with a header of the PROXY protocol, version 1 or 2
    #[arg(long, value_name = "BOOL", env = "TICKCAST_PROXY_PROTOCOL", help_heading = "Network",
          default_value = "false", default_missing_value = "true", num_args = 0..=1,
          require_equals = true, value_parser = Choice(BOOL))]
    pub proxy_protocol: String,
}
