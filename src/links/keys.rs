//! Idempotency keys: the calls of the store with a deadline, and the tasks of requests that have a key.

use super::Links;
use super::deadline::{ADMIN_DEADLINE, within};
use crate::store::StoreError;
use crate::store::idempotency::{Claim, Claimed, KeyId};

impl Links {
    /// Claims a key; see [`Store::claim_key`](crate::store::Store::claim_key).
    ///
    /// # Errors
    /// [`StoreError`]; if it is not certain, the request may have the key until its lease ends.
    pub async fn claim_key(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        let claimed = within(ADMIN_DEADLINE, self.store.claim_key(claim, self.now())).await;
        self.counted(claimed)
    }

    /// Has the lease of a holder end in so many seconds; with 0, gives the key up. False if the holder no longer has it.
    ///
    /// # Errors
    /// [`StoreError`]; the lease may have its former end.
    pub async fn extend_key(
        &self,
        id: KeyId,
        holder: u64,
        seconds: u64,
    ) -> Result<bool, StoreError> {
        let until = self.now().after(seconds);
        let extended = self.store.extend_key(id, holder, until);
        self.counted(within(ADMIN_DEADLINE, extended).await)
    }

    /// Keeps the outcome of a request; see [`Store::keep_outcome`](crate::store::Store::keep_outcome).
    ///
    /// # Errors
    /// [`StoreError`]; if it is not certain, the outcome may have been kept.
    pub async fn keep_outcome(
        &self,
        id: KeyId,
        holder: u64,
        outcome: Vec<u8>,
    ) -> Result<bool, StoreError> {
        let kept = self.store.keep_outcome(id, holder, outcome, self.now());
        self.counted(within(ADMIN_DEADLINE, kept).await)
    }

    /// Carries a request out in a task, which goes on when its client disconnects. [`Links::finish_writes`] waits for
    /// it.
    pub fn carry_out(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.writes.spawn(work);
    }
}
