//! A table without links: it has an identity, and it may take notices.

use std::sync::Mutex;

use super::*;
use crate::link::Origin;
use crate::store::audit::Actor;
use crate::store::{Change, Changed, Created, Deleted, NewLink, Notice, Page, Segment, StoreError};

/// How a table treats notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Works,
    Fails,
    Hangs,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Table {
    identity: Mutex<Identity>,
    /// None if the table takes no notices.
    mood: Option<Mood>,
    /// The last notice.
    notice: Mutex<Option<Notice>>,
    posts: AtomicU64,
}

impl Table {
    /// A table that takes no notices.
    pub(super) fn of(identity: Identity) -> Arc<Self> {
        Self::new(identity, None)
    }

    /// A table that takes notices.
    pub(super) fn with_notices(mood: Mood) -> Arc<Self> {
        let id = Some(1);
        Self::new(Identity::Shared { id, place: 1 }, Some(mood))
    }

    fn new(identity: Identity, mood: Option<Mood>) -> Arc<Self> {
        Arc::new(Self {
            identity: Mutex::new(identity),
            mood,
            notice: Mutex::default(),
            posts: AtomicU64::new(0),
        })
    }

    /// Replaces the table by another one.
    pub(super) fn becomes(&self, identity: Identity) {
        *self.identity.lock().unwrap() = identity;
    }

    /// How many notices were posted.
    pub(super) fn posts(&self) -> u64 {
        self.posts.load(Ordering::SeqCst)
    }

    /// The changes that the last notice names.
    pub(super) fn named(&self) -> Vec<(LinkName, Version)> {
        let notice = self.notice.lock().unwrap().clone();
        notice.and_then(|notice| notice.changes).unwrap_or_default()
    }
}

#[async_trait::async_trait]
impl Store for Table {
    fn identity(&self) -> Identity {
        self.identity.lock().unwrap().clone()
    }

    fn takes_notices(&self) -> bool {
        self.mood.is_some()
    }

    async fn post_notice(&self, notice: &Notice) -> Result<(), StoreError> {
        self.posts.fetch_add(1, Ordering::SeqCst);
        match self.mood {
            Some(Mood::Works) => *self.notice.lock().unwrap() = Some(notice.clone()),
            Some(Mood::Fails) => return Err(StoreError::DeadlineExceeded),
            Some(Mood::Hangs) => std::future::pending().await,
            None => unreachable!(),
        }
        Ok(())
    }

    async fn create(&self, _: NewLink, _: u64) -> Result<Created, StoreError> {
        unreachable!()
    }

    async fn get(&self, _: &LinkName) -> Result<Option<Link>, StoreError> {
        unreachable!()
    }

    async fn change(
        &self,
        _: &LinkName,
        _: Option<Version>,
        _: Change,
        _: &Actor,
        _: u64,
    ) -> Result<Changed, StoreError> {
        unreachable!()
    }

    async fn delete(
        &self,
        _: &LinkName,
        _: Option<Version>,
        _: &Actor,
        _: u64,
    ) -> Result<Deleted, StoreError> {
        unreachable!()
    }

    async fn list(&self, _: &Origin, _: Option<&LinkName>, _: usize) -> Result<Page, StoreError> {
        unreachable!()
    }

    async fn scan(&self, _: Segment, _: Option<&LinkName>, _: usize) -> Result<Page, StoreError> {
        unreachable!()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close(&self) -> Option<Seal> {
        None
    }
}
