//! Reading page by page.
//!
//! DynamoDB orders items only by the hashes of their keys, and the table has no index by zone. So a list is a Scan
//! of the table that takes the links of one zone. A filter in DynamoDB would save bytes on the wire but no
//! capacity, because DynamoDB charges for all items that it looks at. It would also hide the keys that a cursor
//! can be made of.
//!
//! The cursor is the name of the last item that was looked at, in whatever zone; DynamoDB continues after it even
//! if the item is gone. A key that is not a link's name, which another program may have written, makes no cursor,
//! so the page continues to the next key that is one.

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;

use super::failure::store_error;
use super::item::{self, BadItem, Entry, Item, KEY, PROJECTION, TTL, URL};
use super::table::Table;
use crate::base::text::one_line;
use crate::link::{Link, LinkName, Origin};
use crate::store::{Examined, Page, Query, Segment, StoreError};

/// The most links of one page, and the most items that one request looks at. DynamoDB ends a request at 1 MiB
/// anyway, which is 500 links of the greatest length.
const MAX_PAGE: usize = 1_000;
/// How many requests one page may take. Each looks at twice as many items as the one before, up to [`MAX_PAGE`].
/// So a page looks at some ten thousand items before it returns with few links.
const MAX_REQUESTS: usize = 16;
/// How long a page with a cursor continues to ask. The whole call is bounded by [`super::WRITE_TIME`] and a little
/// more, and would lose everything at that bound.
const PAGE_TIME: Duration = Duration::from_secs(1);
/// How much of a key is shown, in characters.
const MAX_SHOWN_CODE: usize = 64;
/// The largest number of segments that DynamoDB accepts.
const MAX_SEGMENTS: u32 = 1_000_000;

/// What to read.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// The links of one zone, consistently: an administrator may have just added one and look for it.
    Zone(&'a Origin),
    /// The links that a query asks for, as consistently.
    Query(&'a Query),
    /// A part of all links, not consistently, at half the price: this is for bulk reads.
    Part(Segment),
    /// All links, consistently, for a check.
    Whole,
}

impl Wanted<'_> {
    fn takes(&self, name: &LinkName) -> bool {
        match self {
            Self::Zone(origin) => name.origin() == origin.as_str(),
            Self::Query(query) => name.origin() == query.origin.as_str(),
            Self::Part(_) | Self::Whole => true,
        }
    }

    /// Whether a link of a name that it takes is wanted.
    fn takes_link(&self, link: &Link) -> bool {
        match self {
            Self::Zone(_) | Self::Part(_) | Self::Whole => true,
            Self::Query(query) => query.matches(link),
        }
    }
}

/// See [`crate::store::Store::list`] and [`crate::store::Store::scan`].
pub(super) async fn page(
    client: &Client,
    table: &Table,
    wanted: Wanted<'_>,
    after: Option<&LinkName>,
    limit: usize,
) -> Result<Page, StoreError> {
    if let Wanted::Part(Segment { index, total }) = wanted {
        if index >= total {
            return Ok(Page {
                links: Vec::new(),
                next: None,
            });
        }
        if total > MAX_SEGMENTS {
            let text = format!("{table}: it has no more than {MAX_SEGMENTS} segments");
            return Err(StoreError::Unavailable(text));
        }
    }
    let mut collected = Collected::new(wanted, limit.clamp(1, MAX_PAGE));
    collected.fill(client, table, after).await
}

/// See [`crate::store::Store::examine`].
pub(super) async fn examine(
    client: &Client,
    table: &Table,
    after: Option<&LinkName>,
    limit: usize,
) -> Result<Examined, StoreError> {
    let mut collected = Collected::new(Wanted::Whole, limit.clamp(1, MAX_PAGE));
    collected.faults = Some(Vec::new());
    let Page { links, next } = collected.fill(client, table, after).await?;
    Ok(Examined {
        links,
        faults: collected.faults.unwrap_or_default(),
        next,
    })
}

