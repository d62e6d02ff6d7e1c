//! DNSSEC (RFC 9364): zones are signed as they are answered from.
//!
//! ```text
//!   keys     directory of a zone ── which keys there are, and what each does when ── ZoneKeys at a time
//!   key      one key: its tag, its signatures
//!   sign     an RRset in canonical form ── RRSIG
//!   denial   a name and its types ── NSEC
//! ```

pub mod denial;
pub mod key;
pub mod keys;
pub mod sign;

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use self::keys::ZoneKeys;
use self::sign::Validity;

/// The keys of a zone as they are now, and how long signatures are valid.
#[derive(Debug)]
pub struct Signing {
    /// How long they are.
    pub validity: Validity,
    keys: ArcSwap<ZoneKeys>,
}

impl Signing {
    /// A zone that is signed with these keys.
    pub fn new(validity: Validity, keys: ZoneKeys) -> Self {
        Self {
            validity,
            keys: ArcSwap::from_pointee(keys),
        }
    }

    /// The keys. Hold them for one answer, not longer.
    pub fn keys(&self) -> Guard<Arc<ZoneKeys>> {
        self.keys.load()
    }

    /// Signs with these keys from now on. What was made with the old ones is to be forgotten afterwards.
    pub fn set_keys(&self, keys: ZoneKeys) {
        self.keys.store(Arc::new(keys));
    }
}
