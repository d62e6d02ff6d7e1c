//! The engine: the certificates of all zones in memory, and how they follow the store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::{StreamExt as _, stream};
use instant_acme::ExternalAccountKey;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::account::Accounts;
use super::certificate::{Certificate, CertificateDocument, decode_key};
use super::documents::{Documents, Name, NotPut};
use super::failure::{Cause, Failure, FailureKind};
use super::http::DirectoryClient;
use super::seal::SealingKey;
use super::settings::{AcmeError, AcmeSettings};
use super::state::ZoneState;
use super::status::{CertificateStatus, status};
use super::zones::{AccountFacts, CertificateZones};
use crate::base::clock::{Clock, UnixTime};
use crate::base::metrics::{Metrics, ZoneLabel};
use crate::certificates::{Challenges, Issued};
use crate::link::Origin;
use crate::store::Store;
use crate::store::audit::{Action, Actor, Event, Object};

/// How often a server looks for certificates of other servers.
const POLL: Duration = Duration::from_secs(30);
/// The least time between the reads of two zones, so that many zones do not burden the store.
const ZONE_PAUSE: Duration = Duration::from_millis(50);
/// How many zones are read at once at the start.
const START_READS: usize = 8;
/// How long the start waits for the certificates in the store.
const START_TIME: Duration = Duration::from_secs(5);
/// How often a document is put again when another server was first.
const PUT_TRIES: usize = 4;
/// How often the log warns of a certificate that ends soon, in seconds.
const WARNING_DISTANCE: u64 = 24 * 60 * 60;

/// The ACME engine of a server (RFC 8555); see the [module](super).
pub struct Acme {
    pub(super) settings: AcmeSettings,
    pub(super) external: Option<ExternalAccountKey>,
    pub(super) documents: Documents,
    pub(super) challenges: Arc<Challenges>,
    pub(super) zones: Arc<dyn CertificateZones>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) client: DirectoryClient,
    /// How the lease names this server.
    pub(super) holder: String,
    /// Wakes the task that orders.
    pub(super) wake: Notify,
    issued: Arc<Issued>,
    entries: Mutex<BTreeMap<Origin, Entry>>,
    account: ArcSwapOption<AccountFacts>,
    changes: watch::Sender<()>,
    /// The last failures of the store that were logged: of reads, and of writes.
    store_failures: Mutex<[Option<String>; 2]>,
}

/// What this server knows of a zone.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) certificate: Option<Certificate>,
    /// The revision of the document of the certificate.
    pub(super) revision: Option<u64>,
    pub(super) state: ZoneState,
    state_revision: Option<u64>,
    /// When the log has warned of its end.
    warned: Option<UnixTime>,
}

/// How the store is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// Why an order cannot be asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderNowError {
    /// No zone with links has this origin.
    #[error("no zone with links has the origin {0}")]
    UnknownZone(Origin),
    /// The store does not take the request.
    #[error("{0}")]
    Store(String),
}

