//! The walk over all links that have sums. It removes the sums of those that do not exist: links that DynamoDB has removed after
//! their end, links whose sums could not be removed when they were deleted, and all deleted ones after
//! [`Keeping::deleted`](crate::store::statistics::Keeping::deleted) was switched off.
//!
//! One server walks at a time, and a walk begins once a day. It has the budget of the flusher: one link that it looks at
//! counts as much as one item that is written, and so does one item that it removes.
//!
//! With a table of other links, all sums would seem to be those of deleted ones. So the table of statistics notes to which table of
//! links it belongs, and nothing is removed for another one.
//!
//! Each step has the lease of the flusher. So no flush adds to the sums of a link after the step has seen that there is no such
//! link. If the link is made meanwhile, its counts are in Redis until the step is over.

use std::time::{Duration, Instant};

use super::Statistics;
use super::item::{self, ID};
use crate::base::clock::UnixTime;
use crate::base::lock::lock;
use crate::link::LinkName;
use crate::store::StoreError;
use crate::store::dynamodb::read;

/// How long after the begin of a walk the next one may begin, in seconds.
const EVERY: u64 = 24 * 60 * 60;
/// How many items are read at once: they take one read unit. And how many are removed at once: DynamoDB accepts no more.
const PAGE: usize = 25;
/// How long a step may take, apart from the last page. It has the lease, so a flush waits for it.
const STEP: Duration = Duration::from_secs(2);
/// The pause after a step that gave way to a flush.
const GIVES_WAY: Duration = Duration::from_secs(2);
/// No key of the zone itself comes after this one, and no key of a link before it.
const AFTER_ZONE: &str = "$";
/// After all keys of links.
const HIGHEST: &str = "~";

/// Where the walk goes on: no key before this one is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    zone: Box<str>,
    id: String,
}

/// The codes on a page, and where the next page begins; none if this is the last one.
struct Codes {
    codes: Vec<String>,
    next: Option<String>,
}

impl Statistics {
    /// Makes a step of the walk, or begins one if it is time. True if there is more to do.
    pub(super) async fn walk(&self, now: UnixTime) -> Result<bool, StoreError> {
        let gatherer = &**self.gatherer()?;
        if self.sums.keeps_deleted().await? {
            *lock(&self.place) = None;
            return Ok(false);
        }
        if lock(&self.place).is_none() {
            let links = self.links_id().await?;
            if !self.sums.belongs_to(&links).await? {
                tracing::warn!(
                    table = %self.sums.table.name,
                    "the statistics in this table are those of another table of links, so those of deleted links are not removed: \
                     use another table, or remove the attribute \"links\" of its item \"control\""
                );
                return Ok(false);
            }
            let before = UnixTime(now.0.saturating_sub(EVERY));
            if !self.sums.begin_walk(&links, now, before).await? {
                return Ok(false);
            }
            self.go_to("", AFTER_ZONE);
        }
        let step = match self.look(gatherer).await? {
            true => None,
            false => self.with_lease(gatherer, Box::pin(self.step())).await?,
        };
        if step.is_none() {
            tokio::time::sleep(GIVES_WAY).await;
        }
        Ok(step.unwrap_or(true))
    }

    /// The id of the table of links.
    pub(super) async fn links_id(&self) -> Result<Box<str>, StoreError> {
        let facts = self.identity.ask(&self.sums.writes, &self.links).await?;
        Ok(facts.id)
    }

    fn go_to(&self, zone: &str, id: &str) {
        *lock(&self.place) = Some(Place {
            zone: zone.into(),
            id: id.into(),
        });
    }

    /// True if the walk is not over.
    async fn step(&self) -> Result<bool, StoreError> {
        let end = Instant::now() + STEP;
        let Some(place) = lock(&self.place).clone() else {
            return Ok(false);
        };
        for zone in self.sums.zones_from(&place.zone).await? {
            let mut id = match zone == place.zone {
                true => place.id.clone(),
                false => AFTER_ZONE.to_owned(),
            };
            loop {
                let page = self.codes(&zone, &id).await?;
                for name in self.gone(&zone, &page.codes).await? {
                    if !self.remove_until(&name, end).await? {
                        // The items that are left come first in the next step.
                        self.go_to(&zone, &item::prefix(name.code()));
                        return Ok(true);
                    }
                }
                let Some(next) = page.next else {
                    break;
                };
                id = next;
                self.go_to(&zone, &id);
                if Instant::now() >= end {
                    return Ok(true);
                }
            }
        }
        *lock(&self.place) = None;
        Ok(false)
    }

    /// Links that have sums. Only some items of each link are read.
    async fn codes(&self, zone: &str, from: &str) -> Result<Codes, StoreError> {
        let limit = self.budget.within(STEP).min(PAGE);
        let page = self.sums.range(zone, (from, HIGHEST), None, limit);
        let (items, more) = page.await?;
        let ids = items.iter().filter_map(|item| item.get(ID)?.as_s().ok());
        let codes = ids.filter_map(|id| Some(id.split_once(item::SEPARATOR)?.0.to_owned()));
        let mut codes: Vec<String> = codes.collect();
        codes.dedup();
        // This sorts after all keys of the code, and before those of longer codes.
        let next = codes.last().map(|code| format!("{code}{AFTER_ZONE}"));
        let next = next.filter(|_| more.is_some() || items.len() >= limit);
        Ok(Codes { codes, next })
    }

    /// Those of the codes that have no link. A damaged item is one.
    async fn gone(&self, zone: &str, codes: &[String]) -> Result<Vec<LinkName>, StoreError> {
        let names = codes.iter();
        let names = names.filter_map(|code| LinkName::parse(&format!("{code}.{zone}")).ok());
        let names: Vec<LinkName> = names.collect();
        for _ in &names {
            self.budget.take().await;
        }
        let found = read::get_many(&self.sums.writes, &self.links, &names).await;
        let mut gone = Vec::new();
        for (name, found) in names.into_iter().zip(found) {
            match found {
                Ok(None) => gone.push(name),
                Ok(Some(_)) | Err(StoreError::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(gone)
    }

    /// Removes sums of a link; false if the time was over before it was seen that all are removed.
    async fn remove_until(&self, name: &LinkName, end: Instant) -> Result<bool, StoreError> {
        loop {
            let limit = self.budget.within(STEP).min(PAGE);
            let items = self.sums.of_link(name, limit).await?;
            if items.is_empty() {
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            for _ in &items {
                self.budget.take().await;
            }
            self.sums.delete(&items).await?;
        }
    }
}
