//! `tinyns keys`: the keys of signed zones, from the first to the last.
//!
//! Only `generate`, `retire` and what `ds` is told change anything, and all that they change is in the
//! directory of the keys. A server need not run. One that does takes the change over on SIGHUP.

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
use crate::dnssec::keys::directory::{LockedDirectory, key_file, read_key};
use crate::dnssec::keys::list::{KeyEntry, KeyList};
use crate::dnssec::keys::plan::DEFAULT_DS_TTL;

/// The largest TTL (RFC 2181 §8), in seconds.
const MAX_DS_TTL: i64 = 0x7FFF_FFFF;

pub(super) const KEYS_HELP: &str = "\
Examples:
  tinyns keys generate                  the first key signs at once; a further one is to replace it
  tinyns keys list                      what each key does, and what can be done when
  tinyns keys ds                        what the parent zone is to be given
  tinyns keys ds --seen 12345           it has it now
  tinyns keys retire 12345              the next one signs; refused as long as that is not safe
  tinyns keys retire --all              the way back to a zone without signatures

A zone is signed if [[zone]] has a section [zone.dnssec], which names the directory of its keys. Run
these commands as the user that the server runs as, with its configuration. A server takes changes over
on SIGHUP; other servers of the zone need a copy of the directory: the .pem files first, keys.toml last.";

const GENERATE_HELP: &str = "\
Examples:
  tinyns keys generate
  tinyns keys generate --algorithm ed25519
  tinyns keys generate --role ksk && tinyns keys generate --role zsk

The first key of a zone signs at once. A further one is in the DNSKEY records at once, and signs when
another one is retired. All keys of a zone have one algorithm.";

const LIST_HELP: &str = "\
Examples:
  tinyns keys list
  tinyns keys list --zone s.example.com --json | jq '.keys[] | select(.state == \"active\").tag'";

const DS_HELP: &str = "\
Examples:
  tinyns keys ds                              DS records that the parent zone is to have
  tinyns keys ds 12345 --json
  tinyns keys ds --seen 12345 --ttl 3600      all its servers have that of this key since now
  tinyns keys ds --gone 12345 --since 2030-01-31T12:00:00Z

What the parent zone has nobody can derive from the keys: look there (dig DS ZONE @SERVER, for each of its
servers), and say so. Much depends on it that this is true.";

const RETIRE_HELP: &str = "\
Examples:
  tinyns keys retire 12345
  tinyns keys retire 12345 --at 2030-01-31T12:00:00Z
  tinyns keys retire --all

It is refused, with the time from which on it is safe, as long as a resolver may have something in its
cache that would not fit. The key leaves the DNSKEY records by itself when none needs it any more.";

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make a key
    #[command(after_help = GENERATE_HELP)]
    Generate(GenerateArgs),
    /// Show the keys, and what can be done with them when
    #[command(after_help = LIST_HELP)]
    List(ListArgs),
    /// Print DS records for the parent zone, or tell what it has
    #[command(after_help = DS_HELP)]
    Ds(DsArgs),
    /// Have a key sign no more, and another one in its place
    #[command(after_help = RETIRE_HELP)]
    Retire(RetireArgs),
}

#[derive(Debug, Args)]
struct ZoneArgs {
    /// The zone; needed where several are signed
    #[arg(long, value_name = "ORIGIN", value_parser = ZoneName::parse)]
    zone: Option<ZoneName>,
}

#[derive(Debug, Args)]
pub(super) struct GenerateArgs {
    /// What it is for: all, the keys, or the zone's records
    #[arg(long, value_name = "csk|ksk|zsk", default_value = "csk", value_parser = parse_role)]
    role: Role,
    /// How it signs; without it as the zone's other keys, or by ECDSA
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
    /// The key; without it those of which the parent zone is to have the DS record
    #[arg(conflicts_with = "told")]
    tag: Option<u16>,
    /// Print JSON instead
    #[arg(long, conflicts_with = "told")]
    json: bool,
    /// All servers of the parent zone have the DS record of this key
    #[arg(long, value_name = "TAG", group = "told")]
    seen: Option<u16>,
    /// No server of the parent zone has the DS record of this key any more
    #[arg(long, value_name = "TAG", group = "told")]
    gone: Option<u16>,
    /// Since when, as in 2030-01-31T12:00:00Z; without it since now
    #[arg(long, value_name = "TIME", requires = "told", value_parser = parse_time)]
    since: Option<UnixTime>,
    /// The TTL of the DS records in the parent zone; without it a day
    #[arg(
        long,
        value_name = "SECONDS",
        requires = "told",
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
    /// Unsign the zone: have the parent zone asked to remove all DS records, and sign on until it has
    #[arg(long)]
    all: bool,
    /// When, as in 2030-01-31T12:00:00Z; without it now
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    at: Option<UnixTime>,
    #[command(flatten)]
    zone: ZoneArgs,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum ArgumentError {
    #[error("neither csk nor ksk nor zsk")]
    Role,
    #[error("neither ecdsap256sha256 nor ed25519")]
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

/// Does what the command line says.
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
        // The exit code tells the outcome even where nobody reads the lines.
        let _ = writeln!(out, "note: {note}");
    }
    drop(out);
    print(&text)
}

