//! What may be wrong with a configuration.

use thiserror::Error;

use crate::limits;

/// Why a configuration is not valid. Each is shown in one line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// A value that its setting does not take.
    #[error("{place} {value:?}: {why}")]
    Value {
        /// The flag, the variable, or the file, line and key.
        place: String,
        /// The value as given, cut to a readable length.
        value: String,
        /// What was expected, or how to mend it.
        why: String,
    },
    /// A configuration file that cannot be read.
    #[error("{place} {path:?}: cannot read it: {why}")]
    File {
        /// The flag or the variable that named it.
        place: &'static str,
        /// The file as it was named.
        path: String,
        /// The reason.
        why: String,
    },
    /// A line of a configuration file that is not understood.
    #[error("{path}:{line}: {why}")]
    Line {
        /// The file as it was named.
        path: String,
        /// The line, from 1.
        line: usize,
        /// The key and what was expected.
        why: String,
    },
    /// A machine that allows too little.
    #[error(
        "this process may open {open_files} files, expected at least {}: raise `ulimit -n`",
        limits::DESCRIPTORS_MIN
    )]
    TooFewFiles {
        /// The limit.
        open_files: usize,
    },
}
