//! Credentials that outlive the calls that ask for them.
//!
//! Those of a role end after an hour or so, and the call that meets their end gets new ones from
//! STS, or from the machine's or container's own service. The SDK does that within the call: a read
//! that has no time left would take the request down with it, and the next one would begin anew,
//! for ever where the service is slower than a read may be. Here the request is a task of its own,
//! one at a time, and whoever asks next finds it under way or done.
//!
//! Where it fails it is not repeated at once: the SDK logs each failure, and a flood of queries must
//! not become a flood of requests and log lines.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

use super::failure;

/// How long a failure stands before there is another try.
const FAILURE_TIME: Duration = Duration::from_secs(1);
/// Credentials that end within this are not given again. The SDK asks ten seconds before the end.
const LIFE_LEFT: Duration = Duration::from_secs(30);

type Loading = Shared<BoxFuture<'static, Result<Credentials, String>>>;

/// A source of credentials, asked by one task at a time.
pub(super) struct Steady {
    source: SharedCredentialsProvider,
    last: Mutex<Option<(Instant, Loading)>>,
}

impl Steady {
    pub(super) fn new(source: SharedCredentialsProvider) -> Self {
        Self {
            source,
            last: Mutex::new(None),
        }
    }

    /// The request that is under way, or the last one if its result can still be used, or a new one.
    fn loading(&self) -> Loading {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((begun, loading)) = &*last {
            let usable = match loading.clone().now_or_never() {
                None => true,
                Some(Ok(credentials)) => lasts(&credentials),
                Some(Err(_)) => begun.elapsed() < FAILURE_TIME,
            };
            if usable {
                return loading.clone();
            }
        }
        let source = self.source.clone();
        let task = tokio::spawn(async move { source.provide_credentials().await });
        let loading = task
            .map(|done| match done {
                Ok(result) => result.map_err(|error| failure::chain(&error)),
                Err(error) => Err(error.to_string()),
            })
            .boxed()
            .shared();
        *last = Some((Instant::now(), loading.clone()));
        loading
    }
}

fn lasts(credentials: &Credentials) -> bool {
    credentials
        .expiry()
        .is_none_or(|end| end > SystemTime::now() + LIFE_LEFT)
}

impl ProvideCredentials for Steady {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let loading = self.loading();
        future::ProvideCredentials::new(async move {
            loading.await.map_err(CredentialsError::provider_error)
        })
    }
}

impl fmt::Debug for Steady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steady").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Takes its time, and counts how often it is asked.
    #[derive(Clone, Debug, Default)]
    struct Slow {
        asked: Arc<AtomicU32>,
        life: Option<Duration>,
        fails: bool,
    }

    impl ProvideCredentials for Slow {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::new(async move {
                self.asked.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(100)).await;
                if self.fails {
                    return Err(CredentialsError::provider_error("no luck"));
                }
                let end = self.life.map(|life| SystemTime::now() + life);
                Ok(Credentials::new("id", "secret", None, end, "test"))
            })
        }
    }

    /// Asks until there is an outcome, with little patience each time; gives how often the source
    /// was asked, and then once more after another full call.
    async fn check(slow: Slow, good: bool, expected: (u32, u32)) {
        let steady = Steady::new(SharedCredentialsProvider::new(slow.clone()));
        let outcome = loop {
            let call = steady.provide_credentials();
            if let Ok(outcome) = tokio::time::timeout(Duration::from_millis(10), call).await {
                break outcome;
            }
        };
        assert_eq!(outcome.is_ok(), good, "{outcome:?}");
        let first = slow.asked.load(Ordering::SeqCst);
        let again = steady.provide_credentials().await;
        assert_eq!(again.is_ok(), good, "{again:?}");
        assert_eq!((first, slow.asked.load(Ordering::SeqCst)), expected);
    }

    #[tokio::test]
    async fn impatient_calls_share_one_request() {
        let hour = Some(Duration::from_secs(3_600));
        let slow = |life, fails| Slow {
            life,
            fails,
            ..Slow::default()
        };
        check(slow(None, false), true, (1, 1)).await;
        check(slow(hour, false), true, (1, 1)).await;
        check(slow(None, true), false, (1, 1)).await;
    }

    #[tokio::test]
    async fn what_ends_soon_is_replaced() {
        let source = Slow {
            life: Some(Duration::from_secs(5)),
            ..Slow::default()
        };
        let steady = Steady::new(SharedCredentialsProvider::new(source.clone()));
        for asked in 1..=2 {
            steady.provide_credentials().await.unwrap();
            assert_eq!(source.asked.load(Ordering::SeqCst), asked);
        }
    }
}
