//! `tinyns keys`: makes, shows and retires the keys of signed zones.
//!
//! `generate`, `retire`, `ds --seen` and `ds --gone` change the directory of the keys, and nothing else. A server
//! need not run. A running server reads the directory again on SIGHUP.

mod report;

use std::fmt::Write as _;
use std::io::{self, Write as _};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use super::output::print;
use crate::base::clock::{Clock, UnixTime};
use crate::base::name::ZoneName;
use crate::config::Config;
use crate::dnssec::DnssecConfig;
use crate::dnssec::ds::Ds;
use crate::dnssec::key::{Algorithm, Role};
use crate::dnssec::keys::KeysError;
use crate::dnssec::keys::directory::{LockedDirectory, key_file, read_key, read_list};
use crate::dnssec::keys::list::{KeyEntry, KeyList};
use crate::dnssec::keys::parent::DEFAULT_DS_TTL;

/// The largest TTL (RFC 2181 §8), in seconds.
const MAX_DS_TTL: i64 = 0x7FFF_FFFF;

pub(super) const KEYS_HELP: &str = "\
Examples:
  tinyns keys generate                  make the first key, which signs at once, or a successor
  tinyns keys list                      show the state of each key, and the next steps
  tinyns keys ds                        print the DS records for the parent zone
  tinyns keys ds --seen 12345           confirm that the parent zone publishes the DS record
  tinyns keys retire 12345              let the successor sign; refused while that is not safe
  tinyns keys retire --all              begin to unsign the zone

A zone is signed if [[zone]] has a section [zone.dnssec], which names the directory of its keys. Run
these commands as the user that the server runs as, with its configuration. A server reads changes on
SIGHUP. Other servers of the zone need a copy of the directory: the .pem files first, keys.toml last.";

const GENERATE_HELP: &str = "\
Examples:
  tinyns keys generate
  tinyns keys generate --algorithm ed25519
  tinyns keys generate --role ksk && tinyns keys generate --role zsk

The first key of a zone signs at once. A further key enters the DNSKEY records at once, and signs when
another key is retired. All keys of a zone have the same algorithm.";

const LIST_HELP: &str = "\
Examples:
  tinyns keys list
  tinyns keys list --zone s.example.com --json | jq '.keys[] | select(.state == \"active\").tag'";

const DS_HELP: &str = "\
Examples:
  tinyns keys ds                              print the DS records that the parent zone needs
  tinyns keys ds 12345 --json
  tinyns keys ds --seen 12345 --ttl 3600      confirm that all its servers publish the record
  tinyns keys ds --gone 12345 --since 2030-01-31T12:00:00Z

tinyns cannot see what the parent publishes. Check every parent server first (dig DS ZONE @SERVER);
a wrong confirmation can make the zone bogus.";

const RETIRE_HELP: &str = "\
Examples:
  tinyns keys retire 12345
  tinyns keys retire 12345 --at 2030-01-31T12:00:00Z
  tinyns keys retire --all

While a resolver may have records in its cache that the successor does not fit, the command is refused,
with the time from which it is safe. The key leaves the DNSKEY records by itself when no cache needs it.";

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make a key
    #[command(after_help = GENERATE_HELP)]
    Generate(GenerateArgs),
    /// Show the keys, their states, and the next steps
    #[command(after_help = LIST_HELP)]
    List(ListArgs),
    /// Print DS records for the parent zone, or confirm what it publishes
    #[command(after_help = DS_HELP)]
    Ds(DsArgs),
    /// Replace a key by its successor, or begin to unsign the zone
    #[command(after_help = RETIRE_HELP)]
    Retire(RetireArgs),
}

impl KeysCommand {
    /// Whether the output is JSON.
    pub(super) fn is_json(&self) -> bool {
        match self {
            Self::List(args) => args.json,
            Self::Ds(args) => args.json,
            Self::Generate(_) | Self::Retire(_) => false,
        }
    }
}

#[derive(Debug, Args)]
struct ZoneArgs {
    /// The zone; needed if several zones are signed
    #[arg(long, value_name = "ORIGIN", value_parser = ZoneName::parse)]
    zone: Option<ZoneName>,
}

#[derive(Debug, Args)]
pub(super) struct GenerateArgs {
    /// What it signs: everything (csk), the DNSKEY records (ksk), or all other records (zsk)
    #[arg(long, value_name = "csk|ksk|zsk", default_value = "csk", value_parser = parse_role)]
    role: Role,
    /// Its algorithm [default: that of the zone's other keys, or ecdsap256sha256]
    #[arg(long, value_name = "ecdsap256sha256|ed25519", value_parser = parse_algorithm)]
    algorithm: Option<Algorithm>,
    #[command(flatten)]
    zone: ZoneArgs,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Print JSON instead
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    zone: ZoneArgs,
}

