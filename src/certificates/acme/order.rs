//! One order, from its beginning to the certificate (RFC 8555 §7.4).
//!
//! The store keeps the order's URL and the key of its certificate before any challenge is set ready. So a server that
//! takes over from one that died finishes the same order, whatever state it is in, and has the key of every certificate
//! that the directory issues.
//!
//! ```text
//! pending     values in the store -> self-check -> challenges set ready -> the directory validates
//! ready       the request for the certificate, with the kept key
//! processing  the directory issues
//! valid       the chain is downloaded
//! invalid     the order is forgotten; the next attempt begins another one
//! ```

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeStatus, ChallengeType, Error,
    Identifier, NewOrder, Order, OrderStatus,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::certificate::{Certificate, CertificateDocument, decode_key, encode_key, names_of};
use super::documents::{Documents, Name, NotPut, Read, in_time};
use super::failure::{Failure, FailureKind};
use super::http::DirectoryClient;
use super::protocol::{failure, is_transient, patiently, text_of, type_of};
use super::self_check;
use super::settings::AcmeSettings;
use super::zones::{AccountFacts, CertificateZones};
use crate::base::clock::{Clock, UnixTime};
use crate::certificates::Challenges;
use crate::link::Origin;

/// How long the directory has for a validation, or to issue a certificate. An order that takes longer goes on with the
/// next attempt.
const POLL_TIME: Duration = Duration::from_secs(120);
/// The first wait between two looks at an order. It doubles each time.
const FIRST_POLL: Duration = Duration::from_millis(250);
/// The longest wait between two looks at an order.
const LONGEST_POLL: Duration = Duration::from_secs(20);
/// How often the states of an order may change; there are four on the way to the certificate.
const MAX_STEPS: usize = 8;
/// How long the values of a challenge are answered, in seconds, if no later attempt extends that time.
const CHALLENGE_TIME: u64 = 2 * 60 * 60;
/// The age from which an order is not continued, in seconds: authorities let orders expire after a week at most.
const MAX_AGE: u64 = 5 * 24 * 60 * 60;
/// The pauses before the tries of the self-check: other servers need a moment to read new values from the store.
const CHECK_PAUSES: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// The document `acme:order:<origin>`: `null` if no order is under way.
#[derive(Clone, Serialize, Deserialize)]
struct OrderDocument {
    directory: String,
    account: String,
    url: String,
    /// The private key of the certificate: PKCS #8 in base64.
    key: String,
    /// When the order began, in seconds since the epoch.
    began: u64,
}

/// All that an order of one zone needs.
pub(super) struct Ordering<'a> {
    pub(super) settings: &'a AcmeSettings,
    pub(super) documents: &'a Documents,
    pub(super) challenges: &'a Challenges,
    pub(super) zones: &'a dyn CertificateZones,
    pub(super) clock: &'a Clock,
    pub(super) origin: &'a Origin,
    pub(super) account: Account,
    pub(super) facts: &'a AccountFacts,
    pub(super) client: DirectoryClient,
    /// The certificate to replace.
    pub(super) current: Option<&'a Certificate>,
    /// The values of the challenges that are to be withdrawn.
    pub(super) offered: Mutex<Vec<String>>,
}

/// An order under way.
struct Open {
    order: Order,
    document: OrderDocument,
    revision: u64,
}

