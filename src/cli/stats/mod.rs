//! `tinyns stats`: how often a link, or all links, were looked up and clicked.

mod chart;

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::str::FromStr;

use clap::Args;

use self::chart::{Glyphs, chart};
use super::access::{AccessArgs, token_environment};
use super::api_client::{RankedLink, Stats, StatsCall, StatsUnit};
use super::client::Client;
use super::expires::{Expires, ExpiresError};
use super::link_ref::LinkRef;
use super::outcome::{Exit, UsageError};
use super::output::{aligned, print};
use crate::base::clock::{Clock, UnixTime};
use crate::base::environment;
use crate::base::progress::grouped;
use crate::base::text::one_line;
use crate::link::Origin;

pub(super) const STATS_HELP: &str = concat!(
    "\
Examples:
  tinyns stats                                   all zones, the last 30 days
  tinyns stats sale                              a link
  tinyns stats sale --from 24h --by hour
  tinyns stats --zone s.example.com --from 2026-11-01 --to 2026-11-30
  tinyns stats sale --by month --csv > sale.csv

Look-ups are what resolvers ask the servers by DNS. Resolvers answer from their caches as well, so
these are fewer than the look-ups of people, and they are no clicks. Clicks are redirects that the
servers have sent to persons. Servers bring their counts to the store every few seconds. All times
are UTC. Hours are kept for 7 days, days for 90 days, months for ever.",
    token_environment!()
);

/// The width of a terminal whose width is unknown, and of other outputs, in characters.
const DEFAULT_WIDTH: usize = 80;
/// How many hosts and countries are listed.
const MAX_LISTED: usize = 10;

#[derive(Debug, Args)]
pub(super) struct StatsArgs {
    /// The link: its code, full name or short URL; without it, the sums of zones and the most used links
    link: Option<LinkRef>,
    /// The start: a date, an RFC 3339 time, or a span before now such as 7d
    #[arg(long, value_name = "WHEN")]
    from: Option<When>,
    /// The end: a date, which is the last day, an RFC 3339 time, or a span before now
    #[arg(long, value_name = "WHEN")]
    to: Option<When>,
    /// The unit of the chart; by default hours for two days at most, and days where they are kept
    #[arg(long, value_name = "hour|day|month", value_parser = ["hour", "day", "month"], hide_possible_values = true)]
    by: Option<String>,
    /// How many of the most used links are listed: 1 to 100
    #[arg(long, value_name = "NUMBER", conflicts_with = "link", value_parser = clap::value_parser!(u8).range(1..=100))]
    limit: Option<u8>,
    /// The zone; by default the first one for a link, and all zones without a link
    #[arg(long, value_name = "ORIGIN", value_parser = Origin::parse)]
    zone: Option<Origin>,
    /// Print the statistics as JSON, as the API shows them, and errors as JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print comma-separated values: a header, and a line for each unit
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    access: AccessArgs,
}

/// A date, a time, or a span before now.
#[derive(Clone, Debug, PartialEq, Eq)]
enum When {
    Date(Box<str>),
    Time(Expires),
}

impl FromStr for When {
    type Err = ExpiresError;

    fn from_str(text: &str) -> Result<Self, ExpiresError> {
        match UnixTime::parse(&format!("{text}T00:00:00Z")) {
            Some(_) => Ok(Self::Date(text.into())),
            None => text.parse().map(Self::Time),
        }
    }
}

impl When {
    /// The parameter of the API.
    fn parameter(&self, now: UnixTime) -> Result<String, ExpiresError> {
        match self {
            Self::Date(date) => Ok(date.to_string()),
            Self::Time(time) => time.before(now),
        }
    }
}

impl StatsArgs {
    /// Whether `--json` was given.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    fn parameters(&self, now: UnixTime) -> Result<Vec<(&'static str, String)>, ExpiresError> {
        let time = |when: &Option<When>| when.as_ref().map(|it| it.parameter(now)).transpose();
        let all = [
            ("from", time(&self.from)?),
            ("to", time(&self.to)?),
            ("by", self.by.clone()),
            ("limit", self.limit.map(|limit| limit.to_string())),
        ];
        let given = all.into_iter();
        Ok(given
            .filter_map(|(name, value)| Some((name, value?)))
            .collect())
    }
}