#[derive(Debug, Args)]
pub(super) struct DsArgs {
    /// The key [default: all keys whose DS records the parent zone needs]
    #[arg(conflicts_with = "confirmation")]
    tag: Option<u16>,
    /// Print JSON instead
    #[arg(long, conflicts_with = "confirmation")]
    json: bool,
    /// Confirm that all servers of the parent zone publish the DS record of this key
    #[arg(long, value_name = "TAG", group = "confirmation")]
    seen: Option<u16>,
    /// Confirm that no server of the parent zone publishes the DS record of this key any more
    #[arg(long, value_name = "TAG", group = "confirmation")]
    gone: Option<u16>,
    /// The time from which that is so, such as 2030-01-31T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME", requires = "confirmation", value_parser = parse_time)]
    since: Option<UnixTime>,
    /// The TTL of the DS records in the parent zone [default: a day]
    #[arg(
        long,
        value_name = "SECONDS",
        requires = "confirmation",
        value_parser = clap::value_parser!(u32).range(0..=MAX_DS_TTL)
    )]
    ttl: Option<u32>,
    #[command(flatten)]
    zone: ZoneArgs,
}

#[derive(Debug, Args)]
pub(super) struct RetireArgs {
    /// The key
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    tag: Option<u16>,
    /// Unsign the zone: ask the parent zone to remove all DS records, and go on signing until it has
    #[arg(long)]
    all: bool,
    /// The time of the step, such as 2030-01-31T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    at: Option<UnixTime>,
    #[command(flatten)]
    zone: ZoneArgs,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum ArgumentError {
    #[error("must be csk, ksk or zsk")]
    Role,
    #[error("must be ecdsap256sha256 or ed25519")]
    Algorithm,
    #[error("not a time such as 2030-01-31T12:00:00Z")]
    Time,
}

fn parse_role(text: &str) -> Result<Role, ArgumentError> {
    Role::parse(text).ok_or(ArgumentError::Role)
}

fn parse_algorithm(text: &str) -> Result<Algorithm, ArgumentError> {
    Algorithm::parse(text).ok_or(ArgumentError::Algorithm)
}

fn parse_time(text: &str) -> Result<UnixTime, ArgumentError> {
    UnixTime::parse(text).ok_or(ArgumentError::Time)
}

/// A signed zone.
struct Zone<'a> {
    origin: &'a ZoneName,
    config: &'a DnssecConfig,
    now: UnixTime,
}

/// Runs a command.
pub(super) fn run(command: KeysCommand, config: &Config) -> anyhow::Result<()> {
    let now = Clock::default().now();
    let (text, notes) = match command {
        KeysCommand::Generate(args) => {
            Zone::find(config, &args.zone, now)?.generate(args.role, args.algorithm)?
        }
        KeysCommand::List(args) => Zone::find(config, &args.zone, now)?.list(args.json)?,
        KeysCommand::Ds(args) => Zone::find(config, &args.zone, now)?.ds(&args)?,
        KeysCommand::Retire(args) => {
            let zone = Zone::find(config, &args.zone, now)?;
            match args.tag {
                Some(tag) => zone.retire(tag, args.at)?,
                None => zone.retire_all(args.at)?,
            }
        }
    };
    let mut out = io::stderr().lock();
    for note in notes {
        // If standard error is closed, the exit code still shows the outcome.
        let _ = writeln!(out, "note: {note}");
    }
    drop(out);
    print(&text)
}

/// The text for standard output, and notes for standard error.
type Output = anyhow::Result<(String, Vec<String>)>;

impl<'a> Zone<'a> {
    fn find(config: &'a Config, args: &ZoneArgs, now: UnixTime) -> anyhow::Result<Self> {
        let signed = config.zones.iter().filter_map(|zone| {
            let config = zone.dnssec.as_ref()?;
            let origin = &zone.origin;
            Some(Self {
                origin,
                config,
                now,
            })
        });
        let mut signed: Vec<Self> = signed.collect();
        if let Some(origin) = &args.zone {
            signed.retain(|zone| zone.origin == origin);
            return signed
                .pop()
                .with_context(|| format!("the configuration has no signed zone {origin}"));
        }
        match (signed.pop(), signed.as_slice()) {
            (None, _) => bail!(
                "the configuration has no signed zone: a [[zone]] is signed if it has a section [zone.dnssec]"
            ),
            (Some(zone), []) => Ok(zone),
            (Some(last), others) => {
                let names = others.iter().chain([&last]);
                let names: Vec<_> = names.map(|zone| zone.origin.as_str()).collect();
                bail!("which zone? --zone names one of {}", names.join(", "))
            }
        }
    }