impl Ordering<'_> {
    /// Brings an order to its end: the one that is under way, or a new one. The caller keeps the certificate and then
    /// calls [`Ordering::close`].
    ///
    /// # Errors
    /// The [`Failure`] that the next attempt has to wait for.
    pub(super) async fn obtain(&self) -> Result<CertificateDocument, Failure> {
        if let Some(reason) = self.zones.forbids(self.origin, self.facts) {
            return Err(Failure::new(FailureKind::SelfCheck, reason));
        }
        let mut open = self.open().await?;
        for _ in 0..MAX_STEPS {
            let status = open.order.state().status;
            match status {
                OrderStatus::Pending => self.validate(&mut open.order).await?,
                OrderStatus::Ready => self.finalize(&mut open).await?,
                OrderStatus::Processing => {
                    self.wait(&mut open.order, status, FailureKind::Finalize)
                        .await?;
                }
                OrderStatus::Valid => return self.download(open).await,
                OrderStatus::Invalid => {
                    let reason = self.reason_of_invalid(&mut open.order).await;
                    self.put(Some(open.revision), None).await?;
                    self.withdraw().await?;
                    return Err(reason);
                }
            }
        }
        let reason = "the order changes its state again and again";
        Err(Failure::new(FailureKind::Directory, reason))
    }

    /// Forgets the order, whose certificate is kept, and withdraws the values of its challenges.
    ///
    /// # Errors
    /// A [`Failure`] of the store. What was not forgotten does no harm.
    pub(super) async fn close(&self) -> Result<(), Failure> {
        let read = self.read().await?;
        if read.value.flatten().is_some() {
            self.put(read.revision, None).await?;
        }
        self.withdraw().await
    }

    /// Withdraws the values that this server has offered for the order.
    async fn withdraw(&self) -> Result<(), Failure> {
        let offered =
            std::mem::take(&mut *self.offered.lock().unwrap_or_else(PoisonError::into_inner));
        let texts: Vec<_> = offered.iter().map(String::as_str).collect();
        in_time(self.challenges.withdraw(self.origin, &texts)).await
    }

    async fn read(&self) -> Result<Read<Option<OrderDocument>>, Failure> {
        self.documents.read(Name::Order(self.origin)).await
    }

    async fn put(
        &self,
        expected: Option<u64>,
        document: Option<&OrderDocument>,
    ) -> Result<u64, Failure> {
        let put = self
            .documents
            .put(Name::Order(self.origin), expected, &document);
        put.await.map_err(|error| match error {
            NotPut::Failure(failure) => failure,
            NotPut::Conflict => {
                let reason = "another server has taken over the order";
                Failure::new(FailureKind::Store, reason)
            }
        })
    }

    async fn offer(&self, values: &[String]) -> Result<(), Failure> {
        let until = self.clock.now().after(CHALLENGE_TIME);
        let texts: Vec<_> = values.iter().map(String::as_str).collect();
        in_time(self.challenges.offer(self.origin, &texts, until)).await?;
        *self.offered.lock().unwrap_or_else(PoisonError::into_inner) = values.to_vec();
        Ok(())
    }

    /// The order that is under way and can be continued, or else a new one.
    async fn open(&self) -> Result<Open, Failure> {
        let Read { revision, value } = self.read().await?;
        let (Some(revision), Some(document)) = (revision, value.flatten()) else {
            return self.begin(revision).await;
        };
        let age = UnixTime(document.began).until(self.clock.now());
        let is_continued = document.directory == self.settings.directory
            && document.account == self.account.id()
            && age < MAX_AGE
            // The certificate of this order is in use already.
            && self.current.is_none_or(|current| current.order != document.url);
        if !is_continued {
            return self.begin(Some(revision)).await;
        }
        match patiently!(self.account.order(document.url.clone())) {
            Ok(mut order) => match order.state().status {
                OrderStatus::Invalid => self.begin(Some(revision)).await,
                _ => Ok(Open {
                    order,
                    document,
                    revision,
                }),
            },
            // The directory does not know the order, or not as one of this account.
            Err(Error::Api(problem)) if !is_transient(&problem) => self.begin(Some(revision)).await,
            Err(error) => Err(failure(FailureKind::Challenge, &error, &self.client)),
        }
    }

    /// Begins an order and keeps it in the store, in place of this revision.
    async fn begin(&self, revision: Option<u64>) -> Result<Open, Failure> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map_err(|error| Failure::new(FailureKind::Finalize, error.to_string()))?;
        let identifiers = names_of(self.origin).map(Identifier::Dns);
        let mut new = NewOrder::new(&identifiers);
        if let Some(profile) = &self.settings.profile {
            self.check_profile(profile)?;
            new = new.profile(profile);
        }
        let order = match self.replaced() {
            None => patiently!(self.account.new_order(&new)),
            Some(replaced) => {
                let replacing = new.replaces(replaced);
                match patiently!(self.account.new_order(&replacing)) {
                    Err(error) if refuses_replacement(&error) => {
                        let mut plain = NewOrder::new(&identifiers);
                        if let Some(profile) = &self.settings.profile {
                            plain = plain.profile(profile);
                        }
                        patiently!(self.account.new_order(&plain))
                    }
                    made => made,
                }
            }
        };
        let order = order.map_err(|error| failure(FailureKind::Challenge, &error, &self.client))?;
        let document = OrderDocument {
            directory: self.settings.directory.clone(),
            account: self.account.id().into(),
            url: order.url().into(),
            key: encode_key(key.serialized_der()),
            began: self.clock.now().0,
        };
        let revision = self.put(revision, Some(&document)).await?;
        tracing::debug!(zone = %self.origin, order = document.url, "order begun");
        Ok(Open {
            order,
            document,
            revision,
        })
    }

    fn check_profile(&self, profile: &str) -> Result<(), Failure> {
        let offered: Vec<_> = self
            .account
            .profiles()
            .map(|offered| offered.name)
            .collect();
        if offered.contains(&profile) {
            return Ok(());
        }
        let mut offered = offered;
        offered.sort_unstable();
        let reason = match offered.as_slice() {
            [] => format!(
                "the directory offers no profiles; remove https.acme.profile, which is {profile:?}"
            ),
            offered => format!(
                "the directory does not offer the profile {profile:?} of https.acme.profile; it offers: {}",
                offered.join(", ")
            ),
        };
        Err(Failure::new(FailureKind::Challenge, reason))
    }

    /// The certificate that the order replaces, where the directory wants to know that (RFC 9773 §5).
    fn replaced(&self) -> Option<CertificateIdentifier<'static>> {
        self.client.directory()?.renewal_info?;
        let current = self.current?;
        if current.directory != self.settings.directory {
            return None;
        }
        let (key, serial) = current.identifier.as_deref()?.split_once('.')?;
        Some(CertificateIdentifier {
            authority_key_identifier: key.to_owned().into(),
            serial: serial.to_owned().into(),
        })
    }

    /// Publishes the values of the challenges, checks that all name servers answer with them, and has the directory
    /// validate them.
    async fn validate(&self, order: &mut Order) -> Result<(), Failure> {
        let failed = |error: Error| failure(FailureKind::Challenge, &error, &self.client);
        let values = patiently!(challenge_values(order)).map_err(failed)?;
        if values.is_empty() {
            // All authorizations are valid or invalid; the order is about to follow.
            return self
                .wait(order, OrderStatus::Pending, FailureKind::Challenge)
                .await;
        }
        self.offer(&values).await?;
        if self.settings.check_name_servers {
            self.check_name_servers(&values).await?;
        }
        let mut done = Vec::new();
        patiently!(set_ready(order, &mut done)).map_err(failed)?;
        self.wait(order, OrderStatus::Pending, FailureKind::Challenge)
            .await
    }

    async fn check_name_servers(&self, values: &[String]) -> Result<(), Failure> {
        let servers = self.zones.name_servers(self.origin);
        let name = format!("_acme-challenge.{}", self.origin);
        let port = self.settings.name_server_port;
        let mut obstacles = Vec::new();
        for pause in CHECK_PAUSES {
            sleep(pause).await;
            let checked = self_check::check(&servers, port, &name, values).await;
            for address in checked.unchecked() {
                tracing::debug!(zone = %self.origin, "not checked: {address}");
            }
            obstacles = checked.obstacles();
            if obstacles.is_empty() {
                return Ok(());
            }
        }
        let lines: Vec<_> = obstacles.iter().map(ToString::to_string).collect();
        let reason = match lines.len() {
            0 => "the zone has no name servers".into(),
            _ => format!(
                "name servers of the zone do not answer with the challenge: {}",
                lines.join("; ")
            ),
        };
        Err(Failure {
            addresses: obstacles,
            ..Failure::new(FailureKind::SelfCheck, reason)
        })
    }

    /// Waits until the order has another state than this one.
    async fn wait(
        &self,
        order: &mut Order,
        state: OrderStatus,
        step: FailureKind,
    ) -> Result<(), Failure> {
        let end = Instant::now() + POLL_TIME;
        let mut pause = FIRST_POLL;
        loop {
            sleep(pause).await;
            let refreshed = patiently!(refresh(order));
            let status = refreshed.map_err(|error| failure(step, &error, &self.client))?;
            if status != state {
                return Ok(());
            }
            if Instant::now() >= end {
                let waited = POLL_TIME.as_secs();
                let reason = format!("the order is {state:?} for more than {waited} s");
                return Err(Failure::new(FailureKind::Directory, reason));
            }
            let asked = self.client.retry_after().map(Duration::from_secs);
            pause = (pause * 2).max(asked.unwrap_or_default()).min(LONGEST_POLL);
        }
    }

    /// Requests the certificate.
    async fn finalize(&self, open: &mut Open) -> Result<(), Failure> {
        let request = certificate_request(self.origin, &open.document.key)
            .map_err(|reason| Failure::new(FailureKind::Finalize, reason))?;
        patiently!(open.order.finalize_csr(&request))
            .map_err(|error| failure(FailureKind::Finalize, &error, &self.client))
    }

    async fn download(&self, mut open: Open) -> Result<CertificateDocument, Failure> {
        let chain = patiently!(open.order.certificate())
            .map_err(|error| failure(FailureKind::Finalize, &error, &self.client))?;
        let document = CertificateDocument {
            directory: open.document.directory,
            order: open.document.url,
            chain: chain.unwrap_or_default(),
            key: open.document.key,
        };
        let read = document.read(self.origin);
        let now = self.clock.now();
        let (refusal, is_early) = match read {
            Ok(certificate) => (
                certificate.facts.refusal(now),
                certificate.facts.not_before > now,
            ),
            Err(reason) => (Some(reason), false),
        };
        let Some(reason) = refusal else {
            return Ok(document);
        };
        // A new order would have the same result, because this server's clock is wrong; and directories limit how many
        // certificates they issue for the same names. The next attempt takes this certificate.
        if is_early {
            let reason = format!("{reason}; set the clock of this server right");
            return Err(Failure::new(FailureKind::Certificate, reason));
        }
        self.put(Some(open.revision), None).await?;
        Err(Failure::new(FailureKind::Certificate, reason))
    }

    /// Why the directory has given up an order.
    async fn reason_of_invalid(&self, order: &mut Order) -> Failure {
        let step = match order.state().error.clone() {
            Some(problem) if type_of(&problem) != "unauthorized" => {
                return failure(FailureKind::Finalize, &Error::Api(problem), &self.client);
            }
            other => other,
        };
        match patiently!(problem_of_challenges(order)) {
            Ok(Some(reason)) => Failure::new(FailureKind::Challenge, reason),
            _ => {
                let reason = step.map_or("the order became invalid".into(), |step| text_of(&step));
                Failure::new(FailureKind::Challenge, reason)
            }
        }
    }
}

