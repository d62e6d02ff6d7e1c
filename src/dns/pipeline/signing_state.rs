//! What all signers of a server share: the limit on signatures, and the secret key of the digests by which kept
//! signatures are found.

use std::hash::{BuildHasher, Hasher, RandomState};

use siphasher::sip::SipHasher24;

use crate::dns::limits::rate_limit::{SignatureLimiter, SignatureLimits};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct SigningState {
    limiter: SignatureLimiter,
    /// Has a secret key, so that nobody can register a link whose records have the digest of other records.
    hasher: SipHasher24,
}

impl SigningState {
    /// The state of a server; `has_signed` says whether any of its zones is signed.
    pub(crate) fn new(limits: &SignatureLimits, has_signed: bool) -> Self {
        let seed = RandomState::new();
        Self {
            limiter: SignatureLimiter::new(limits, has_signed),
            hasher: SipHasher24::new_with_keys(seed.hash_one(0), seed.hash_one(1)),
        }
    }

    /// The limit on signatures.
    pub(crate) fn limiter(&self) -> &SignatureLimiter {
        &self.limiter
    }

    /// A hasher with the secret key, which has read nothing yet.
    pub(super) fn hasher(&self) -> SipHasher24 {
        self.hasher
    }

    /// The digest of these bytes.
    pub(super) fn digest(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.hasher;
        hasher.write(bytes);
        hasher.finish()
    }
}
