//! The lease: of the servers of a store one orders certificates.
//!
//! The holder renews the lease while it works, and gives it back when it has nothing to do. When the holder dies,
//! another server takes over as soon as the time of the lease is over. Each put of the document changes its revision,
//! which is the fencing number: a holder that finds another revision has lost the lease, and stops. All documents that
//! it writes are put conditionally as well, so a holder that learns of its loss late does no harm.
//!
//! The times are those of the servers' clocks, which have to agree within seconds; a wrong clock costs a wasted order
//! at most.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::documents::{Documents, Name, NotPut, Read};
use super::failure::{Failure, FailureKind};
use crate::base::clock::{Clock, UnixTime};

/// How long a lease lasts, in seconds: after this time another server takes over from one that died.
const LEASE_TIME: u64 = 30;
/// A lease that lasts longer, in seconds, is that of a server whose clock was wrong. If that server died, no other one
/// would order until then.
const LONGEST_LEASE: u64 = 60 * 60;
/// How often the holder renews it: two failures in succession lose nothing.
const RENEWAL: Duration = Duration::from_secs(LEASE_TIME / 3);

/// The document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    /// The server that holds it: drawn at its start.
    holder: String,
    /// Until when, in seconds since the epoch; 0 if it was given back.
    until: u64,
}

/// A lease that this server holds.
#[derive(Debug)]
pub(super) struct Lease<'a> {
    documents: &'a Documents,
    clock: &'a Clock,
    holder: &'a str,
    revision: u64,
    until: UnixTime,
}

impl<'a> Lease<'a> {
    /// Takes the lease; none while another server holds it.
    ///
    /// # Errors
    /// A [`Failure`] of the store.
    pub(super) async fn take(
        documents: &'a Documents,
        clock: &'a Clock,
        holder: &'a str,
    ) -> Result<Option<Self>, Failure> {
        let read = documents.read::<Content>(Name::Lease).await?;
        let now = clock.now();
        let lasts = |until: u64| until > now.0 && until <= now.after(LONGEST_LEASE).0;
        let is_taken = |lease: &Content| lease.holder != holder && lasts(lease.until);
        if read.value.as_ref().is_some_and(is_taken) {
            return Ok(None);
        }
        let until = now.after(LEASE_TIME);
        let content = Content {
            holder: holder.into(),
            until: until.0,
        };
        match documents.put(Name::Lease, read.revision, &content).await {
            Ok(revision) => Ok(Some(Self {
                documents,
                clock,
                holder,
                revision,
                until,
            })),
            Err(NotPut::Conflict) => Ok(None),
            Err(NotPut::Failure(failure)) => Err(failure),
        }
    }

    /// Renews the lease again and again. Returns when it is lost.
    pub(super) async fn keep(&mut self) -> Failure {
        loop {
            sleep(RENEWAL).await;
            if let Err(lost) = self.renew().await {
                return lost;
            }
        }
    }

    /// Renews the lease. A failure of the store is no loss as long as the lease lasts.
    async fn renew(&mut self) -> Result<(), Failure> {
        let lost = |reason: &str| {
            let reason = format!("this server no longer orders certificates: {reason}");
            Failure::new(FailureKind::Store, reason)
        };
        let until = self.clock.now().after(LEASE_TIME);
        match self.put(until).await {
            Ok(revision) => (self.revision, self.until) = (revision, until),
            Err(NotPut::Conflict) if self.is_still_held().await => {}
            Err(NotPut::Conflict) => return Err(lost("another server has taken the lease")),
            Err(NotPut::Failure(failure)) if self.clock.now() >= self.until => {
                return Err(lost(&failure.reason));
            }
            Err(NotPut::Failure(_)) => {}
        }
        Ok(())
    }

    /// Whether the revision is one of this server's own: a put that failed may have been made all the same.
    async fn is_still_held(&mut self) -> bool {
        match self.documents.read::<Content>(Name::Lease).await {
            Ok(Read {
                revision: Some(revision),
                value: Some(lease),
            }) if lease.holder == self.holder => {
                (self.revision, self.until) = (revision, UnixTime(lease.until));
                true
            }
            _ => false,
        }
    }

    /// Gives the lease back, so that another server need not wait for its end. If that fails, it ends by itself.
    pub(super) async fn give_back(self) {
        let _ = self.put(UnixTime(0)).await;
    }

    async fn put(&self, until: UnixTime) -> Result<u64, NotPut> {
        let content = Content {
            holder: self.holder.into(),
            until: until.0,
        };
        let expected = Some(self.revision);
        self.documents.put(Name::Lease, expected, &content).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::certificates::acme::seal::SealingKey;
    use crate::store::SqliteStore;

    const NOW: UnixTime = UnixTime(1_700_000_000);

    fn documents(dir: &std::path::Path, clock: &Clock) -> Documents {
        Documents {
            store: Arc::new(SqliteStore::open(&dir.join("links.sqlite"), clock.clone()).unwrap()),
            key: SealingKey::load(&dir.join("key"), true).unwrap().0,
        }
    }

    #[tokio::test]
    async fn one_server_has_the_lease_until_its_time_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(NOW);
        let documents = documents(dir.path(), &clock);
        let take = async |holder| Lease::take(&documents, &clock, holder).await.unwrap();
        // It dies.
        let _first = take("first").await.unwrap();
        assert!(take("second").await.is_none());
        clock.set(NOW.after(LEASE_TIME - 1));
        assert!(take("second").await.is_none());
        clock.set(NOW.after(LEASE_TIME));
        let mut second = take("second").await.unwrap();
        // It renews as long as it works.
        clock.set(NOW.after(LEASE_TIME + 20));
        second.renew().await.unwrap();
        clock.set(NOW.after(LEASE_TIME + 40));
        assert!(take("first").await.is_none());
        second.give_back().await;
        assert!(take("first").await.is_some());
        // The clock of this one is a year ahead, and it dies.
        clock.set(NOW.after(365 * 24 * 60 * 60));
        let _ahead = take("ahead").await.unwrap();
        clock.set(NOW);
        assert!(take("first").await.is_some());
    }

    #[tokio::test]
    async fn a_server_that_lost_the_lease_stops() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(NOW);
        let documents = documents(dir.path(), &clock);
        let take = async |holder| Lease::take(&documents, &clock, holder).await.unwrap();
        let mut first = take("first").await.unwrap();
        // It slept, and another one took over.
        clock.set(NOW.after(LEASE_TIME));
        let second = take("second").await.unwrap();
        let lost = first.renew().await.unwrap_err();
        assert!(lost.reason.contains("another server has taken"), "{lost}");
        // It cannot give back what it does not have.
        first.give_back().await;
        assert!(take("third").await.is_none());
        second.give_back().await;
        assert!(take("third").await.is_some());
    }
}