/// One request for at most `size` items; returns them, and where to continue.
async fn request(
    client: &Client,
    table: &Table,
    wanted: Wanted<'_>,
    start: Option<Item>,
    size: usize,
) -> Result<(Vec<Item>, Option<Item>), StoreError> {
    // Neither number gets near the limit of its type: see `MAX_PAGE` and `MAX_SEGMENTS`.
    let int = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let mut scan = client
        .scan()
        .table_name(&table.name)
        .projection_expression(PROJECTION)
        .expression_attribute_names("#ttl", TTL)
        .set_exclusive_start_key(start)
        .limit(i32::try_from(size).unwrap_or(i32::MAX));
    scan = match wanted {
        Wanted::Zone(_) | Wanted::Query(_) | Wanted::Whole => scan.consistent_read(true),
        Wanted::Part(Segment { index, total }) => {
            scan.segment(int(index)).total_segments(int(total))
        }
    };
    let output = scan.send().await.map_err(|e| store_error(table, &e))?;
    Ok((
        output.items.unwrap_or_default(),
        output.last_evaluated_key.filter(|key| !key.is_empty()),
    ))
}

/// How many items are checked for bare codes.
const KEY_SAMPLE: i32 = 200;

/// Items whose keys are bare codes, as the article's script writes them.
#[derive(Debug)]
pub(super) struct BareCodes {
    /// How many of the first items are like that, and the first of them.
    count: usize,
    first: String,
    /// How many items were checked.
    seen: usize,
    /// Whether no key of these items is a name.
    pub(super) no_names: bool,
}

impl BareCodes {
    /// What is wrong and what to do.
    pub(super) fn explanation(&self, table: &Table) -> String {
        let Self {
            count, first, seen, ..
        } = self;
        let name = &table.name;
        format!(
            "{table}: {count} of the first {seen} items have a bare code as key, such as {first:?}. tinyns looks links \
             up by their full names ({first}.<zone>) and cannot find these; import them with `tinyns import dynamodb \
             --table {name}`, which leaves them as they are and makes links beside them"
        )
    }
}

/// Checks the first items of the table; none if no key is a bare code.
pub(super) async fn bare_codes(
    client: &Client,
    table: &Table,
) -> Result<Option<BareCodes>, StoreError> {
    let sent = client.scan().table_name(&table.name);
    let sent = sent
        .projection_expression("miniUrl, fullUrl")
        .limit(KEY_SAMPLE);
    let output = sent.send().await.map_err(|e| store_error(table, &e))?;
    Ok(count_bare_codes(&output.items.unwrap_or_default()))
}

fn count_bare_codes(items: &[Item]) -> Option<BareCodes> {
    let links = items.iter().filter(|item| item.contains_key(URL));
    let keys: Vec<&String> = links
        .filter_map(|item| item.get(KEY)?.as_s().ok())
        .collect();
    let mut bare = keys.iter().filter(|key| !key.contains('.'));
    let first = bare.next()?;
    Some(BareCodes {
        count: 1 + bare.count(),
        first: first.chars().take(MAX_SHOWN_CODE).collect(),
        seen: items.len(),
        no_names: keys.iter().all(|key| LinkName::parse(key).is_err()),
    })
}

/// A page that is being collected.
struct Collected<'a> {
    wanted: Wanted<'a>,
    limit: usize,
    page: Page,
    /// The last name that was looked at.
    last: Option<LinkName>,
    /// How many items were looked at.
    seen: usize,
    /// How many of them are no links, and the first of these. The log gets one line for all: a table of another
    /// program may be full of them.
    bad: usize,
    first_bad: Option<BadItem>,
    /// What is wrong with all of them; none if the log tells it.
    faults: Option<Vec<String>>,
}

impl<'a> Collected<'a> {
    fn new(wanted: Wanted<'a>, limit: usize) -> Self {
        Self {
            wanted,
            limit,
            page: Page {
                links: Vec::new(),
                next: None,
            },
            last: None,
            seen: 0,
            bad: 0,
            first_bad: None,
            faults: None,
        }
    }

