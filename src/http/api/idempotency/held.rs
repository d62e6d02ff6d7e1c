//! A request that has its key: the work under the lease, and what becomes of the outcome.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::response::Response;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::Instrument;

use super::{Outcome, is_final};
use crate::base::metrics::KeyUse;
use crate::http::api::Admin;
use crate::http::problem::Problem;
use crate::http::serve::request_log::RequestId;
use crate::store::StoreError;
use crate::store::idempotency::{Claim, LEASE};

/// How often the lease is extended: a store that does not answer for half a minute does not end it.
const EXTEND_EVERY: Duration = Duration::from_secs(LEASE / 3);
/// How often an outcome is sent again that the store did not keep, and the pause before each further time. Together they
/// take as long as a repeat may have to wait for the lease.
const KEEP_TRIES: usize = 12;
const KEEP_PAUSE: Duration = Duration::from_secs(5);
/// How long the response to a request that has failed waits until its key is given up.
const GIVE_UP_TIME: Duration = Duration::from_secs(2);

/// A key that a request has claimed.
pub(in crate::http::api) struct Held {
    admin: Arc<Admin>,
    claim: Claim,
    /// One of the places for requests in work.
    _place: OwnedSemaphorePermit,
}

impl Held {
    pub(super) fn new(admin: &Arc<Admin>, claim: &Claim, place: OwnedSemaphorePermit) -> Self {
        Self {
            admin: Arc::clone(admin),
            claim: *claim,
            _place: place,
        }
    }

    /// Carries a request out and keeps its outcome, in a task of its own. Returns the response.
    pub(in crate::http::api) async fn carry_out(
        self,
        id: RequestId,
        work: impl Future<Output = Response> + Send + 'static,
    ) -> Result<Response, Problem> {
        let (reply, response) = oneshot::channel();
        let links = Arc::clone(&self.admin.links);
        let task = async move {
            let response = self.during(work).await;
            if !is_final(response.status()) {
                return self.end(None, || drop(reply.send(Ok(response)))).await;
            }
            match Outcome::of(response, &id).await {
                Ok(outcome) => {
                    let kept = outcome.pack();
                    let answer = || drop(reply.send(Ok(outcome.into_response())));
                    self.end(Some(kept), answer).await;
                }
                // The bodies of these responses are in memory.
                Err(error) => {
                    let error = StoreError::Unavailable(error.to_string());
                    self.end(None, || drop(reply.send(Err(error)))).await;
                }
            }
        };
        links.carry_out(Box::pin(task.in_current_span()));
        let broken = |_| StoreError::Unavailable("the request broke off".into());
        Ok(response.await.map_err(broken).flatten()?)
    }

    /// Waits for some work, and has the lease last that long.
    pub(in crate::http::api) async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            never = self.extend() => match never {},
        }
    }

    async fn extend(&self) -> Infallible {
        loop {
            tokio::time::sleep(EXTEND_EVERY).await;
            let Claim { id, holder, .. } = self.claim;
            match self.admin.links.extend_key(id, holder, LEASE).await {
                Ok(true) => {}
                // Another server has found the lease over. What this one does is still safe.
                Ok(false) => tracing::debug!("a request has lost its idempotency key"),
                Err(error) => tracing::debug!(%error, "cannot extend an idempotency key"),
            }
        }
    }

    /// Keeps the outcome, or gives the key up if there is none. `answer` sends the response, after the first attempt to
    /// keep the outcome: the change was made, so the caller gets its outcome even if a repeat will not.
    pub(in crate::http::api) async fn end(self, outcome: Option<Vec<u8>>, answer: impl FnOnce()) {
        let Some(outcome) = outcome else {
            // If the store does not answer in this time, the lease ends by itself.
            let _ = tokio::time::timeout(GIVE_UP_TIME, self.give_up()).await;
            answer();
            return;
        };
        let mut kept = self.keep(&outcome).await;
        answer();
        for _ in 0..KEEP_TRIES {
            // The server stops: the next one carries a repeat out.
            if kept.is_ok() || self.admin.draining.load(Ordering::Relaxed) {
                break;
            }
            tokio::time::sleep(KEEP_PAUSE).await;
            kept = self.keep(&outcome).await;
        }
        if let Err(error) = kept {
            self.admin.metrics.count_key_use(KeyUse::NotKept);
            tracing::warn!(
                %error,
                "the outcome of a request with an idempotency key was not kept; a repeat will be carried out"
            );
        }
    }

    async fn keep(&self, outcome: &[u8]) -> Result<(), StoreError> {
        let Claim { id, holder, .. } = self.claim;
        let links = &self.admin.links;
        let kept = links.keep_outcome(id, holder, outcome.to_vec()).await?;
        if !kept {
            tracing::debug!("an idempotency key has an outcome already, or another holder");
        }
        Ok(())
    }

    /// Gives the key up. If that fails, the lease ends by itself.
    async fn give_up(&self) {
        let Claim { id, holder, .. } = self.claim;
        if let Err(error) = self.admin.links.extend_key(id, holder, 0).await {
            tracing::debug!(%error, "cannot give an idempotency key up");
        }
    }

    pub(super) fn give_up_in_background(self) {
        let links = Arc::clone(&self.admin.links);
        links.carry_out(async move { self.give_up().await });
    }
}
