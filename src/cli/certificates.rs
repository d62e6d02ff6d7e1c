//! `tinyns certificates`: shows the certificates of HTTPS, and has one ordered now.

use std::fmt::Write as _;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::{Args, Subcommand};

use super::access::{AccessArgs, token_environment};
use super::api_client::{Certificate, Certificates};
use super::client::Client;
use super::outcome::Exit;
use super::output::{print, say};
use super::shown::row;
use crate::base::text::one_line;
use crate::link::Origin;

/// How long `--wait` waits for a certificate. Authorities take seconds, and an order goes on without this command.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) const CERTIFICATES_HELP: &str = concat!(
    "\
Examples:
  tinyns certificates                              the certificate of each zone, or why there is none
  tinyns certificates --json | jq -r '.certificates[] | select(.ends_soon).zone'
  tinyns certificates order s.example.com --wait

A server with [https.acme] orders and renews certificates by itself. `order` does not wait for the
time of the next attempt; authorities limit the number of orders.",
    token_environment!()
);

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct CertificatesArgs {
    #[command(subcommand)]
    command: Option<CertificatesCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum CertificatesCommand {
    /// Show the certificates; this is the default
    List(ListArgs),
    /// Have a certificate ordered now
    Order(OrderArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Print the JSON of the API, and errors as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

#[derive(Debug, Args)]
struct OrderArgs {
    /// The origin of the zone
    #[arg(value_name = "ZONE", value_parser = Origin::parse)]
    zone: Origin,
    /// Wait until the certificate has come, for at most five minutes, and print it
    #[arg(long)]
    wait: bool,
    /// Print errors as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

impl CertificatesArgs {
    /// Whether `--json` was given.
    pub(super) fn is_json(&self) -> bool {
        match &self.command {
            Some(CertificatesCommand::List(args)) => args.json,
            Some(CertificatesCommand::Order(args)) => args.json,
            None => self.list.json,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// The API refuses the call or cannot be reached, or no certificate comes.
pub(super) fn run(args: CertificatesArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    match args.command {
        None => list(&args.list, config),
        Some(CertificatesCommand::List(args)) => list(&args, config),
        Some(CertificatesCommand::Order(args)) => order(&args, config),
    }
}

fn list(args: &ListArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    let client = Client::new(&args.access, config)?;
    let (list, json) = client.api.certificates(&client.token)?;
    if args.json {
        print(&format!("{}\n", json.trim_end()))?;
        return Ok(Exit::Done);
    }
    if list.source == "none" {
        say("there is no HTTPS: the configuration of the server has no [https]");
    }
    let shown: String = list.certificates.iter().map(shown).collect();
    print(&shown)?;
    Ok(Exit::Done)
}

fn order(args: &OrderArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    let client = Client::new(&args.access, config)?;
    let zone = &args.zone;
    let look = || -> anyhow::Result<Option<Certificate>> {
        let (Certificates { certificates, .. }, _) = client.api.certificates(&client.token)?;
        let mut certificates = certificates.into_iter();
        Ok(certificates.find(|certificate| certificate.zone == zone.as_str()))
    };
    let before = look()?;
    client.api.order_certificate(&client.token, zone)?;
    if !args.wait {
        say("ordered; `tinyns certificates` shows what comes of it");
        return Ok(Exit::Done);
    }
    let serial = |certificate: &Option<Certificate>| certificate.as_ref()?.serial.clone();
    let failure = |certificate: &Option<Certificate>| certificate.as_ref()?.failure.clone();
    let end = Instant::now() + LONGEST_WAIT;
    while Instant::now() < end {
        sleep(PAUSE);
        let now = look()?;
        if serial(&now).is_some() && serial(&now) != serial(&before) {
            let text: String = now.iter().map(shown).collect();
            print(&text)?;
            return Ok(Exit::Done);
        }
        if let Some(why) = failure(&now).filter(|_| failure(&now) != failure(&before)) {
            bail!(
                "no certificate ({}): {}",
                one_line(&why.kind),
                one_line(&why.reason)
            );
        }
    }
    let waited = LONGEST_WAIT.as_secs() / 60;
    bail!("no certificate after {waited} minutes; the server goes on, see `tinyns certificates`")
}

/// A certificate for people.
fn shown(certificate: &Certificate) -> String {
    let mut text = format!("{}\n", one_line(&certificate.zone));
    let state = match (&*certificate.state, &certificate.serial) {
        ("valid", _) if certificate.ends_soon => "valid, but it ends soon or has ended",
        ("valid", _) => "valid",
        ("ordering", None) => "no certificate yet; a server orders one now",
        ("ordering", Some(_)) => "a server orders its successor now",
        ("failing", None) => "no certificate: the last attempt has failed",
        ("failing", Some(_)) => "in use, but the last attempt to renew it has failed",
        (_, None) => "no certificate",
        (other, Some(_)) => other,
    };
    row(&mut text, "state", state);
    row(&mut text, "names", &certificate.names.join(", "));
    let optional = [
        ("issuer", &certificate.issuer),
        ("serial", &certificate.serial),
        ("from", &certificate.not_before),
        ("until", &certificate.not_after),
        ("next", &certificate.next_attempt_at),
    ];
    for (label, value) in optional {
        if let Some(value) = value {
            row(&mut text, label, value);
        }
    }
    if let Some(failure) = &certificate.failure {
        let mut why = String::new();
        // Writing to a String does not fail.
        let _ = write!(why, "{}, at {}", failure.kind, failure.at);
        if failure.count > 1 {
            let _ = write!(why, ", {} times in succession", failure.count);
        }
        let _ = write!(why, ": {}", failure.reason);
        row(&mut text, "failure", &why);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_for_people() {
        let json = r#"{"zone":"s.example.com","names":["s.example.com","*.s.example.com"],"state":"failing",
            "serial":null,"issuer":null,"not_before":null,"not_after":null,"ends_soon":false,
            "next_attempt_at":"2026-01-01T00:15:00Z","failure":{"kind":"self_check","reason":"ns2: no\u001b",
            "at":"2026-01-01T00:00:00Z","count":2,"name_servers":[]}}"#;
        let certificate: Certificate = serde_json::from_str(json).unwrap();
        assert_eq!(
            shown(&certificate),
            "s.example.com\n  \
             state      no certificate: the last attempt has failed\n  \
             names      s.example.com, *.s.example.com\n  \
             next       2026-01-01T00:15:00Z\n  \
             failure    self_check, at 2026-01-01T00:00:00Z, 2 times in succession: ns2: no\\u{1b}\n"
        );
        let valid = Certificate {
            state: "valid".into(),
            serial: Some("00fe".into()),
            issuer: Some("CA".into()),
            not_before: Some("a".into()),
            not_after: Some("b".into()),
            failure: None,
            ..certificate
        };
        let text = shown(&valid);
        assert!(text.contains("  state      valid\n"), "{text}");
        assert!(text.contains("  serial     00fe\n"), "{text}");
    }
}
