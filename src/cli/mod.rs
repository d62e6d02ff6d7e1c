//! The command line: what may be typed, and one `match` over it.
//!
//! `serve` is the server. `add`, `get`, `import`, `export` and `health` are clients of the admin API
//! and know nothing of the store: a link that they make is a link that the running server knows at
//! once. (What `import` reads from DynamoDB is a table of somebody else's, and it writes nothing
//! there.) `check` reads what the server would read, and says what is wrong with it. `keys` writes to the
//! directories of the keys of signed zones, which the server only reads.
//!
//! Standard output gets what was asked for, standard error everything else. Exit codes: 0 done,
//! 1 refused or failed, 2 the command line itself is wrong, 3 done but for options that were ignored.

mod api_client;
mod check;
mod expires;
mod export;
mod import;
mod keys;
mod link_ref;
mod links;
mod serve;
mod span;
mod transfer;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::builder::Resettable;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use url::Url;

use crate::base::environment;
use crate::base::logging;
use crate::config::{Config, ConfigError};
use crate::link::{Code, Origin};

use expires::Expires;
use import::args::{IMPORT_HELP, ImportCommand};
use keys::{KEYS_HELP, KeysCommand};
use link_ref::LinkRef;

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
    command: Option<Command>,
    #[command(flatten)]
    global: GlobalArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct GlobalArgs {
    /// The configuration file; without one every default holds
    #[arg(long, global = true, env = "TINYNS_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// How log lines look
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "auto|human|json"
    )]
    log_format: logging::Format,
    /// What is logged, as in "info,tinyns=debug"
    #[arg(
        long,
        global = true,
        env = "TINYNS_LOG",
        default_value = logging::DEFAULT_FILTER,
        value_name = "FILTER"
    )]
    log: String,
}

#[derive(Debug, Subcommand)]
enum Command {
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
struct AddArgs {
    /// Where the link is to lead: an http or https URL
    url: String,
    /// Your own code: 1 to 63 letters, digits and inner hyphens; without it one is made
    #[arg(long, value_parser = Code::parse)]
    code: Option<Code>,
    /// When the link is to end: a time as in RFC 3339, or a span from now such as 30d or 12h
    #[arg(long, value_name = "WHEN")]
    expires: Option<Expires>,
    /// The TTL of the link's records: seconds, or a span such as 5m or 1h; without it the zone's
    #[arg(long, value_name = "TTL", value_parser = span::ttl)]
    ttl: Option<u32>,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
struct GetArgs {
    /// The link: its code, its full name or its short URL
    link: LinkRef,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
struct ClientArgs {
    /// The zone of the link; without it the server's first zone
    #[arg(long, value_name = "ORIGIN", value_parser = Origin::parse)]
    zone: Option<Origin>,
    /// Print the server's JSON instead; of `add` with "created" and "ignored"
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// What to write
    #[arg(
        long,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "ndjson|csv"
    )]
    format: ExportFormat,
    /// The links of this zone alone; without it those of all zones
    #[arg(long, value_name = "ORIGIN", value_parser = Origin::parse)]
    zone: Option<Origin>,
    /// The file to write, which is there when all is in it; - or nothing is standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    access: AccessArgs,
}

/// What an export is written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum ExportFormat {
    /// A link a line, in JSON as the API shows it
    #[default]
    Ndjson,
    /// A row a link, under a header
    Csv,
}

/// Where the admin API is, and what opens it.
#[derive(Debug, Args)]
struct AccessArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// A file whose first line is the admin API's token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct HealthArgs {
    /// Fail unless the server takes changes of links as well
    #[arg(long)]
    changes: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct ServerArgs {
    /// The admin API; without it the one of the configuration
    #[arg(
        long,
        env = "TINYNS_SERVER",
        value_name = "URL",
        value_parser = api_client::parse_server
    )]
    server: Option<Url>,
}

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All was done.
    Done,
    /// The link was there already, and does not have all that was asked for.
    Ignored,
}

