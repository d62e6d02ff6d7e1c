//! `tinyns check`: reads what `serve` would read, and stops before anything is opened or bound.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};

use anyhow::bail;

use super::print;
use crate::clock::Clock;
use crate::config::{Config, StoreConfig};
use crate::dns::CookieSecrets;
use crate::dnssec::keys::{KeyRing, KeysError};
use crate::system::privileges::Account;
use crate::zone::{ZoneConfig, ZoneSet};

/// Checks the files of a configuration that is valid by itself, which are zones and their keys, secrets and
/// certificate, and that there is the user whom the server is to become. What is wrong goes to standard
/// error, a line a fault, with file and line where there are such, and all of it at once.
pub(super) fn run(config: &Config) -> anyhow::Result<()> {
    let mut faults = Vec::new();
    faults.extend(Account::find(&config.process).err().map(|e| e.to_string()));
    let secrets = config.cookie_secrets.as_deref().map(CookieSecrets::load);
    faults.extend(secrets.and_then(Result::err).map(|e| e.to_string()));
    let certificate = config.dns.tls.as_ref().map(|tls| tls.files.check());
    faults.extend(certificate.and_then(Result::err).map(|e| e.to_string()));
    let mut warnings: Vec<String> = match ZoneSet::load(config.zones.clone()) {
        Ok((zones, warnings)) => {
            let warnings = warnings.iter().map(ToString::to_string);
            warnings.chain(zones.ttls_beyond()).collect()
        }
        Err(error) => {
            faults.extend(error.errors.iter().map(ToString::to_string));
            Vec::new()
        }
    };
    for ring in keys(config) {
        match ring {
            Ok(ring) => warnings.extend_from_slice(ring.warnings()),
            Err(error) => faults.push(error.to_string()),
        }
    }
    report("error", &faults);
    report("warning", &warnings);
    match faults.len() {
        0 => print(&summary(config, warnings.len())),
        number => bail!("{} in what the configuration names", count(number, "error")),
    }
}

/// The keys of all zones that are signed.
fn keys(config: &Config) -> impl Iterator<Item = Result<KeyRing, KeysError>> {
    let signed = config
        .zones
        .iter()
        .filter_map(|zone| Some((zone, zone.dnssec.as_ref()?)));
    let now = Clock::default().now();
    signed.map(move |(zone, dnssec)| KeyRing::load(dnssec, &zone.origin, now))
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
    let keys = match &zone.dnssec {
        Some(dnssec) => format!(", signed with the keys in {}", dnssec.keys.display()),
        None => String::new(),
    };
    let _ = writeln!(
        text,
        "ok: {}: {}, {links}{keys}",
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
