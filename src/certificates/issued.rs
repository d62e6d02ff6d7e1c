//! The certificates that the server got by itself, by zone. A look-up strips one label of the host or none, so its
//! time does not depend on the number of zones: the certificate of a zone covers its origin and the names one label
//! below (RFC 9525 §6.3).

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::sign::CertifiedKey;

use super::files::CertificateError;
use super::tickets::TicketKeys;
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

    /// Uses a certificate, with its private key, for new connections to the hosts of a zone.
    ///
    /// # Errors
    /// The TLS library does not work.
    pub(super) fn set(
        &self,
        origin: &Origin,
        certified: Arc<CertifiedKey>,
        key: &PrivateKeyDer<'_>,
    ) -> Result<(), CertificateError> {
        let _one_at_a_time = self
            .replacing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut zones = ByZone::clone(&self.current.load());
        let before = zones.get(origin.as_str()).and_then(Option::as_deref);
        let certificate = Current::new(certified, key, Service::Https, before)?;
        zones.insert(origin.as_str().into(), Some(Arc::new(certificate)));
        self.current.store(Arc::new(zones));
        Ok(())
    }

    /// The keys of session tickets of all certificates.
    pub(super) fn tickets(&self) -> Vec<Arc<TicketKeys>> {
        let zones = self.current.load();
        let certificates = zones.values().flatten();
        certificates
            .map(|certificate| certificate.tickets())
            .collect()
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

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

    use super::super::library::provider;
    use super::*;

    /// Uses a new certificate for the hosts of this zone.
    fn certify(issued: &Issued, origin: &Origin) {
        let key = KeyPair::generate().unwrap();
        let names = vec![origin.to_string(), format!("*.{origin}")];
        let params = CertificateParams::new(names).unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialized_der().to_vec()));
        let provider = provider().key_provider;
        let loaded = provider.load_private_key(key.clone_key()).unwrap();
        let certified = Arc::new(CertifiedKey::new(vec![der], loaded));
        issued.set(origin, certified, &key).unwrap();
    }

    #[test]
    fn a_host_gets_the_certificate_of_its_zone() {
        let origins = ["example.com", "a.example.com", "example.net"];
        let origins = origins.map(|origin| Origin::parse(origin).unwrap());
        let issued = Issued::new(&origins);
        let found = |host: &str| issued.current_for(host);
        let is_missing = |host, reason| assert_eq!(found(host).err(), Some(reason), "{host}");
        is_missing("example.com", NoCertificate::NotYet);
        is_missing("x.example.net", NoCertificate::NotYet);
        for host in [
            "com",
            "",
            ".",
            "x.y.example.net",
            "example.org",
            "xexample.net",
        ] {
            is_missing(host, NoCertificate::OtherHost);
        }
        certify(&issued, &origins[0]);
        let is_for = |host: &str| assert!(found(host).is_ok_and(|current| current.covers(host)));
        is_for("example.com");
        is_for("x.example.com");
        is_for("X.EXAMPLE.com");
        // What the certificate has found out about its wildcard is true of one label.
        is_for("y.example.com");
        let one = found("example.com").unwrap();
        for host in ["x.y.example.com", "com", "example.net", "x.example.net"] {
            assert!(!one.covers(host), "{host}");
        }
        // The wildcard of the zone above.
        is_for("a.example.com");
        is_missing("x.a.example.com", NoCertificate::NotYet);
        is_missing("x.y.example.com", NoCertificate::OtherHost);
        is_missing("example.net", NoCertificate::NotYet);
        certify(&issued, &origins[1]);
        is_for("x.a.example.com");
        let own = found("a.example.com").unwrap();
        assert!(own.covers("x.a.example.com"));
        // A new certificate takes the place of the old one.
        let old = found("example.com").unwrap();
        certify(&issued, &origins[0]);
        assert!(!Arc::ptr_eq(&old, &found("example.com").unwrap()));
    }
}
