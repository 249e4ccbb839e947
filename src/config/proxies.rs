//! The proxies before the server.

use super::values::one_of;
use super::{ConfigError, Reader};
use crate::address::Network;
use crate::cli;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxies {
    /// Those that are believed what they say of clients.
    pub trusted: Vec<Network>,
    /// Those that come by the unix socket are.
    pub unix: bool,
    /// Their connections begin with a header of the PROXY protocol.
    pub protocol: bool,
}

/// What `--trusted-proxy` takes for those who come by the unix socket.
const UNIX: &str = "unix";

impl Reader<'_> {
    pub(super) fn proxies(&self) -> Result<Proxies, ConfigError> {
        let name = "trusted-proxy";
        let texts = self.several(name).unwrap_or_default();
        let (unix, networks): (Vec<_>, Vec<_>) =
            texts.into_iter().map(str::trim).partition(|text| *text == UNIX);
        let read = |text: &str| {
            text.parse().map_err(|why| self.error(name, text, format!("{why}, or {UNIX}")))
        };
        let trusted = networks.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let protocol =
            self.required("proxy-protocol", |text| match one_of(text, cli::BOOL, &[true, false])? {
                true if trusted.is_empty() && unix.is_empty() => {
                    Err("expected --trusted-proxy NETWORK with it: who else may say whom it speaks for?"
                        .to_owned())
                }
                protocol => Ok(protocol),
            })?;
        Ok(Proxies { trusted, unix: !unix.is_empty(), protocol })
    }
}

impl Proxies {
    /// The texts of `trusted-proxy`.
    pub(super) fn trusted(&self) -> Vec<String> {
        let unix = self.unix.then(|| UNIX.to_owned());
        self.trusted.iter().map(ToString::to_string).chain(unix).collect()
    }
}
