//! The certificates that the server got by itself, by zone. A look-up strips one label of the host or none, so its
//! time does not depend on the number of zones: the certificate of a zone covers its origin and the names one label
//! below (RFC 9525 §6.3).

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio_rustls::rustls::sign::CertifiedKey;

use super::files::CertificateError;
use super::tls::{Current, Service};
use crate::link::Origin;

/// The certificate of each zone; none while it has none.
type ByZone = HashMap<Box<str>, Option<Arc<Current>>>;

/// The certificates of all zones.
pub struct Issued {
    current: ArcSwap<ByZone>,
    /// Held while a certificate is replaced, so that of two replacements at once none is lost.
    replacing: Mutex<()>,
}

/// Why a client gets no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoCertificate {
    /// No certificate is for the host that it expects.
    OtherHost,
    /// The certificate for the host is still to be issued.
    NotYet,
}

impl Issued {
    /// No certificates yet for the zones with these origins.
    pub(super) fn new(origins: &[Origin]) -> Self {
        let zones = origins.iter().map(|origin| (origin.as_str().into(), None));
        Self {
            current: ArcSwap::from_pointee(zones.collect()),
            replacing: Mutex::default(),
        }
    }

    /// Uses a certificate for new connections to the hosts of a zone.
    ///
    /// # Errors
    /// The TLS library does not work.
    pub(super) fn set(
        &self,
        origin: &Origin,
        certified: Arc<CertifiedKey>,
    ) -> Result<(), CertificateError> {
        let certificate = Current::new(certified, Service::Https)?;
        let _one_at_a_time = self
            .replacing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut zones = ByZone::clone(&self.current.load());
        zones.insert(origin.as_str().into(), Some(Arc::new(certificate)));
        self.current.store(Arc::new(zones));
        Ok(())
    }

    /// The certificate for a new connection of a client that expects this host.
    pub(super) fn current_for(&self, host: &str) -> Result<Arc<Current>, NoCertificate> {
        let zones = self.current.load();
        let host = match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(host.to_ascii_lowercase()),
            false => Cow::Borrowed(host),
        };
        let parent = host.split_once('.').map(|(_, parent)| parent);
        let found = [Some(&*host), parent].into_iter().flatten();
        let mut found = found.filter_map(|name| zones.get(name)).peekable();
        if found.peek().is_none() {
            return Err(NoCertificate::OtherHost);
        }
        // The wildcard of a zone covers the origin of another one that has no certificate yet.
        let certificate = found.flatten().next().cloned();
        certificate.ok_or(NoCertificate::NotYet)
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zones = self.current.load();
        f.debug_list().entries(zones.keys()).finish()
    }
}
