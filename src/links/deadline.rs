//! Deadlines for calls of the store.

use std::future::Future;
use std::time::Duration;

use crate::store::StoreError;

/// How long a query may wait for its link. Resolvers retry after 1 to 2 seconds and discard later answers.
pub(super) const RESOLVE_DEADLINE: Duration = Duration::from_millis(1_500);
/// How long an administrator's call may wait for the store.
pub(super) const ADMIN_DEADLINE: Duration = Duration::from_secs(10);
/// How long after the failure of a change the store may still make it.
pub(super) const LATE_WRITE: Duration = Duration::from_secs(10);

/// The result of a call, or an error after the deadline.
pub(super) async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(deadline, call)
        .await
        .unwrap_or(Err(StoreError::DeadlineExceeded))
}