/// Shows statistics.
///
/// # Errors
/// The server refuses, has none, or the output cannot be written.
pub(super) fn run(args: StatsArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    let parameters = args.parameters(Clock::default().now())?;
    let zone = match &args.link {
        Some(link) => link.zone(args.zone.clone()),
        None => Ok(args.zone.clone()),
    };
    let zone = zone.map_err(|error| UsageError(error.to_string()))?;
    let client = Client::new(&args.access, config)?;
    let (api, token) = (&client.api, &client.token);
    let call = StatsCall {
        code: args.link.as_ref().map(|link| &link.code),
        zone: zone.as_ref(),
        parameters: &parameters,
    };
    if args.csv {
        print(&api.stats_csv(token, call)?)?;
        return Ok(Exit::Done);
    }
    let (stats, json) = api.stats(token, call)?;
    print(&match args.json {
        true => format!("{}\n", json.trim_end()),
        false => {
            let size = terminal_size::terminal_size_of(io::stdout());
            let width = size.map_or(DEFAULT_WIDTH, |(width, _)| usize::from(width.0));
            shown(&stats, width, glyphs())
        }
    })?;
    Ok(Exit::Done)
}

/// What the locale allows (POSIX.1-2017 §8.2: the first of these variables that is set decides).
fn glyphs() -> Glyphs {
    let names = ["LC_ALL", "LC_CTYPE", "LANG"];
    let locale = names.into_iter().find_map(environment::value);
    let locale = locale
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_lowercase();
    match locale.contains("utf-8") || locale.contains("utf8") {
        true => Glyphs::Blocks,
        false => Glyphs::Ascii,
    }
}

/// Statistics for people.
fn shown(stats: &Stats, width: usize, glyphs: Glyphs) -> String {
    let (l, c) = (&stats.lookups, &stats.clicks);
    let subject = match (&stats.code, &stats.zone) {
        (Some(code), Some(zone)) => format!("{code}.{zone}"),
        _ => stats.zones.join(", "),
    };
    let mut text = format!(
        "{}\n{} to {} (UTC), by {}\n\n",
        one_line(&subject),
        label(&stats.from, &stats.by),
        stats
            .series
            .last()
            .map_or(String::new(), |unit| label(&unit.start, &stats.by)),
        one_line(&stats.by),
    );
    let parts = |parts: &[(&str, u64)]| {
        let parts = parts
            .iter()
            .map(|(name, count)| format!("{name} {}", grouped(*count)));
        parts.collect::<Vec<_>>().join(", ")
    };
    let lookups = [
        ("address", l.address),
        ("TXT", l.txt),
        ("URI", l.uri),
        ("other", l.other),
    ];
    let clicks = [
        ("bots", c.bot),
        ("previews", c.preview),
        ("HEAD", c.head),
        ("prefetch", c.prefetch),
    ];
    let mut rows = vec![
        [
            "clicked".into(),
            grouped(c.person),
            format!("by persons; {}", parts(&clicks)),
        ],
        [
            "looked up".into(),
            grouped(l.all),
            format!("by DNS: {}", parts(&lookups)),
        ],
    ];
    if let Some(all) = &stats.all_time {
        let rest = format!("clicks and {} look-ups in all", grouped(all.lookups));
        rows.push(["all time".into(), grouped(all.clicks), rest]);
    }
    text += &aligned(rows.into_iter());
    let ends =
        |unit: Option<&StatsUnit>| unit.map_or(String::new(), |unit| label(&unit.start, &stats.by));
    let (first, last) = (ends(stats.series.first()), ends(stats.series.last()));
    let counts: Vec<u64> = stats.series.iter().map(|unit| unit.clicks.person).collect();
    let lookups: Vec<u64> = stats.series.iter().map(|unit| unit.lookups.all).collect();
    for (title, counts) in [("Clicked", counts), ("Looked up", lookups)] {
        // Writing to a string does not fail.
        let _infallible = write!(
            text,
            "\n{title}\n{}",
            chart(&counts, (&first, &last), width, glyphs)
        );
    }
    text += &most_used(stats);
    text += &origins(stats);
    text
}

