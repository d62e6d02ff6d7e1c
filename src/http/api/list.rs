//! The list of links: filters, orders and cursors.
//!
//! A cursor is the place of the last link that the store has looked at, and a digest of the query: a cursor of another
//! query would lead to a list with gaps, so it is refused. It is in hex, so that clients treat it as opaque.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::{Admin, body, query};
use crate::access::Caller;
use crate::access::token::hex;
use crate::base::clock::UnixTime;
use crate::http::problem::{Kind, Problem};
use crate::link::{LinkName, Origin, Tag, TargetUrl};
use crate::store::statistics::{Ranked, Ranking, Unit};
use crate::store::{self, Found, Order, Place, Query, SearchText};

/// How many links a page has at most, and by default.
const MAX_LIMIT: usize = 1_000;
const DEFAULT_LIMIT: usize = 100;
/// The length of the digest in a cursor, in bytes: enough to tell queries apart.
const DIGEST_LEN: usize = 8;
/// The most characters of the name of a creator that is looked for.
const MAX_CREATOR: usize = 255;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    zone: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
    q: Option<String>,
    tag: Option<String>,
    host: Option<String>,
    state: Option<String>,
    created_by: Option<String>,
    sort: Option<String>,
}

#[derive(Serialize)]
struct List {
    links: Vec<body::LinkJson>,
    next_cursor: Option<String>,
}

/// `GET /v1/links`
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Response, Problem> {
    let parameters: Parameters = query(&uri)?;
    let origin = admin.zone(&caller, parameters.zone.as_deref())?;
    let limit = parameters
        .limit
        .as_deref()
        .map_or(Ok(DEFAULT_LIMIT), limit)?;
    let sort = parameters.sort.as_deref().map(sort).transpose()?;
    let by_use = match sort {
        Some(Sort::Use(by)) => Some(by),
        Some(Sort::Order(_)) | None => None,
    };
    let query = parameters.read(origin, sort, admin.links.now())?;
    if sort.is_some() && by_use.is_none() && !admin.links.sorts() {
        let detail = "the store of this server, DynamoDB, lists links in an order of its own; leave out \"sort\", and sort \
            the list after it was read to its end";
        return Err(Problem::new(Kind::SortRefused, detail).of("sort"));
    }
    let digest = digest_of(&query, by_use);
    let after = parameters.cursor.as_deref();
    let after = after.map(|text| read_cursor(text, digest)).transpose()?;
    let page = match by_use {
        Some(by) => used(&admin, &query, by, after, limit).await?,
        None => admin.links.find(&query, after.as_ref(), limit).await?,
    };
    let links = page.links.iter();
    Ok(Json(List {
        links: links
            .map(|link| body::LinkJson::new(link, admin.short_urls))
            .collect(),
        next_cursor: page.next.map(|place| cursor(&place, digest)),
    })
    .into_response())
}

/// A page of the most used links that the query asks for. The place of a link has its count in place of a time.
async fn used(
    admin: &Admin,
    query: &Query,
    by: Ranking,
    after: Option<Place>,
    limit: usize,
) -> Result<Found, Problem> {
    let reads = admin.statistics().map_err(|problem| {
        let detail = format!("links have no order by use: {}", problem.detail());
        Problem::new(Kind::SortRefused, detail).of("sort")
    })?;
    let after = after.map(|place| Ranked {
        name: place.name,
        count: place.created_at.0,
    });
    let all_time = (Unit::Total, UnixTime(0));
    let ranked = reads.ranking(&query.origin, by, all_time, after.as_ref(), limit);
    let ranked = ranked.await?;
    let names: Vec<_> = ranked.iter().map(|ranked| ranked.name.clone()).collect();
    let links = admin.links.get_many(&names).await?.into_iter().flatten();
    let last = ranked.last().filter(|_| ranked.len() >= limit);
    Ok(Found {
        links: links.filter(|link| query.matches(link)).collect(),
        next: last.map(|last| Place {
            created_at: UnixTime(last.count),
            name: last.name.clone(),
        }),
    })
}

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Order(Order),
    Use(Ranking),
}

