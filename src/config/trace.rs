//! The settings of traces.

use super::{ConfigError, Reader, number};
use crate::limits;
use crate::trace::otlp::Endpoint;

/// Which ticks are traced, and who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// One tick of so many; 0 for none.
    pub sample: u64,
    /// The collector; without one, traces are lines of the log.
    pub collector: Option<Endpoint>,
}

impl Reader<'_> {
    pub(super) fn traced(&self) -> Result<Traced, ConfigError> {
        let sample =
            self.required("trace-sample", |text| number(text, 0..=limits::TRACE_SAMPLE_MAX))?;
        let collector = self.or("otlp-endpoint", None, |text| match sample {
            0 => Err("expected --trace-sample N with it, or there are no traces".to_owned()),
            _ => text.trim().parse().map(Some),
        })?;
        Ok(Traced { sample: sample as u64, collector })
    }
}
