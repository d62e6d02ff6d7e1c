//! Tests of the arguments.

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use super::args::{Cli, Command, ExportFormat};
use super::import::args::ImportCommand;
use super::*;
use crate::link::{Code, Origin};

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

fn command(line: &str) -> Command {
    let cli = parse(line).unwrap_or_else(|e| panic!("{line}: {e}"));
    cli.command.unwrap_or(Command::Serve)
}

/// Checks the first line of the error; the exit code is 2.
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
fn the_configuration_is_named_before_or_after_the_command() {
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
    assert_eq!(args.urls, ["https://example.net/"]);
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
    check_refused(
        "tinyns edit sale --expires soon",
        "error: invalid value 'soon' for '--expires <WHEN>': neither a time such as \
         2030-01-31T12:00:00Z nor a span such as 30d, 12h or 90m; write \"never\" to remove the expiry",
    );
    check_refused(
        "tinyns edit sale",
        "error: the following required arguments were not provided:",
    );
    check_refused(
        "tinyns delete",
        "error: the following required arguments were not provided:",
    );
    check_refused(
        "tinyns list --limit 0",
        "error: invalid value '0' for '--limit <NUMBER>': 0 is not in 1..18446744073709551615",
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
        "error: invalid value 'ab' for '--delimiter <CHARACTER>': write one ASCII punctuation \
         character, a blank, or \"tab\"",
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
        "error: invalid value 'sep' for '--role <csk|ksk|zsk>': must be csk, ksk or zsk",
    );
    check_refused(
        "tinyns keys generate --algorithm rsasha256",
        "error: invalid value 'rsasha256' for '--algorithm <ecdsap256sha256|ed25519>': must be \
         ecdsap256sha256 or ed25519",
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
fn complaints_have_every_cause_once() {
    let check = |error: anyhow::Error, expected: &str| {
        assert_eq!(failure::complaint(&error), expected);
    };
    check(anyhow::anyhow!("a"), "a");
    check(anyhow::anyhow!("a").context("b").context("c"), "c: b: a");
    check(anyhow::anyhow!("a").context("b: a").context("c"), "c: b: a");
    check(anyhow::anyhow!("x:1: a\ny:2: b"), "x:1: a\ny:2: b");
}

#[test]
fn an_error_of_the_command_line_in_one_line() {
    let check = |line: &str, expected: &str| {
        let error = parse(line).unwrap_err().to_string();
        assert_eq!(first_paragraph(&error), expected);
    };
    check("tinyns ad u", "unrecognized subcommand 'ad'");
    check(
        "tinyns edit",
        "the following required arguments were not provided: \
         <--url <URL>|--destination <URL[,PRIORITY[,WEIGHT]]>|--expires <WHEN>|--ttl <TTL>|--title <TEXT>|--tag <TAG>|--note <TEXT>|--withhold <abuse|legal>|--release> <LINK>",
    );
}

#[test]
fn the_form_of_errors_is_that_of_the_output() {
    let check = |line: &str, expected: ErrorForm| {
        assert_eq!(parse(line).unwrap().error_form(), expected, "{line}");
    };
    check("tinyns", ErrorForm::Text);
    for command in [
        "add u",
        "list",
        "get x",
        "edit x --ttl default",
        "delete x",
        "import urls -",
        "keys list",
    ] {
        check(&format!("tinyns {command}"), ErrorForm::Text);
        check(&format!("tinyns {command} --json"), ErrorForm::Json);
    }
}

#[test]
fn help_is_there_and_names_the_exit_codes() {
    for line in [
        "tinyns --help",
        "tinyns add --help",
        "tinyns list --help",
        "tinyns edit --help",
        "tinyns delete --help",
        "tinyns qr --help",
        "tinyns completions --help",
        "tinyns man --help",
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
        "list",
        "get",
        "edit",
        "delete",
        "qr",
        "import",
        "export",
        "check",
        "keys",
        "health",
        "completions",
    ] {
        assert!(help.contains(word), "{word} in {help}");
    }
}
