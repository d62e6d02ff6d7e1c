//! The arguments of the commands, and their help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::access::{AccessArgs, token_environment};
use super::add::{ADD_HELP, AddArgs};
use super::audit::{AUDIT_HELP, AuditArgs};
use super::certificates::{CERTIFICATES_HELP, CertificatesArgs};
use super::completions::{COMPLETIONS_HELP, CompletionsArgs};
use super::delete::{DELETE_HELP, DeleteArgs};
use super::edit::{EDIT_HELP, EditArgs};
use super::get::{GET_HELP, GetArgs};
use super::health::HealthArgs;
use super::import::args::{IMPORT_HELP, ImportCommand};
use super::keys::{KEYS_HELP, KeysCommand};
use super::list::{LIST_HELP, ListArgs};
use super::man::{MAN_HELP, ManArgs};
use super::pools::{POOLS_HELP, PoolsCommand};
use super::qr::{QR_HELP, QrArgs};
use super::servers::{SERVERS_HELP, ServersArgs};
use super::stats::{STATS_HELP, StatsArgs};
use super::store::{STORE_HELP, StoreCommand};
use super::tokens::{TOKENS_HELP, TokensCommand};
use crate::base::logging;
use crate::link::Origin;

const EXAMPLES: &str = "\
Examples:
  tinyns                                      serve with the defaults
  tinyns serve --config /etc/tinyns.toml
  tinyns add https://example.net/a/long/path
  tinyns add https://example.net/sale --code sale --expires 30d
  tinyns list
  tinyns edit sale --url https://example.net/autumn
  tinyns qr sale -o sale.svg
  tinyns stats sale                           show how often a link was used
  tinyns delete sale
  tinyns import dynamodb --table tinyUrl      copy the links of a DynamoDB table
  tinyns import urls list.txt > short.txt     shorten each URL of a list
  tinyns export -o links.ndjson
  tinyns tokens add ann --role editor         make a token for a colleague
  tinyns audit --since 7d                     show who has changed what
  tinyns certificates                         show the certificates of HTTPS
  tinyns servers                              show the live servers
  tinyns pools explain 192.0.2.77             show which addresses a client gets, and why
  tinyns store copy old.toml new.toml         copy a store into another one
  tinyns keys generate                        create the first key of a signed zone
  tinyns check --config /etc/tinyns.toml && kill -HUP \"$(pidof tinyns)\"

Exit codes:
  0  done
  1  refused or failed; standard error says why, as JSON if --json is given
  2  the command line is wrong
  3  add: the link exists already, and some of the options were ignored";

const SERVE_HELP: &str = "\
Signals:
  SIGHUP            read the zone files, the keys of signed zones, the cookie secrets, the
                    certificate, the password and certificates for Redis, and the databases of
                    countries and places again, and reopen the query log. If a file is bad, the server keeps what it has read before of that
                    kind, and logs why
  SIGTERM, SIGINT   finish the requests in progress, then stop. A second signal stops at once,
                    unless it comes within half a second after the first

Environment:
  TINYNS_ADMIN_TOKEN  the token of the admin API; it takes precedence over the token file
  LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES
                      sockets that the service manager has bound (sd_listen_fds(3))
  NOTIFY_SOCKET, WATCHDOG_USEC
                      set by a service manager that wants notifications of start, reload and
                      stop, and watchdog pings (sd_notify(3))";

