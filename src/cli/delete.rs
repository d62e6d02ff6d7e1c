//! `tinyns delete`: deletes links, and prints what they were.
//!
//! The API answers a deletion without the link, so the command reads each link first and deletes the version that it
//! has read. On a terminal it asks before it deletes anything.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::Path;

use anyhow::{Context, bail};
use clap::Args;

use super::access::{ClientArgs, token_environment};
use super::api_client::{Answer, ApiError, Deletion, Wait};
use super::client::Client;
use super::counter::Counter;
use super::failure::{Failures, Place};
use super::link_ref::LinkRef;
use super::outcome::{Exit, UsageError};
use super::output::{print, say};
use super::shown;
use crate::base::progress::Extent;
use crate::base::text::one_line;
use crate::link::Origin;

/// How often a link is read again because it changed between reading and deleting.
const TRIES: u32 = 3;
/// What the command says if other servers still show a link that it has deleted.
const NOT_GONE: &str = "other servers still show it for some seconds: this server cannot announce the deletion through \
                        Redis; see /readyz";
/// The longest answer to the question, in bytes.
const MAX_ANSWER_LEN: u64 = 4_096;

pub(super) const DELETE_HELP: &str = concat!(
    "\
Examples:
  tinyns delete sale
  tinyns delete sale.s.example.com https://gh7k2m9x.s.example.com/ --yes
  tinyns delete sale --if-version 1764451526000000
  tinyns delete sale --yes --json >> deleted.ndjson    keep what `tinyns import ndjson` reads

For each deleted link, the output has a line with its name and URL; with --json, the link as it
was. If some of several links cannot be deleted, delete reports each of them, goes on with the
others, and exits with 1. On a terminal, delete asks before it deletes anything, unless --yes is
given. With --wait, delete waits until no live server answers with the link any more, says on
standard error which servers those are, and exits with 4 if some may still do.",
    token_environment!()
);

#[derive(Debug, Args)]
pub(super) struct DeleteArgs {
    /// The links: codes, full names or short URLs
    #[arg(required = true, value_name = "LINK")]
    pub(super) links: Vec<LinkRef>,
    /// Do not ask
    #[arg(short, long)]
    pub(super) yes: bool,
    /// Delete the link only if it has this version
    #[arg(long, value_name = "VERSION")]
    pub(super) if_version: Option<u64>,
    /// Wait until no server answers with the link, for 2 seconds at most
    #[arg(long)]
    pub(super) wait: bool,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

/// How links are deleted.
#[derive(Clone, Copy)]
struct How {
    json: bool,
    wait: Wait,
}

/// A link of the command line.
struct Target {
    link: LinkRef,
    zone: Option<Origin>,
    /// The version that it must have.
    version: Option<u64>,
}

impl Target {
    fn place(&self) -> Place {
        Place::Argument {
            argument: self.link.to_string(),
        }
    }
}

/// Deletes links.
///
/// # Errors
/// One of them was not deleted.
pub(super) fn run(args: DeleteArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    let asks = !args.yes && io::stdin().is_terminal();
    let how = How {
        json: args.client.json,
        wait: Wait::of(args.wait),
    };
    let targets = targets(args.links, args.client.zone, args.if_version)?;
    let client = Client::new(&args.client.access, config)?;
    if let [target] = &targets[..] {
        let confirmed = match asks {
            true => vec![client.look_up(target)?],
            false => Vec::new(),
        };
        confirm(&confirmed)?;
        let version = confirmed.first().and_then(|answer| answer.link.version);
        return client.remove(target, target.version.or(version), how);
    }
    let mut failures = Failures::new(how.json);
    let wanted = targets.len();
    let targets = match asks {
        true => client.confirmed(targets, &mut failures)?,
        false => targets,
    };
    let mut counter = Counter::new("delete", Extent::Count(wanted as u64));
    let mut exit = Exit::Done;
    for target in &targets {
        match client.remove(target, target.version, how) {
            Ok(Exit::NotEverywhere) => exit = Exit::NotEverywhere,
            Ok(_) => {}
            Err(error) => {
                counter.clear();
                report(&mut failures, target, error)?;
            }
        }
        counter.add(1);
    }
    counter.clear();
    match failures.count() {
        0 => Ok(exit),
        count => bail!("{count} of {wanted} links were not deleted; see above"),
    }
}

/// The links with their zones.
fn targets(
    links: Vec<LinkRef>,
    zone: Option<Origin>,
    version: Option<u64>,
) -> Result<Vec<Target>, UsageError> {
    if version.is_some() && links.len() > 1 {
        let text = "--if-version is the version of one link, and there are several";
        return Err(UsageError(text.into()));
    }
    let with_zone = |link: LinkRef| {
        let zone = link.zone(zone.clone());
        Ok(Target {
            zone: zone.map_err(|error| UsageError(error.to_string()))?,
            link,
            version,
        })
    };
    links.into_iter().map(with_zone).collect()
}

/// Reports that a link was not deleted.
///
/// # Errors
/// The error itself, if the other links would fail in the same way.
fn report(failures: &mut Failures, target: &Target, error: anyhow::Error) -> anyhow::Result<()> {
    match error.downcast::<ApiError>() {
        Ok(error @ ApiError::Refused { .. }) => {
            failures.add(&target.place(), &error);
            Ok(())
        }
        Ok(error) => Err(error.into()),
        Err(error) => Err(error),
    }
}

/// Asks whether to delete these links.
///
/// # Errors
/// The answer is no.
fn confirm(links: &[Answer]) -> anyhow::Result<()> {
    if links.is_empty() {
        return Ok(());
    }
    for answer in links {
        let (name, url) = (&answer.link.name, one_line(&answer.link.url));
        say(&format!("{name} leads to {url}"));
    }
    let what = match links.len() {
        1 => "this link".to_owned(),
        count => format!("these {count} links"),
    };
    let mut err = io::stderr().lock();
    let asked = write!(err, "tinyns: delete {what}? [y/N] ").and_then(|()| err.flush());
    asked.context("cannot ask on standard error; use --yes")?;
    let mut line = Vec::new();
    let mut input = io::stdin().lock().take(MAX_ANSWER_LEN);
    let read = input.read_until(b'\n', &mut line);
    read.context("cannot read the answer")?;
    match line.trim_ascii().to_ascii_lowercase().as_slice() {
        b"y" | b"yes" => Ok(()),
        _ => bail!("nothing was deleted"),
    }
}

impl Client {
    fn look_up(&self, target: &Target) -> Result<Answer, ApiError> {
        let (zone, code) = (target.zone.as_ref(), &target.link.code);
        self.api.get(&self.token, zone, code)
    }

