//! DNSSEC (RFC 9364): the server signs answers as it makes them.
//!
//! ```text
//!   keys/         directory of a zone ── its keys and their times ── the keys that sign at a time
//!   key           one key: its role, its tag, its signatures
//!   ds            the DS record of a key
//!   rrsig         an RRset in canonical form ── RRSIG
//!   denial        a name and its types ── NSEC
//!   zone_signing  the keys that sign a zone now
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
    /// The most by which the validity of a signature is shortened, so that not all signatures expire at once; less
    /// than a quarter of the validity.
    pub signature_jitter: u32,
    /// How long before its creation a signature becomes valid, for validators whose clocks are slow; 0 to 1 day.
    pub inception_offset: u32,
    /// The TTL of the DNSKEY, CDS and CDNSKEY records; 1 to a quarter of the validity.
    pub dnskey_ttl: u32,
    /// The longest time until all servers of the zone answer with changed keys; 0 to 7 days.
    pub propagation_delay: u32,
}

impl DnssecConfig {
    /// The largest TTL that a signed record may have, in seconds: a quarter of the validity of signatures. A
    /// signature is replaced when half of its life is over, and the jitter may take another quarter. A cache may
    /// keep it for the last quarter.
    pub fn max_ttl(&self) -> u32 {
        self.signature_validity / 4
    }
}
