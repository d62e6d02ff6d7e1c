//! How long calls of the store may take.

use std::future::Future;
use std::time::Duration;

use crate::store::StoreError;

/// How long a query may wait for its link. Resolvers ask again after 1 to 2 seconds; an answer that
/// comes later finds nobody.
pub(super) const RESOLVE_DEADLINE: Duration = Duration::from_millis(1_500);
/// How long an administrator's call may wait for the store.
pub(super) const ADMIN_DEADLINE: Duration = Duration::from_secs(10);
/// How long after its failure a change may still be carried out.
pub(super) const LATE_WRITE: Duration = Duration::from_secs(10);

/// Waits for a call of the store, but not for ever.
pub(super) async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(deadline, call)
        .await
        .unwrap_or(Err(StoreError::DeadlineExceeded))
}
