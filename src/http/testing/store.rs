//! A store in memory, which fails or waits when a test wants it to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::statistics::MemoryStatistics;
use crate::base::clock::UnixTime;
use crate::link::{Link, LinkName, Origin, Version};
use crate::store::audit::{Actor, AuditPage, AuditQuery, Entry, EntryId, Event};
use crate::store::idempotency::{Claim, Claimed, KEPT_FOR, KeyId, LEASE};
use crate::store::statistics::StatisticsStore;
use crate::store::{
    Change, Changed, Created, Deleted, Document, DocumentPut, NewLink, Page, Seal, Segment, Store,
    StoreError, is_guarded, seconds,
};

/// A store in memory.
#[derive(Debug, Default)]
pub(in crate::http) struct MemoryStore {
    slots: Mutex<BTreeMap<LinkName, Slot>>,
    documents: Mutex<BTreeMap<String, Document>>,
    entries: Mutex<Vec<Entry>>,
    keys: Mutex<BTreeMap<[u8; 32], KeySlot>>,
    /// Whether outcomes of requests with keys are refused.
    pub(in crate::http) keeps_nothing: AtomicBool,
    failure: Mutex<Option<fn() -> StoreError>>,
    create_failure: Mutex<Option<fn() -> StoreError>>,
    /// Calls of `create` wait while this is set.
    pub(in crate::http) held: AtomicBool,
    /// How many calls of `create` have begun.
    pub(in crate::http) begun: AtomicU64,
    pub(in crate::http) statistics: Arc<MemoryStatistics>,
    /// Whether the store keeps no statistics.
    pub(in crate::http) has_no_statistics: AtomicBool,
}

/// The link of a name, if there is one, and the version of the name.
#[derive(Clone, Debug)]
struct Slot {
    link: Option<Link>,
    version: Version,
}

/// A claimed key.
#[derive(Clone, Debug)]
struct KeySlot {
    claim: Claim,
    until: UnixTime,
    ends_at: UnixTime,
    outcome: Option<Vec<u8>>,
}

impl MemoryStore {
    /// Has every call fail with this error from now on, or none.
    pub(in crate::http) fn fail(&self, failure: Option<fn() -> StoreError>) {
        *self.failure.lock().unwrap() = failure;
    }

    /// Has every call of `create` fail with this error from now on, or none.
    pub(in crate::http) fn fail_creations(&self, failure: Option<fn() -> StoreError>) {
        *self.create_failure.lock().unwrap() = failure;
    }

    /// Stores a link, also one that `Links` would refuse.
    pub(in crate::http) fn put(&self, link: Link) {
        let version = link.version;
        let link = Some(link);
        let mut slots = self.slots.lock().unwrap();
        let name = link.as_ref().unwrap().name.clone();
        slots.insert(name, Slot { link, version });
    }

    pub(in crate::http) fn len(&self) -> usize {
        let slots = self.slots.lock().unwrap();
        slots.values().filter(|slot| slot.link.is_some()).count()
    }

    fn note(&self, event: Event) {
        let mut entries = self.entries.lock().unwrap();
        let (at, number) = (event.at, entries.len() as u64 + 1);
        let id = EntryId { at, number };
        entries.push(Entry { id, event });
    }

    fn check(&self) -> Result<(), StoreError> {
        match *self.failure.lock().unwrap() {
            Some(failure) => Err(failure()),
            None => Ok(()),
        }
    }

