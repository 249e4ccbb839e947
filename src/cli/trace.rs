//! The flags of traces.

use clap::Args;

/// See the module.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// Trace one tick of N through the server, as lines of the log; 0: none
    #[arg(
        long,
        value_name = "N",
        env = "TICKCAST_TRACE_SAMPLE",
        help_heading = "Logging",
        default_value = "0"
    )]
    pub trace_sample: String,
    /// Send traces to this collector too, by OTLP over HTTP, as http://127.0.0.1:4318 [default: none]
    #[arg(long, value_name = "URL", env = "TICKCAST_OTLP_ENDPOINT", help_heading = "Logging")]
    pub otlp_endpoint: Option<String>,
}