    /// Looks the links up and asks whether to delete them. Returns those that exist, with the versions that were
    /// shown.
    fn confirmed(
        &self,
        targets: Vec<Target>,
        failures: &mut Failures,
    ) -> anyhow::Result<Vec<Target>> {
        let (mut found, mut answers) = (Vec::new(), Vec::new());
        for target in targets {
            match self.look_up(&target) {
                Ok(answer) => {
                    let version = answer.link.version;
                    found.push(Target { version, ..target });
                    answers.push(answer);
                }
                Err(error) => report(failures, &target, error.into())?,
            }
        }
        confirm(&answers)?;
        Ok(found)
    }

    /// Deletes a link, and prints it. Without a version, a change in between means only that the link is read again.
    fn remove(&self, target: &Target, version: Option<u64>, how: How) -> anyhow::Result<Exit> {
        let (zone, code) = (target.zone.as_ref(), &target.link.code);
        let mut tries = TRIES;
        let (answer, deletion) = loop {
            let answer = self.look_up(target)?;
            let expected = version.or(answer.link.version);
            let terms = (expected, how.wait);
            match self.api.delete(&self.token, zone, code, terms) {
                Ok(deletion) => break (answer, deletion),
                Err(error) if version.is_none() && error.is_conflict() && tries > 1 => tries -= 1,
                Err(error) => return Err(error.into()),
            }
        };
        print(&match (how.json, members(&deletion)?) {
            (true, Some(members)) => shown::json_with(&answer, &members),
            (true, None) => shown::json(&answer),
            (false, _) => deleted(&answer),
        })?;
        let name = &answer.link.name;
        if !deletion.is_visible && !how.json {
            say(&format!("{name}: {NOT_GONE}"));
        }
        if let (Some(visible), false) = (&deletion.visible, how.json) {
            say(&format!(
                "{name} is deleted; of the servers, {}",
                shown::receipt(visible)
            ));
        }
        Ok(match how.wait {
            Wait::No => Exit::Done,
            Wait::Servers => shown::exit_of(deletion.visible.as_ref()),
        })
    }
}

/// What `--json` adds to the link as it was.
fn members(deletion: &Deletion) -> anyhow::Result<Option<String>> {
    let mut members = Vec::new();
    if !deletion.is_visible {
        members.push("\"visible_elsewhere\":false".to_owned());
    }
    if let Some(visible) = &deletion.visible {
        members.push(format!("\"visible\":{}", serde_json::to_string(visible)?));
    }
    Ok((!members.is_empty()).then(|| members.join(",")))
}

/// The line of a deleted link.
fn deleted(answer: &Answer) -> String {
    let link = &answer.link;
    format!("{}\t{}\n", link.name, one_line(&link.url))
}