    /// Calls `work` with all slots, the live link of a name, and the next version of the name.
    fn with<T>(
        &self,
        name: &LinkName,
        now: u64,
        work: impl FnOnce(&mut BTreeMap<LinkName, Slot>, Option<Link>, Version) -> T,
    ) -> Result<T, StoreError> {
        self.check()?;
        let mut slots = self.slots.lock().unwrap();
        let slot = slots.get(name).cloned();
        let version = Version::next(slot.as_ref().map(|s| s.version), now);
        let live = slot.and_then(|s| s.link);
        let live = live.filter(|link| !link.is_expired(seconds(now)));
        Ok(work(&mut slots, live, version))
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn create(&self, new: NewLink, now: u64) -> Result<Created, StoreError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        while self.held.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if let Some(failure) = *self.create_failure.lock().unwrap() {
            return Err(failure());
        }
        let name = new.name.clone();
        self.with(&name, now, |slots, live, version| match live {
            Some(link) if link.leads_to(&new.target, new.destinations.as_deref()) => {
                Created::Same(link)
            }
            Some(link) => Created::Taken(link),
            None => {
                let link = Link {
                    name: new.name,
                    target: new.target,
                    created_at: seconds(now),
                    created_by: new.created_by.name.clone(),
                    expires_at: new.expires_at,
                    ttl: new.ttl,
                    about: new.about,
                    withheld: new.withheld,
                    destinations: new.destinations,
                    version,
                };
                let slot = Slot {
                    link: Some(link.clone()),
                    version,
                };
                slots.insert(name.clone(), slot);
                self.note(Event::of_link(
                    &name,
                    None,
                    Some(&link),
                    &new.created_by,
                    now,
                ));
                Created::New(link)
            }
        })
    }

    async fn get(&self, name: &LinkName) -> Result<Option<Link>, StoreError> {
        self.check()?;
        let slots = self.slots.lock().unwrap();
        Ok(slots.get(name).and_then(|slot| slot.link.clone()))
    }

    async fn change(
        &self,
        name: &LinkName,
        expected: Option<Version>,
        change: Change,
        by: &Actor,
        now: u64,
    ) -> Result<Changed, StoreError> {
        self.with(name, now, |slots, live, version| match live {
            None => Changed::Absent,
            Some(link) if expected.is_some_and(|v| v != link.version) => Changed::Conflict(link),
            Some(link) if is_guarded(&link, by) => Changed::Withheld(link),
            Some(before) => {
                let mut link = change.made(before.clone());
                link.version = version;
                let slot = Slot {
                    link: Some(link.clone()),
                    version,
                };
                slots.insert(name.clone(), slot);
                self.note(Event::of_link(name, Some(&before), Some(&link), by, now));
                Changed::Changed(link)
            }
        })
    }

    async fn delete(
        &self,
        name: &LinkName,
        expected: Option<Version>,
        by: &Actor,
        now: u64,
    ) -> Result<Deleted, StoreError> {
        self.with(name, now, |slots, live, version| match live {
            None => Deleted::Absent,
            Some(link) if expected.is_some_and(|v| v != link.version) => Deleted::Conflict(link),
            Some(link) if is_guarded(&link, by) => Deleted::Withheld(link),
            Some(before) => {
                let link = None;
                slots.insert(name.clone(), Slot { link, version });
                self.note(Event::of_link(name, Some(&before), None, by, now));
                Deleted::Deleted(version)
            }
        })
    }

    async fn list(
        &self,
        origin: &Origin,
        after: Option<&LinkName>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.check()?;
        let slots = self.slots.lock().unwrap();
        let links = slots.values().filter_map(|slot| slot.link.clone());
        let links = links.filter(|link| link.name.origin() == origin.as_str());
        let mut links: Vec<_> = links
            .filter(|link| after.is_none_or(|after| link.name > *after))
            .take(limit + 1)
            .collect();
        let more = links.len() > limit;
        links.truncate(limit);
        let next = links.last().filter(|_| more).map(|link| link.name.clone());
        Ok(Page { links, next })
    }

    async fn scan(&self, _: Segment, _: Option<&LinkName>, _: usize) -> Result<Page, StoreError> {
        Err(StoreError::Unavailable("HTTP does not scan".into()))
    }

