//! `[query_log]`.

use std::num::NonZeroU32;

use super::*;
use crate::dns::query_log::{Destination, Messages, QueryLogConfig};

/// A section with these lines, which begin in line 2.
fn query_log(lines: &str) -> QueryLogConfig {
    ok(&format!("[query_log]\n{lines}\n")).query_log.unwrap()
}

fn check_query_log(lines: &str, expected: &str) {
    check(&format!("[query_log]\n{lines}\n"), expected);
}

fn defaults() -> QueryLogConfig {
    QueryLogConfig {
        to: Destination::File {
            path: "data/queries.dnstap".into(),
            max_bytes: 256 << 20,
        },
        sample: NonZeroU32::MIN,
        messages: Messages::Both,
        identity: None,
        anonymise: false,
    }
}

#[test]
fn the_defaults_of_the_query_log_are_those_of_the_documentation() {
    let documented = documented("query_log");
    assert_eq!(ok(&documented).query_log, Some(defaults()));
    assert_eq!(query_log("file = \"data/queries.dnstap\""), defaults());
    // Keys without a default are commented out in the example.
    let all = documented
        .replace("\n# ", "\n")
        .replace("file = ", "# file = ")
        .replace("max_file_mib", "# max_file_mib");
    let expected = QueryLogConfig {
        to: Destination::Socket("/run/dnstap.sock".into()),
        identity: Some("ns1".into()),
        ..defaults()
    };
    assert_eq!(ok(&all).query_log, Some(expected));
}

#[test]
fn every_key_of_the_query_log_has_an_effect() {
    let config = query_log(
        "file = \"/var/log/q\"\nmax_file_mib = 1\nsample = 1000000000\nmessages = \"queries\"\n\
         identity = \"a b\"\nanonymise = true",
    );
    let expected = QueryLogConfig {
        to: Destination::File {
            path: "/var/log/q".into(),
            max_bytes: 1 << 20,
        },
        sample: NonZeroU32::new(1_000_000_000).unwrap(),
        messages: Messages::Queries,
        identity: Some("a b".into()),
        anonymise: true,
    };
    assert_eq!(config, expected);
    let longest = "s".repeat(107);
    let config = query_log(&format!(
        "socket = \"{longest}\"\nmessages = \"responses\"\nidentity = \"{}\"",
        "i".repeat(255)
    ));
    assert_eq!(config.to, Destination::Socket(longest.into()));
    assert_eq!(config.messages, Messages::Responses);
    assert_eq!(config.identity.unwrap().len(), 255);
}

#[test]
fn the_default_identity_is_the_nsid_if_it_is_text() {
    for (nsid, expected) in [("fra1", Some("fra1")), ("0x6101", None), ("0xff", None)] {
        let text = format!("[dns]\nnsid = \"{nsid}\"\n[query_log]\nfile = \"a\"\n");
        let config = ok(&text).query_log.unwrap();
        assert_eq!(config.identity.as_deref(), expected, "{nsid}");
        let own = ok(&format!("{text}identity = \"own\"\n"));
        assert_eq!(own.query_log.unwrap().identity.unwrap(), "own");
    }
}

#[test]
fn bad_query_logs_are_refused() {
    for (lines, expected) in [
        (
            "",
            "t.toml:1: query_log: missing; [query_log] needs \"file\" or \"socket\"",
        ),
        (
            "file = \"a\"\nsocket = \"b\"",
            "t.toml:3: query_log.socket: the log goes to a file or to a socket, and line 2 names a \
             file; remove one of the two",
        ),
        (
            "file = \"\"",
            "t.toml:2: query_log.file: a path must not be empty",
        ),
        (
            "socket = \"\"",
            "t.toml:2: query_log.socket: a path must not be empty",
        ),
        (
            "socket = \"s\"\nmax_file_mib = 1",
            "t.toml:3: query_log.max_file_mib: belongs to \"file\", and the log goes to a socket",
        ),
        (
            "file = \"a\"\nmax_file_mib = 0",
            "t.toml:3: query_log.max_file_mib: 0 is not within 1 to 1048576 MiB",
        ),
        (
            "file = \"a\"\nmax_file_mib = 1048577",
            "t.toml:3: query_log.max_file_mib: 1048577 is not within 1 to 1048576 MiB",
        ),
        (
            "file = \"a\"\nsample = 0",
            "t.toml:3: query_log.sample: 0 is not within 1 to 1000000000",
        ),
        (
            "file = \"a\"\nsample = 1000000001",
            "t.toml:3: query_log.sample: 1000000001 is not within 1 to 1000000000",
        ),
        (
            "file = \"a\"\nmessages = \"all\"",
            "t.toml:3: query_log.messages: unknown value \"all\", expected \"both\", \
             \"queries\" or \"responses\"",
        ),
        (
            "file = \"a\"\nidentity = \"\"",
            "t.toml:3: query_log.identity: \"\" is not 1 to 255 bytes without control characters",
        ),
        (
            "file = \"a\"\nidentity = \"a\\nb\"",
            "t.toml:3: query_log.identity: \"a\\nb\" is not 1 to 255 bytes without control characters",
        ),
    ] {
        check_query_log(lines, expected);
    }
    let text = format!("socket = \"{}\"", "s".repeat(108));
    check_query_log(
        &text,
        "t.toml:2: query_log.socket: 108 bytes; the path of a socket has at most 107",
    );
    let message = parse("[query_log]\nfile = \"a\"\nfiles = 2\n").unwrap_err();
    assert!(
        message
            .to_string()
            .starts_with("t.toml:3:1: query_log.files"),
        "{message}"
    );
    check(
        "query_log = 1\n",
        "t.toml:1: query_log: invalid type: integer `1`, expected a table, [query_log]",
    );
}