    fn generate(&self, role: Role, algorithm: Option<Algorithm>) -> Output {
        let directory = LockedDirectory::open(&self.config.keys, true)?;
        let mut list = match read_list(self.config, self.origin, self.now) {
            Err(KeysError::NoKeys(_)) => KeyList::new(self.origin.clone(), self.config),
            read => read?,
        };
        let before = list.clone();
        let forgotten = list.forget(self.now);
        let others = list.keys.first().map(|first| first.algorithm);
        let algorithm = algorithm.or(others).unwrap_or(Algorithm::EcdsaP256Sha256);
        list.may_add(algorithm, self.now)?;
        let (file, key) = directory.make_key(&before, algorithm, role)?;
        list.add(&key, self.config, self.now)?;
        directory.write_list(&list)?;

        let tag = key.tag();
        let mut text = format!("{}\n", file.display());
        let _ = writeln!(text, "  key   {tag}, {}, {algorithm}", role.name());
        for (word, step) in ["next"]
            .into_iter()
            .chain(std::iter::repeat(""))
            .zip(self.next(&list, tag))
        {
            let _ = writeln!(text, "  {word:4}  {step}");
        }
        let forgotten = before
            .keys
            .iter()
            .filter(|key| forgotten.contains(&key.tag));
        let forgotten = forgotten.map(|key| {
            let file = key_file(&self.config.keys, self.origin, key);
            format!(
                "{} is not needed any more and can be deleted",
                file.display()
            )
        });
        Ok((text, forgotten.collect()))
    }

    /// The steps after a key was made.
    fn next(&self, list: &KeyList, tag: u16) -> Vec<String> {
        let mut steps = vec![match list.key(tag).and_then(|key| key.active) {
            Some(_) => format!(
                "restart the servers of {} within {}",
                self.origin,
                self.delay()
            ),
            None => self.reload(),
        }];
        let of_it = report::steps(list, self.now).into_iter();
        let of_it = of_it.filter(|step| step.tag.is_none_or(|other| other == tag));
        steps.extend(of_it.map(|step| step.to_string()));
        steps
    }

    fn list(&self, json: bool) -> Output {
        let list = read_list(self.config, self.origin, self.now)?;
        let records = self.records(&list.keys)?;
        let notes = report::notes(&self.config.keys, &list)?;
        let text = match json {
            true => report::list_json(&list, &records, &self.config.keys, self.now),
            false => report::list(&list, &self.config.keys, self.now),
        };
        Ok((text, notes))
    }

    fn ds(&self, args: &DsArgs) -> Output {
        let since = args.since.unwrap_or(self.now);
        if let Some(tag) = args.seen {
            let ttl = args.ttl.unwrap_or(DEFAULT_DS_TTL);
            let list = self.change(|list| Ok(list.ds_seen(tag, since, ttl, self.now)?))?;
            return Ok((report::confirmed(&list, tag, self.now), Vec::new()));
        }
        if let Some(tag) = args.gone {
            let list = self.change(|list| Ok(list.ds_gone(tag, since, args.ttl, self.now)?))?;
            return Ok((report::confirmed(&list, tag, self.now), Vec::new()));
        }
        let list = read_list(self.config, self.origin, self.now)?;
        let keys: Vec<KeyEntry> = match args.tag {
            Some(tag) => vec![list.key_with_ds(tag)?.clone()],
            None => list.wanted_ds(self.now).cloned().collect(),
        };
        let records = self.records(&keys)?;
        let text = match args.json {
            true => report::ds_json(&list, &keys, &records),
            false => report::ds(&list, &records),
        };
        Ok((text, report::ds_notes(&list, &keys, self.now)))
    }

    fn retire(&self, tag: u16, at: Option<UnixTime>) -> Output {
        let at = at.unwrap_or(self.now);
        let mut successors = Vec::new();
        let list = self.change(|list| {
            successors = list.retire(tag, at, self.config, self.now)?;
            Ok(())
        })?;
        let text = report::retired(&list, tag, &successors);
        Ok((format!("{text}{}\n", self.reload()), Vec::new()))
    }

    fn retire_all(&self, at: Option<UnixTime>) -> Output {
        let at = at.unwrap_or(self.now);
        let list = self.change(|list| Ok(list.retire_all(at, self.now)?))?;
        let mut text = String::new();
        if at <= self.now {
            let origin = self.origin;
            let _ = writeln!(
                text,
                "CDS and CDNSKEY records ask the parent zone to remove all DS records of {origin}"
            );
        }
        let of_zone = report::steps(&list, self.now).into_iter();
        for step in of_zone.filter(|step| step.tag.is_none()) {
            let _ = writeln!(text, "{step}");
        }
        Ok((format!("{text}{}\n", self.reload()), Vec::new()))
    }

    /// Changes the list, which must exist.
    fn change(
        &self,
        change: impl FnOnce(&mut KeyList) -> anyhow::Result<()>,
    ) -> anyhow::Result<KeyList> {
        let directory = LockedDirectory::open(&self.config.keys, false)?;
        let mut list = read_list(self.config, self.origin, self.now)?;
        change(&mut list)?;
        directory.write_list(&list)?;
        Ok(list)
    }

    fn records(&self, keys: &[KeyEntry]) -> anyhow::Result<Vec<Ds>> {
        let keys = keys.iter().map(|key| {
            let key = read_key(&self.config.keys, self.origin, key)?;
            Ok(Ds::of(self.origin, &key))
        });
        keys.collect()
    }

    fn reload(&self) -> String {
        let delay = self.delay();
        format!("reload all servers within {delay}: copy the directory, then send SIGHUP")
    }

    fn delay(&self) -> String {
        format!(
            "{} seconds (propagation_delay)",
            self.config.propagation_delay
        )
    }
}
