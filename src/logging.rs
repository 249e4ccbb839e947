//! Logs: lines on stderr, as text or as JSON. Stdout is kept for what scripts read.

use std::io::IsTerminal;

use thiserror::Error;
use tracing::{Level, Subscriber};
use tracing_subscriber::fmt::MakeWriter;

/// The form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; coloured on a terminal, unless `NO_COLOR` is set.
    Text,
    /// One JSON object per line, the event's fields at its top level.
    Json,
}

/// A logger was there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("logging was already set up in this process")]
pub struct AlreadySetUp;

/// Logs events of `level` and above to stderr from now on, from all threads.
///
/// # Errors
/// When it has been done before.
pub fn init(level: Level, format: LogFormat) -> Result<(), AlreadySetUp> {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colour = std::io::stderr().is_terminal() && !no_color;
    let subscriber = subscriber(level, format, colour, std::io::stderr);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| AlreadySetUp)
}

/// The subscriber, writing wherever it is told to.
fn subscriber<W>(
    level: Level,
    format: LogFormat,
    colour: bool,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt().with_max_level(level).with_writer(writer);
    match format {
        LogFormat::Text => Box::new(lines.with_ansi(colour).finish()),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).finish()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What the two events below leave at a level of `info`.
    fn logged(format: LogFormat) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(Level::INFO, format, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(clients = 3, "draining\nnow");
            tracing::debug!("not at this level");
        });
        String::from_utf8(lines.0.lock().clone()).unwrap()
    }

    #[test]
    fn json_lines_hold_the_fields_at_the_top_level() {
        let text = logged(LogFormat::Json);
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "draining\nnow");
        assert_eq!(line["clients"], 3);
        assert!(line["timestamp"].is_string());
    }

    #[test]
    fn text_lines_name_level_message_and_fields_without_colour() {
        let text = logged(LogFormat::Text);
        assert!(text.contains(" INFO ") && text.contains("clients=3"), "{text}");
        assert!(!text.contains('\x1b') && !text.contains("not at this level"), "{text}");
    }
}
