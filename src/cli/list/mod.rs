//! `tinyns list`: the links of the server, page by page.
//!
//! On a terminal the output is a table that fits its width. Elsewhere each link is a line of fields between tabs, all of
//! them in full, for `cut` and `awk`. With `--json` each link is a line of JSON, as the API shows it.

mod table;

use std::io::{self, IsTerminal};
use std::path::Path;

use clap::Args;

use self::table::Table;
use super::access::{AccessArgs, token_environment};
use super::api_client::{Link, PAGE_LINKS};
use super::client::Client;
use super::counter::Counter;
use super::outcome::Exit;
use super::output::{say, write};
use crate::base::progress::Extent;
use crate::base::text::one_line;
use crate::link::Origin;

pub(super) const LIST_HELP: &str = concat!(
    "\
Examples:
  tinyns list
  tinyns list --zone s.example.com --limit 20
  tinyns list --query autumn --tag print --sort newest
  tinyns list | cut -f 1,2                        names and URLs
  tinyns list --json | jq -r 'select(.expires_at == null).name'

On a terminal, the output is a table, and the ends of long URLs are cut off. Elsewhere each link is
a line with five fields between tabs: name, URL, time of creation, expiry and TTL. An expiry or TTL
that the link does not have is empty. With --json, each link is a line of JSON.",
    token_environment!()
);

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// List only the links of this zone; by default those of all zones
    #[arg(long, value_name = "ORIGIN", value_parser = Origin::parse)]
    pub(super) zone: Option<Origin>,
    /// List only links whose code, URL or title contains this text
    #[arg(long, value_name = "TEXT")]
    pub(super) query: Option<String>,
    /// List only links with this tag
    #[arg(long, value_name = "TAG")]
    pub(super) tag: Option<String>,
    /// List only links to this host, such as example.net
    #[arg(long, value_name = "HOST")]
    pub(super) host: Option<String>,
    /// List links that are live, withheld, or have ended and are still kept; by default all that have not ended
    #[arg(long, value_name = "live|withheld|ended", value_parser = ["live", "withheld", "ended"], hide_possible_values = true)]
    pub(super) state: Option<String>,
    /// List only links that were made with the token of this name
    #[arg(long, value_name = "NAME")]
    pub(super) created_by: Option<String>,
    /// The order of the links of a zone; DynamoDB has an order of its own. Lists by use leave out unused links
    #[arg(long, value_name = "code|newest|oldest|clicks|lookups", value_parser = ["code", "newest", "oldest", "clicks", "lookups"], hide_possible_values = true)]
    pub(super) sort: Option<String>,
    /// List at most this many links; by default all
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) limit: Option<u64>,
    /// Print a line of JSON for each link
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) access: AccessArgs,
}

impl ListArgs {
    /// The filters and the order, as parameters of the API.
    fn filters(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("q", &self.query),
            ("tag", &self.tag),
            ("host", &self.host),
            ("state", &self.state),
            ("created_by", &self.created_by),
            ("sort", &self.sort),
        ];
        let given = all.into_iter();
        given
            .filter_map(|(name, value)| Some((name, value.as_deref()?)))
            .collect()
    }
}

/// How links are written.
enum Form {
    Json,
    Fields,
    Table(Table),
}

impl Form {
    fn page(&mut self, links: &[Link]) -> String {
        match self {
            // Texts and numbers always serialise.
            Self::Json => links
                .iter()
                .map(|link| serde_json::to_string(link).unwrap_or_default() + "\n")
                .collect(),
            Self::Fields => links.iter().map(fields).collect(),
            Self::Table(table) => table.page(links),
        }
    }
}

/// A link as fields between tabs.
fn fields(link: &Link) -> String {
    let ttl = link.ttl.map(|ttl| ttl.to_string());
    let fields = [
        Some(link.name.as_str()),
        Some(link.url.as_str()),
        link.created_at.as_deref(),
        link.expires_at.as_deref(),
        ttl.as_deref(),
    ];
    let fields = fields.map(|field| one_line(field.unwrap_or_default()));
    fields.join("\t") + "\n"
}

/// Lists links.
///
/// # Errors
/// A page cannot be read, or the output cannot be written. The pages before it are in the output.
pub(super) fn run(args: ListArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    let client = Client::new(&args.access, config)?;
    let (api, token) = (&client.api, &client.token);
    let is_terminal = io::stdout().is_terminal();
    let mut form = match (args.json, is_terminal) {
        (true, _) => Form::Json,
        (false, true) => Form::Table(Table::on_stdout()),
        (false, false) => Form::Fields,
    };
    let filters = args.filters();
    let zones = match &args.zone {
        Some(zone) => vec![zone.clone()],
        None => api.zones(token)?,
    };
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut counter = Counter::new("list", Extent::Unknown);
    for zone in &zones {
        let mut cursor: Option<String> = None;
        while left > 0 {
            let mut page = api.list(
                token,
                zone,
                &filters,
                cursor.as_deref(),
                left.min(PAGE_LINKS),
            )?;
            page.links
                .truncate(usize::try_from(left).unwrap_or(usize::MAX));
            let count = page.links.len() as u64;
            left -= count;
            counter.clear();
            if !write(form.page(&page.links).as_bytes())? {
                return Ok(Exit::Done);
            }
            counter.add(count);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
    }
    counter.clear();
    if is_terminal && !args.json && counter.done() == 0 {
        say(match filters.is_empty() {
            true => "there are no links; `tinyns add URL` creates one",
            false => "no link fits; leave out some of the options",
        });
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::api_client::testing::LINK;

    #[test]
    fn lines_for_other_programs() {
        let mut link: Link = serde_json::from_str(LINK).unwrap();
        assert_eq!(
            Form::Fields.page(&[link]),
            "sale.s.example.com\thttps://example.net/\t2026-01-01T00:00:00Z\t\t\n"
        );
        link = serde_json::from_str(LINK).unwrap();
        link.url = "https://example.net/\t\u{1b}[2J".into();
        link.expires_at = Some("2027-01-01T00:00:00Z".into());
        link.ttl = Some(60);
        assert_eq!(
            Form::Fields.page(&[link]),
            "sale.s.example.com\thttps://example.net/\\t\\u{1b}[2J\t2026-01-01T00:00:00Z\t\
             2027-01-01T00:00:00Z\t60\n"
        );
        let link: Link = serde_json::from_str(LINK).unwrap();
        assert_eq!(Form::Json.page(&[link]), format!("{LINK}\n"));
    }
}
