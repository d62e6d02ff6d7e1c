//! `tinyns store`: the store itself, without a server. Which store it is, whether it is sound, whether two stores have the
//! same in them, and a copy of one into another.
//!
//! These commands open the store that a configuration names. Whoever may do that can read and write all that is in it, so
//! there is no other check of rights. An SQLite file is read beside a server that has it open; to change it, the server has
//! to be stopped. A DynamoDB table is shared anyway.

mod compare;
mod copy;
mod documents;
mod entries;
mod findings;
mod identity;
mod open;
mod reads;
mod statistics;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::transfer;
use crate::config::Config;

pub(super) const STORE_HELP: &str = "\
Examples:
  tinyns store identity --config /etc/tinyns.toml      show which store that is
  tinyns store verify                                  check that everything in it can be read
  tinyns store verify old.toml new.toml                compare two stores
  tinyns store copy old.toml new.toml --with-tokens    copy one store into another
  tinyns store restored                                after a backup was put back

These commands open the store that a configuration names, without a server. Run them as the user that
the server runs as. `identity`, `verify` and the reading side of `copy` work beside a running server. An
SQLite file that is to be changed must not be open in a server: stop it first.";

const COPY_HELP: &str = "\
Examples:
  tinyns store copy old.toml new.toml
  tinyns store copy old.toml new.toml --with-tokens --with-audit --with-certificates --with-statistics
  tinyns store verify old.toml new.toml --with-tokens --with-audit --with-certificates --with-statistics

Links are copied as they are, with times, creators and versions. A copy that was interrupted goes on when
the command is run again; what is there already is not written. Nothing that is later in TO is
overwritten: such links are named, and the exit code is 1. Of two sums of the statistics the higher one
stays. Sums of links that no longer exist are copied if TO has keep_deleted in [statistics]. Sessions of the page and session tickets of
TLS are not copied; people log in again.

Stop the servers that change FROM before the last run, and start the servers of TO after it: links that
change or are deleted during a run may be copied as they were.";

const VERIFY_HELP: &str = "\
Examples:
  tinyns store verify --config /etc/tinyns.toml
  tinyns store verify old.toml new.toml --with-tokens --with-audit

With one store, or none for that of --config: reads all links, the tokens, the audit log and the statistics, and checks
the indexes. With two: compares all links in all that they have. A link that has ended may be missing in
one of them, because stores remove such links. The exit code is 1 if anything is wrong or differs.";

const RESTORED_HELP: &str = "\
Run this after a backup was put back in the place of a store, before the servers start, or at any time
after it with DynamoDB. Servers then use nothing that Redis holds of the time before. A DynamoDB table that
was restored as a new table, and an SQLite file that was put back while its server was stopped, are noticed
without this command.";

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Show which store the configuration names: its kind, id, epoch, place, and number of links
    Identity(IdentityArgs),
    /// Say that a backup was put back: begin a new epoch, in which nothing of the time before counts
    #[command(after_help = RESTORED_HELP)]
    Restored,
    /// Check one store, or compare two
    #[command(after_help = VERIFY_HELP)]
    Verify(VerifyArgs),
    /// Copy a store into another one
    #[command(after_help = COPY_HELP)]
    Copy(CopyArgs),
}

#[derive(Debug, Args)]
pub(super) struct IdentityArgs {
    /// Print JSON instead
    #[arg(long)]
    json: bool,
}

/// What is copied or compared besides links.
#[derive(Clone, Copy, Debug, Args)]
struct With {
    /// Also the tokens: their names, roles and the hashes of their secrets
    #[arg(long = "with-tokens")]
    tokens: bool,
    /// Also the audit log
    #[arg(long = "with-audit")]
    audit: bool,
    /// Also the certificates by ACME and the account, which stay encrypted with the key file
    #[arg(long = "with-certificates")]
    certificates: bool,
    /// Also the statistics: how often links were looked up and clicked
    #[arg(long = "with-statistics")]
    statistics: bool,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The configuration of the store [default: that of --config]
    #[arg(value_name = "A")]
    first: Option<PathBuf>,
    /// The configuration of a store to compare with
    #[arg(value_name = "B")]
    second: Option<PathBuf>,
    #[command(flatten)]
    with: With,
}

#[derive(Debug, Args)]
pub(super) struct CopyArgs {
    /// The configuration of the store to read
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// The configuration of the store to write
    #[arg(value_name = "TO")]
    to: PathBuf,
    #[command(flatten)]
    with: With,
}

impl StoreCommand {
    /// Whether the output is JSON.
    pub(super) fn is_json(&self) -> bool {
        match self {
            Self::Identity(args) => args.json,
            Self::Restored | Self::Verify(_) | Self::Copy(_) => false,
        }
    }
}

/// Runs a command. `load` reads the configuration of the command line.
///
/// # Errors
/// A store cannot be opened or fails, something is wrong with it, or two stores differ.
pub(super) fn run(
    command: StoreCommand,
    load: impl FnOnce() -> anyhow::Result<Config>,
) -> anyhow::Result<()> {
    let read = |file: &PathBuf| Config::load(file);
    match command {
        StoreCommand::Identity(args) => {
            let config = load()?;
            transfer::run(identity::show(&config, args.json))
        }
        StoreCommand::Restored => {
            let config = load()?;
            transfer::run(identity::restored(&config))
        }
        StoreCommand::Verify(VerifyArgs {
            first,
            second: None,
            ..
        }) => {
            let config = match first {
                Some(first) => read(&first)?,
                None => load()?,
            };
            transfer::run(verify::one(&config))
        }
        StoreCommand::Verify(VerifyArgs {
            first,
            second: Some(second),
            with,
        }) => {
            let first = match first {
                Some(first) => read(&first)?,
                None => load()?,
            };
            let second = read(&second)?;
            transfer::run(compare::two(&first, &second, with))
        }
        StoreCommand::Copy(CopyArgs { from, to, with }) => {
            let (from, to) = (read(&from)?, read(&to)?);
            transfer::run(copy::all(&from, &to, with))
        }
    }
}
