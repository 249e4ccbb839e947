//! The command line: parsing only. Values stay texts with their origin; [`crate::config`] turns
//! them into the typed configuration, so that flags, variables and the file are read by one set
//! of rules.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::error::{ContextKind, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use thiserror::Error;

mod addresses;
mod admin;
mod check;
mod choice;
mod man;
mod recordings;
mod serve;
mod token;
mod top;
mod trace;
mod variables;
mod watch;

use crate::inspect::Inspect;
use crate::top::Top;
use crate::watch::Watch;
pub use addresses::AddressArgs;
pub use admin::AdminArgs;
use check::AFTER_CHECK;
pub use check::CheckArgs;
pub use choice::{BOOL, LOG_FORMAT, LOG_LEVEL, PIN, SLOW_CONSUMER};
pub use man::page;
use recordings::{AFTER_INSPECT, AFTER_RECORD};
pub use recordings::{InspectArgs, RecordArgs};
pub use serve::ServeArgs;
pub use token::{CLIENT_TOKEN, Token};
use top::AFTER_TOP;
pub use top::TopArgs;
pub use trace::TraceArgs;
use watch::AFTER_WATCH;
pub use watch::WatchArgs;

/// What `--version` prints after the name: the version and the commit it was built from.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("TICKCAST_COMMIT"), ")");

const AFTER_HELP: &str = "\
Every flag is also an environment variable (--ring-slots is TICKCAST_RING_SLOTS; several feeds in
TICKCAST_FEED are separated by ';', as are origins, networks, certificates) and a key of the --config file (ring-slots = 65536;
feed = [\"...\", \"...\"]). A flag beats a variable, a variable beats the file.
Sizes are bytes or 512KiB, 1MiB, 1GiB; durations 500ms, 5s, 2m, 1h.

Examples:
  tickcast                                          a synthetic market on http://127.0.0.1:7070
  tickcast --feed synthetic:symbols=500,rate=10000  500 symbols, 10,000 ticks a second in all
  tickcast --feed binance:BTCUSDT,ETHUSDT           an exchange, live; with --feed kraken:BTC/USD a second one
  tickcast --feed replay:BTCUSDT.gz,speed=20        a capture, 20 times as fast as it happened
  tickcast --listen 0.0.0.0:7070 --slow-consumer conflate --log-format json
  tickcast watch 'sim:*'                            shows a running server's market
  tickcast top                                      what it does: reactors, feeds, slow clients
  tickcast inspect rec                              what a recording holds, its gaps and rates
  tickcast check-config --config tickcast.toml      what would run, and where each value is from
  tickcast check --config tickcast.toml             whether this machine suits it, and what to change
  tickcast completions bash > /etc/bash_completion.d/tickcast
  tickcast man > /usr/local/share/man/man1/tickcast.1";

/// The command line's definition.
#[derive(Debug, Parser)]
#[command(
    name = "tickcast",
    version = VERSION,
    about = "Real-time market data for thousands of WebSocket clients, every tick encoded once",
    after_help = AFTER_HELP
)]
pub struct Cli {
    /// What to do; `serve` when left out.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The flags of `serve`, which work without its name too.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve clients (what happens when no command is given)
    #[command(after_help = AFTER_HELP)]
    Serve(Box<ServeArgs>),
    /// Validate the configuration and print the effective one as TOML
    #[command(after_help = AFTER_HELP)]
    CheckConfig(Box<ServeArgs>),
    /// Judge the configuration and this machine: what to change, and how
    #[command(after_help = AFTER_CHECK)]
    Check(Box<CheckArgs>),
    /// Watch a running server: a screen on a terminal, JSON lines into a pipe
    #[command(after_help = AFTER_WATCH)]
    Watch(WatchArgs),
    /// What a running server does, live: reactors, feeds, the slowest clients
    #[command(after_help = AFTER_TOP)]
    Top(TopArgs),
    /// Keep what venues send, without serving it
    #[command(after_help = AFTER_RECORD)]
    Record(Box<RecordArgs>),
    /// Print what a recording or a capture holds: symbols, rates, gaps, what is wrong with it
    #[command(after_help = AFTER_INSPECT)]
    Inspect(InspectArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or that of a command
    Man {
        /// The command [default: all of tickcast]
        command: Option<String>,
    },
}

/// Where a value came from, weakest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody gave it.
    Default,
    /// A configuration file.
    File {
        /// The file as it was named.
        path: String,
        /// The line of the value, from 1.
        line: usize,
    },
    /// An environment variable.
    Env,
    /// A flag.
    Flag,
}

