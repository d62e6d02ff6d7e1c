//! TLS with the certificate in use (RFC 8446, RFC 5246; RFC 9325 for the choice of versions).
//!
//! The operator's files are read again on demand, and connections that exist go on with what they began with.
//!
//! Clients resume sessions by tickets (RFC 5077, RFC 8446 §4.6.1): the state of a session is with the client,
//! encrypted, so no number of clients takes memory here. See [`tickets`](super::tickets) for the keys. A certificate with
//! a new private key ends all tickets. Early data (RFC 8446 §2.3) is not accepted.

use std::fmt;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::facts::CertificateFacts;
use super::files::{CertificateError, CertificateFiles};
use super::library::{covers, provider};
use super::tickets::{TicketKeys, TicketSeal};
use super::warning::CertificateWarning;
use super::x509::Fields;
use crate::base::clock::UnixTime;

/// What is spoken by TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// DNS over TLS.
    Dns,
    /// HTTP/2 and HTTP/1.1.
    Https,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "DNS over TLS",
            Self::Https => "HTTPS",
        })
    }
}

impl Service {
    /// Keeps the session tickets of services apart.
    fn ticket_label(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Https => "https",
        }
    }

    /// The protocol names for ALPN (RFC 7301), preferred first. Clients that offer no names are served as well;
    /// clients that offer only other names want another service and are refused.
    fn protocols(self) -> &'static [&'static [u8]] {
        match self {
            // RFC 7858 §6, as registered.
            Self::Dns => &[b"dot"],
            Self::Https => &[b"h2", b"http/1.1"],
        }
    }
}

/// The certificate in use of one service.
pub struct Tls {
    files: CertificateFiles,
    service: Service,
    current: ArcSwap<Current>,
}

/// A certificate, and TLS with it.
pub(crate) struct Current {
    chain: Vec<CertificateDer<'static>>,
    config: Arc<ServerConfig>,
    tickets: Arc<TicketKeys>,
    /// A domain for which the certificate has a wildcard, once a host below it was asked for. Reading the certificate
    /// again for each request would take longer than the request.
    wildcard: OnceLock<Box<str>>,
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// [`CertificateError`] names the file that cannot be used.
    pub fn load(files: CertificateFiles, service: Service) -> Result<Self, CertificateError> {
        let (certified, key) = files.read()?;
        let current = Current::new(Arc::new(certified), &key, service, None)?;
        let current = ArcSwap::from_pointee(current);
        Ok(Self {
            files,
            service,
            current,
        })
    }

    /// Reads certificate and key again and uses them for new connections. Returns whether they differ from
    /// those in use.
    ///
    /// # Errors
    /// [`CertificateError`] names the file that cannot be used; the old certificate then stays in use.
    pub fn reload(&self) -> Result<bool, CertificateError> {
        let (certified, key) = self.files.read()?;
        let before = self.current.load_full();
        // A certificate has one key.
        if certified.cert == before.chain {
            return Ok(false);
        }
        let certified = Arc::new(certified);
        let current = Current::new(certified, &key, self.service, Some(&before))?;
        self.current.store(Arc::new(current));
        Ok(true)
    }

    /// Warnings about the certificate in use: about its time, and about each of these zones for whose links clients
    /// would refuse it.
    pub fn warnings<'a>(
        &self,
        zones: impl Iterator<Item = &'a str>,
        now: UnixTime,
    ) -> Vec<CertificateWarning> {
        self.files.warnings(&self.current.load().chain, zones, now)
    }

    /// Whether the certificate in use is for every link of this zone.
    pub fn covers_links(&self, zone: &str) -> bool {
        self.covers(&format!("link.{zone}"))
    }

    /// Whether the certificate in use is for this host.
    pub(super) fn covers(&self, host: &str) -> bool {
        let leaf = self.current.load();
        leaf.chain.first().is_some_and(|leaf| covers(leaf, host))
    }

    /// What operators want to know of the certificate in use; none if it does not have the form of RFC 5280 §4.1.
    pub fn facts(&self) -> Option<CertificateFacts> {
        let current = self.current.load();
        let fields = Fields::of(current.chain.first()?)?;
        Some(CertificateFacts::of(&fields))
    }

    /// The service whose certificate this is.
    pub fn service(&self) -> Service {
        self.service
    }

    /// The keys of session tickets.
    pub(super) fn tickets(&self) -> Arc<TicketKeys> {
        self.current.load().tickets()
    }

    /// The settings for a new connection.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }

    /// The certificate for a new connection of a client that expects this host (RFC 6066 §3); none if there is none
    /// for it.
    pub(super) fn current_for(&self, host: &str) -> Option<Arc<Current>> {
        let current = self.current.load();
        current.covers(host).then(|| Arc::clone(&current))
    }
}

impl Current {
    /// Uses a certificate. It takes over the ticket keys of the one before if the private keys are the same.
    pub(super) fn new(
        certified: Arc<CertifiedKey>,
        key: &PrivateKeyDer<'_>,
        service: Service,
        before: Option<&Self>,
    ) -> Result<Self, CertificateError> {
        let seal = TicketSeal::of(key, service.ticket_label())?;
        let before = before.filter(|before| before.tickets.seal().is_same(&seal));
        let tickets = match before {
            Some(before) => Arc::clone(&before.tickets),
            None => Arc::new(TicketKeys::new(seal)?),
        };
        let chain = certified.cert.clone();
        // RFC 8310 §7.1, RFC 9325 §3.1: nothing before TLS 1.2.
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = service
            .protocols()
            .iter()
            .map(|name| name.to_vec())
            .collect();
        config.ticketer = Arc::<TicketKeys>::clone(&tickets);
        Ok(Self {
            chain,
            config: Arc::new(config),
            tickets,
            wildcard: OnceLock::new(),
        })
    }

    /// The keys of session tickets.
    pub(super) fn tickets(&self) -> Arc<TicketKeys> {
        Arc::clone(&self.tickets)
    }

    /// The settings for a connection.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Whether clients accept the certificate for this host.
    pub(crate) fn covers(&self, host: &str) -> bool {
        let labels = host.split_once('.').filter(|(first, _)| !first.is_empty());
        let parent = labels.map(|(_, parent)| parent);
        let same = |known: &str| parent.is_some_and(|parent| known.eq_ignore_ascii_case(parent));
        if self.wildcard.get().is_some_and(|known| same(known)) {
            return true;
        }
        let covered = |host: &str| self.chain.first().is_some_and(|leaf| covers(leaf, host));
        let is_covered = covered(host);
        if let (true, Some(parent), None) = (is_covered, parent, self.wildcard.get()) {
            // No certificate names a random host, so a certificate that covers it has a wildcard.
            let random = format!("x{:016x}.{parent}", fastrand::u64(..));
            if covered(&random) {
                let _ = self.wildcard.set(parent.into());
            }
        }
        is_covered
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key must not get into a log.
        f.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}