/// The command line is wrong in a way that only its parts together show.
#[derive(Debug, thiserror::Error)]
#[error("{0}; see --help")]
struct UsageError(String);

/// The exit code of a command; `--help` and docs/cli.md list them.
pub fn exit_code(ended: &anyhow::Result<Exit>) -> u8 {
    match ended {
        Ok(Exit::Done) => 0,
        Ok(Exit::Ignored) => 3,
        // As clap has it for what it refuses itself.
        Err(error) if error.is::<UsageError>() => 2,
        Err(_) => 1,
    }
}

/// Reads the command line and the environment. Ends the process where it is wrong, or asks for help.
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

/// Does what the command line says.
///
/// # Errors
/// Whatever went wrong; [`complaint`] shows it to people.
pub fn run(cli: Cli) -> anyhow::Result<Exit> {
    let config = cli.global.config.as_deref();
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => {
            let config = load(config)?;
            // Before the log, whose thread would keep the rights that this one gives up.
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

fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
    path.map_or_else(|| Ok(Config::default()), Config::load)
}

/// An error with its causes as one line; an error that is several lines of its own (the faults of
/// zone files) keeps them. A cause that its effect has quoted already is not told twice.
pub fn complaint(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| {
        let cause = cause.to_string();
        match text.is_empty() {
            true => cause,
            false if text.ends_with(&cause) => text,
            false => format!("{text}: {cause}"),
        }
    })
}

/// Says something on standard error.
fn say(text: &str) {
    // Nobody is left to be told where standard error is closed; eprintln! would panic.
    let _ = writeln!(io::stderr().lock(), "tinyns: {text}");
}