impl Acme {
    /// Reads the files of the settings. This blocks.
    ///
    /// # Errors
    /// [`AcmeError`] names the file and what to do.
    pub fn new(
        settings: AcmeSettings,
        store: Arc<dyn Store>,
        challenges: Arc<Challenges>,
        zones: Arc<dyn CertificateZones>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, AcmeError> {
        let (key, is_new) = SealingKey::load(&settings.key_file, settings.create_key_file)?;
        if is_new {
            let file = settings.key_file.display();
            tracing::info!(%file, "key file for certificates made; back it up with the store");
        }
        let external = settings.external_account.as_ref();
        let external = external.map(|account| account.load()).transpose()?;
        let client = settings.client(&clock)?;
        let origins = zones.origins();
        let holder = holder(&*store);
        Ok(Self {
            external,
            documents: Documents { store, key },
            challenges,
            client,
            holder,
            wake: Notify::new(),
            issued: Arc::new(Issued::new(&origins)),
            entries: Mutex::new(origins.into_iter().map(|o| (o, Entry::default())).collect()),
            account: ArcSwapOption::empty(),
            changes: watch::Sender::new(()),
            store_failures: Mutex::default(),
            settings,
            zones,
            clock,
            metrics,
        })
    }

    /// Reads the certificates in the store, so that they are served from the beginning. A store that cannot be read,
    /// or not in time, does not stop the start: [`Acme::run`] reads it again.
    ///
    /// # Errors
    /// [`AcmeError::OtherKey`] if another key file has sealed them.
    pub async fn load(&self) -> Result<(), AcmeError> {
        let load = async {
            self.refresh_account().await?;
            let origins = self.origins();
            let reads = stream::iter(&origins).map(|origin| self.refresh(origin));
            let mut reads = reads.buffer_unordered(START_READS);
            while let Some(read) = reads.next().await {
                read?;
            }
            Ok(())
        };
        match timeout(START_TIME, load).await {
            Ok(Err(Failure {
                cause: Cause::OtherKey,
                reason,
                ..
            })) => Err(AcmeError::OtherKey(reason)),
            Ok(Err(failure)) => {
                self.note_store(Access::Read, Some(&failure));
                Ok(())
            }
            Ok(Ok(())) => Ok(()),
            Err(_) => {
                tracing::warn!("the store has not sent all certificates yet; the start goes on");
                Ok(())
            }
        }
    }

    /// Orders certificates and follows those of other servers, until the server stops.
    pub async fn run(&self, stop: &CancellationToken) {
        tokio::join!(stop.run_until_cancelled(self.follow()), self.order(stop));
    }

    /// The certificates in use, for TLS.
    pub fn issued(&self) -> Arc<Issued> {
        Arc::clone(&self.issued)
    }

    /// The account at the directory, once it is registered.
    pub fn account(&self) -> Option<Arc<AccountFacts>> {
        self.account.load_full()
    }

    /// Reports each new certificate, and the account.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Whether a zone has a certificate.
    pub fn has_certificate(&self, origin: &Origin) -> bool {
        let entries = self.entries();
        let entry = entries.get(origin);
        entry.is_some_and(|entry| entry.certificate.is_some())
    }

    /// The certificates of all zones, in the order of their names.
    pub fn status(&self) -> Vec<CertificateStatus> {
        let (now, directory) = (self.clock.now(), &self.settings.directory);
        let entries = self.entries();
        let entries = entries.iter();
        let status = entries.map(|(origin, entry)| {
            let certificate = entry.certificate.as_ref();
            status(origin, certificate, &entry.state, directory, now)
        });
        status.collect()
    }

    /// Has a certificate ordered at once, whether one is due or not, and although the last attempt has failed.
    ///
    /// # Errors
    /// [`OrderNowError`] if there is no such zone, or if the store does not take the request.
    pub async fn order_now(&self, origin: &Origin, by: &Actor) -> Result<(), OrderNowError> {
        if !self.entries().contains_key(origin) {
            return Err(OrderNowError::UnknownZone(origin.clone()));
        }
        let event = Event {
            at: self.clock.millis(),
            actor: by.clone(),
            action: Action::CertificateOrdered,
            object: Object::Certificate(origin.as_str().into()),
            before: None,
            after: None,
        };
        let changed = self.change_state_noting(origin, ZoneState::force, Some(event));
        changed
            .await
            .map_err(|failure| OrderNowError::Store(failure.reason))?;
        self.wake.notify_one();
        Ok(())
    }

    /// Reads certificates and states of all zones again and again.
    async fn follow(&self) {
        loop {
            sleep(POLL.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
            let mut last = self.refresh_account().await;
            for origin in self.origins() {
                if last.is_err() {
                    break;
                }
                sleep(ZONE_PAUSE).await;
                last = self.refresh(&origin).await;
            }
            self.note_store(Access::Read, last.err().as_ref());
        }
    }

    /// Reads the account.
    async fn refresh_account(&self) -> Result<(), Failure> {
        let accounts = self.documents.read::<Accounts>(Name::Account).await?.value;
        if let Some(facts) = accounts.and_then(|all| all.facts(&self.settings.directory)) {
            self.set_account(facts);
        }
        Ok(())
    }

    pub(super) fn set_account(&self, facts: AccountFacts) {
        if self.account.load().as_deref() != Some(&facts) {
            self.account.store(Some(Arc::new(facts)));
            self.changes.send_replace(());
        }
    }

    /// Reads certificate and state of a zone.
    pub(super) async fn refresh(&self, origin: &Origin) -> Result<(), Failure> {
        let name = Name::Certificate(origin);
        let certificate = self.documents.read::<CertificateDocument>(name).await?;
        // An older one is of a backup that was restored. The newer one stays in use, and the next one replaces both.
        if let Some(entry) = self.entries().get_mut(origin) {
            entry.revision = entry.revision.min(certificate.revision);
        }
        if let (Some(revision), Some(document)) = (certificate.revision, certificate.value) {
            self.install(origin, revision, &document);
        }
        self.refresh_state(origin).await
    }

    async fn refresh_state(&self, origin: &Origin) -> Result<(), Failure> {
        let state = self.documents.read(Name::State(origin)).await?;
        if let Some(entry) = self.entries().get_mut(origin)
            && entry.state_revision < state.revision
        {
            entry.state = state.value.unwrap_or_default();
            entry.state_revision = state.revision;
        }
        Ok(())
    }

    /// Puts a certificate into use, unless this server knows its revision, or a later one.
    pub(super) fn install(&self, origin: &Origin, revision: u64, document: &CertificateDocument) {
        let is_known = |entry: &Entry| entry.revision.is_some_and(|known| known >= revision);
        if self.entries().get(origin).is_none_or(is_known) {
            return;
        }
        let read = document.read(origin);
        let used = read.and_then(|certificate| {
            let certified = Arc::clone(&certificate.certified);
            let key = decode_key(&document.key).ok_or("the key is not base64")?;
            let set = self.issued.set(origin, certified, &key.into());
            set.map(|()| certificate).map_err(|error| error.to_string())
        });
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(origin) else {
            return;
        };
        entry.revision = Some(revision);
        match used {
            Ok(certificate) => {
                let facts = &certificate.facts;
                let (serial, until) = (&facts.serial, facts.not_after.rfc3339());
                tracing::info!(zone = %origin, serial, until, "certificate in use");
                let end = i64::try_from(facts.not_after.0).unwrap_or(i64::MAX);
                let label = ZoneLabel {
                    zone: origin.to_string(),
                };
                self.metrics.certificate_ends.get_or_create(&label).set(end);
                entry.certificate = Some(certificate);
                entry.warned = None;
            }
            Err(reason) => {
                tracing::error!(zone = %origin, "the certificate in the store cannot be used: {reason}");
            }
        }
        drop(entries);
        self.changes.send_replace(());
    }

    /// Changes the state of a zone, here and in the store. The change holds here even if the store does not take it.
    pub(super) async fn change_state(
        &self,
        origin: &Origin,
        change: impl Fn(&mut ZoneState),
    ) -> Result<(), Failure> {
        self.change_state_noting(origin, change, None).await
    }

    /// The same, together with an entry of the audit log.
    async fn change_state_noting(
        &self,
        origin: &Origin,
        change: impl Fn(&mut ZoneState),
        event: Option<Event>,
    ) -> Result<(), Failure> {
        for _ in 0..PUT_TRIES {
            let Some((state, revision)) = self.changed_state(origin, &change) else {
                return Ok(());
            };
            match self
                .documents
                .put_noting(Name::State(origin), revision, &state, event.clone())
                .await
            {
                Ok(revision) => {
                    if let Some(entry) = self.entries().get_mut(origin) {
                        entry.state = state;
                        entry.state_revision = Some(revision);
                    }
                    return Ok(());
                }
                Err(NotPut::Conflict) => {
                    // What the store has counts, even if that is older: a backup may have been restored.
                    if let Some(entry) = self.entries().get_mut(origin) {
                        entry.state_revision = None;
                    }
                    self.refresh_state(origin).await?;
                }
                Err(NotPut::Failure(failure)) => {
                    if let Some(entry) = self.entries().get_mut(origin) {
                        entry.state = state;
                    }
                    return Err(failure);
                }
            }
        }
        // Without its delay the next attempt would follow at once.
        if let Some((state, _)) = self.changed_state(origin, &change)
            && let Some(entry) = self.entries().get_mut(origin)
        {
            entry.state = state;
        }
        let reason = "other servers change the state of the zone again and again";
        Err(Failure::new(FailureKind::Store, reason))
    }

    fn changed_state(
        &self,
        origin: &Origin,
        change: impl Fn(&mut ZoneState),
    ) -> Option<(ZoneState, Option<u64>)> {
        let entries = self.entries();
        let entry = entries.get(origin)?;
        let mut state = entry.state.clone();
        change(&mut state);
        Some((state, entry.state_revision))
    }

    /// Warns once a day of each certificate that ends soon or has ended.
    pub(super) fn warn_of_ends(&self) {
        let now = self.clock.now();
        for (origin, entry) in &mut *self.entries() {
            let Some(certificate) = &entry.certificate else {
                continue;
            };
            let is_silent = entry
                .warned
                .is_some_and(|at| at.after(WARNING_DISTANCE) > now);
            if is_silent || !certificate.facts.ends_soon(now) {
                continue;
            }
            entry.warned = Some(now);
            let until = certificate.facts.not_after.rfc3339();
            let reason = entry.state.failure.as_ref();
            let reason = reason.map(|failure| failure.reason.as_str());
            tracing::warn!(zone = %origin, until, reason, "the certificate ends, and there is no newer one yet");
        }
    }

    /// Logs a failure of reads or writes of the store, and its end, once.
    pub(super) fn note_store(&self, access: Access, failure: Option<&Failure>) {
        let failure = failure.map(|failure| failure.reason.clone());
        let mut failures = self
            .store_failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let last = &mut failures[access as usize];
        if *last == failure {
            return;
        }
        match (&failure, access) {
            (Some(reason), Access::Read) => tracing::warn!(
                "certificates in the store cannot be read; those in use stay: {reason}"
            ),
            (None, Access::Read) => tracing::info!("certificates in the store can be read again"),
            (Some(reason), Access::Write) => tracing::warn!(
                "certificates cannot be ordered, because the store does not keep them; those in use stay: {reason}"
            ),
            (None, Access::Write) => tracing::info!("the store keeps certificates again"),
        }
        *last = failure;
    }

    pub(super) fn origins(&self) -> Vec<Origin> {
        self.entries().keys().cloned().collect()
    }

    pub(super) fn entries(&self) -> MutexGuard<'_, BTreeMap<Origin, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Acme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acme")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// How the lease names this server. If no other server shares the store, a server that is started again is the same
/// one, and need not wait for the end of its lease.
fn holder(store: &dyn Store) -> String {
    match store.takes_notices() {
        false => "the only server".into(),
        true => format!("{:032x}", fastrand::u128(..)),
    }
}
