//! `tinyns check`: reads what `serve` would read, and stops before anything is made, bound or connected to.
//!
//! An error is what the start would refuse, a warning is what would do harm, and a hint is what only this process
//! cannot do: it may run as another user than the server.

mod places;

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};

use anyhow::bail;

use super::print;
use crate::base::clock::Clock;
use crate::base::files::is_open_to_others;
use crate::config::{Config, StoreConfig};
use crate::dns::CookieSecrets;
use crate::dnssec::keys::{KeyRing, KeysError};
use crate::server::system::privileges::Account;
use crate::zone::{ZoneConfig, ZoneSet};

/// What was found.
#[derive(Debug, Default)]
struct Findings {
    errors: Vec<String>,
    warnings: Vec<String>,
    hints: Vec<String>,
}

impl Findings {
    /// What there is; an error is noted, with its causes.
    fn take<T>(&mut self, found: Result<T, impl Into<anyhow::Error>>) -> Option<T> {
        match found {
            Ok(found) => Some(found),
            Err(error) => {
                self.errors.push(super::complaint(&error.into()));
                None
            }
        }
    }

    fn zones(&mut self, config: &Config) {
        match ZoneSet::load(config.zones.clone()) {
            Ok((zones, warnings)) => {
                let warnings = warnings.iter().map(ToString::to_string);
                self.warnings.extend(warnings.chain(zones.ttls_beyond()));
            }
            Err(error) => {
                let errors = error.errors.iter().map(ToString::to_string);
                self.errors.extend(errors);
            }
        }
        for ring in keys(config) {
            if let Some(ring) = self.take(ring) {
                self.warnings.extend_from_slice(ring.warnings());
            }
        }
    }

    fn secrets(&mut self, config: &Config) {
        if let Some(file) = &config.cookie_secrets {
            self.take(CookieSecrets::load(file));
            if is_open_to_others(file) {
                let file = file.display();
                self.warnings.push(format!(
                    "{file}: others than its owner can read the secrets of DNS cookies; mode 0600 would \
                     prevent it"
                ));
            }
        }
        if let Some(tls) = &config.dns.tls {
            let warnings = self.take(tls.files.check(Clock::default().now()));
            let warnings = warnings.unwrap_or_default();
            self.warnings
                .extend(warnings.iter().map(ToString::to_string));
        }
    }
}

/// Checks what a configuration that is valid by itself names: zones and their keys, secrets and certificate, the
/// store, the token, the files of Redis and of the query log, addresses, and the user whom the server is to
/// become. What is wrong goes to standard error, a line a fault, with file and line where there are such, and all
/// of it at once.
pub(super) fn run(config: &Config) -> anyhow::Result<()> {
    let mut found = Findings::default();
    found.take(Account::find(&config.process));
    found.secrets(config);
    found.zones(config);
    found.places(config);
    found.addresses(config);
    report("error", &found.errors);
    report("warning", &found.warnings);
    report("hint", &found.hints);
    match found.errors.len() {
        0 => print(&summary(config, found.warnings.len())),
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
