//! `tinyns check`: prints what the server would refuse with this configuration, and what would do harm.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use anyhow::bail;

use super::output::print;
use crate::config::{Config, HttpsCertificates, StoreConfig};
use crate::server::check;

/// Checks what a valid configuration names. All findings go to standard error at once, with a line for each.
pub(super) fn run(config: &Config) -> anyhow::Result<()> {
    let found = check::check(config);
    report("error", &found.errors);
    report("warning", &found.warnings);
    report("hint", &found.hints);
    match found.errors.len() {
        0 => print(&summary(config, found.warnings.len())),
        number => bail!("{} in what the configuration names", count(number, "error")),
    }
}

fn report(kind: &str, lines: &[String]) {
    let mut out = io::stderr().lock();
    for line in lines {
        // If standard error is closed, the exit code still says how the check ended.
        let _ = writeln!(out, "{kind}: {line}");
    }
}

fn summary(config: &Config, warnings: usize) -> String {
    let store = match &config.store {
        StoreConfig::Sqlite { path } => path.display().to_string(),
        StoreConfig::DynamoDb(dynamo) => format!("the DynamoDB table {:?}", dynamo.table),
        StoreConfig::Postgres(database) => match &database.replica {
            Some(replica) => format!("{}, read from {}", database.url, replica.url),
            None => database.url.to_string(),
        },
    };
    let mut text = String::new();
    // Writing to a String does not fail.
    for zone in &config.zones {
        let links = match &zone.redirect_host {
            Some(host) => format!("links below {host}.{}", zone.origin),
            None => "no links".into(),
        };
        let keys = match &zone.dnssec {
            Some(dnssec) => format!(", signed with the keys in {}", dnssec.keys.display()),
            None => String::new(),
        };
        let (origin, file) = (&zone.origin, zone.file.display());
        let _ = writeln!(text, "ok: {origin}: {file}, {links}{keys}");
    }
    if let Some(tls) = &config.dns.tls {
        let file = tls.files.certificate.display();
        let _ = writeln!(text, "ok: DNS over TLS: {file}");
    }
    if let Some(https) = &config.https {
        let from = match &https.certificates {
            HttpsCertificates::Files(files) => files.certificate.display().to_string(),
            HttpsCertificates::Acme(settings) => format!("certificates by {}", settings.directory),
        };
        let _ = writeln!(text, "ok: HTTPS: {from}");
    }
    let _ = writeln!(
        text,
        "ok: {}, {}, links in {store}",
        count(config.zones.len(), "zone"),
        count(warnings, "warning"),
    );
    text
}

fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_check_prints() {
        let text = "[[zone]]\norigin = \"a.example\"\nfile = \"a\"\nredirect_host = \"r\"\n\
                    [[zone]]\norigin = \"b.example\"\nfile = \"b\"\n[zone.dnssec]\nkeys = \"k\"\n";
        let config = Config::parse(text, Path::new("t.toml")).unwrap();
        assert_eq!(
            summary(&config, 1),
            "ok: a.example: a, links below r.a.example\n\
             ok: b.example: b, no links, signed with the keys in k\n\
             ok: 2 zones, 1 warning, links in data/links.sqlite\n"
        );
    }

    #[test]
    fn files_that_are_missing_are_errors() {
        let text = "[[zone]]\norigin = \"a\"\nfile = \"/nonexistent/a\"\nredirect_host = \"r\"\n";
        let keys = "[zone.dnssec]\nkeys = \"/nonexistent/k\"\n";
        for (text, expected) in [
            (text.to_owned(), "1 error"),
            (format!("{text}{keys}"), "2 errors"),
        ] {
            let config = Config::parse(&text, Path::new("t.toml")).unwrap();
            assert_eq!(
                run(&config).unwrap_err().to_string(),
                format!("{expected} in what the configuration names")
            );
        }
    }
}
