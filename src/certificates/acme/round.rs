//! Ordering: which zones are due, who may order, and what comes of it.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::account::{self, Registered};
use super::certificate::{Certificate, CertificateDocument};
use super::documents::{Name, NotPut};
use super::engine::{Access, Acme};
use super::failure::{Cause, Failure, FailureKind};
use super::lease::Lease;
use super::order::Ordering;
use super::schedule::Window;
use super::state::{Due, LONGEST_ATTEMPT};
use crate::base::clock::UnixTime;
use crate::base::metrics::{AcmeFailure, AcmeOrder, Outcome};
use crate::link::Origin;
use crate::store::audit::{Action, Actor, Event, Object};

/// How often the server checks whether a zone is due. It is also checked when an operator asks for an order.
const TICK: Duration = Duration::from_secs(1);
/// How long a server waits that could not take the lease.
const LEASE_PAUSE: Duration = Duration::from_secs(5);
/// How many zones order at once.
const CONCURRENT_ORDERS: usize = 4;

/// What the orders of one round share.
#[derive(Default)]
struct Round {
    account: OnceCell<Result<Registered, Failure>>,
    /// Held while an account is registered in place of one that the directory does not know any more.
    replacing: Mutex<()>,
}

/// The answer to a look at the renewal information (RFC 9773 §4.2).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RenewalInfo {
    suggested_window: SuggestedWindow,
}

#[derive(Deserialize)]
struct SuggestedWindow {
    start: String,
    end: String,
}

