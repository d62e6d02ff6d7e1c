//! The arguments of the commands, and their help.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use super::access::{AccessArgs, ServerArgs};
use super::expires::Expires;
use super::import::args::{IMPORT_HELP, ImportCommand};
use super::keys::{KEYS_HELP, KeysCommand};
use super::link_ref::LinkRef;
use super::span;
use crate::base::logging;
use crate::config::{Config, ConfigError};
use crate::link::{Code, Origin};

const EXAMPLES: &str = "\
Examples:
  tinyns                                      serve with the defaults
  tinyns serve --config /etc/tinyns.toml
  tinyns add https://example.net/a/long/path
  tinyns add https://example.net/sale --code sale --expires 30d
  tinyns get sale
  tinyns import dynamodb --table tinyUrl      take the article's table over
  tinyns import urls list.txt > short.txt     shorten each URL of a list
  tinyns export -o links.ndjson
  tinyns keys generate                        a signed zone begins with a key
  tinyns check --config /etc/tinyns.toml && kill -HUP \"$(pidof tinyns)\"

Exit codes:
  0  done
  1  refused or failed; one line on standard error says why
  2  the command line is wrong
  3  add: the link was there already, and options that were given do not hold for it";

const SERVE_HELP: &str = "\
Signals:
  SIGHUP            read the zone files, the keys of signed zones, the secrets of cookies and the
                    certificate again; if one of a kind is wrong, the old ones serve on. Opens the
                    query log anew
  SIGTERM, SIGINT   stop, after what was begun is finished; a second one stops at once. Those that
                    come within half a second after the first are the same stop

Environment:
  TINYNS_ADMIN_TOKEN  the admin API's token; without it the token file holds it
  LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES
                      sockets that the service manager has bound (sd_listen_fds(3))
  NOTIFY_SOCKET, WATCHDOG_USEC
                      where it wants to be told of start, reload and stop (sd_notify(3))";

const ADD_HELP: &str = "\
Examples:
  tinyns add https://example.net/a/long/path
  tinyns add https://example.net/sale --code sale --expires 30d --ttl 5m
  tinyns add https://example.net/ --json | jq -r .short_url

The first line of the output is the short name. A URL that has a link already gets that link, which
stays as it is: --expires and --ttl are then ignored where the link has them otherwise, and the
output says so. With --json that is in the members \"created\" and \"ignored\".

Exit codes:
  0  the link is there as it was asked for
  1  refused or failed
  2  the command line is wrong
  3  the link was there already, and options were ignored

Environment:
  TINYNS_ADMIN_TOKEN  the token; --token-file comes before it, the configuration's behind it";

const GET_HELP: &str = "\
Examples:
  tinyns get gh7k2m9x
  tinyns get gh7k2m9x.s.example.com
  tinyns get http://gh7k2m9x.s.example.com/

Environment:
  TINYNS_ADMIN_TOKEN  the token; --token-file comes before it, the configuration's behind it";

const EXPORT_HELP: &str = "\
Examples:
  tinyns export -o links.ndjson
  tinyns export --format csv --zone s.example.com > links.csv
  tinyns export | TINYNS_SERVER=http://[::1]:8053 tinyns import ndjson - --token-file other.token

Environment:
  TINYNS_ADMIN_TOKEN  the token; --token-file comes before it, the configuration's behind it";

/// An authoritative DNS name server for short links: the short URL is a DNS name.
#[derive(Debug, Parser)]
#[command(name = "tinyns", version, about, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) global: GlobalArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct GlobalArgs {
    /// The configuration file; without one every default holds
    #[arg(long, global = true, env = "TINYNS_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// How log lines look
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "auto|human|json"
    )]
    pub(super) log_format: logging::Format,
    /// What is logged, as in "info,tinyns=debug"
    #[arg(
        long,
        global = true,
        env = "TINYNS_LOG",
        default_value = logging::DEFAULT_FILTER,
        value_name = "FILTER"
    )]
    pub(super) log: String,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the server; this is what happens without a command
    #[command(after_help = SERVE_HELP)]
    Serve,
    /// Make a link to URL and print its short name
    #[command(after_help = ADD_HELP)]
    Add(AddArgs),
    /// Show a link
    #[command(after_help = GET_HELP)]
    Get(GetArgs),
    /// Take links over from a DynamoDB table or a file, or shorten a list of URLs
    #[command(subcommand, after_help = IMPORT_HELP)]
    Import(ImportCommand),
    /// Write all links, for `import` or for other programs
    #[command(after_help = EXPORT_HELP)]
    Export(ExportArgs),
    /// Read the configuration and the files that it names, and say what is wrong with them
    Check,
    /// Make the keys of signed zones, show them, and replace them
    #[command(subcommand, after_help = KEYS_HELP)]
    Keys(KeysCommand),
    /// Ask a running server whether it answers queries, and with --changes whether it takes changes as well;
    /// for health checks
    Health(HealthArgs),
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// Where the link is to lead: an http or https URL
    pub(super) url: String,
    /// Your own code: 1 to 63 letters, digits and inner hyphens; without it one is made
    #[arg(long, value_parser = Code::parse)]
    pub(super) code: Option<Code>,
    /// When the link is to end: a time as in RFC 3339, or a span from now such as 30d or 12h
    #[arg(long, value_name = "WHEN")]
    pub(super) expires: Option<Expires>,
    /// The TTL of the link's records: seconds, or a span such as 5m or 1h; without it the zone's
    #[arg(long, value_name = "TTL", value_parser = span::ttl)]
    pub(super) ttl: Option<u32>,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// The link: its code, its full name or its short URL
    pub(super) link: LinkRef,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

#[derive(Debug, Args)]
pub(super) struct ClientArgs {
    /// The zone of the link; without it the server's first zone
    #[arg(long, value_name = "ORIGIN", value_parser = Origin::parse)]
    pub(super) zone: Option<Origin>,
    /// Print the server's JSON instead; of `add` with "created" and "ignored"
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) access: AccessArgs,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// What to write
    #[arg(
        long,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "ndjson|csv"
    )]
    pub(super) format: ExportFormat,
    /// The links of this zone alone; without it those of all zones
    #[arg(long, value_name = "ORIGIN", value_parser = Origin::parse)]
    pub(super) zone: Option<Origin>,
    /// The file to write, which is there when all is in it; - or nothing is standard output
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    #[command(flatten)]
    pub(super) access: AccessArgs,
}

/// What an export is written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ExportFormat {
    /// A link a line, in JSON as the API shows it
    #[default]
    Ndjson,
    /// A row a link, under a header
    Csv,
}

#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// Fail unless the server takes changes of links as well
    #[arg(long)]
    pub(super) changes: bool,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// Reads the configuration; without a file every default holds.
pub(super) fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
    path.map_or_else(|| Ok(Config::default()), Config::load)
}
