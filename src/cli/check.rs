//! `tinyns check`: reads what `serve` would read, and stops before anything is opened or bound.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};

use anyhow::bail;

use super::print;
use crate::config::{Config, StoreConfig};
use crate::dns::CookieSecrets;
use crate::system::privileges::Account;
use crate::zone::{ZoneConfig, ZoneSet};

/// Checks the files of a configuration that is valid by itself, which are zones, secrets and certificate, and
/// that there is the user whom the server is to become. What is wrong goes to standard error with file and
/// line, a line a fault, the faults of all zones at once.
pub(super) fn run(config: &Config) -> anyhow::Result<()> {
    Account::find(&config.process)?;
    if let Some(file) = &config.cookie_secrets {
        CookieSecrets::load(file)?;
    }
    let certificate = config.dns.tls.as_ref().map(|tls| tls.files.check());
    let bad_certificate = certificate.and_then(Result::err);
    if let Some(error) = &bad_certificate {
        report("error", &[error]);
    }
    match ZoneSet::load(config.zones.clone()) {
        Ok((_, warnings)) => {
            report("warning", &warnings);
            if bad_certificate.is_some() {
                bail!("the certificate for DNS over TLS cannot be used");
            }
            print(&summary(config, warnings.len()))
        }
        Err(error) => {
            report("error", &error.errors);
            bail!("{} in the zone files", count(error.errors.len(), "error"))
        }
    }
}

fn report(kind: &str, diagnostics: &[impl fmt::Display]) {
    let mut out = io::stderr().lock();
    for diagnostic in diagnostics {
        // The exit code tells the outcome even where nobody reads the lines.
        let _ = writeln!(out, "{kind}: {diagnostic}");
    }
}

fn summary(config: &Config, warnings: usize) -> String {
    let store = match &config.store {
        StoreConfig::Sqlite { path } => path.display().to_string(),
        StoreConfig::DynamoDb(dynamo) => format!("the DynamoDB table {:?}", dynamo.table),
    };
    let mut text = String::new();
    for zone in &config.zones {
        row(&mut text, zone);
    }
    // Writing to a String does not fail.
    if let Some(tls) = &config.dns.tls {
        let file = tls.files.certificate.display();
        let _ = writeln!(text, "ok: DNS over TLS: {file}");
    }
    let _ = writeln!(
        text,
        "ok: {}, {}, links in {store}",
        count(config.zones.len(), "zone"),
        count(warnings, "warning"),
    );
    text
}

fn row(text: &mut String, zone: &ZoneConfig) {
    let links = match &zone.redirect_host {
        Some(host) => format!("links below {host}.{}", zone.origin),
        None => "no links".into(),
    };
    let _ = writeln!(
        text,
        "ok: {}: {}, {links}",
        zone.origin,
        zone.file.display()
    );
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
                    [[zone]]\norigin = \"b.example\"\nfile = \"b\"\n";
        let config = Config::parse(text, Path::new("t.toml")).unwrap();
        assert_eq!(
            summary(&config, 1),
            "ok: a.example: a, links below r.a.example\n\
             ok: b.example: b, no links\n\
             ok: 2 zones, 1 warning, links in data/links.sqlite\n"
        );
    }

    #[test]
    fn a_missing_zone_file_is_an_error() {
        let text = "[[zone]]\norigin = \"a\"\nfile = \"/nonexistent/a\"\nredirect_host = \"r\"\n";
        let config = Config::parse(text, Path::new("t.toml")).unwrap();
        assert_eq!(
            run(&config).unwrap_err().to_string(),
            "1 error in the zone files"
        );
    }
}
