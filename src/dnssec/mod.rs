//! DNSSEC (RFC 9364): zones are signed as they are answered from.
//!
//! ```text
//!   keys     directory of a zone ── which keys there are, and what each does when ── ZoneKeys at a time
//!   key      one key: its file, its tag, its signatures
//!   ds       what the parent zone has of a key
//!   sign     an RRset in canonical form ── RRSIG
//!   denial   a name and its types ── NSEC
//!   signing  a zone's keys as they are now
//! ```

pub mod denial;
pub mod ds;
pub mod key;
pub mod keys;
pub mod rrsig;
mod zone_signing;

use std::path::PathBuf;

pub use self::zone_signing::Signing;

/// How a zone is signed. All times are in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnssecConfig {
    /// The directory of its keys.
    pub keys: PathBuf,
    /// For how long a signature is valid after it is made; 1 hour to 90 days.
    pub signature_validity: u32,
    /// By how much that is shortened at most, so that not all signatures end at once; less than a quarter of
    /// the validity.
    pub signature_jitter: u32,
    /// By how much signatures begin before they are made, for validators whose clocks are slow; 0 to 1 day.
    pub inception_offset: u32,
    /// The TTL of the DNSKEY, CDS and CDNSKEY records; 1 to a quarter of the validity.
    pub dnskey_ttl: u32,
    /// How long it takes at most until all servers of the zone answer with a change of its keys; 0 to 7 days.
    pub propagation_delay: u32,
}

impl DnssecConfig {
    /// The largest TTL that a signed record may have, in seconds: a quarter of the validity of signatures. A
    /// signature is made anew when half of its time is over, and may be shorter by another quarter; what is
    /// left then is as long as it may be in a cache.
    pub fn max_ttl(&self) -> u32 {
        self.signature_validity / 4
    }
}
