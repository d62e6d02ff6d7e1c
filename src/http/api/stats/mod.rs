//! Statistics: how often links were looked up and clicked.
//!
//! A reply has all units of a period, also those in which nothing was counted. What it sums up, it sums up over this period.
//! Servers bring their counts to the store every few seconds, so the last seconds are missing.

mod period;
mod shown;

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, VARY};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use self::period::{Asked, Period, name, refused};
use self::shown::{About, MostUsed, RankedJson, Report};
use super::accept::preferred;
use super::conditions::Tags;
use super::links::etag_header;
use super::qr::{number, tag_of};
use super::{Admin, query};
use crate::access::Caller;
use crate::http::problem::{Kind, Problem};
use crate::link::Origin;
use crate::links::StatisticsReads;
use crate::store::statistics::{MAX_SUMS, Ranked, Ranking, Sum, Totals};

/// How many of the most used links a reply has at most, and by default.
const MAX_RANKED: u32 = 100;
const DEFAULT_RANKED: u32 = 10;
/// The most zones that one reply sums up. For each, the store is asked three times, one zone after the other: a second with a
/// database nearby.
const MAX_ZONES: usize = 500;

/// The forms of a reply, in the order in which they are preferred.
const MEDIA_TYPES: [&str; 3] = ["application/json", "application/x-ndjson", "text/csv"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkQuery {
    zone: Option<String>,
    from: Option<String>,
    to: Option<String>,
    by: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ZonesQuery {
    zone: Option<String>,
    from: Option<String>,
    to: Option<String>,
    by: Option<String>,
    limit: Option<String>,
}

/// `GET /v1/links/{code}/stats`
pub(super) async fn of_link(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    code: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query: LinkQuery = query(&uri)?;
    let name = admin.name_in(&caller, code, query.zone.as_deref())?;
    let wanted = Wanted::of(&headers)?;
    let reads = admin.statistics()?;
    let asked = Asked {
        from: query.from.as_deref(),
        to: query.to.as_deref(),
        by: query.by.as_deref(),
    };
    let period = Period::read(asked, admin.links.now())?;
    let mut report = Report::new(period);
    report.add(whole(reads.of_link(&name, period.range()).await?)?);
    let totals = reads.totals(std::slice::from_ref(&name)).await?;
    let totals = totals.first().copied().unwrap_or_default();
    if report.is_empty() && totals == Totals::default() {
        // The store may keep the sums of deleted links, so only what has no sums must be a link.
        admin.links.get(&name).await?;
    }
    let about = || About::Link {
        code: name.code().to_owned(),
        zone: name.origin().to_owned(),
    };
    Ok(wanted.respond(&report, || report.json(about(), Some(totals.into()), None)))
}

/// `GET /v1/stats`
pub(super) async fn of_zones(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query: ZonesQuery = query(&uri)?;
    let zones = match &query.zone {
        Some(zone) => vec![admin.zone(&caller, Some(zone))?],
        None => admin.zones_of(&caller).collect(),
    };
    if zones.len() > MAX_ZONES {
        let detail = format!(
            "there are {} zones, and a reply sums up {MAX_ZONES} at most; name one in \"zone\"",
            zones.len()
        );
        return Err(Problem::new(Kind::TooManyZones, detail).of("zone"));
    }
    let limit = query.limit.as_deref();
    let limit = number(limit, "limit", 1, MAX_RANKED, DEFAULT_RANKED)? as usize;
    let wanted = Wanted::of(&headers)?;
    let reads = admin.statistics()?;
    let asked = Asked {
        from: query.from.as_deref(),
        to: query.to.as_deref(),
        by: query.by.as_deref(),
    };
    let period = Period::read(asked, admin.links.now())?;
    let mut report = Report::new(period);
    for zone in &zones {
        report.add(whole(reads.of_zone(zone, period.range()).await?)?);
    }
    let most_used = match wanted.form {
        Form::Json => Some(most_used(&reads, &zones, period, limit).await?),
        Form::Lines | Form::Csv => None,
    };
    let zones = zones.iter().map(|zone| zone.as_str().to_owned());
    let zones = zones.collect();
    Ok(wanted.respond(&report, || {
        report.json(About::Zones { zones }, None, most_used)
    }))
}

/// The sums, if they are all that the store has of the period.
fn whole(sums: Vec<Sum>) -> Result<Vec<Sum>, Problem> {
    match sums.len() < MAX_SUMS {
        true => Ok(sums),
        false => {
            let detail = format!(
                "the period has {MAX_SUMS} sums or more, and one reply cannot have them; choose a later \"from\" or an \
                earlier \"to\""
            );
            Err(refused("from", detail))
        }
    }
}

/// The most used links of these zones.
async fn most_used(
    reads: &StatisticsReads<'_>,
    zones: &[Origin],
    period: Period,
    limit: usize,
) -> Result<MostUsed, Problem> {
    let unit = period.ranked();
    let ranked = async |by: Ranking| {
        let mut all = Vec::new();
        for zone in zones {
            all.extend(reads.ranking(zone, by, unit, None, limit).await?);
            // The order of links with the same count is that of their names.
            all.sort_by(|a: &Ranked, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
            all.truncate(limit);
        }
        Ok::<_, Problem>(all.iter().map(RankedJson::new).collect())
    };
    Ok(MostUsed {
        unit: name(unit.0),
        by_clicks: ranked(Ranking::Clicks).await?,
        by_lookups: ranked(Ranking::Lookups).await?,
    })
}

/// The form of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Lines,
    Csv,
}

/// What a client wants by the headers of its request.
struct Wanted {
    form: Form,
    unless: Option<Tags>,
}

impl Wanted {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let form = match preferred(headers, &MEDIA_TYPES)? {
            0 => Form::Json,
            1 => Form::Lines,
            _ => Form::Csv,
        };
        let unless = Tags::if_none_match(headers)?;
        Ok(Self { form, unless })
    }

    /// The response, or that the client has it already.
    fn respond(&self, report: &Report, json: impl FnOnce() -> String) -> Response {
        let [json_type, lines_type, csv_type] = MEDIA_TYPES;
        let (media, body) = match self.form {
            Form::Json => (json_type, json()),
            Form::Lines => (lines_type, report.lines()),
            Form::Csv => (csv_type, report.csv()),
        };
        let tag = tag_of(body.as_bytes());
        let vary = [(VARY, HeaderValue::from_static("Accept"))];
        if self
            .unless
            .as_ref()
            .is_some_and(|tags| tags.matches_weakly(tag))
        {
            return (StatusCode::NOT_MODIFIED, etag_header(tag), vary, ()).into_response();
        }
        let media = [(CONTENT_TYPE, HeaderValue::from_static(media))];
        (etag_header(tag), vary, media, body).into_response()
    }
}

impl Admin {
    /// The statistics, if this server has any.
    pub(super) fn statistics(&self) -> Result<StatisticsReads<'_>, Problem> {
        let none = |detail| Problem::new(Kind::NoStatistics, detail);
        if self.rules.statistics_off {
            let detail = "statistics are switched off on this server; \"enabled\" in [statistics] of its configuration \
                switches them on";
            return Err(none(detail));
        }
        let reads = self.links.statistics();
        reads.ok_or_else(|| none("the store of this server keeps no statistics"))
    }
}
