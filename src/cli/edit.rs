//! `tinyns edit`: changes a link.

use std::path::Path;
use std::str::FromStr;

use clap::{ArgGroup, Args};

use super::access::{ClientArgs, token_environment};
use super::api_client::{LinkChange, Wait};
use super::client::Client;
use super::expires::{Expires, ExpiresError};
use super::link_ref::LinkRef;
use super::outcome::{Exit, UsageError};
use super::output::print;
use super::shown;
use super::span::{self, TtlError};
use crate::base::clock::Clock;
use crate::link::{AboutError, Note, RankedUrl, Tag, Title, Withheld};

pub(super) const EDIT_HELP: &str = concat!(
    "\
Examples:
  tinyns edit sale --url https://example.net/autumn
  tinyns edit sale.s.example.com --expires 30d --ttl 5m
  tinyns edit sale --expires never --ttl default
  tinyns edit sale --destination https://one.example/,10,3 --destination https://two.example/,10,1
  tinyns edit sale --title 'Autumn sale' --tag print --tag 2026 --note ''
  tinyns edit sale --url https://example.net/ --if-version 1764451526000000
  tinyns edit sale --withhold abuse --reason 'Phishing, reported on 1 December'
  tinyns edit sale --withhold legal --reason 'Order 12/26' --authority https://court.example/
  tinyns edit sale --release

The output is that of `get`. What no option names stays as it is. --destination
names all destinations that the link shall have; --url alone gives the preferred one another URL. --tag names
all tags that the link shall have. An empty text removes the title, the tags or the note. With --if-version the link is
changed only if it still has that version, which `get` shows. With --wait, edit waits until all live servers answer
with the change, for 2 seconds at most, and says which do not; then it exits with 4.

A link that is withheld leads nowhere, in DNS and in browsers, until it is released. Everyone who opens it
reads the reason. --withhold and --release need the role admin, and so does every other change of
such a link.",
    token_environment!()
);

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").args(["url", "destinations", "expires", "ttl", "title", "tags", "note", "withhold", "release"]).required(true).multiple(true))]
pub(super) struct EditArgs {
    /// The link: its code, full name or short URL
    pub(super) link: LinkRef,
    /// The new destination: an http or https URL
    #[arg(long)]
    pub(super) url: Option<String>,
    /// One of all destinations that the link shall have, with its priority and weight; may be repeated
    #[arg(long = "destination", value_name = "URL[,PRIORITY[,WEIGHT]]", value_parser = RankedUrl::parse_option, conflicts_with = "url")]
    pub(super) destinations: Vec<RankedUrl>,
    /// The new expiry: an RFC 3339 time, a time from now such as 30d or 12h, or "never"
    #[arg(long, value_name = "WHEN")]
    pub(super) expires: Option<NewEnd>,
    /// The new TTL of the link's records: seconds, 5m, 1h and the like, or "default" for that of the zone
    #[arg(long, value_name = "TTL")]
    pub(super) ttl: Option<NewTtl>,
    /// The new title; an empty text removes it
    #[arg(long, value_name = "TEXT", value_parser = new_title)]
    pub(super) title: Option<NewText<Title>>,
    /// All tags that the link shall have; may be repeated. An empty text removes them
    #[arg(long = "tag", value_name = "TAG", value_parser = new_tag)]
    pub(super) tags: Option<Vec<NewText<Tag>>>,
    /// The new note; an empty text removes it
    #[arg(long, value_name = "TEXT", value_parser = new_note)]
    pub(super) note: Option<NewText<Note>>,
    /// Withhold the link, because of abuse or of a legal demand
    #[arg(long, value_name = "abuse|legal", value_parser = ["abuse", "legal"], hide_possible_values = true, requires = "reason", conflicts_with = "release")]
    pub(super) withhold: Option<String>,
    /// Why the link is withheld: 1 to 200 characters, which everyone reads who opens it
    #[arg(long, value_name = "TEXT", requires = "withhold")]
    pub(super) reason: Option<String>,
    /// Who demands it by law: the URL of the authority or of its demand
    #[arg(long, value_name = "URL", requires = "withhold")]
    pub(super) authority: Option<String>,
    /// Give back a link that was withheld
    #[arg(long)]
    pub(super) release: bool,
    /// Change the link only if it has this version
    #[arg(long, value_name = "VERSION")]
    pub(super) if_version: Option<u64>,
    /// Wait until all servers answer with the change, for 2 seconds at most
    #[arg(long)]
    pub(super) wait: bool,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

/// A new expiry; none is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewEnd(Option<Expires>);

/// A new TTL, in seconds; none is that of the zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewTtl(Option<u32>);

/// A new text; none to remove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NewText<T>(Option<T>);

fn new_title(text: &str) -> Result<NewText<Title>, AboutError> {
    new_text(text, Title::parse)
}

fn new_tag(text: &str) -> Result<NewText<Tag>, AboutError> {
    new_text(text, Tag::parse)
}

fn new_note(text: &str) -> Result<NewText<Note>, AboutError> {
    new_text(text, Note::parse)
}

fn new_text<T>(
    text: &str,
    parse: fn(&str) -> Result<T, AboutError>,
) -> Result<NewText<T>, AboutError> {
    let text = (!text.is_empty()).then_some(text);
    Ok(NewText(text.map(parse).transpose()?))
}

/// Why a text is not a [`NewEnd`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}; write \"never\" to remove the expiry")]
pub(super) struct NewEndError(ExpiresError);

/// Why a text is not a [`NewTtl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}; write \"default\" for the TTL of the zone")]
pub(super) struct NewTtlError(TtlError);

impl FromStr for NewEnd {
    type Err = NewEndError;

