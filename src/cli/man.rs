//! Manual pages, made of the same definition as the help.

use std::io::{self, Write};

use clap::builder::{Resettable, StyledStr};
use clap_mangen::Man;

use super::{UsageError, command};
use crate::config;

/// The manual page of the program or of one of its commands, as `man` reads it.
///
/// # Errors
/// There is no such command.
pub fn page(name: Option<&str>) -> Result<Vec<u8>, UsageError> {
    let mut program = command();
    // Gives the commands their whole names.
    program.build();
    let wanted = match name {
        None => &program,
        Some(name) => match program.find_subcommand(name) {
            Some(found) => found,
            None => {
                let known: Vec<_> =
                    program.get_subcommands().map(clap::Command::get_name).collect();
                let (name, known) = (config::cut(name), known.join(", "));
                return Err(UsageError(format!("no command {name:?}, expected one of {known}")));
            }
        },
    };
    render(wanted).map_err(|error| UsageError(format!("cannot make the page: {error}")))
}

fn render(command: &clap::Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let notes = command.get_after_help().map(StyledStr::to_string);
    Man::new(command.clone().after_help(Resettable::Reset))
        .source(format!("tickcast {}", env!("CARGO_PKG_VERSION")))
        .render(&mut page)?;
    // Its lines are to stay lines: examples are columns.
    if let Some(notes) = notes {
        writeln!(page, ".SH NOTES\n.nf")?;
        for line in notes.lines() {
            writeln!(page, "\\&{}", line.replace('\\', r"\e").replace('-', r"\-"))?;
        }
        writeln!(page, ".fi")?;
    }
    Ok(page)
}
