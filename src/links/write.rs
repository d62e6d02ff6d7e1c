//! Changing links: the rules for what may become a link, and the way of a change through the tiers.

use std::sync::Arc;
use std::time::Instant;

use super::memory::Memory;
use super::redis::Written;
use super::{ADMIN_DEADLINE, CreateLink, Creation, Host, LinkError, Links, MAX_FOLDS};
use crate::clock::UnixTime;
use crate::link::{Code, Link, LinkName, TargetUrl, Version};
use crate::store::{Change, Changed, Created, Deleted, NewLink, StoreError};

impl Links {
    /// Changes the store, and then drops or replaces what the tiers before it hold of the name. A task
    /// of its own does all of it: a caller who goes away or whose time is up must not part the steps.
    /// `outcome` says what the store has done.
    async fn write<T: Send + 'static>(
        &self,
        name: &LinkName,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
        outcome: fn(&T) -> Written,
    ) -> Result<T, StoreError> {
        // After a failure or a panic, too: what has failed to us may have happened all the same.
        let forget = ForgetAtEnd(self.memory.clone(), name.clone());
        let redis = self.redis.as_ref().map(|redis| redis.cache.clone());
        let name = name.clone();
        let (health, metrics) = (self.write_health.clone(), self.metrics.clone());
        let call = async move {
            let written = call.await;
            let failure = written.as_ref().err();
            health.note(failure, Instant::now());
            if let Some(error) = failure {
                metrics.count_store_error(error.cause());
            }
            written
        };
        let task = self.writes.spawn(async move {
            let Some(redis) = redis else {
                let written = call.await;
                drop(forget);
                return written;
            };
            let change = redis.begin(&name).await;
            let written = call.await;
            change
                .finish(&written.as_ref().map_or(Written::Unknown, outcome))
                .await;
            // Not before Redis has been told: what memory is filled from has to be right by then.
            drop(forget);
            written
        });
        match tokio::time::timeout(ADMIN_DEADLINE, task).await {
            Ok(Ok(written)) => written,
            Ok(Err(broken)) => Err(StoreError::Unavailable(broken.to_string())),
            Err(_) => Err(StoreError::DeadlineExceeded),
        }
    }

    /// Makes a link, or finds that it is there.
    ///
    /// # Errors
    /// [`LinkError`]; unless it is a [`LinkError::Store`], nothing was changed. After a
    /// [`StoreError::DeadlineExceeded`] the link may have been made: asking again is safe and tells.
    pub async fn create(&self, request: CreateLink) -> Result<Creation, LinkError> {
        self.check_target(&request.target)?;
        self.check_expiry(request.expires_at)?;
        match &request.code {
            Some(code) => {
                let name = LinkName::new(code, &request.origin);
                if self.namespace.is_reserved(&name) {
                    return Err(LinkError::Reserved(name));
                }
                self.try_create(&request, name)
                    .await?
                    .map_err(LinkError::Taken)
            }
            None => self.create_folded(&request).await,
        }
    }

    /// Tries the folds of the URL in turn until one is free or holds this very URL.
    async fn create_folded(&self, request: &CreateLink) -> Result<Creation, LinkError> {
        for attempt in 0..MAX_FOLDS {
            let code = Code::fold(&request.target, attempt);
            let name = LinkName::new(&code, &request.origin);
            if self.namespace.is_reserved(&name) {
                continue;
            }
            match self.try_create(request, name).await? {
                Ok(creation) => return Ok(creation),
                Err(taken) => tracing::debug!(name = %taken, attempt, "fold collides"),
            }
        }
        Err(LinkError::NoFreeCode)
    }

    /// One conditional put; the inner error is the name where another URL has it.
    async fn try_create(
        &self,
        request: &CreateLink,
        name: LinkName,
    ) -> Result<Result<Creation, LinkName>, StoreError> {
        let new = NewLink {
            name,
            target: request.target.clone(),
            created_by: request.created_by.clone(),
            expires_at: request.expires_at,
            ttl: request.ttl,
        };
        let (store, now) = (self.store.clone(), self.clock.micros());
        let name = new.name.clone();
        let announced = self.filter.as_ref().map(|filter| filter.announce(&name));
        let call = async move {
            let created = store.create(new, now).await;
            drop(announced);
            created
        };
        let created = self.write(&name, call, |created| match created {
            Created::New(link) => Written::Link(link.clone().into()),
            Created::Same(link) | Created::Taken(link) => Written::Kept(link.clone().into()),
        });
        Ok(match created.await? {
            Created::New(link) => Ok(Creation::New(link)),
            Created::Same(link) => Ok(Creation::Same(link)),
            Created::Taken(link) => Err(link.name),
        })
    }

    /// Changes a live link; with `expected` only if that is its version.
    ///
    /// # Errors
    /// [`LinkError`]; unless it is a [`LinkError::Store`], nothing was changed.
    pub async fn change(
        &self,
        name: &LinkName,
        expected: Option<Version>,
        change: Change,
    ) -> Result<Link, LinkError> {
        if let Some(target) = &change.target {
            self.check_target(target)?;
        }
        self.check_expiry(change.expires_at.flatten())?;
        let (store, now, key) = (self.store.clone(), self.clock.micros(), name.clone());
        let call = async move { store.change(&key, expected, change, now).await };
        let changed = self.write(name, call, |changed| match changed {
            Changed::Changed(link) => Written::Link(link.clone().into()),
            Changed::Conflict(link) => Written::Kept(link.clone().into()),
            Changed::Absent => Written::Nothing,
        });
        match changed.await? {
            Changed::Changed(link) => Ok(link),
            Changed::Absent => Err(LinkError::NotFound(name.clone())),
            Changed::Conflict(link) => Err(LinkError::VersionConflict(link.into())),
        }
    }

    /// Deletes a live link; with `expected` only if that is its version.
    ///
    /// # Errors
    /// [`LinkError`]; unless it is a [`LinkError::Store`], nothing was changed.
    pub async fn delete(
        &self,
        name: &LinkName,
        expected: Option<Version>,
    ) -> Result<(), LinkError> {
        let (store, now, key) = (self.store.clone(), self.clock.micros(), name.clone());
        let call = async move { store.delete(&key, expected, now).await };
        let deleted = self.write(name, call, |deleted| match deleted {
            Deleted::Deleted(version) => Written::Deleted(*version),
            Deleted::Conflict(link) => Written::Kept(link.clone().into()),
            Deleted::Absent => Written::Nothing,
        });
        match deleted.await? {
            Deleted::Deleted(_) => Ok(()),
            Deleted::Absent => Err(LinkError::NotFound(name.clone())),
            Deleted::Conflict(link) => Err(LinkError::VersionConflict(link.into())),
        }
    }

    /// Refuses a destination in our own zones: a browser would be led in circles.
    fn check_target(&self, target: &TargetUrl) -> Result<(), LinkError> {
        match target.domain() {
            Some(domain) if self.namespace.classify_host(&domain) != Host::Foreign => {
                Err(LinkError::OwnZone(domain))
            }
            _ => Ok(()),
        }
    }

    fn check_expiry(&self, expires_at: Option<UnixTime>) -> Result<(), LinkError> {
        match expires_at {
            Some(end) if end <= self.now() => Err(LinkError::AlreadyExpired),
            Some(end) if end > UnixTime::MAX => Err(LinkError::ExpiresTooLate),
            _ => Ok(()),
        }
    }
}

/// Makes memory forget a name when it is dropped.
struct ForgetAtEnd(Arc<Memory>, LinkName);

impl Drop for ForgetAtEnd {
    fn drop(&mut self) {
        self.0.forget(&self.1);
    }
}