    fn from_str(text: &str) -> Result<Self, NewEndError> {
        match text {
            "never" => Ok(Self(None)),
            text => text.parse().map(|end| Self(Some(end))).map_err(NewEndError),
        }
    }
}

impl FromStr for NewTtl {
    type Err = NewTtlError;

    fn from_str(text: &str) -> Result<Self, NewTtlError> {
        match text {
            "default" => Ok(Self(None)),
            text => span::ttl(text)
                .map(|ttl| Self(Some(ttl)))
                .map_err(NewTtlError),
        }
    }
}

/// Why to withhold the link, or `Some(None)` to give it back.
fn withheld(args: &EditArgs) -> Result<Option<Option<Withheld>>, UsageError> {
    let Some(kind) = &args.withhold else {
        return Ok(args.release.then_some(None));
    };
    let reason = args.reason.as_deref().unwrap_or_default();
    let withheld = Withheld::parse(kind, reason, args.authority.as_deref());
    withheld
        .map(|withheld| Some(Some(withheld)))
        .map_err(|error| UsageError(error.to_string()))
}

/// Changes a link, and prints it.
pub(super) fn run(args: EditArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    let withheld = withheld(&args)?;
    let zone = args.link.zone(args.client.zone);
    let zone = zone.map_err(|error| UsageError(error.to_string()))?;
    let now = Clock::default().now();
    let end = args
        .expires
        .map(|NewEnd(end)| end.map(|end| end.rfc3339(now)));
    // The end of a link that gets one, of one that loses it, or of one that keeps what it has.
    let end = end.map(Option::transpose).transpose()?;
    let change = LinkChange {
        url: args.url.as_deref(),
        destinations: &args.destinations,
        expires_at: end.as_ref().map(Option::as_deref),
        ttl: args.ttl.map(|NewTtl(ttl)| ttl),
        title: args
            .title
            .as_ref()
            .map(|NewText(title)| title.as_ref().map(Title::as_str)),
        tags: args.tags.as_ref().map(|tags| {
            let tags = tags.iter().filter_map(|NewText(tag)| tag.as_ref());
            tags.map(Tag::as_str).collect()
        }),
        note: args
            .note
            .as_ref()
            .map(|NewText(note)| note.as_ref().map(Note::as_str)),
        withheld: withheld.as_ref().map(Option::as_ref),
    };
    let client = Client::new(&args.client.access, config)?;
    let (token, code) = (&client.token, &args.link.code);
    let version = args.if_version;
    let what = (&change, Wait::of(args.wait));
    let answer = client
        .api
        .change(token, zone.as_ref(), code, what, version)?;
    let receipt = answer.link.visible.as_ref();
    print(&match args.client.json {
        true => shown::json(&answer),
        false => {
            let mut text = shown::link(&answer, client.dns);
            if args.wait {
                shown::receipt_rows(&mut text, receipt);
            }
            text
        }
    })?;
    Ok(match args.wait {
        true => shown::exit_of(receipt),
        false => Exit::Done,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_ttls_can_be_cleared() {
        assert_eq!("never".parse(), Ok(NewEnd(None)));
        assert_eq!("default".parse(), Ok(NewTtl(None)));
        assert_eq!("5m".parse(), Ok(NewTtl(Some(300))));
        let ends: NewEnd = "30d".parse().unwrap();
        assert_eq!(ends.0, Some("30d".parse().unwrap()));
        let error = "soon".parse::<NewEnd>().unwrap_err().to_string();
        assert!(error.ends_with("90m; write \"never\" to remove the expiry"));
        let error = "never".parse::<NewTtl>().unwrap_err().to_string();
        assert!(error.ends_with("write \"default\" for the TTL of the zone"));
    }
}
