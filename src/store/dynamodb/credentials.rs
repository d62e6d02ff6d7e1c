//! Credentials that outlive the calls that ask for them.
//!
//! The credentials of a role end after an hour or so. The call that notices it gets new ones from STS, or from a
//! service of the machine or container. The SDK does that within the call: a read that runs out of time would
//! cancel the request for credentials, and the next read would start a new one, for ever if that service is slower
//! than a read may be. So here the request is a task of its own, one at a time, and later calls wait for it or use
//! its result.
//!
//! A failed request is not repeated at once: the SDK logs each failure, and a flood of queries must not become a
//! flood of requests and log lines.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

use super::failure;

/// How long a failure counts before the next attempt.
const FAILURE_TIME: Duration = Duration::from_secs(1);
/// Credentials that end within this time are not used. The SDK asks for new ones ten seconds before the end.
const LIFE_LEFT: Duration = Duration::from_secs(30);

type Loading = Shared<BoxFuture<'static, Result<Credentials, String>>>;

/// A source of credentials with at most one request at a time.
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

    /// The request under way, or the last one if its result can still be used, or a new one.
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

    /// A slow source that counts its requests.
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

    /// Asks, with little patience each time, until there is an outcome, and then once more. Returns how many
    /// requests the source has had after the first outcome and at the end.
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
    async fn credentials_that_end_soon_are_replaced() {
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
