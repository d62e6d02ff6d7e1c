//! `tinyns add`: creates links.
//!
//! One URL is one request, and the output describes its link to people. Several URLs, or lines of standard input, go
//! to the server in batches, and the output has a line for each link, for scripts.

mod ignored;
mod many;
mod one;
mod source;

use std::path::Path;

use clap::Args;

use self::source::Source;
use super::access::{ClientArgs, token_environment};
use super::api_client::NewLink;
use super::client::Client;
use super::expires::Expires;
use super::outcome::{Exit, UsageError};
use super::span;
use crate::base::clock::Clock;
use crate::link::{Code, Note, RankedUrl, Tag, Title};

/// Stands for standard input.
const STDIN: &str = "-";

pub(super) const ADD_HELP: &str = concat!(
    "\
Examples:
  tinyns add https://example.net/a/long/path
  tinyns add https://example.net/sale --code sale --expires 30d --ttl 5m
  tinyns add --code sale --destination https://one.example/,10,3 --destination https://two.example/,10,1
  tinyns add https://example.net/a --title 'Autumn sale' --tag print --tag 2026
  tinyns add https://example.net/ --json | jq -r .short_url
  tinyns add https://example.net/a https://example.net/b
  grep -o 'https://[^ ]*' page.txt | tinyns add - --expires 1w > short.txt

For one URL, the first line of the output is the short name, and further lines describe the link.
For several URLs, and for the lines of standard input, each link is a line with its short URL. If
a URL is refused, add reports it on standard error with its line, goes on, and exits with 1. Blank
lines are skipped.

With --destination, one link leads to several URLs. Browsers get one of the lowest priority, each as often as its weight
says; DNS has a URI record for each. A URL that itself ends in a comma and a number needs both numbers behind it.

If a link to a URL exists already, add prints that link and does not change it. If its expiry,
TTL, title, tags or note differ from the options, add says which options were ignored; with --json, the members
\"created\" and \"ignored\" of each link say so.

With --wait, add waits until all live servers answer with the links, for 2 seconds at most, and says
which do not. With --json, the member \"visible\" says it; for several URLs it is in a last line.

Exit codes:
  0  each link exists as requested
  1  refused or failed, at least one URL
  2  the command line is wrong
  3  a link existed already, and options were ignored
  4  with --wait: each link exists, and not all servers answer with them yet",
    token_environment!()
);

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// The destinations: http or https URLs; - reads one URL from each line of standard input
    #[arg(required_unless_present = "destinations", value_name = "URL")]
    pub(super) urls: Vec<String>,
    /// One of several destinations of one link, with its priority and weight (0 to 65535; by default 10 and 1); may be
    /// repeated
    #[arg(long = "destination", value_name = "URL[,PRIORITY[,WEIGHT]]", value_parser = RankedUrl::parse_option, conflicts_with = "urls")]
    pub(super) destinations: Vec<RankedUrl>,
    /// A code of your choice: 1 to 63 letters, digits and inner hyphens; by default the server makes one
    #[arg(long, value_parser = Code::parse)]
    pub(super) code: Option<Code>,
    /// Take the code even if the configuration of the server reserves it; needs the role admin
    #[arg(long, requires = "code")]
    pub(super) use_reserved: bool,
    /// When the links expire: an RFC 3339 time, or a time from now such as 30d or 12h
    #[arg(long, value_name = "WHEN")]
    pub(super) expires: Option<Expires>,
    /// The TTL of the links' records: seconds, or 5m, 1h and the like; by default that of the zone
    #[arg(long, value_name = "TTL", value_parser = span::ttl)]
    pub(super) ttl: Option<u32>,
    /// A title of the links, for people
    #[arg(long, value_name = "TEXT", value_parser = Title::parse)]
    pub(super) title: Option<Title>,
    /// A tag of the links; may be repeated
    #[arg(long = "tag", value_name = "TAG", value_parser = Tag::parse)]
    pub(super) tags: Vec<Tag>,
    /// A note on the links, for people
    #[arg(long, value_name = "TEXT", value_parser = Note::parse)]
    pub(super) note: Option<Note>,
    /// Wait until all servers answer with the links, for 2 seconds at most
    #[arg(long)]
    pub(super) wait: bool,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

impl AddArgs {
    /// A link to this URL, or to the destinations, with the options that all links get.
    fn new_link<'a>(&'a self, url: Option<&'a str>, expires_at: Option<&'a str>) -> NewLink<'a> {
        NewLink {
            url,
            destinations: &self.destinations,
            code: None,
            use_reserved: self.use_reserved,
            expires_at,
            ttl: self.ttl,
            title: self.title.as_ref().map(Title::as_str),
            tags: self.tags.iter().map(Tag::as_str).collect(),
            note: self.note.as_ref().map(Note::as_str),
            withheld: None,
        }
    }
}

/// Creates links, and prints them.
///
/// # Errors
/// A URL has no link.
pub(super) fn run(args: AddArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    let from_stdin = args.urls.iter().any(|url| url == STDIN);
    if from_stdin && args.urls.len() > 1 {
        let text = "- stands for the lines of standard input, and cannot be one of several URLs";
        return Err(UsageError(text.into()).into());
    }
    if args.code.is_some() && (from_stdin || args.urls.len() > 1) {
        let text = "--code is the code of one link, and there are several URLs";
        return Err(UsageError(text.into()).into());
    }
    let expires_at = match args.expires {
        Some(expires) => Some(expires.rfc3339(Clock::default().now())?),
        None => None,
    };
    let client = Client::new(&args.client.access, config)?;
    match &args.urls[..] {
        _ if from_stdin => many::add(&client, &args, expires_at.as_deref(), Source::stdin()?),
        [] => one::add(&client, &args, expires_at.as_deref(), None),
        [url] => one::add(&client, &args, expires_at.as_deref(), Some(url)),
        urls => many::add(&client, &args, expires_at.as_deref(), Source::urls(urls)),
    }
}
