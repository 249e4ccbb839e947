//! What one address may have.

use super::{ConfigError, Reader, number};
use crate::address::Network;
use crate::limits;

/// See the module; 0 is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Clients at a time.
    pub clients: usize,
    /// Connections that have not finished their upgrade.
    pub handshakes: usize,
    /// New connections per second.
    pub connect_rate: u32,
    /// HTTP requests per second.
    pub http_rate: u32,
    /// Addresses that these do not apply to.
    pub exempt: Vec<Network>,
}

/// What takes the place of a list that would be empty.
pub(super) const NONE: &str = "none";

impl Reader<'_> {
    pub(super) fn addresses(&self, max_handshakes: usize) -> Result<Addresses, ConfigError> {
        let count = |text: &str| number(text, 0..=limits::PER_ADDRESS_MAX);
        let share = max_handshakes.div_ceil(limits::HANDSHAKES_ADDRESS_SHARE);
        Ok(Addresses {
            clients: self.required("max-clients-per-address", count)?,
            handshakes: self.or("max-handshakes-per-address", share, count)?,
            connect_rate: self.required("connect-rate", count)? as u32,
            http_rate: self.required("http-rate", count)? as u32,
            exempt: self.networks("exempt-address")?,
        })
    }

    /// A list of networks, or that there is none.
    pub(super) fn networks(&self, name: &str) -> Result<Vec<Network>, ConfigError> {
        let texts = self.several(name).unwrap_or_default();
        if let [NONE] = texts[..] {
            return Ok(Vec::new());
        }
        let read = |text: &str| text.trim().parse().map_err(|why| self.error(name, text, why));
        texts.into_iter().map(read).collect()
    }
}

impl Addresses {
    /// The text of `exempt-address`.
    pub(super) fn exempt(&self) -> Vec<String> {
        match &self.exempt[..] {
            [] => vec![NONE.to_owned()],
            all => all.iter().map(ToString::to_string).collect(),
        }
    }
}
