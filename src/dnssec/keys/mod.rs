//! The keys of a zone, and what each of them does at a time.
//!
//! A zone has a directory for its keys: a file for each private key, and `keys.toml`, which says when each of
//! them does what. Only `tinyns keys` writes there. A server reads it and then goes by its clock alone, so
//! servers that have copies of a directory all do the same at the same time, and none of them has to write.
//!
//! ```text
//!   pem        a private key's file           list   keys.toml: the keys and their times
//!   directory  both, and the only writer      plan   what may be done when, and what comes of it
//!   ring       list and keys ── ZoneKeys at a time
//! ```
//!
//! The life of a key, and which of the times in `keys.toml` are its milestones:
//!
//! ```text
//!            publish         ready            active           retired          removed
//!               ├─ published ──┼───────────────┼─ active ────────┼─ retired ────────┤
//!   DNSKEY set  ████████████████████████████████████████████████████████████████████
//!   signs                                      ███████████████████
//!   CDS set                    cds █████████████████████████████████████ cds_removed
//! ```
//!
//! All that a validator may have in its cache fits together at any time (RFC 6781 §4.1, RFC 7583 §3): a key
//! is *ready* when no cache has a DNSKEY set without it any more, and only then may it sign; it is
//! *removed* when no cache has a signature of it any more. A key that has a DS record in the parent zone
//! may only take over when, besides, no cache has a DS set without it. So zone signing keys are replaced by
//! pre-publication (RFC 6781 §4.1.1.1), the others by the double-DS method (RFC 7583 §3.3.2) together with
//! it, which suits a combined signing key as well. A record has one signature, also while keys are
//! replaced.
//!
//! All keys of a zone have one algorithm, for every algorithm in a DNSKEY set has to sign everything
//! (RFC 4035 §2.2). Replacing the algorithm would take signatures of both for a time; that is not offered.

pub mod directory;
mod error;
pub mod list;
mod pem;
pub mod plan;
mod ring;

use std::sync::Arc;

pub use self::error::{KeyFileProblem, KeysError, ListProblem};
pub use self::ring::KeyRing;
use super::key::SigningKey;
use crate::base::clock::UnixTime;

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
    /// Since when they do this; none if nothing else was planned before.
    pub from: Option<UnixTime>,
    /// When other keys take over, if that is known: this is to be looked at again then.
    pub until: Option<UnixTime>,
}

#[cfg(test)]
mod tests;
