//! Statistics: the overview of zones, and the part of a link's page.
//!
//! Charts are SVG made here, without a script. They stretch to the width of the page, so they have bars alone, and the names and
//! numbers beside them are HTML. What a chart shows is also in a table, for screen readers and for exact numbers.

use askama::Template;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;

use super::form::Fields;
use super::frame::{Frame, Place};
use super::state::{Shared, State as PageState};
use super::values::{LinkData, sentence};
use super::visitor::Visitor;
use super::{calls, render};
use crate::base::clock::UnixTime;
use crate::base::progress::grouped;
use crate::http::problem::{Kind, Problem};

/// The height of a chart in its own units; the width of a bar with its gap is 10.
const HEIGHT: u64 = 100;
/// The least number of places for bars, so that few bars do not fill the chart.
const MIN_PLACES: usize = 7;
/// How many hosts and countries are listed.
const LISTED: usize = 10;
const DAY: u64 = 24 * 60 * 60;

#[derive(Clone, Copy, Debug, Deserialize)]
struct Lookups {
    all: u64,
    address: u64,
    txt: u64,
    uri: u64,
    other: u64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Clicks {
    person: u64,
    bot: u64,
    preview: u64,
    head: u64,
    prefetch: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct Unit {
    start: String,
    lookups: Lookups,
    clicks: Clicks,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct AllTime {
    lookups: u64,
    clicks: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct Referrer {
    host: String,
    clicks: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct Country {
    country: Option<String>,
    clicks: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct Ranked {
    code: String,
    zone: String,
    count: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct MostUsed {
    unit: String,
    by_clicks: Vec<Ranked>,
    by_lookups: Vec<Ranked>,
}

/// What the API returns.
#[derive(Clone, Debug, Deserialize)]
struct Data {
    by: String,
    lookups: Lookups,
    clicks: Clicks,
    #[serde(default)]
    all_time: Option<AllTime>,
    #[serde(default)]
    most_used: Option<MostUsed>,
    referrers: Vec<Referrer>,
    other_referrers: u64,
    countries: Vec<Country>,
    series: Vec<Unit>,
}

/// A period that the visitor may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Span {
    Day,
    Week,
    Days90,
    Months,
}

impl Span {
    const ALL: [Self; 4] = [Self::Day, Self::Week, Self::Days90, Self::Months];

    /// The one that a query names; a week by default.
    fn of(text: &str) -> Self {
        let named = Self::ALL.into_iter().find(|span| span.name() == text);
        named.unwrap_or(Self::Week)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Day => "24h",
            Self::Week => "7d",
            Self::Days90 => "90d",
            Self::Months => "all",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Day => "24 hours",
            Self::Week => "7 days",
            Self::Days90 => "90 days",
            Self::Months => "All months",
        }
    }

    /// The parameters of the API.
    fn parameters(self, now: UnixTime) -> [(&'static str, String); 2] {
        let days = |days: u64| UnixTime(now.0.saturating_sub(days * DAY)).rfc3339();
        match self {
            Self::Day => [("by", "hour".into()), ("from", String::new())],
            Self::Week => [("by", "day".into()), ("from", days(6))],
            Self::Days90 => [("by", "day".into()), ("from", days(89))],
            Self::Months => [("by", "month".into()), ("from", String::new())],
        }
    }
}

/// A choice of a period.
pub(super) struct Choice {
    pub(super) label: &'static str,
    pub(super) path: String,
    pub(super) is_here: bool,
}

/// A bar of a chart.
pub(super) struct Bar {
    pub(super) x: usize,
    pub(super) y: u64,
    pub(super) height: u64,
    pub(super) title: String,
}

/// A chart of one count.
pub(super) struct Chart {
    /// The id of its elements, and its class.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) total: String,
    /// What it shows, in a sentence.
    pub(super) about: String,
    pub(super) width: usize,
    pub(super) bars: Vec<Bar>,
    pub(super) first: String,
    pub(super) last: String,
}

/// A row of a table of counts.
pub(super) struct Row {
    pub(super) name: String,
    /// The page of the link that the row is about.
    pub(super) path: Option<String>,
    pub(super) count: String,
}

/// A small table.
pub(super) struct Table {
    pub(super) title: &'static str,
    pub(super) column: &'static str,
    pub(super) counted: &'static str,
    pub(super) rows: Vec<Row>,
}

/// Statistics as the template `stats.html` shows them.
pub(super) struct StatsView {
    pub(super) choices: Vec<Choice>,
    pub(super) charts: Vec<Chart>,
    pub(super) all_time: Option<String>,
    /// The table of all units: name, clicks, look-ups, other requests.
    pub(super) units: Vec<[String; 4]>,
    /// "Hour", "Day" or "Month".
    pub(super) unit: &'static str,
    /// The tables of the most used links, and the others.
    pub(super) tables: Vec<Vec<Table>>,
}

/// What a page has of statistics.
pub(super) enum Stats {
    /// The server has none.
    None,
    View(Box<StatsView>),
    /// Why they cannot be read at present.
    Failed(String),
}

impl PageState {
    /// The statistics of a link.
    pub(super) async fn link_stats(&self, visitor: &Visitor, link: &LinkData, span: &str) -> Stats {
        let span = Span::of(span);
        let path = link.path("");
        let target = format!("/v1/links/{}/stats", link.code);
        let path = move |span: Span| format!("{path}&stats={}#stats", span.name());
        self.stats(visitor, &target, link.zone(), span, path).await
    }

    async fn stats(
        &self,
        visitor: &Visitor,
        target: &str,
        zone: &str,
        span: Span,
        path: impl Fn(Span) -> String,
    ) -> Stats {
        let [by, from] = span.parameters(self.clock.now());
        let query = calls::query([("zone", zone), (by.0, &by.1), (from.0, &from.1)]);
        let target = format!("{target}?{query}");
        let reply = self.api.get(&visitor.on_behalf, &target).await;
        let data = reply.and_then(|reply| reply.json::<Data>());
        match data {
            Ok(data) => {
                let choices = Span::ALL.into_iter().map(|choice| Choice {
                    label: choice.label(),
                    path: path(choice),
                    is_here: choice == span,
                });
                Stats::View(Box::new(StatsView::new(&data, choices.collect())))
            }
            Err(problem) if problem.is(Kind::NoStatistics) => Stats::None,
            Err(problem) => Stats::Failed(sentence(problem.detail())),
        }
    }
}

impl StatsView {
    fn new(data: &Data, choices: Vec<Choice>) -> Self {
        let names: Vec<String> = data
            .series
            .iter()
            .map(|unit| data.name(&unit.start))
            .collect();
        let chart = |id, title, total: u64, what: &str, of: fn(&Unit) -> u64| {
            let counts: Vec<u64> = data.series.iter().map(of).collect();
            Chart::new((id, title), (total, what), &names, &counts)
        };
        let charts = vec![
            chart(
                "clicked",
                "Clicked",
                data.clicks.person,
                "clicks of persons",
                |unit| unit.clicks.person,
            ),
            chart(
                "looked-up",
                "Looked up",
                data.lookups.all,
                "look-ups by DNS",
                |unit| unit.lookups.all,
            ),
        ];
        let units = data.series.iter().zip(&names).map(|(unit, name)| {
            let c = unit.clicks;
            let others = [c.bot, c.preview, c.head, c.prefetch];
            let others = others.into_iter().fold(0, u64::saturating_add);
            let counts = [c.person, unit.lookups.all, others].map(grouped);
            let [person, lookups, others] = counts;
            [name.clone(), person, lookups, others]
        });
        let ranked = data.most_used.as_ref().map(ranked).unwrap_or_default();
        let tables = [ranked, data.tables()].into_iter();
        Self {
            choices,
            charts,
            all_time: data.all_time.map(|all| {
                let (clicks, lookups) = (grouped(all.clicks), grouped(all.lookups));
                format!(
                    "Since the link was made: clicked {clicks} times, looked up {lookups} times."
                )
            }),
            // The latest first.
            units: units.rev().collect(),
            unit: match &*data.by {
                "hour" => "Hour (UTC)",
                "day" => "Day (UTC)",
                _ => "Month (UTC)",
            },
            tables: tables.filter(|tables| !tables.is_empty()).collect(),
        }
    }
}

/// The tables of the most used links.
fn ranked(most: &MostUsed) -> Vec<Table> {
    let table = |title, counted, links: &[Ranked]| Table {
        title,
        column: "Link",
        counted,
        rows: links.iter().map(Ranked::row).collect(),
    };
    // A period that is exactly a day or a month has an order of its own.
    let titles = match &*most.unit {
        "day" => ["Most clicked of the day", "Most looked up of the day"],
        "month" => ["Most clicked of the month", "Most looked up of the month"],
        _ => ["Most clicked of all time", "Most looked up of all time"],
    };
    let tables = [
        table(titles[0], "Clicks", &most.by_clicks),
        table(titles[1], "Look-ups", &most.by_lookups),
    ];
    let some = tables.into_iter().filter(|table| !table.rows.is_empty());
    some.collect()
}

impl Ranked {
    fn row(&self) -> Row {
        let query = calls::query([("zone", &*self.zone)]);
        Row {
            name: format!("{}.{}", self.code, self.zone),
            path: Some(format!("/links/{}?{query}", self.code)),
            count: grouped(self.count),
        }
    }
}

impl Data {
    /// The name of a unit by its start.
    fn name(&self, start: &str) -> String {
        let len = match &*self.by {
            "hour" => "2026-12-31T23:00".len(),
            "day" => "2026-12-31".len(),
            _ => "2026-12".len(),
        };
        start.get(..len).unwrap_or(start).replace('T', " ")
    }

    /// Where clicks came from, who has clicked, and how links were looked up. Tables without counts are left out.
    fn tables(&self) -> Vec<Table> {
        let (c, l) = (&self.clicks, &self.lookups);
        let row = |name: &str, count: u64| Row {
            name: name.to_owned(),
            path: None,
            count: grouped(count),
        };
        let listed = self.referrers.iter().take(LISTED);
        let rest = self.referrers.iter().skip(LISTED).map(|it| it.clicks);
        let others = rest.fold(self.other_referrers, u64::saturating_add);
        let mut referrers: Vec<_> = listed.map(|it| row(&it.host, it.clicks)).collect();
        if others > 0 {
            referrers.push(row("others", others));
        }
        let countries = self.countries.iter().take(LISTED);
        let countries =
            countries.map(|it| row(it.country.as_deref().unwrap_or("unknown"), it.clicks));
        let some = |rows: Vec<(&str, u64)>| -> Vec<Row> {
            let counted = rows.into_iter().filter(|(_, count)| *count > 0);
            counted.map(|(name, count)| row(name, count)).collect()
        };
        let classes = some(vec![
            ("persons", c.person),
            ("bots", c.bot),
            ("previews in messages", c.preview),
            ("HEAD", c.head),
            ("prefetched", c.prefetch),
        ]);
        let kinds = some(vec![
            ("addresses", l.address),
            ("TXT", l.txt),
            ("URI", l.uri),
            ("other types", l.other),
        ]);
        let table = |title, column, counted, rows| Table {
            title,
            column,
            counted,
            rows,
        };
        let tables = [
            table("Clicked on pages of", "Host", "Clicks", referrers),
            table("Clicked in", "Country", "Clicks", countries.collect()),
            table("Requested by", "Client", "Requests", classes),
            table("Looked up for", "Record", "Look-ups", kinds),
        ];
        let some = tables.into_iter().filter(|table| !table.rows.is_empty());
        some.collect()
    }
}

impl Chart {
    fn new(
        (id, title): (&'static str, &'static str),
        (total, what): (u64, &str),
        names: &[String],
        counts: &[u64],
    ) -> Self {
        let most = counts.iter().copied().max().unwrap_or(0);
        let places = counts.len().max(MIN_PLACES);
        let empty = places - counts.len();
        let bars = counts.iter().zip(names).enumerate();
        // What was counted at all is to be seen.
        let height = |count: u64| match count {
            0 => 0,
            count => (u128::from(count) * u128::from(HEIGHT))
                .checked_div(u128::from(most))
                .and_then(|height| u64::try_from(height).ok())
                .unwrap_or(0)
                .max(2),
        };
        let bars = bars.map(|(index, (count, name))| Bar {
            x: (empty + index) * 10,
            y: HEIGHT - height(*count),
            height: height(*count),
            title: format!("{name}: {}", grouped(*count)),
        });
        let (first, last) = (names.first().cloned(), names.last().cloned());
        let (first, last) = (first.unwrap_or_default(), last.unwrap_or_default());
        let top = counts
            .iter()
            .zip(names)
            .filter(|(count, _)| **count == most);
        let top = top.map(|(_, name)| &**name).next().unwrap_or_default();
        let about = match most {
            0 => format!("No {what} from {first} to {last}."),
            _ => format!(
                "{} {what} from {first} to {last}, at most {} at {top}.",
                grouped(total),
                grouped(most)
            ),
        };
        Self {
            id,
            title,
            total: grouped(total),
            about,
            width: places * 10,
            bars: bars.collect(),
            // Few bars are on the right, and so is what they are called.
            last: match counts.len() {
                2..MIN_PLACES => format!("{first} – {last}"),
                _ => last,
            },
            first: match counts.len() {
                0..MIN_PLACES => String::new(),
                _ => first,
            },
        }
    }
}

#[derive(Template)]
#[template(path = "page/templates/overview.html")]
struct Overview {
    frame: Frame,
    zones: Vec<String>,
    zone: String,
    span: &'static str,
    stats: Stats,
}

/// `GET /stats`
pub(super) async fn show(
    State(state): State<Shared>,
    visitor: Visitor,
    uri: Uri,
) -> Result<Response, Response> {
    let failed = |problem: Problem| render::problem(Some(&visitor), &problem);
    let query = Fields::parse(uri.query().unwrap_or_default().as_bytes());
    let zones = state.zones(&visitor).await.map_err(failed)?;
    let zone = zones.iter().find(|zone| **zone == query.get("zone"));
    let zone = zone.cloned().unwrap_or_default();
    let span = Span::of(query.get("stats"));
    let path = |span: Span| {
        let query = calls::query([("zone", &*zone), ("stats", span.name())]);
        format!("/stats?{query}")
    };
    let stats = state.stats(&visitor, "/v1/stats", &zone, span, path).await;
    let page = Overview {
        frame: Frame::new("Statistics", &visitor, Place::Stats),
        zones,
        span: span.name(),
        zone,
        stats,
    };
    Ok(render::page(StatusCode::OK, &page))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(counts: &[u64]) -> Chart {
        let names: Vec<_> = (1..=counts.len())
            .map(|day| format!("2026-11-{day:02}"))
            .collect();
        let total = counts.iter().sum();
        Chart::new(("clicked", "Clicked"), (total, "clicks"), &names, counts)
    }

    #[test]
    fn bars_are_in_proportion_and_what_was_counted_shows() {
        let drawn = chart(&[0, 1, 500, 1_000]);
        let bars: Vec<_> = drawn
            .bars
            .iter()
            .map(|bar| (bar.x, bar.y, bar.height))
            .collect();
        assert_eq!(
            bars,
            [(30, 100, 0), (40, 98, 2), (50, 50, 50), (60, 0, 100)]
        );
        assert_eq!(drawn.width, 70);
        assert_eq!(
            (&*drawn.first, &*drawn.last),
            ("", "2026-11-01 – 2026-11-04")
        );
        assert_eq!(chart(&[0; 7]).first, "2026-11-01");
        assert_eq!(drawn.bars[3].title, "2026-11-04: 1,000");
        assert_eq!(
            drawn.about,
            "1,501 clicks from 2026-11-01 to 2026-11-04, at most 1,000 at 2026-11-04."
        );
        assert_eq!(
            chart(&[0; 20]).about,
            "No clicks from 2026-11-01 to 2026-11-20."
        );
        assert_eq!(chart(&[0; 20]).width, 200);
        assert!(chart(&[]).bars.is_empty());
        let most = chart(&[u64::MAX]);
        assert_eq!((most.bars[0].height, &*most.first), (100, ""));
    }

    #[test]
    fn periods_are_as_the_api_takes_them() {
        let now = UnixTime::parse("2026-11-30T12:00:00Z").unwrap();
        let check = |text: &str, span: Span, from: &str| {
            assert_eq!(Span::of(text), span, "{text}");
            assert_eq!(span.parameters(now)[1].1, from);
        };
        check("24h", Span::Day, "");
        check("7d", Span::Week, "2026-11-24T12:00:00Z");
        check("90d", Span::Days90, "2026-09-02T12:00:00Z");
        check("all", Span::Months, "");
        assert_eq!(Span::of("<script>"), Span::Week);
    }
}
