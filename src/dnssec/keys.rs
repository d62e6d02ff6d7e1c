//! The keys of a zone, and what each of them does at a time.

use std::sync::Arc;

use super::key::SigningKey;
use crate::clock::UnixTime;

/// What a zone is signed with at one time.
#[derive(Debug)]
pub struct ZoneKeys {
    /// The data of the DNSKEY records, each once, in canonical order (RFC 4034 §2.1 and §6.3).
    pub dnskeys: Vec<Vec<u8>>,
    /// The data of the CDS records (RFC 7344 §3.1); there may be none.
    pub cds: Vec<Vec<u8>>,
    /// The data of the CDNSKEY records (RFC 7344 §3.2); there may be none.
    pub cdnskeys: Vec<Vec<u8>>,
    /// The TTL of these three RRsets, in seconds.
    pub ttl: u32,
    /// What signs the DNSKEY, CDS and CDNSKEY records; one at least.
    pub key_signers: Vec<Arc<SigningKey>>,
    /// What signs everything else; one at least.
    pub zone_signers: Vec<Arc<SigningKey>>,
    /// When other keys take over, if that is known: this is to be looked at again then.
    pub until: Option<UnixTime>,
}