/// Whether the directory does not take the order as a replacement: the certificate is replaced already, or the
/// directory does not confirm the field.
fn refuses_replacement(error: &Error) -> bool {
    match error {
        Error::Api(problem) => {
            matches!(type_of(problem), "alreadyReplaced" | "malformed")
                || problem.status == Some(409)
        }
        Error::Other(error) => error.to_string().starts_with("replaces field mismatch"),
        _ => false,
    }
}

async fn refresh(order: &mut Order) -> Result<OrderStatus, Error> {
    Ok(order.refresh().await?.status)
}

/// The values of the challenges that are still to be validated.
async fn challenge_values(order: &mut Order) -> Result<Vec<String>, Error> {
    let mut values = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let challenge = authorization.challenge(ChallengeType::Dns01);
        let challenge = challenge.ok_or("the directory offers no dns-01 challenge")?;
        values.push(challenge.key_authorization().dns_value());
    }
    Ok(values)
}

/// Tells the directory to validate. `done` has the URLs of the challenges that were set ready before.
async fn set_ready(order: &mut Order, done: &mut Vec<String>) -> Result<(), Error> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let Some(mut challenge) = authorization.challenge(ChallengeType::Dns01) else {
            continue;
        };
        // A server that has died since may have set it ready.
        if challenge.status != ChallengeStatus::Pending || done.contains(&challenge.url) {
            continue;
        }
        challenge.set_ready().await?;
        done.push(challenge.url.clone());
    }
    Ok(())
}

/// What the directory says about the challenges that failed.
async fn problem_of_challenges(order: &mut Order) -> Result<Option<String>, Error> {
    let mut texts = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let name = authorization.identifier().to_string();
        let state = authorization.refresh().await?;
        let problems = state.challenges.iter();
        let problems = problems.filter_map(|challenge| challenge.error.as_ref());
        texts.extend(problems.map(|problem| format!("{name}: {}", text_of(problem))));
    }
    Ok((!texts.is_empty()).then(|| texts.join("; ")))
}

/// The request for a certificate (RFC 2986) in DER.
fn certificate_request(origin: &Origin, key: &str) -> Result<Vec<u8>, String> {
    let key = decode_key(key).ok_or("the key of the order is not base64")?;
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256);
    let key = key.map_err(|error| format!("the key of the order: {error}"))?;
    let mut params = CertificateParams::new(names_of(origin)).map_err(|error| error.to_string())?;
    // RFC 5280 §4.1.2.6: the names are in the extension; the common name of the default would be a wrong one.
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key);
    let request = request.map_err(|error| error.to_string())?;
    Ok(request.der().to_vec())
}
