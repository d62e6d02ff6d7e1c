//! The command line: its commands, and one `match` over them.
//!
//! `serve` is the server. `add`, `list`, `get`, `edit`, `delete`, `qr`, `stats`, `import`, `export`, `tokens`, `audit`, `certificates`,
//! `servers`, `pools` and `health` are clients of the admin API and know nothing of the store, so the running server knows at once
//! each change that they make. (`import dynamodb` reads the table of another program, and writes nothing to it.) `store`
//! opens the store itself, for what needs no server: to check, compare and copy it. `check` reads what the server would read,
//! and reports faults. `keys` writes to the directories of the keys of signed zones, which the server only reads.
//! `completions` and `man` describe the command line itself.
//!
//! The result goes to standard output, and everything else to standard error. `failure` has the form of errors, and
//! `outcome` the exit codes.

mod access;
mod add;
mod api_client;
mod args;
mod audit;
mod certificates;
mod check;
mod client;
mod completions;
mod configuration;
mod counter;
mod delete;
mod edit;
mod expires;
mod export;
mod failure;
mod get;
mod health;
mod import;
mod keys;
mod link_ref;
mod list;
mod man;
mod outcome;
mod output;
mod output_file;
mod pools;
mod qr;
mod serve;
mod servers;
mod shown;
mod span;
mod stats;
mod stop;
mod store;
mod tokens;
mod transfer;

use std::io::Write;

use clap::builder::Resettable;
use clap::{CommandFactory, FromArgMatches};

use crate::base::environment;
use crate::base::logging;

pub use self::args::Cli;
use self::args::Command;
use self::configuration::load;
pub use self::failure::ErrorForm;
pub use self::outcome::{Exit, exit_code};

/// Reads the command line and the environment. Ends the process if they are wrong, or ask for help.
pub fn read() -> Cli {
    let command = without_empty_variables(Cli::command());
    let read = command
        .try_get_matches()
        .and_then(|matches| Cli::from_arg_matches(&matches));
    read.unwrap_or_else(|error| refuse(&error))
}

/// Ends the process because of its command line: with an error, or with the help that was asked for.
fn refuse(error: &clap::Error) -> ! {
    // The arguments could not be read, so this one may be the value of another.
    let json = std::env::args_os().any(|arg| arg == "--json");
    if !json || !error.use_stderr() {
        error.exit();
    }
    let text = ErrorForm::Json.shown_text(None, &first_paragraph(&error.to_string()));
    // A closed standard error cannot be reported anywhere.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
    std::process::exit(error.exit_code())
}

/// An error of clap without the hints below it.
fn first_paragraph(error: &str) -> String {
    let lines = error.lines().take_while(|line| !line.trim().is_empty());
    let text = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    text.strip_prefix("error: ")
        .map_or(text.clone(), Into::into)
}

/// The command without the environment variables that are empty, which count as unset.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| match arg.get_env() {
        Some(name) if environment::value(name).is_none() => arg.env(Resettable::Reset),
        _ => arg,
    });
    command.mut_subcommands(without_empty_variables)
}

impl Cli {
    /// How to show the error of the command.
    pub fn error_form(&self) -> ErrorForm {
        ErrorForm::of(self.command.as_ref().is_some_and(Command::is_json))
    }
}

/// Runs the command.
///
/// # Errors
/// Whatever went wrong; [`Cli::error_form`] shows it.
pub fn run(cli: Cli) -> anyhow::Result<Exit> {
    let config = cli.global.config.as_deref();
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => {
            let config = load(config)?;
            // Before the log, whose thread would keep the privileges that this thread gives up.
            let ready = serve::prepare(&config)?;
            let logs = logging::init(cli.global.log_format, &cli.global.log)?;
            serve::run(config, ready, logs.status_line())?;
        }
        Command::Add(args) => return add::run(args, config),
        Command::List(args) => return list::run(args, config),
        Command::Get(args) => return get::run(args, config),
        Command::Edit(args) => return edit::run(args, config),
        Command::Delete(args) => return delete::run(args, config),
        Command::Qr(args) => return qr::run(args, config),
        Command::Stats(args) => return stats::run(args, config),
        Command::Import(command) => import::run(command, config)?,
        Command::Export(args) => export::run(args, config)?,
        Command::Check => check::run(&load(config)?)?,
        Command::Keys(command) => keys::run(command, &load(config)?)?,
        Command::Store(command) => store::run(command, || Ok(load(config)?))?,
        Command::Tokens(command) => return tokens::run(command, config),
        Command::Audit(args) => return audit::run(args, config),
        Command::Certificates(args) => return certificates::run(args, config),
        Command::Servers(args) => return servers::run(&args, config),
        Command::Pools(command) => return pools::run(&command, config),
        Command::Health(args) => return health::run(args, config),
        Command::Completions(args) => completions::run(args, &Cli::command())?,
        Command::Man(args) => man::run(args, Cli::command())?,
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests;