/// What goes to standard output, and what is to be noted besides.
type Said = anyhow::Result<(String, Vec<String>)>;

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

    fn generate(&self, role: Role, algorithm: Option<Algorithm>) -> Said {
        let directory = LockedDirectory::open(&self.config.keys, true)?;
        let mut list = match KeyList::read(self.config, self.origin, self.now) {
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
                "{} is not needed any more, and can be deleted",
                file.display()
            )
        });
        Ok((text, forgotten.collect()))
    }

    /// What is to be done after a key was made.
    fn next(&self, list: &KeyList, tag: u16) -> Vec<String> {
        let mut steps = vec![match list.key(tag).and_then(|key| key.active) {
            Some(_) => format!(
                "start the servers of {} anew within {}",
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

    fn list(&self, json: bool) -> Said {
        let list = KeyList::read(self.config, self.origin, self.now)?;
        let records = self.records(&list.keys)?;
        let notes = report::notes(&self.config.keys, &list)?;
        let text = match json {
            true => report::list_json(&list, &records, &self.config.keys, self.now),
            false => report::list(&list, &self.config.keys, self.now),
        };
        Ok((text, notes))
    }

    fn ds(&self, args: &DsArgs) -> Said {
        let since = args.since.unwrap_or(self.now);
        if let Some(tag) = args.seen {
            let ttl = args.ttl.unwrap_or(DEFAULT_DS_TTL);
            let list = self.change(|list| Ok(list.ds_seen(tag, since, ttl, self.now)?))?;
            return Ok((report::told(&list, tag, self.now), Vec::new()));
        }
        if let Some(tag) = args.gone {
            let list = self.change(|list| Ok(list.ds_gone(tag, since, args.ttl, self.now)?))?;
            return Ok((report::told(&list, tag, self.now), Vec::new()));
        }
        let list = KeyList::read(self.config, self.origin, self.now)?;
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

    fn retire(&self, tag: u16, at: Option<UnixTime>) -> Said {
        let at = at.unwrap_or(self.now);
        let mut successors = Vec::new();
        let list = self.change(|list| {
            successors = list.retire(tag, at, self.config, self.now)?;
            Ok(())
        })?;
        let text = report::retired(&list, tag, &successors);
        Ok((format!("{text}{}\n", self.reload()), Vec::new()))
    }

    fn retire_all(&self, at: Option<UnixTime>) -> Said {
        let at = at.unwrap_or(self.now);
        let list = self.change(|list| Ok(list.retire_all(at, self.now)?))?;
        let mut text = String::new();
        if at <= self.now {
            let origin = self.origin;
            let _ = writeln!(
                text,
                "the parent zone is asked to remove all DS records of {origin}"
            );
        }
        let of_zone = report::steps(&list, self.now).into_iter();
        for step in of_zone.filter(|step| step.tag.is_none()) {
            let _ = writeln!(text, "{step}");
        }
        Ok((format!("{text}{}\n", self.reload()), Vec::new()))
    }

    /// Changes the list, which has to be there.
    fn change(
        &self,
        change: impl FnOnce(&mut KeyList) -> anyhow::Result<()>,
    ) -> anyhow::Result<KeyList> {
        let directory = LockedDirectory::open(&self.config.keys, false)?;
        let mut list = KeyList::read(self.config, self.origin, self.now)?;
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
        format!("have the servers take it over within {delay}: copy the directory, then SIGHUP")
    }

    fn delay(&self) -> String {
        format!(
            "{} seconds (propagation_delay)",
            self.config.propagation_delay
        )
    }
}