impl Acme {
    /// Orders for zones that are due, until the server stops. Then it gives the lease back, so that another server goes
    /// on at once with an order that is under way.
    pub(super) async fn order(&self, stop: &CancellationToken) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut not_before = Instant::now();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.wake.notified() => {}
                () = stop.cancelled() => return,
            }
            self.warn_of_ends();
            let due = self.due_zones();
            if due.is_empty() || Instant::now() < not_before {
                continue;
            }
            if !self.round(&due, stop).await {
                not_before = Instant::now() + LEASE_PAUSE;
                // The holder may be doing what is due.
                for origin in &due {
                    if let Err(failure) = self.refresh(origin).await {
                        self.note_store(Access::Read, Some(&failure));
                        break;
                    }
                }
            }
        }
    }

    fn due_zones(&self) -> Vec<Origin> {
        let (now, directory) = (self.clock.now(), &self.settings.directory);
        let entries = self.entries();
        let due = entries.iter().filter(|(origin, entry)| {
            let certificate = entry.certificate.as_ref();
            entry.state.due(origin, certificate, directory, now) != Due::Nothing
        });
        due.map(|(origin, _)| origin.clone()).collect()
    }

    /// Takes the lease and does what is due. Returns whether this server had the lease.
    async fn round(&self, due: &[Origin], stop: &CancellationToken) -> bool {
        let lease = Lease::take(&self.documents, &self.clock, &self.holder).await;
        self.note_store(Access::Write, lease.as_ref().err());
        let mut lease = match lease {
            Ok(Some(lease)) => lease,
            Ok(None) | Err(_) => return false,
        };
        let round = Round::default();
        let attempts = stream::iter(due)
            .for_each_concurrent(CONCURRENT_ORDERS, |origin| self.attempt(origin, &round));
        let is_lost = tokio::select! {
            lost = lease.keep() => Some(lost),
            () = attempts => None,
            () = stop.cancelled() => None,
        };
        match is_lost {
            Some(lost) => {
                tracing::warn!("{lost}");
                false
            }
            None => {
                lease.give_back().await;
                true
            }
        }
    }

    /// Does what is due for a zone, after a look at what other servers have done meanwhile.
    async fn attempt(&self, origin: &Origin, round: &Round) {
        if let Err(failure) = self.refresh(origin).await {
            self.fail(origin, &failure).await;
            return;
        }
        let (certificate, state) = {
            let entries = self.entries();
            let Some(entry) = entries.get(origin) else {
                return;
            };
            (entry.certificate.clone(), entry.state.clone())
        };
        let (now, directory) = (self.clock.now(), &self.settings.directory);
        match state.due(origin, certificate.as_ref(), directory, now) {
            Due::Order => self.order_for(origin, certificate.as_ref(), round).await,
            Due::Look => {
                if let Some(certificate) = &certificate {
                    self.look(origin, certificate).await;
                }
            }
            Due::Nothing => {}
        }
    }

    async fn order_for(&self, origin: &Origin, current: Option<&Certificate>, round: &Round) {
        let (now, directory) = (self.clock.now(), &self.settings.directory);
        if let Err(failure) = self
            .change_state(origin, |state| state.begin(now, directory))
            .await
        {
            self.fail(origin, &failure).await;
            return;
        }
        let longest = Duration::from_secs(LONGEST_ATTEMPT);
        let obtained = timeout(longest, self.obtain(origin, current, round)).await;
        let obtained = obtained.unwrap_or_else(|_| {
            let reason = format!("the attempt took more than {LONGEST_ATTEMPT} s");
            Err(Failure::new(FailureKind::Directory, reason))
        });
        match obtained {
            Ok(end) => {
                let now = self.clock.now();
                let changed = self.change_state(origin, |state| state.succeed(now, end));
                self.note_store(Access::Write, changed.await.err().as_ref());
                let outcome = Outcome::Success;
                self.count_order(outcome);
            }
            Err(failure) => {
                self.fail(origin, &failure).await;
                self.count_order(Outcome::Failure);
            }
        }
    }

    /// Gets a certificate, keeps it in the store and uses it. Returns its end.
    async fn obtain(
        &self,
        origin: &Origin,
        current: Option<&Certificate>,
        round: &Round,
    ) -> Result<UnixTime, Failure> {
        let ensure = || {
            account::ensure(
                &self.documents,
                &self.settings,
                self.external.as_ref(),
                &self.client,
            )
        };
        let registered = round.account.get_or_init(ensure).await.clone()?;
        match self.obtain_with(origin, current, &registered).await {
            Err(Failure {
                cause: Cause::UnknownAccount,
                ..
            }) => {
                let unknown = registered.facts().uri;
                let one_at_a_time = round.replacing.lock().await;
                // The order of another zone may have replaced it by now.
                if account::forget(&self.documents, &unknown).await? {
                    tracing::warn!(
                        account = unknown,
                        "the directory does not know the ACME account any more; registering a new one"
                    );
                }
                let registered = ensure().await?;
                drop(one_at_a_time);
                self.obtain_with(origin, current, &registered).await
            }
            obtained => obtained,
        }
    }

    async fn obtain_with(
        &self,
        origin: &Origin,
        current: Option<&Certificate>,
        registered: &Registered,
    ) -> Result<UnixTime, Failure> {
        let facts = registered.facts();
        self.set_account(facts.clone());
        let (account, client) = registered.open().await?;
        let ordering = Ordering {
            settings: &self.settings,
            documents: &self.documents,
            challenges: &self.challenges,
            zones: &*self.zones,
            clock: &self.clock,
            origin,
            account,
            facts: &facts,
            client,
            current,
            offered: std::sync::Mutex::default(),
        };
        let document = ordering.obtain().await?;
        let end = self.keep(origin, &document).await?;
        if let Err(failure) = ordering.close().await {
            tracing::debug!(zone = %origin, %failure, "the finished order is not forgotten yet");
        }
        Ok(end)
    }

    /// Keeps a certificate in the store and uses it. Returns its end.
    async fn keep(
        &self,
        origin: &Origin,
        document: &CertificateDocument,
    ) -> Result<UnixTime, Failure> {
        let failed = |reason: String| Failure::new(FailureKind::Certificate, reason);
        let certificate = document.read(origin).map_err(failed)?;
        let (expected, before) = {
            let entries = self.entries();
            let entry = entries.get(origin);
            let before = entry.and_then(|entry| entry.certificate.as_ref());
            let before = before.map(|before| before.facts.audited());
            (entry.and_then(|entry| entry.revision), before)
        };
        let event = Event {
            at: self.clock.millis(),
            actor: Actor::ACME.into(),
            action: Action::CertificateIssued,
            object: Object::Certificate(origin.as_str().into()),
            before,
            after: Some(certificate.facts.audited()),
        };
        let name = Name::Certificate(origin);
        let put = self
            .documents
            .put_noting(name, expected, document, Some(event));
        match put.await {
            Ok(revision) => {
                self.install(origin, revision, document);
                Ok(certificate.facts.not_after)
            }
            Err(NotPut::Failure(failure)) => Err(failure),
            Err(NotPut::Conflict) => {
                let reason = "another server has put a certificate at the same time";
                Err(Failure::new(FailureKind::Store, reason))
            }
        }
    }

    /// Looks whether the directory suggests another time for the renewal.
    async fn look(&self, origin: &Origin, certificate: &Certificate) {
        let client = self.client.apart();
        let looked = self.renewal_window(&client, certificate).await;
        let window = looked.unwrap_or_else(|error| {
            tracing::debug!(zone = %origin, %error, "no renewal information");
            None
        });
        let (now, retry_after) = (self.clock.now(), client.retry_after());
        let changed = self.change_state(origin, |state| state.look(now, window, retry_after));
        self.note_store(Access::Write, changed.await.err().as_ref());
    }

    /// The window that the directory suggests; none if it suggests none (RFC 9773 §4).
    async fn renewal_window(
        &self,
        client: &super::http::DirectoryClient,
        certificate: &Certificate,
    ) -> Result<Option<Window>, instant_acme::Error> {
        client.get(&self.settings.directory).await?;
        let url = client
            .directory()
            .and_then(|directory| directory.renewal_info);
        let (Some(url), Some(identifier)) = (url, &certificate.identifier) else {
            return Ok(None);
        };
        let url = format!("{}/{identifier}", url.trim_end_matches('/'));
        let info: RenewalInfo = serde_json::from_slice(&client.get(&url).await?)?;
        let read = |text: &str| UnixTime::parse(text).map(|time| time.0);
        let SuggestedWindow { start, end } = info.suggested_window;
        let window = read(&start).zip(read(&end));
        let window = window.map(|(start, end)| Window { start, end });
        // RFC 9773 §4.2: a window that ends before it begins is as good as none.
        Ok(window.filter(|window| window.start < window.end))
    }

    /// Keeps and counts a failure, and logs it unless the last one was the same.
    async fn fail(&self, origin: &Origin, failure: &Failure) {
        let kind = failure.kind.name();
        self.metrics
            .acme_failures
            .get_or_create(&AcmeFailure { kind })
            .inc();
        let before = self
            .entries()
            .get(origin)
            .and_then(|entry| entry.state.failure.clone());
        let now = self.clock.now();
        let changed = self.change_state(origin, |state| state.fail(origin, now, failure));
        self.note_store(Access::Write, changed.await.err().as_ref());
        let is_new = before.is_none_or(|before| {
            (before.kind, before.reason.as_str()) != (failure.kind, failure.reason.as_str())
        });
        if is_new {
            let next = self
                .entries()
                .get(origin)
                .and_then(|entry| entry.state.not_before);
            let next = next.map(|next| UnixTime(next).rfc3339());
            tracing::warn!(zone = %origin, kind, next, "no new certificate: {failure}");
        }
    }

    fn count_order(&self, result: Outcome) {
        self.metrics
            .acme_orders
            .get_or_create(&AcmeOrder { result })
            .inc();
    }
}