/// The texts given for one setting, and where.
#[derive(Clone, Debug)]
pub struct Given {
    /// Where they came from.
    pub origin: Origin,
    /// One text, or several for a repeatable setting.
    pub values: Vec<String>,
}

/// Settings by name, without the dashes in front: `ring-slots`.
pub type Settings = BTreeMap<String, Given>;

/// The setting that holds the token itself. It has no flag and no key in a file.
pub const TOKEN: &str = "publish-token";
/// Its variable.
pub const TOKEN_VARIABLE: &str = "TICKCAST_PUBLISH_TOKEN";

/// What the command line asks for.
#[derive(Debug)]
pub enum Action {
    /// Serve with these settings.
    Serve(Settings),
    /// Validate these settings and print them.
    CheckConfig(Settings),
    /// Judge these settings and the machine; as JSON or in words.
    Check(Settings, bool),
    /// Record with these settings.
    Record(Settings),
    /// Watch a server.
    Watch(Watch),
    /// Look at a server.
    Top(Top),
    /// Print what a recording holds.
    Inspect(Inspect),
    /// Print a completion script.
    Completions(Shell),
    /// Print this manual page, which is made already.
    Man(Vec<u8>),
    /// Print the help or the version that clap has made.
    Show(clap::Error),
}

/// A command line that cannot be understood, in one line.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct UsageError(String);

/// The command line's definition. Variables are kept out of the help of each flag (one sentence at
/// its end tells their rule), and `--reactors -1` is a wrong number rather than an unknown flag.
pub fn command() -> clap::Command {
    fn quiet(command: clap::Command) -> clap::Command {
        let quiet_arg = |arg: Arg| {
            let valued = arg.get_action().takes_values();
            arg.hide_env(true).allow_negative_numbers(valued)
        };
        command.mut_args(quiet_arg).mut_subcommands(quiet)
    }
    quiet(Cli::command())
}

/// The names of all settings that a configuration file may hold, in the order of the help.
pub fn setting_names() -> Vec<String> {
    let args = ServeArgs::augment_args(clap::Command::new("settings"));
    let names = args.get_arguments().filter_map(Arg::get_long).map(str::to_owned);
    names.filter(|name| name != "config").collect()
}

/// The token of a client.
fn token_of(file: Option<&str>) -> Result<Token, UsageError> {
    let variable = std::env::var_os(CLIENT_TOKEN);
    let variable = variable.map(|token| token.to_string_lossy().into_owned());
    Token::new(file, variable).map_err(UsageError)
}

/// Reads a command line, the program's name first, and the variables of the environment.
///
/// # Errors
/// One line that names what is wrong and how to mend it.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Action, UsageError> {
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(shown) if !shown.use_stderr() => return Ok(Action::Show(shown)),
        Err(error) => return Err(UsageError(one_line(&error))),
    };
    let mut settings = settings_of(&matches);
    // Of a variable only: a command line is there for everybody to see.
    if let Some(token) = std::env::var_os(TOKEN_VARIABLE) {
        let values = vec![token.to_string_lossy().into_owned()];
        settings.insert(TOKEN.to_owned(), Given { origin: Origin::Env, values });
    }
    match matches.subcommand() {
        Some(("completions", sub)) => match sub.get_one::<Shell>("shell") {
            Some(shell) => Ok(Action::Completions(*shell)),
            None => Err(UsageError("completions needs the name of a shell".to_owned())),
        },
        Some(("man", sub)) => {
            page(sub.get_one::<String>("command").map(String::as_str)).map(Action::Man)
        }
        Some(("watch", sub)) => {
            let args =
                WatchArgs::from_arg_matches(sub).map_err(|error| UsageError(one_line(&error)))?;
            let token = token_of(args.token_file.as_deref())?;
            Watch::new(args, token).map(Action::Watch).map_err(UsageError)
        }
        Some(("top", sub)) => {
            let args = TopArgs::from_arg_matches(sub).map_err(|e| UsageError(one_line(&e)))?;
            let token = token_of(args.token_file.as_deref())?;
            Top::new(&args, &token).map(Action::Top).map_err(UsageError)
        }
        Some(("inspect", sub)) => {
            let args = InspectArgs::from_arg_matches(sub);
            let InspectArgs { json, paths } = args.map_err(|error| UsageError(one_line(&error)))?;
            Ok(Action::Inspect(Inspect { paths, json }))
        }
        Some((name, sub)) => {
            // A flag may stand before or after the command's name; the later one wins.
            for (key, given) in settings_of(sub) {
                if settings.get(&key).is_none_or(|before| given.origin >= before.origin) {
                    settings.insert(key, given);
                }
            }
            variables::check(variables_here())?;
            Ok(match name {
                "check-config" => Action::CheckConfig(settings),
                "check" => Action::Check(settings, sub.get_flag("json")),
                "record" => Action::Record(settings),
                _ => Action::Serve(settings),
            })
        }
        None => {
            variables::check(variables_here())?;
            Ok(Action::Serve(settings))
        }
    }
}

