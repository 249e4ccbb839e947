//! What is read again while the server runs: certificates, and who may see what.

use crate::access::Access;
use crate::transport::certificates::Certificates;

/// What became of one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There is none.
    None,
    /// It had not changed, and nobody asked.
    Same,
    Read,
    /// What is wrong with it; all stays as it was.
    Refused(String),
}

impl Outcome {
    fn of<E: std::fmt::Display>(result: Result<bool, E>) -> Self {
        match result {
            Ok(true) => Outcome::Read,
            Ok(false) => Outcome::Same,
            Err(error) => Outcome::Refused(error.to_string()),
        }
    }
}

/// Reads the certificates again where their files have changed, or in any case.
pub(crate) fn certificates(certificates: Option<&Certificates>, always: bool) -> Outcome {
    let Some(certificates) = certificates else { return Outcome::None };
    let outcome = Outcome::of(certificates.reload(always));
    match &outcome {
        Outcome::Read => tracing::info!("certificates read again"),
        Outcome::Refused(error) => tracing::error!(%error, "certificates stay as they are"),
        Outcome::None | Outcome::Same => {}
    }
    outcome
}

/// The same of the file of `--access`.
pub(crate) fn access(access: &Access, always: bool) -> Outcome {
    if !access.is_kept() {
        return Outcome::None;
    }
    let outcome = Outcome::of(access.reload(always));
    match &outcome {
        Outcome::Read => tracing::info!(target: "audit", "access read again"),
        Outcome::Refused(error) => tracing::error!(%error, "access stays as it is"),
        Outcome::None | Outcome::Same => {}
    }
    outcome
}
