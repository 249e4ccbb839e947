//! Values of flags that are one of a few.

use clap::Arg;
use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;

/// What `--pin` accepts.
pub const PIN: &[&str] = &["true", "false", "auto"];
/// What flags that say yes or no accept.
pub const BOOL: &[&str] = &["true", "false"];
/// What `--slow-consumer` accepts.
pub const SLOW_CONSUMER: &[&str] = &["disconnect", "conflate"];
/// What `--log-level` accepts.
pub const LOG_LEVEL: &[&str] = &["error", "warn", "info", "debug", "trace"];
/// What `--log-format` accepts.
pub const LOG_FORMAT: &[&str] = &["text", "json"];

/// Lists values for the help and for completion; the check itself is the configuration's, which
/// knows where a value came from.
#[derive(Clone)]
pub(super) struct Choice(pub(super) &'static [&'static str]);

impl TypedValueParser for Choice {
    type Value = String;

    fn parse_ref(
        &self,
        cmd: &clap::Command,
        _arg: Option<&Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, clap::Error> {
        let text =
            value.to_str().ok_or_else(|| clap::Error::new(ErrorKind::InvalidUtf8).with_cmd(cmd));
        text.map(str::to_owned)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(|name| PossibleValue::new(*name))))
    }
}