    async fn document(&self, key: &str) -> Result<Option<Document>, StoreError> {
        self.check()?;
        Ok(self.documents.lock().unwrap().get(key).cloned())
    }

    async fn put_document_noting(
        &self,
        key: &str,
        expected: Option<u64>,
        content: Vec<u8>,
        event: Option<Event>,
    ) -> Result<DocumentPut, StoreError> {
        self.check()?;
        let mut documents = self.documents.lock().unwrap();
        let found = documents.get(key).cloned();
        if found.as_ref().map(|document| document.revision) != expected {
            return Ok(DocumentPut::Conflict(found));
        }
        let revision = expected.unwrap_or(0) + 1;
        documents.insert(key.into(), Document { revision, content });
        if let Some(event) = event {
            self.note(event);
        }
        Ok(DocumentPut::Written(revision))
    }

    async fn claim_key(&self, claim: &Claim, now: UnixTime) -> Result<Claimed, StoreError> {
        self.check()?;
        let mut keys = self.keys.lock().unwrap();
        let found = keys.get(&claim.id.0).filter(|slot| slot.ends_at > now);
        match found {
            Some(slot) if slot.claim.fingerprint != claim.fingerprint => {
                return Ok(Claimed::OtherPayload);
            }
            Some(KeySlot {
                outcome: Some(outcome),
                ..
            }) => return Ok(Claimed::Done(outcome.clone())),
            Some(slot) if slot.until > now => return Ok(Claimed::InWork),
            _ => {}
        }
        let slot = KeySlot {
            claim: *claim,
            until: now.after(LEASE),
            ends_at: now.after(KEPT_FOR),
            outcome: None,
        };
        keys.insert(claim.id.0, slot);
        Ok(Claimed::Yours)
    }

    async fn extend_key(
        &self,
        id: KeyId,
        holder: u64,
        until: UnixTime,
    ) -> Result<bool, StoreError> {
        self.check()?;
        let mut keys = self.keys.lock().unwrap();
        let held = keys.get_mut(&id.0);
        let held = held.filter(|slot| slot.claim.holder == holder && slot.outcome.is_none());
        Ok(held.map(|slot| slot.until = until).is_some())
    }

    async fn keep_outcome(
        &self,
        id: KeyId,
        holder: u64,
        outcome: Vec<u8>,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        self.check()?;
        if self.keeps_nothing.load(Ordering::SeqCst) {
            return Err(StoreError::Refused("the disk is full".into()));
        }
        let mut keys = self.keys.lock().unwrap();
        let held = keys.get_mut(&id.0);
        let held = held.filter(|slot| slot.claim.holder == holder && slot.outcome.is_none());
        let kept = held.map(|slot| {
            slot.outcome = Some(outcome);
            slot.ends_at = now.after(KEPT_FOR);
        });
        Ok(kept.is_some())
    }

    async fn audit(&self, query: AuditQuery) -> Result<AuditPage, StoreError> {
        self.check()?;
        let entries = self.entries.lock().unwrap();
        let (since, before) = (query.since, query.before());
        let wanted = |entry: &&Entry| {
            let is_in_time = entry.id < before && since.is_none_or(|since| since <= entry.id.at);
            is_in_time && query.takes(&entry.event)
        };
        let mut found: Vec<Entry> = entries.iter().filter(wanted).cloned().collect();
        found.sort_by_key(|entry| std::cmp::Reverse(entry.id));
        let more = found.len() > query.limit;
        found.truncate(query.limit);
        let next = found.last().filter(|_| more).map(|entry| entry.id);
        Ok(AuditPage {
            entries: found,
            next,
        })
    }

    fn statistics(&self) -> Option<Arc<dyn StatisticsStore>> {
        let keeps = !self.has_no_statistics.load(Ordering::SeqCst);
        keeps.then(|| self.statistics.clone() as Arc<dyn StatisticsStore>)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.check()
    }

    async fn close(&self) -> Option<Seal> {
        None
    }
}
