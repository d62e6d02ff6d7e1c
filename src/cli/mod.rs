//! The command line: its commands, and one `match` over them.
//!
//! `serve` is the server. `add`, `get`, `import`, `export` and `health` are clients of the admin API and know
//! nothing of the store, so the running server knows at once each link that they create. (`import dynamodb`
//! reads the table of another program, and writes nothing to it.) `check` reads what the server would read, and
//! reports faults. `keys` writes to the directories of the keys of signed zones, which the server only reads.
//!
//! The result goes to standard output, and everything else to standard error. `outcome` has the exit codes.

mod access;
mod api_client;
mod args;
mod check;
mod client;
mod expires;
mod export;
mod import;
mod keys;
mod link_ref;
mod links;
mod outcome;
mod output;
mod serve;
mod span;
mod stop;
mod transfer;

use clap::builder::Resettable;
use clap::{CommandFactory, FromArgMatches};

use crate::base::environment;
use crate::base::logging;

pub use self::args::Cli;
use self::args::{Command, load};
pub use self::outcome::{Exit, exit_code};
pub use self::output::complaint;

/// Reads the command line and the environment. Ends the process if they are wrong, or ask for help.
pub fn read() -> Cli {
    let command = without_empty_variables(Cli::command());
    let read = Cli::from_arg_matches(&command.get_matches());
    read.unwrap_or_else(|error| error.exit())
}

/// The command without the environment variables that are empty, which count as unset.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| match arg.get_env() {
        Some(name) if environment::value(name).is_none() => arg.env(Resettable::Reset),
        _ => arg,
    });
    command.mut_subcommands(without_empty_variables)
}

/// Runs the command.
///
/// # Errors
/// Whatever went wrong; [`complaint`] is its message.
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
        Command::Add(args) => return links::add(args, config),
        Command::Get(args) => return links::get(args, config),
        Command::Import(command) => import::run(command, config)?,
        Command::Export(args) => export::run(args, config)?,
        Command::Check => check::run(&load(config)?)?,
        Command::Keys(command) => keys::run(command, &load(config)?)?,
        Command::Health(args) => return links::health(args, config),
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests;