/// Writes to standard output. A reader that has read enough and gone is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    fn command(line: &str) -> Command {
        let cli = parse(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        cli.command.unwrap_or(Command::Serve)
    }

    /// The first line of the complaint; the exit code is 2.
    fn check_refused(line: &str, expected: &str) {
        let error = parse(line).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
        let text = error.to_string();
        assert_eq!(text.lines().next(), Some(expected), "{line}");
    }

    #[test]
    fn clap_finds_no_fault() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_is_the_default() {
        assert!(matches!(command("tinyns"), Command::Serve));
        assert!(matches!(
            command("tinyns --log-format json"),
            Command::Serve
        ));
        assert!(matches!(command("tinyns serve"), Command::Serve));
    }

    #[test]
    fn the_configuration_is_named_before_or_behind_the_command() {
        for line in [
            "tinyns --config a.toml check",
            "tinyns check --config a.toml",
        ] {
            let config = parse(line).unwrap().global.config;
            assert_eq!(config, Some("a.toml".into()), "{line}");
        }
    }

    #[test]
    fn add_takes_all_its_options() {
        let line = "tinyns add https://example.net/ --code Sale --expires 30d --ttl 60 \
                    --zone S.Example.com. --json --server http://[::1]:8053 --token-file t";
        let Command::Add(args) = command(line) else {
            panic!("not add");
        };
        assert_eq!(args.url, "https://example.net/");
        assert_eq!(args.code, Some(Code::parse("sale").unwrap()));
        assert_eq!(args.ttl, Some(60));
        assert!(args.expires.is_some());
        assert_eq!(
            args.client.zone,
            Some(Origin::parse("s.example.com").unwrap())
        );
        assert!(args.client.json);
        assert_eq!(args.client.access.token_file, Some("t".into()));
        assert_eq!(
            args.client.access.server.server.map(String::from),
            Some("http://[::1]:8053/".into())
        );
    }

    #[test]
    fn import_takes_all_its_options() {
        let line = "tinyns import dynamodb --table tinyUrl --region eu-central-1 \
                    --endpoint-url http://127.0.0.1:8000 --zone S.Example.com. --state s --json \
                    --server http://[::1]:8053 --token-file t --config c";
        let Command::Import(ImportCommand::Dynamodb { table, import }) = command(line) else {
            panic!("not import dynamodb");
        };
        assert_eq!(table.table, "tinyUrl");
        assert_eq!(table.region.as_deref(), Some("eu-central-1"));
        let endpoint = table.endpoint_url.map(String::from);
        assert_eq!(endpoint.as_deref(), Some("http://127.0.0.1:8000/"));
        assert_eq!(import.zone, Some(Origin::parse("s.example.com").unwrap()));
        assert_eq!(import.state, Some("s".into()));
        assert!(import.json);
        assert_eq!(import.access.token_file, Some("t".into()));
        let server = import.access.server.server.map(String::from);
        assert_eq!(server.as_deref(), Some("http://[::1]:8053/"));

        let line = "tinyns import csv links.csv --state s";
        let Command::Import(ImportCommand::Csv {
            file,
            columns,
            delimiter,
            import,
        }) = command(line)
        else {
            panic!("not import csv");
        };
        assert_eq!((file, import.json), ("links.csv".into(), false));
        assert!(columns.is_empty() && delimiter.is_none());
        let line = "tinyns import csv - --column code=Slug --column url=Target --delimiter tab";
        let Command::Import(ImportCommand::Csv {
            columns, delimiter, ..
        }) = command(line)
        else {
            panic!("not import csv");
        };
        assert_eq!((columns.len(), delimiter), (2, "\t".parse().ok()));
        let line = "tinyns import urls - --zone s.example.com --json";
        let Command::Import(ImportCommand::Urls { file, import }) = command(line) else {
            panic!("not import urls");
        };
        assert_eq!((file, import.json), ("-".into(), true));
        let line = "tinyns import ndjson -";
        let Command::Import(ImportCommand::Ndjson { file, import }) = command(line) else {
            panic!("not import ndjson");
        };
        assert_eq!((file, import.state), ("-".into(), None));
    }

    #[test]
    fn export_takes_all_its_options() {
        let line = "tinyns export --format csv --zone s.example.com -o links.csv --token-file t";
        let Command::Export(args) = command(line) else {
            panic!("not export");
        };
        assert_eq!(args.format, ExportFormat::Csv);
        assert_eq!(args.zone, Some(Origin::parse("s.example.com").unwrap()));
        assert_eq!(args.output, Some("links.csv".into()));
        let Command::Export(args) = command("tinyns export --output x") else {
            panic!("not export");
        };
        assert_eq!(args.format, ExportFormat::Ndjson);
        assert_eq!((args.zone, args.output), (None, Some("x".into())));
    }

    #[test]
    fn bad_values_are_usage_errors() {
        check_refused(
            "tinyns get a_b",
            "error: invalid value 'a_b' for '<LINK>': a code has only letters, digits and \
             hyphens; this one has '_'",
        );
        check_refused(
            "tinyns add u --code -",
            "error: invalid value '-' for '--code <CODE>': a code neither begins nor ends with a \
             hyphen",
        );
        check_refused(
            "tinyns add u --ttl 604801",
            "error: invalid value '604801' for '--ttl <TTL>': a TTL is at most 604800 seconds, which is 7d",
        );
        check_refused(
            "tinyns add u --zone a..b",
            "error: invalid value 'a..b' for '--zone <ORIGIN>': the origin \"a..b\" has an empty \
             label",
        );
        check_refused(
            "tinyns add u --expires soon",
            "error: invalid value 'soon' for '--expires <WHEN>': neither a time such as \
             2030-01-31T12:00:00Z nor a span such as 30d, 12h or 90m",
        );
        check_refused(
            "tinyns health --server ftp://a/",
            "error: invalid value 'ftp://a/' for '--server <URL>': the scheme must be http or \
             https",
        );
        check_refused("tinyns ad u", "error: unrecognized subcommand 'ad'");
        check_refused(
            "tinyns import dynamodb",
            "error: the following required arguments were not provided:",
        );
        check_refused(
            "tinyns import csv",
            "error: the following required arguments were not provided:",
        );
        check_refused(
            "tinyns import csv x --column Slug",
            "error: invalid value 'Slug' for '--column <MEMBER=NAME>': not of the form MEMBER=NAME, such as \
             code=Slug",
        );
        check_refused(
            "tinyns import csv x --delimiter ab",
            "error: invalid value 'ab' for '--delimiter <CHARACTER>': neither one ASCII character that may \
             stand between two fields nor \"tab\"",
        );
        check_refused(
            "tinyns import xml x",
            "error: unrecognized subcommand 'xml'",
        );
        check_refused(
            "tinyns import dynamodb --table t --endpoint-url 127.0.0.1:8000",
            "error: invalid value '127.0.0.1:8000' for '--endpoint-url <URL>': the URL has no scheme; \
             write http://127.0.0.1:8000 or https://127.0.0.1:8000",
        );
        check_refused(
            "tinyns import csv x --zone a..b",
            "error: invalid value 'a..b' for '--zone <ORIGIN>': the origin \"a..b\" has an empty \
             label",
        );
        check_refused(
            "tinyns export --format xml",
            "error: invalid value 'xml' for '--format <ndjson|csv>'",
        );
        check_refused(
            "tinyns keys generate --role sep",
            "error: invalid value 'sep' for '--role <csk|ksk|zsk>': neither csk nor ksk nor zsk",
        );
        check_refused(
            "tinyns keys generate --algorithm rsasha256",
            "error: invalid value 'rsasha256' for '--algorithm <ecdsap256sha256|ed25519>': neither \
             ecdsap256sha256 nor ed25519",
        );
        check_refused(
            "tinyns keys retire 1 --at tomorrow",
            "error: invalid value 'tomorrow' for '--at <TIME>': not a time such as 2030-01-31T12:00:00Z",
        );
        check_refused(
            "tinyns keys retire",
            "error: the following required arguments were not provided:",
        );
        check_refused(
            "tinyns keys retire 1 --all",
            "error: the argument '[TAG]' cannot be used with '--all'",
        );
        check_refused(
            "tinyns keys ds --seen 1 --gone 1",
            "error: the argument '--seen <TAG>' cannot be used with '--gone <TAG>'",
        );
        check_refused(
            "tinyns keys ds --ttl 5",
            "error: the following required arguments were not provided:",
        );
        check_refused(
            "tinyns keys ds --seen 65536",
            "error: invalid value '65536' for '--seen <TAG>': 65536 is not in 0..=65535",
        );
        check_refused(
            "tinyns serve --log-format xml",
            "error: invalid value 'xml' for '--log-format <auto|human|json>'",
        );
    }

    #[test]
    fn complaints_tell_every_cause_once() {
        let check = |error: anyhow::Error, expected: &str| {
            assert_eq!(complaint(&error), expected);
        };
        check(anyhow::anyhow!("a"), "a");
        check(anyhow::anyhow!("a").context("b").context("c"), "c: b: a");
        check(anyhow::anyhow!("a").context("b: a").context("c"), "c: b: a");
        check(anyhow::anyhow!("x:1: a\ny:2: b"), "x:1: a\ny:2: b");
    }

    #[test]
    fn help_is_there_and_names_the_exit_codes() {
        for line in [
            "tinyns --help",
            "tinyns add --help",
            "tinyns serve --help",
            "tinyns import --help",
            "tinyns import dynamodb --help",
            "tinyns import csv --help",
            "tinyns import ndjson --help",
            "tinyns import urls --help",
            "tinyns export --help",
            "tinyns keys --help",
            "tinyns keys generate --help",
            "tinyns keys list --help",
            "tinyns keys ds --help",
            "tinyns keys retire --help",
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DisplayHelp, "{line}");
            assert_eq!(error.exit_code(), 0, "{line}");
        }
        let help = Cli::command().render_help().to_string();
        for word in [
            "Exit codes:",
            "TINYNS_CONFIG",
            "serve",
            "add",
            "get",
            "import",
            "export",
            "check",
            "keys",
            "health",
        ] {
            assert!(help.contains(word), "{word} in {help}");
        }
    }
}