const EXPORT_HELP: &str = concat!(
    "\
Examples:
  tinyns export -o links.ndjson
  tinyns export --format csv --zone s.example.com > links.csv
  tinyns export | TINYNS_SERVER=http://[::1]:8053 tinyns import ndjson - --token-file other.token",
    token_environment!()
);

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
    /// The configuration file; without it, all settings have their defaults
    #[arg(long, global = true, env = "TINYNS_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The format of log lines
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "auto|human|json"
    )]
    pub(super) log_format: logging::Format,
    /// Which messages to log, such as "info,tinyns=debug"
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
    /// Run the server; this is the default command
    #[command(after_help = SERVE_HELP)]
    Serve,
    /// Create links to URLs and print their short names
    #[command(after_help = ADD_HELP)]
    Add(AddArgs),
    /// List links
    #[command(after_help = LIST_HELP)]
    List(ListArgs),
    /// Show a link
    #[command(after_help = GET_HELP)]
    Get(GetArgs),
    /// Change a link
    #[command(after_help = EDIT_HELP)]
    Edit(EditArgs),
    /// Delete links
    #[command(after_help = DELETE_HELP)]
    Delete(DeleteArgs),
    /// Draw the QR code of a link's short URL, or write it to a file
    #[command(after_help = QR_HELP)]
    Qr(QrArgs),
    /// Show how often a link, or all links, were looked up and clicked
    #[command(after_help = STATS_HELP)]
    Stats(StatsArgs),
    /// Import links from a DynamoDB table or a file, or shorten a list of URLs
    #[command(subcommand, after_help = IMPORT_HELP)]
    Import(ImportCommand),
    /// Write all links, for `import` or for other programs
    #[command(after_help = EXPORT_HELP)]
    Export(ExportArgs),
    /// Check the configuration and the files that it names, and report faults
    Check,
    /// Create, list and replace the keys of signed zones
    #[command(subcommand, after_help = KEYS_HELP)]
    Keys(KeysCommand),
    /// Show, check, compare and copy stores, without a server
    #[command(subcommand, after_help = STORE_HELP)]
    Store(StoreCommand),
    /// Make, list and revoke the tokens of people and programs
    #[command(subcommand, after_help = TOKENS_HELP)]
    Tokens(TokensCommand),
    /// Show who has changed what: the audit log, newest first
    #[command(after_help = AUDIT_HELP)]
    Audit(AuditArgs),
    /// Show the certificates of HTTPS, or have one ordered now
    #[command(after_help = CERTIFICATES_HELP)]
    Certificates(CertificatesArgs),
    /// Show the live servers that share the store
    #[command(after_help = SERVERS_HELP)]
    Servers(ServersArgs),
    /// Show the pools of addresses, and which of them a client gets
    #[command(subcommand, after_help = POOLS_HELP)]
    Pools(PoolsCommand),
    /// Ask a running server whether it answers queries and, with --changes, accepts changes; for health checks
    Health(HealthArgs),
    /// Print the completions for a shell
    #[command(after_help = COMPLETIONS_HELP)]
    Completions(CompletionsArgs),
    /// Write the man pages into a directory; for packages
    #[command(hide = true, after_help = MAN_HELP)]
    Man(ManArgs),
}

impl Command {
    /// Whether the command writes JSON, also for errors.
    pub(super) fn is_json(&self) -> bool {
        match self {
            Self::Add(args) => args.client.json,
            Self::List(args) => args.json,
            Self::Get(args) => args.client.json,
            Self::Edit(args) => args.client.json,
            Self::Delete(args) => args.client.json,
            Self::Import(command) => command.is_json(),
            Self::Keys(command) => command.is_json(),
            Self::Store(command) => command.is_json(),
            Self::Tokens(command) => command.is_json(),
            Self::Stats(args) => args.is_json(),
            Self::Audit(args) => args.is_json(),
            Self::Certificates(args) => args.is_json(),
            Self::Servers(args) => args.json,
            Self::Pools(command) => command.is_json(),
            Self::Serve
            | Self::Qr(_)
            | Self::Export(_)
            | Self::Check
            | Self::Health(_)
            | Self::Completions(_)
            | Self::Man(_) => false,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The output format
    #[arg(
        long,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "ndjson|csv"
    )]
    pub(super) format: ExportFormat,
    /// Export only the links of this zone; by default those of all zones
    #[arg(long, value_name = "ORIGIN", value_parser = Origin::parse)]
    pub(super) zone: Option<Origin>,
    /// The file to write, which appears once it is complete; - or no option is standard output
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    #[command(flatten)]
    pub(super) access: AccessArgs,
}

/// The format of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ExportFormat {
    /// One link per line, in JSON as the API shows it
    #[default]
    Ndjson,
    /// A header, and one row per link
    Csv,
}
