//! Changing links: the rules for them, and how a change passes through the tiers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Links;
use super::deadline::{ADMIN_DEADLINE, within};
use super::memory::Memory;
use super::namespace::Host;
use super::redis::{WriteClaim, Written};
use super::request::{CreateLink, Creation, LinkError, MAX_FOLDS};
use super::servers::Own;
use super::settle::Evidence;
use crate::base::clock::UnixTime;
use crate::link::{Code, Destinations, Link, LinkName, TargetUrl, Version};
use crate::store::audit::Actor;
use crate::store::{Change, Changed, Created, Deleted, NewLink, StoreError};

/// The part of a caller's deadline that is left for the reply when a change has waited for its notice.
const REPLY_TIME: Duration = Duration::from_secs(1);

impl Links {
    /// Changes the store, and then updates or drops the name in the other tiers. One task does all of this, so
    /// that the steps stay together when the caller goes away or its time is up. `outcome` says what the store has
    /// done; `evidence` shows whether it has, if its reply is lost.
    async fn write<T: Send + 'static>(
        &self,
        name: &LinkName,
        evidence: Evidence,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
        outcome: fn(&T) -> Written,
    ) -> Result<T, StoreError> {
        // Also after a panic: the store may have made the change.
        let forget = ForgetAtEnd(Some((self.memory.clone(), self.own.clone(), name.clone())));
        let redis = self.redis.as_ref().map(|redis| redis.cache.clone());
        let (health, metrics) = (self.write_health.clone(), self.metrics.clone());
        let settler = self.settler.clone();
        let name = name.clone();
        let until = Instant::now() + ADMIN_DEADLINE - REPLY_TIME;
        let task = self.writes.spawn(async move {
            let claim = match &redis {
                Some(redis) => Some(redis.begin(&name).await),
                None => None,
            };
            let written = call.await;
            health.note(written.as_ref().err(), Instant::now());
            match &written {
                Ok(done) => end(claim, &outcome(done)).await,
                Err(error) => {
                    metrics.count_store_error(error.cause());
                    match error {
                        StoreError::Corrupt { .. } => end(claim, &Written::Gone).await,
                        error if error.is_certain() => {
                            if let Some(claim) = claim {
                                claim.restore().await;
                            }
                            forget.spare();
                            return written;
                        }
                        _ => {
                            settler.settle(name, evidence, claim);
                            forget.spare();
                            return written;
                        }
                    }
                }
            }
            // After Redis: flights from now on fill memory from it.
            drop(forget);
            if let Some(redis) = &redis {
                redis.await_notice(&name, until).await;
            }
            written
        });
        match tokio::time::timeout(ADMIN_DEADLINE, task).await {
            Ok(Ok(written)) => written,
            Ok(Err(broken)) => Err(StoreError::Unavailable(broken.to_string())),
            Err(_) => Err(StoreError::DeadlineExceeded),
        }
    }

    /// Whether memory or Redis holds a link of this name. A read of the store is then cheaper than an attempt to
    /// make the link, and a failure of the store leaves all tiers as they are.
    async fn is_held(&self, name: &LinkName) -> bool {
        if self.memory.holds_link(name) {
            return true;
        }
        match &self.redis {
            Some(redis) => redis.cache.holds_link(name).await,
            None => false,
        }
    }

    /// Makes a link, unless it exists.
    ///
    /// # Errors
    /// [`LinkError`]; unless it is a [`LinkError::Store`], nothing was changed. After a
    /// [`StoreError::DeadlineExceeded`] the link may have been made; the caller may safely repeat the request to
    /// find out.
    pub async fn create(&self, request: CreateLink) -> Result<Creation, LinkError> {
        self.check_targets(Some(&request.target), request.destinations.as_deref())?;
        self.check_expiry(request.expires_at)?;
        match &request.code {
            Some(code) => {
                let name = LinkName::new(code, &request.origin);
                if self.namespace.is_reserved(&name) {
                    return Err(LinkError::Reserved(name));
                }
                if self.reserved.contains(code) && !request.use_reserved {
                    return self.existing(&request, name).await;
                }
                self.try_create(&request, name)
                    .await?
                    .map_err(LinkError::Taken)
            }
            None => self.create_folded(&request).await,
        }
    }

    /// Waits until no other server's filter denies a link that has just been made or found.
    async fn await_filters(&self, name: &LinkName) {
        if let Some(deniers) = &self.deniers {
            deniers.await_filters(name).await;
        } else if self.servers.may_have_filters() {
            self.servers.await_filters(Instant::now()).await;
        }
    }

    /// Reads whose filters have to be waited for, at the same time as a write.
    async fn prepare_wait(&self) {
        if let Some(deniers) = &self.deniers {
            deniers.prepare().await;
        }
    }

    /// The link of a reserved code, if it is there and leads to these URLs.
    async fn existing(&self, request: &CreateLink, name: LinkName) -> Result<Creation, LinkError> {
        match self.get_current(&name).await {
            Ok(link) if link.leads_to(&request.target, request.destinations.as_deref()) => {
                Ok(Creation::Same(link))
            }
            Ok(_) | Err(LinkError::NotFound(_)) => Err(LinkError::ReservedWord(name)),
            Err(error) => Err(error),
        }
    }

    /// Tries the folds of the URL until one is free or belongs to this URL.
    async fn create_folded(&self, request: &CreateLink) -> Result<Creation, LinkError> {
        for attempt in 0..MAX_FOLDS {
            let code = Code::fold(&request.target, attempt);
            let name = LinkName::new(&code, &request.origin);
            if self.namespace.is_reserved(&name) || self.reserved.contains(&code) {
                continue;
            }
            match self.try_create(request, name).await? {
                Ok(creation) => return Ok(creation),
                Err(taken) => tracing::debug!(name = %taken, attempt, "fold collides"),
            }
        }
        Err(LinkError::NoFreeCode)
    }

    /// Makes a link by one conditional put, or reads the one that is known already. The inner error is the name,
    /// if another URL has it.
    async fn try_create(
        &self,
        request: &CreateLink,
        name: LinkName,
    ) -> Result<Result<Creation, LinkName>, StoreError> {
        if self.is_held(&name).await {
            let found =
                self.counted(within(ADMIN_DEADLINE, self.store.get_current(&name)).await)?;
            if let Some(link) = &found {
                // Another server may have made it, and this memory may not know that yet.
                self.memory.forget_older(&name, link.version);
            }
            match found.filter(|link| !link.is_expired(self.now())) {
                Some(link) if link.leads_to(&request.target, request.destinations.as_deref()) => {
                    self.await_filters(&name).await;
                    return Ok(Ok(Creation::Same(link)));
                }
                Some(_) => return Ok(Err(name)),
                None => {}
            }
        }
        let new = NewLink {
            name,
            target: request.target.clone(),
            destinations: request.destinations.clone(),
            created_by: request.created_by.clone(),
            expires_at: request.expires_at,
            ttl: request.ttl,
            about: request.about.clone(),
            withheld: request.withheld.clone(),
        };
        let (store, now) = (self.store.clone(), self.clock.micros());
        let name = new.name.clone();
        let announced = self.filter.as_ref().map(|filter| filter.announce(&name));
        let call = async move {
            let created = store.create(new, now).await;
            drop(announced);
            created
        };
        let created = self.write(
            &name,
            Evidence::Version(now),
            call,
            |created| match created {
                Created::New(link) => Written::Link(link.clone().into()),
                Created::Same(link) | Created::Taken(link) => Written::Kept(link.clone().into()),
            },
        );
        let (created, ()) = tokio::join!(created, self.prepare_wait());
        let created = created?;
        // Also if it was there: the server that has made it may still wait.
        self.await_filters(&name).await;
        Ok(match created {
            Created::New(link) => Ok(Creation::New(link)),
            Created::Same(link) => Ok(Creation::Same(link)),
            Created::Taken(link) => Err(link.name),
        })
    }

    /// Changes a live link; if `expected` is given, only a link of that version. A link that is withheld is changed only
    /// by those who may do that.
    ///
    /// # Errors
    /// [`LinkError`]; unless it is a [`LinkError::Store`], nothing was changed.
    pub async fn change(
        &self,
        name: &LinkName,
        expected: Option<Version>,
        change: Change,
        by: &Actor,
    ) -> Result<Link, LinkError> {
        let destinations = change.destinations.as_ref().and_then(Option::as_deref);
        self.check_targets(change.target.as_ref(), destinations)?;
        self.check_expiry(change.expires_at.flatten())?;
        let (store, now, key) = (self.store.clone(), self.clock.micros(), name.clone());
        let by = by.clone();
        let call = async move { store.change(&key, expected, change, &by, now).await };
        let changed = self.write(
            name,
            Evidence::Version(now),
            call,
            |changed| match changed {
                Changed::Changed(link) => Written::Link(link.clone().into()),
                Changed::Conflict(link) | Changed::Withheld(link) => {
                    Written::Kept(link.clone().into())
                }
                Changed::Absent => Written::Nothing,
            },
        );
        match changed.await? {
            Changed::Changed(link) => Ok(link),
            Changed::Absent => Err(LinkError::NotFound(name.clone())),
            Changed::Conflict(link) => Err(LinkError::VersionConflict(link.into())),
            Changed::Withheld(link) => Err(LinkError::Withheld(link.into())),
        }
    }

    /// Deletes a live link; if `expected` is given, only a link of that version. See [`Links::change`] for those that are
    /// withheld.
    ///
    /// # Errors
    /// [`LinkError`]; unless it is a [`LinkError::Store`], nothing was changed.
    pub async fn delete(
        &self,
        name: &LinkName,
        expected: Option<Version>,
        by: &Actor,
    ) -> Result<(), LinkError> {
        let (store, now, key) = (self.store.clone(), self.clock.micros(), name.clone());
        let by = by.clone();
        let call = async move { store.delete(&key, expected, &by, now).await };
        let deleted = self.write(name, Evidence::Absence, call, |deleted| match deleted {
            Deleted::Deleted(version) => Written::Deleted(*version),
            Deleted::Conflict(link) | Deleted::Withheld(link) => Written::Kept(link.clone().into()),
            Deleted::Absent => Written::Nothing,
        });
        match deleted.await? {
            Deleted::Deleted(_) => Ok(()),
            Deleted::Absent => Err(LinkError::NotFound(name.clone())),
            Deleted::Conflict(link) => Err(LinkError::VersionConflict(link.into())),
            Deleted::Withheld(link) => Err(LinkError::Withheld(link.into())),
        }
    }

    /// Checks all destinations.
    fn check_targets(
        &self,
        target: Option<&TargetUrl>,
        destinations: Option<&Destinations>,
    ) -> Result<(), LinkError> {
        let others = destinations.map(Destinations::others).unwrap_or_default();
        let urls = others.iter().map(|other| &other.url);
        target
            .into_iter()
            .chain(urls)
            .try_for_each(|url| self.check_target(url))
    }

    /// Refuses a destination in a zone served here: browsers would go in circles.
    fn check_target(&self, target: &TargetUrl) -> Result<(), LinkError> {
        match target.domain() {
            Some(domain) if self.namespace.classify_host(domain) != Host::Foreign => {
                Err(LinkError::OwnZone(domain.into()))
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

/// Ends the claim: puts the new state into Redis and announces it.
async fn end(claim: Option<WriteClaim>, written: &Written) {
    if let Some(claim) = claim {
        claim.finish(written).await;
    }
}

/// Makes memory forget a name when it is dropped.
struct ForgetAtEnd(Option<(Arc<Memory>, Arc<Own>, LinkName)>);

impl ForgetAtEnd {
    /// Leaves memory as it is.
    fn spare(mut self) {
        self.0 = None;
    }
}

impl Drop for ForgetAtEnd {
    fn drop(&mut self) {
        if let Some((memory, own, name)) = &self.0 {
            let was_flying = memory.forget(name);
            own.note_change(name, was_flying);
        }
    }
}
