//! The `tickcast` program: parse, run, exit code.

use std::io::Write;
use std::process::ExitCode;

use tickcast::cli::{self, Action, Settings};
use tickcast::config::{self, Config, Loaded, Machine};
use tickcast::{check as checks, inspect, logging, record, server, top, watch};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A command line or a configuration that is wrong; 1 is for everything that fails later.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let action = match cli::parse(std::env::args_os()) {
        Ok(action) => action,
        Err(error) => return fail(EXIT_USAGE, &error.to_string()),
    };
    let done = match action {
        Action::Serve(settings) => match load(settings) {
            Ok(loaded) => serve(loaded),
            Err(code) => return code,
        },
        Action::CheckConfig(settings) => match load(settings) {
            Ok(loaded) => match checks::files(&loaded.config) {
                Ok(()) => print(loaded.to_toml().as_bytes()),
                Err(error) => return fail(EXIT_USAGE, &format!("{error:#}")),
            },
            Err(code) => return code,
        },
        Action::Check(settings, as_json) => return check(settings, as_json),
        Action::Record(settings) => match load(settings) {
            Ok(loaded) => record_feeds(&loaded.config),
            Err(code) => return code,
        },
        Action::Inspect(what) => inspect::run(&what),
        Action::Watch(what) => watch::run(&what),
        Action::Top(what) => top::run(&what),
        Action::Completions(shell) => print(&cli::completions(shell)),
        Action::Man(page) => print(&page),
        Action::Show(text) => unless_closed(text.print()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // A start that would fail again and again.
        Err(error) if checks::is_of_files(&error) => fail(EXIT_USAGE, &format!("{error:#}")),
        Err(error) => fail(1, &format!("{error:#}")),
    }
}

fn load(settings: Settings) -> Result<Loaded, ExitCode> {
    config::load(settings, &Machine::probe()).map_err(|error| fail(EXIT_USAGE, &error.to_string()))
}

/// Says what must change on this machine: 1 if anything, 2 where the configuration is wrong already.
fn check(settings: Settings, as_json: bool) -> ExitCode {
    let machine = Machine::probe();
    let loaded = match config::load(settings, &machine) {
        Ok(loaded) => loaded,
        Err(error) => return fail(EXIT_USAGE, &error.to_string()),
    };
    let (report, is_well) = checks::run(&loaded, &machine, as_json);
    match print(report.as_bytes()) {
        Ok(()) if is_well => ExitCode::SUCCESS,
        Ok(()) => ExitCode::from(1),
        Err(error) => fail(1, &format!("{error:#}")),
    }
}

fn serve(loaded: Loaded) -> anyhow::Result<()> {
    let filter = logging::init(loaded.config.log_level, loaded.config.log_format)?;
    server::run(loaded.config, filter)
}

fn record_feeds(config: &Config) -> anyhow::Result<()> {
    logging::init(config.log_level, config.log_format)?;
    record::run(config)
}

fn print(text: &[u8]) -> anyhow::Result<()> {
    unless_closed(std::io::stdout().write_all(text))
}

/// A reader that has seen enough (`tickcast --help | head`) is no failure.
fn unless_closed(written: std::io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// One line on stderr, whatever the message holds.
fn fail(code: u8, message: &str) -> ExitCode {
    let line = message.lines().collect::<Vec<_>>().join(" ");
    let _ = writeln!(std::io::stderr(), "error: {line}"); // stderr closed: the code must do
    ExitCode::from(code)
}