/// The names of the environment's variables.
fn variables_here() -> impl Iterator<Item = String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())
}

/// A shell's completion script.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "tickcast", &mut script);
    script
}

fn settings_of(matches: &ArgMatches) -> Settings {
    let args = ServeArgs::augment_args(clap::Command::new("settings"));
    let mut settings = Settings::new();
    for arg in args.get_arguments() {
        let id = arg.get_id().as_str();
        if matches.try_contains_id(id).is_err() {
            continue; // `record` has not all of them
        }
        let origin = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => Origin::Flag,
            Some(ValueSource::EnvVariable) => Origin::Env,
            Some(_) => Origin::Default,
            None => continue,
        };
        let values: Vec<String> =
            matches.get_many::<String>(id).into_iter().flatten().cloned().collect();
        settings.insert(id.replace('_', "-"), Given { origin, values });
    }
    settings
}

/// The variable of a setting.
pub fn variable(setting: &str) -> String {
    format!("TICKCAST_{}", setting.replace('-', "_").to_uppercase())
}

/// A clap error in one line: what was given, what would do.
fn one_line(error: &clap::Error) -> String {
    let context = |kind| error.get(kind).map(ToString::to_string).filter(|text| !text.is_empty());
    let arg = context(ContextKind::InvalidArg).map(|arg| arg.escape_debug().to_string());
    let value = context(ContextKind::InvalidValue);
    match (error.kind(), arg) {
        (ErrorKind::UnknownArgument, Some(arg)) => {
            let what = if arg.starts_with('-') { "flag" } else { "argument" };
            let near = context(ContextKind::SuggestedArg);
            format!("unknown {what} {arg}{}", did_you_mean(near.as_deref(), "tickcast --help"))
        }
        (ErrorKind::InvalidSubcommand, _) => {
            let given = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            let near = context(ContextKind::SuggestedSubcommand);
            format!("unknown command {given:?}{}", did_you_mean(near.as_deref(), "tickcast --help"))
        }
        (ErrorKind::InvalidValue, Some(arg)) => {
            let valid = context(ContextKind::ValidValue)
                .map_or_else(String::new, |valid| format!(", expected one of {valid}"));
            match value {
                Some(value) => format!("{arg} {value:?}: not known{valid}"),
                None => format!("{arg}: no value given{valid}"),
            }
        }
        (ErrorKind::ArgumentConflict, Some(arg)) => format!("{arg}: give it only once"),
        _ => {
            let text = error.to_string();
            let words = text.strip_prefix("error: ").unwrap_or(&text).split_whitespace();
            let text = words.take_while(|&word| word != "Usage:").collect::<Vec<_>>().join(" ");
            format!("{text} (see tickcast --help)")
        }
    }
}

/// The end of a message about an unknown name.
fn did_you_mean(near: Option<&str>, otherwise: &str) -> String {
    match near {
        Some(near) => format!(", did you mean {near}?"),
        None => format!(" (see {otherwise})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_flag_has_its_variable_and_a_heading() {
        let args = ServeArgs::augment_args(clap::Command::new("settings"));
        for arg in args.get_arguments() {
            let name = arg.get_long().expect("settings have long names");
            let env = arg.get_env().and_then(|env| env.to_str());
            assert_eq!(env, Some(variable(name).as_str()));
            assert_eq!(arg.get_id().as_str().replace('_', "-"), name);
            assert!(name == "config" || arg.get_help_heading().is_some(), "{name}");
        }
    }
}