/// The most used links.
fn most_used(stats: &Stats) -> String {
    let Some(most) = &stats.most_used else {
        return String::new();
    };
    let when = match most.unit.as_str() {
        "total" => "of all time".to_owned(),
        unit => format!("of this {}", one_line(unit)),
    };
    let table = |title: &str, links: &[RankedLink]| {
        let rows = links.iter().map(|link| {
            let name = one_line(&format!("{}.{}", link.code, link.zone));
            [name, grouped(link.count)]
        });
        match links.is_empty() {
            true => String::new(),
            false => format!("\n{title} {when}\n{}", aligned(rows)),
        }
    };
    table("Most clicked", &most.by_clicks) + &table("Most looked up", &most.by_lookups)
}

/// Where persons came from.
fn origins(stats: &Stats) -> String {
    let hosts = stats.referrers.iter().take(MAX_LISTED);
    let hosts = hosts.map(|it| [one_line(&it.host), grouped(it.clicks)]);
    let more: u64 = stats
        .referrers
        .iter()
        .skip(MAX_LISTED)
        .map(|it| it.clicks)
        .fold(stats.other_referrers, u64::saturating_add);
    let more = (more > 0).then(|| ["others".to_owned(), grouped(more)]);
    let countries = stats.countries.iter().take(MAX_LISTED);
    let countries = countries.map(|it| {
        let country = it.country.as_deref().unwrap_or("unknown");
        [one_line(country), grouped(it.clicks)]
    });
    let table = |title: &str, rows: Vec<[String; 2]>| match rows.is_empty() {
        true => String::new(),
        false => format!("\n{title}\n{}", aligned(rows.into_iter())),
    };
    table("Clicked on pages of", hosts.chain(more).collect())
        + &table("Clicked in", countries.collect())
}

/// The name of a unit by its start.
fn label(start: &str, by: &str) -> String {
    let len = match by {
        "hour" => 16,
        "day" => 10,
        _ => 7,
    };
    one_line(start.get(..len).unwrap_or(start)).replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATS: &str = r#"{"code":"sale","zone":"s.example.com","by":"day","from":"2026-11-01T00:00:00Z","to":"2026-11-03T00:00:00Z",
        "lookups":{"all":1200,"address":1000,"txt":200,"uri":0,"other":0},
        "clicks":{"person":40,"bot":5,"preview":4,"head":3,"prefetch":2},
        "all_time":{"lookups":5000,"clicks":90},
        "referrers":[{"host":"example.org\u001b","clicks":7}],"other_referrers":2,
        "countries":[{"country":"DE","clicks":9},{"country":null,"clicks":1}],
        "series":[{"start":"2026-11-01T00:00:00Z","lookups":{"all":1200,"address":1000,"txt":200,"uri":0,"other":0},
            "clicks":{"person":10,"bot":5,"preview":4,"head":3,"prefetch":2}},
        {"start":"2026-11-02T00:00:00Z","lookups":{"all":0,"address":0,"txt":0,"uri":0,"other":0},
            "clicks":{"person":30,"bot":0,"preview":0,"head":0,"prefetch":0}}]}"#;

    #[test]
    fn statistics_for_people() {
        let stats: Stats = serde_json::from_str(STATS).unwrap();
        let text = shown(&stats, 80, Glyphs::Ascii);
        let head = "sale.s.example.com\n2026-11-01 to 2026-11-02 (UTC), by day\n\n\
             clicked    40     by persons; bots 5, previews 4, HEAD 3, prefetch 2\n\
             looked up  1,200  by DNS: address 1,000, TXT 200, URI 0, other 0\n\
             all time   90     clicks and 5,000 look-ups in all\n\n\
             Clicked\n30 |    ###\n";
        assert!(text.starts_with(head), "{text}");
        let end = "\nClicked on pages of\nexample.org\\u{1b}  7\nothers             2\n\
             \nClicked in\nDE       9\nunknown  1\n";
        assert!(text.ends_with(end), "{text}");
        assert!(text.is_ascii(), "{text}");
    }

    #[test]
    fn dates_times_and_spans() {
        let now = UnixTime::parse("2026-11-30T12:00:00Z").unwrap();
        let check = |text: &str, expected: Option<&str>| {
            let when = text.parse::<When>().ok();
            let parameter = when.map(|when| when.parameter(now).unwrap());
            assert_eq!(parameter.as_deref(), expected, "{text}");
        };
        check("2026-11-01", Some("2026-11-01"));
        check("2026-11-01T01:00:00+01:00", Some("2026-11-01T00:00:00Z"));
        check("7d", Some("2026-11-23T12:00:00Z"));
        check("2026-02-30", None);
        check("yesterday", None);
    }
}
