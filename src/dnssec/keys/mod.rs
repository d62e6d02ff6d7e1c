//! The keys of a zone, and the times at which they do their work.
//!
//! A zone has a directory for its keys: a file for each private key, and `keys.toml` with the times of all keys.
//! Only `tinyns keys` writes there. A server reads the directory and then follows its clock. So servers with
//! copies of a directory change keys at the same time, and none of them writes.
//!
//! ```text
//!   pem        the file of a private key        plan     adding and retiring keys, and when that is safe
//!   list       keys.toml: the keys and times    parent   the DS records, as the operator confirms them
//!   directory  reads and writes both            waits    how long caches keep records and signatures
//!   phases     list ── what changes when        refused  why a command changes nothing
//!   ring       list and keys ── ZoneKeys at a time
//! ```
//!
//! The life of a key, with the times in `keys.toml` that divide it:
//!
//! ```text
//!            publish         ready            active           retired          removed
//!               ├─ published ──┼───────────────┼─ active ────────┼─ retired ────────┤
//!   DNSKEY set  ████████████████████████████████████████████████████████████████████
//!   signs                                      ███████████████████
//!   CDS set                    cds █████████████████████████████████████ cds_removed
//! ```
//!
//! All that a validator may have in its cache fits together at any time (RFC 6781 §4.1, RFC 7583 §3). A key is
//! *ready* when no cache has a DNSKEY set without it, and only then may it sign. It is *removed* when no cache has
//! a signature of it. A key with a DS record in the parent zone may take over only when, in addition, no cache has
//! a DS set without its record. So zone signing keys are replaced by pre-publication (RFC 6781 §4.1.1.1), and
//! other keys by pre-publication together with the double-DS method (RFC 7583 §3.3.2), which also works for a
//! combined signing key. An RRset has one signature, also while keys are replaced.
//!
//! All keys of a zone have the same algorithm, because every algorithm in a DNSKEY set has to sign all records
//! (RFC 4035 §2.2). Replacing the algorithm would need signatures of both for a time; tinyns does not do that.

pub mod directory;
mod error;
pub mod list;
pub mod parent;
mod pem;
mod phases;
pub mod plan;
pub mod refused;
mod ring;
mod waits;

use std::sync::Arc;

pub use self::error::KeysError;
pub use self::list::ListProblem;
pub use self::pem::KeyFileProblem;
pub use self::ring::KeyRing;
use super::key::SigningKey;
use crate::base::clock::UnixTime;

/// The keys that sign a zone at one time, and the records about them.
#[derive(Debug)]
pub struct ZoneKeys {
    /// The data of the DNSKEY records, each once, in canonical order (RFC 4034 §2.1 and §6.3).
    pub dnskeys: Vec<Vec<u8>>,
    /// The data of the CDS records (RFC 7344 §3.1); may be empty.
    pub cds: Vec<Vec<u8>>,
    /// The data of the CDNSKEY records (RFC 7344 §3.2); may be empty.
    pub cdnskeys: Vec<Vec<u8>>,
    /// The TTL of these three RRsets, in seconds.
    pub ttl: u32,
    /// The keys that sign the DNSKEY, CDS and CDNSKEY records; at least one.
    pub key_signers: Vec<Arc<SigningKey>>,
    /// The keys that sign all other records; at least one.
    pub zone_signers: Vec<Arc<SigningKey>>,
    /// When this state began; none if it is the first.
    pub from: Option<UnixTime>,
    /// When the next state begins, if one is planned.
    pub until: Option<UnixTime>,
}

#[cfg(test)]
mod tests;
