//! Calls of a store that are repeated while they may succeed, and reads of many links.

use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use crate::link::{Link, LinkName};
use crate::store::{Examined, Store, StoreError};

/// How many times a call is made at most.
const TRIES: u32 = 8;
/// The pause before the second try; each further pause is twice as long, up to the longest.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How many links are in a page.
pub(super) const PAGE: usize = 1_000;
/// How many links are read at the same time, one by one.
const AT_ONCE: usize = 64;
/// How many names a batch has, and how many batches are read at the same time.
const BATCH: usize = 100;
const BATCHES: usize = 8;

/// Makes a call until it succeeds or fails for good. Only for calls that can be repeated.
///
/// # Errors
/// The last failure.
pub(super) async fn insist<T, F>(call: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match call().await {
            Err(error) if may_pass(&error) => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            other => return other,
        }
    }
    call().await
}

fn may_pass(error: &StoreError) -> bool {
    match error {
        StoreError::Unreachable(_)
        | StoreError::Throttled(_)
        | StoreError::Unavailable(_)
        | StoreError::Overloaded
        | StoreError::DeadlineExceeded => true,
        StoreError::Refused(_) | StoreError::Corrupt { .. } => false,
    }
}

/// A page of a store: its valid links, and for each damaged one what is wrong with it.
///
/// # Errors
/// The store fails for good.
pub(super) async fn examine(
    store: &dyn Store,
    after: Option<&LinkName>,
) -> Result<Examined, StoreError> {
    insist(|| store.examine(after, PAGE)).await
}

/// What a store has of each of these names, in their order. A damaged link is an error of its own.
///
/// # Errors
/// The store fails for good.
pub(super) async fn read_many(
    store: &dyn Store,
    names: &[LinkName],
) -> Result<Vec<Result<Option<Link>, StoreError>>, StoreError> {
    let found = match store.prefers_batches() {
        true => {
            let batches = stream::iter(names.chunks(BATCH)).map(|names| store.get_many(names));
            let batches: Vec<_> = batches.buffered(BATCHES).collect().await;
            batches.into_iter().flatten().collect()
        }
        false => {
            let each = stream::iter(names).map(|name| store.get(name));
            each.buffered(AT_ONCE).collect::<Vec<_>>().await
        }
    };
    let mut results = Vec::with_capacity(names.len());
    for (name, found) in names.iter().zip(found) {
        let found = match found {
            Err(error) if may_pass(&error) => insist(|| store.get(name)).await,
            found => found,
        };
        match found {
            Err(error @ StoreError::Corrupt { .. }) => results.push(Err(error)),
            found => results.push(Ok(found?)),
        }
    }
    Ok(results)
}
