//! A certificate that the directory has issued: what the store keeps of it, and the checks before it is used.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

use crate::certificates::facts::CertificateFacts;
use crate::certificates::library::{covers, provider};
use crate::certificates::x509::Fields;
use crate::link::Origin;

/// The most certificates of a chain.
const MAX_CHAIN: usize = 10;

/// The document `acme:certificate:<origin>`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct CertificateDocument {
    /// The directory that issued it.
    pub(super) directory: String,
    /// The URL of its order.
    pub(super) order: String,
    /// The certificate, followed by the intermediate certificates; PEM.
    pub(super) chain: String,
    /// The private key: PKCS #8 in base64.
    pub(super) key: String,
}

/// A certificate that can be used.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) directory: String,
    pub(super) order: String,
    pub(super) facts: CertificateFacts,
    /// The identifier for the renewal information and for orders that replace it (RFC 9773 §4.1), if it has one.
    pub(super) identifier: Option<String>,
    pub(super) certified: Arc<CertifiedKey>,
}

/// The names of the certificate for a zone: its origin and the wildcard below.
pub(super) fn names_of(origin: &Origin) -> [String; 2] {
    [origin.to_string(), format!("*.{origin}")]
}

/// A private key in the form of documents.
pub(super) fn encode_key(pkcs8: &[u8]) -> String {
    STANDARD.encode(pkcs8)
}

/// A private key from a document.
pub(super) fn decode_key(text: &str) -> Option<PrivatePkcs8KeyDer<'static>> {
    STANDARD.decode(text).ok().map(PrivatePkcs8KeyDer::from)
}

impl CertificateDocument {
    /// The certificate, if it is one for this zone and fits the key.
    ///
    /// # Errors
    /// The reason why no client of the zone could use it.
    pub(super) fn read(&self, origin: &Origin) -> Result<Certificate, String> {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes());
        let chain = chain.take(MAX_CHAIN).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| format!("the chain is not PEM: {error}"))?;
        let leaf = chain.first().ok_or("the chain is empty")?;
        for host in [origin.to_string(), format!("link.{origin}")] {
            if !covers(leaf, &host) {
                return Err(format!("the certificate is not for {host}"));
            }
        }
        let fields = Fields::of(leaf).ok_or("the certificate cannot be read (RFC 5280 §4.1)")?;
        let facts = CertificateFacts::of(&fields);
        let identifier = fields.authority_key.map(|key| {
            let (key, serial) = (
                URL_SAFE_NO_PAD.encode(key),
                URL_SAFE_NO_PAD.encode(fields.serial),
            );
            format!("{key}.{serial}")
        });
        let key = decode_key(&self.key).ok_or("the key is not base64")?;
        let key = provider()
            .key_provider
            .load_private_key(PrivateKeyDer::Pkcs8(key))
            .map_err(|error| format!("the key cannot be used: {error}"))?;
        let certified = CertifiedKey::new(chain, key);
        certified
            .keys_match()
            .map_err(|error| format!("the certificate is for another key: {error}"))?;
        Ok(Certificate {
            directory: self.directory.clone(),
            order: self.order.clone(),
            facts,
            identifier,
            certified: Arc::new(certified),
        })
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use time::OffsetDateTime;

    use super::*;
    use crate::base::clock::UnixTime;

    fn document(names: &[&str], key: &KeyPair, other: Option<&KeyPair>) -> CertificateDocument {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = OffsetDateTime::from_unix_timestamp(1_000_000).unwrap();
        params.not_after = OffsetDateTime::from_unix_timestamp(2_000_000).unwrap();
        params.serial_number = Some(0xFE_u64.into());
        let der = params.self_signed(key).unwrap();
        let base64 = STANDARD.encode(der.der());
        CertificateDocument {
            directory: String::new(),
            order: String::new(),
            chain: format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n"),
            key: encode_key(other.unwrap_or(key).serialized_der()),
        }
    }

    #[test]
    fn a_certificate_is_used_for_its_names_with_its_key_in_its_time() {
        let origin = Origin::parse("s.example.com").unwrap();
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let names = ["s.example.com", "*.s.example.com"];
        let read = document(&names, &key, None).read(&origin).unwrap();
        assert_eq!(read.facts.serial, "fe");
        assert_eq!(read.facts.issuer, "rcgen self signed cert");
        let refused = |document: CertificateDocument| document.read(&origin).unwrap_err();
        assert!(refused(document(&names, &key, Some(&other))).contains("another key"));
        assert!(refused(document(&names[..1], &key, None)).contains("link.s.example.com"));
        assert!(refused(document(&names[1..], &key, None)).contains("not for s.example.com"));
        let empty = CertificateDocument {
            chain: String::new(),
            ..document(&names, &key, None)
        };
        assert!(refused(empty).contains("empty"));
        let at = |now| read.facts.refusal(UnixTime(now));
        assert_eq!(at(1_000_000), None);
        assert_eq!(at(999_950), None);
        assert!(at(900_000).unwrap().contains("not valid before"));
        assert_eq!(at(1_999_999), None);
        assert!(at(2_000_000).unwrap().contains("ended"));
    }
}