impl Parameters {
    /// The filters and the order.
    fn read(&self, origin: Origin, sort: Option<Sort>, now: UnixTime) -> Result<Query, Problem> {
        let text = self.q.as_deref().map(SearchText::parse).transpose();
        let tag = self.tag.as_deref().map(Tag::parse).transpose();
        Ok(Query {
            text: text.map_err(|e| invalid("q", e.to_string()))?,
            tag: tag.map_err(|e| invalid("tag", e.to_string()))?,
            host: self.host.as_deref().map(host).transpose()?.map(Into::into),
            created_by: self.created_by.as_deref().map(creator).transpose()?,
            state: Some(
                self.state
                    .as_deref()
                    .map_or(Ok(store::State::Current), state)?,
            ),
            order: match sort {
                Some(Sort::Order(order)) => order,
                Some(Sort::Use(_)) | None => Order::Code,
            },
            origin,
            now,
        })
    }
}

fn invalid(parameter: &'static str, detail: impl Into<String>) -> Problem {
    Problem::new(Kind::InvalidQuery, detail.into()).of(parameter)
}

/// Reads the number of items of a page.
pub(super) fn limit(text: &str) -> Result<usize, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
        .ok_or_else(|| {
            invalid(
                "limit",
                format!("\"limit\" is a number from 1 to {MAX_LIMIT}"),
            )
        })
}

fn host(text: &str) -> Result<String, Problem> {
    TargetUrl::host_of(text).ok_or_else(|| {
        let detail = "\"host\" is the host of a URL without scheme, port and path, such as example.net or [2001:db8::1]";
        invalid("host", detail)
    })
}

fn creator(text: &str) -> Result<Box<str>, Problem> {
    match text.chars().count() {
        1..=MAX_CREATOR => Ok(text.into()),
        _ => {
            let detail =
                format!("\"created_by\" is the name of a token, of 1 to {MAX_CREATOR} characters");
            Err(invalid("created_by", detail))
        }
    }
}

fn state(text: &str) -> Result<store::State, Problem> {
    match text {
        "live" => Ok(store::State::Live),
        "withheld" => Ok(store::State::Withheld),
        "ended" => Ok(store::State::Ended),
        _ => Err(invalid(
            "state",
            "\"state\" is \"live\", \"withheld\" or \"ended\"",
        )),
    }
}

fn sort(text: &str) -> Result<Sort, Problem> {
    match text {
        "code" => Ok(Sort::Order(Order::Code)),
        "newest" => Ok(Sort::Order(Order::Newest)),
        "oldest" => Ok(Sort::Order(Order::Oldest)),
        "clicks" => Ok(Sort::Use(Ranking::Clicks)),
        "lookups" => Ok(Sort::Use(Ranking::Lookups)),
        _ => Err(invalid(
            "sort",
            "\"sort\" is \"code\", \"newest\", \"oldest\", \"clicks\" or \"lookups\"",
        )),
    }
}

/// A digest of everything in a query that decides which links are listed, and in which order.
fn digest_of(query: &Query, by_use: Option<Ranking>) -> [u8; DIGEST_LEN] {
    let timeless = Query {
        now: UnixTime(0),
        ..query.clone()
    };
    // The form for debugging quotes all texts, so two queries do not have the same text.
    let digest = digest(&SHA256, format!("{timeless:?} {by_use:?}").as_bytes());
    let mut first = [0; DIGEST_LEN];
    let bytes = digest.as_ref().iter();
    first
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
    first
}

fn cursor(place: &Place, digest: [u8; DIGEST_LEN]) -> String {
    let mut bytes = digest.to_vec();
    bytes.extend(place.created_at.0.to_be_bytes());
    bytes.extend(place.name.as_str().as_bytes());
    hex(&bytes)
}

fn read_cursor(text: &str, digest: [u8; DIGEST_LEN]) -> Result<Place, Problem> {
    let place = || {
        let bytes = unhex(text)?;
        let (found, rest) = bytes.split_first_chunk::<DIGEST_LEN>()?;
        let (created_at, name) = rest.split_first_chunk::<8>()?;
        let name = LinkName::parse(std::str::from_utf8(name).ok()?).ok()?;
        (*found == digest).then_some(Place {
            created_at: UnixTime(u64::from_be_bytes(*created_at)),
            name,
        })
    };
    place().ok_or_else(|| {
        let detail = "\"cursor\" is not from a list of this zone with these filters and this order; send the query of the \
            page before unchanged, or leave the cursor out to begin anew";
        invalid("cursor", detail)
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let nibble = |b: u8| {
        char::from(b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    text.as_bytes()
        .chunks(2)
        .map(|pair| match *pair {
            [high, low] => Some(nibble(high)? << 4 | nibble(low)?),
            _ => None,
        })
        .collect()
}