    /// Collects a page.
    async fn fill(
        &mut self,
        client: &Client,
        table: &Table,
        after: Option<&LinkName>,
    ) -> Result<Page, StoreError> {
        let began = Instant::now();
        let mut start = after.map(|name| Item::from([(KEY.into(), item::key(name))]));
        let mut size = self.limit;
        for _ in 0..MAX_REQUESTS {
            let (items, next) = request(client, table, self.wanted, start, size).await?;
            if let Some(page) = self.take(items, next.is_some()) {
                return Ok(page);
            }
            start = next;
            size = (size * 2).min(MAX_PAGE);
            if began.elapsed() > PAGE_TIME && self.last.is_some() {
                break;
            }
        }
        self.unfinished(table)
    }

    /// Takes the items of a request; returns the page if it is full or nothing follows.
    fn take(&mut self, items: Vec<Item>, more: bool) -> Option<Page> {
        let mut items = items.into_iter();
        while let Some(item) = items.next() {
            self.look_at(&item);
            if self.page.links.len() == self.limit {
                let more = more || items.len() > 0;
                return Some(self.finish(more));
            }
        }
        (!more).then(|| self.finish(false))
    }

    fn look_at(&mut self, item: &Item) {
        self.seen += 1;
        if item::is_own(item) {
            return;
        }
        let decoded = item::decode(item);
        match item::name(item) {
            // A list reports bad items of its own zone only.
            Ok(name) if !self.wanted.takes(&name) => {
                self.last = Some(name);
                return;
            }
            Ok(name) => self.last = Some(name),
            Err(_) => {}
        }
        match decoded {
            Ok(Entry::Link(link)) if self.wanted.takes_link(&link) => self.page.links.push(link),
            Ok(Entry::Link(_)) => {}
            Ok(Entry::Tombstone { .. }) => {}
            Err(BadItem { key, reason }) if self.faults.is_some() => {
                let fault = format!("{}: {}", one_line(&key), one_line(&reason));
                self.faults.get_or_insert_default().push(fault);
            }
            Err(bad) => {
                self.bad += 1;
                self.first_bad.get_or_insert(bad);
            }
        }
    }

    /// The page so far, if it has a cursor.
    fn unfinished(&mut self, table: &Table) -> Result<Page, StoreError> {
        if self.last.is_some() {
            return Ok(self.finish(true));
        }
        let seen = self.seen;
        let key = self.first_bad.take().map(|bad| bad.key);
        let key = key.unwrap_or_default();
        let text = format!("{table}: {seen} items in a row, from {key:?} on, have no link's name");
        Err(StoreError::Unavailable(text))
    }

    fn finish(&mut self, more: bool) -> Page {
        if let Some(BadItem { key, reason }) = &self.first_bad {
            tracing::warn!(
                items = self.bad,
                key,
                reason,
                "items that are no links left out"
            );
        }
        let links = std::mem::take(&mut self.page.links);
        Page {
            links,
            next: self.last.take().filter(|_| more),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_codes_are_distinguished_from_names() {
        let item = |key: &str, with_url: bool| {
            let mut item = Item::from([(KEY.into(), item::text(key))]);
            if with_url {
                item.insert(URL.into(), item::text("https://example.net/"));
            }
            item
        };
        let check = |items: &[Item], expected: Option<(usize, bool)>| {
            let found = count_bare_codes(items);
            let found = found.map(|bare| (bare.count, bare.no_names));
            assert_eq!(found, expected, "{items:?}");
        };
        check(&[], None);
        let (name, bare) = (item("a.s.example.com", true), item("aB3x_", true));
        check(std::slice::from_ref(&name), None);
        check(&[bare.clone(), bare.clone()], Some((2, true)));
        check(&[bare, name], Some((1, false)));
        // No program would take these for links.
        check(&[item("counter", false)], None);
    }
}
