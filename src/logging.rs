//! Logs: lines on stderr, as text or as JSON. Stdout is kept for what scripts read.

use std::io::IsTerminal;

use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, reload};

/// The target of what was granted, refused and done: logged from `info` on, whatever the level is.
const AUDIT: &str = "audit";

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

/// Says which events are logged, and changes that while the process runs.
#[derive(Clone, Debug)]
pub struct Filter(reload::Handle<Targets, Registry>);

impl Filter {
    /// What is logged from now on: a level, and levels of targets behind it, such as
    /// `info,tickcast::http=debug`.
    ///
    /// # Errors
    /// What was expected.
    pub fn set(&self, directives: &str) -> Result<(), String> {
        let why = |_| "cannot be changed any more".to_owned();
        self.0.reload(targets(directives)?).map_err(why)
    }

    /// What is logged now.
    pub fn get(&self) -> String {
        self.0.clone_current().map_or_else(String::new, |targets| targets.to_string())
    }
}

/// Reads directives.
fn targets(directives: &str) -> Result<Targets, String> {
    const EXPECTED: &str = "expected error, warn, info, debug or trace, and behind it TARGET=LEVEL for others, such \
                            as info,tickcast::http=debug";
    let mut parts = directives.split(',').map(str::trim);
    let level = |text: &str| {
        let levels = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
        levels.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(text))
    };
    // Parsed here: a word that is no level would be a target of which everything is logged.
    let default = parts.next().and_then(level).ok_or(EXPECTED)?;
    let mut targets = of_level(default);
    for part in parts {
        let (target, text) = part.split_once('=').ok_or(EXPECTED)?;
        let filter = match text {
            "off" => LevelFilter::OFF,
            text => level(text).ok_or(EXPECTED)?.into(),
        };
        if target.is_empty() {
            return Err(EXPECTED.to_owned());
        }
        targets = targets.with_target(target, filter);
    }
    Ok(targets)
}

fn of_level(level: Level) -> Targets {
    Targets::new().with_default(level).with_target(AUDIT, level.max(Level::INFO))
}

/// Logs events of `level` and above to stderr from now on, from all threads.
///
/// # Errors
/// When it has been done before.
pub fn init(level: Level, format: LogFormat) -> Result<Filter, AlreadySetUp> {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colour = std::io::stderr().is_terminal() && !no_color;
    let (subscriber, filter) = subscriber(level, format, colour, std::io::stderr);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| AlreadySetUp)?;
    Ok(filter)
}

/// The subscriber, writing wherever it is told to.
fn subscriber<W>(
    level: Level,
    format: LogFormat,
    colour: bool,
    writer: W,
) -> (Box<dyn Subscriber + Send + Sync>, Filter)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (layer, handle) = reload::Layer::new(of_level(level));
    let registry = Registry::default().with(layer);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let subscriber: Box<dyn Subscriber + Send + Sync> = match format {
        LogFormat::Text => Box::new(registry.with(lines.with_ansi(colour))),
        LogFormat::Json => Box::new(registry.with(lines.json().flatten_event(true))),
    };
    (subscriber, Filter(handle))
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
        let (subscriber, _) = subscriber(Level::INFO, format, false, move || writer.clone());
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

    #[test]
    fn single_grants_are_told_where_that_is_asked_for() {
        let told = |directives: &str| {
            let targets = targets(directives).expect("directives");
            targets.would_enable(AUDIT, &Level::DEBUG)
        };
        assert!(told("info,audit=debug") && told("warn,audit=debug"));
        assert!(!told("info") && !told("warn"));
    }

    #[test]
    fn the_filter_changes_while_it_is_used_and_audit_lines_stay() {
        let lines = Lines::default();
        let writer = lines.clone();
        let (subscriber, filter) =
            subscriber(Level::WARN, LogFormat::Text, false, move || writer.clone());
        let events = || {
            lines.0.lock().clear();
            tracing::info!("an info");
            tracing::debug!(target: "part", "of a part");
            tracing::info!(target: "audit", "who");
            String::from_utf8(lines.0.lock().clone()).unwrap()
        };
        let seen = |text: &str| ["an info", "of a part", "who"].map(|word| text.contains(word));
        tracing::subscriber::with_default(subscriber, || {
            assert_eq!(seen(&events()), [false, false, true]);
            filter.set("info,part=debug").unwrap();
            assert_eq!(seen(&events()), [true, true, true]);
            filter.set("ERROR, audit=off").unwrap();
            assert_eq!(seen(&events()), [false, false, false]);
            for bad in ["", "inof", "part=debug", "info,part", "info,part=loud", "info,=debug"] {
                assert!(filter.set(bad).is_err(), "{bad}");
            }
            assert!(filter.get().contains("audit=off"), "{}", filter.get());
        });
    }
}
