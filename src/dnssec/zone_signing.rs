//! The keys that sign a zone now.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::DnssecConfig;
use super::keys::list::LIST_FILE;
use super::keys::{KeyRing, KeysError, ZoneKeys};
use super::rrsig::Validity;
use crate::base::clock::UnixTime;
use crate::base::name::ZoneName;

/// The current keys of a zone, and how long signatures are valid.
#[derive(Debug)]
pub struct Signing {
    config: DnssecConfig,
    origin: ZoneName,
    /// All keys and their times. Locked while `keys` is replaced, so that the later of two replacements stays.
    ring: Mutex<KeyRing>,
    keys: ArcSwap<ZoneKeys>,
}

impl Signing {
    /// Reads the keys of a zone.
    ///
    /// # Errors
    /// As [`KeyRing::load`].
    pub fn load(config: DnssecConfig, origin: ZoneName, now: UnixTime) -> Result<Self, KeysError> {
        let ring = KeyRing::load(&config, &origin, now)?;
        Ok(Self {
            keys: ArcSwap::from_pointee(ring.at(now)),
            ring: Mutex::new(ring),
            config,
            origin,
        })
    }

    /// Reads the keys again. The caller must then drop all signatures that were made with the old keys.
    ///
    /// # Errors
    /// As [`KeyRing::load`]; and [`KeysError::Lost`] if a key that signs now is missing in the list, for example
    /// because keys were made in a new directory: the DS record in the parent zone may be that of the missing key.
    /// After an error the keys are as before.
    pub fn reload(&self, now: UnixTime) -> Result<(), KeysError> {
        let new = KeyRing::load(&self.config, &self.origin, now)?;
        let keys = self.keys.load();
        let mut signers = keys.key_signers.iter().chain(&keys.zone_signers);
        if let Some(lost) = signers.find(|key| !new.has(key.tag())) {
            return Err(KeysError::Lost {
                file: self.config.keys.join(LIST_FILE),
                tag: lost.tag(),
            });
        }
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        self.keys.store(Arc::new(new.at(now)));
        *ring = new;
        Ok(())
    }

    /// Switches to the keys that sign at this time. Returns whether they have changed; the caller must then drop
    /// all signatures that were made with the old keys.
    pub fn turn(&self, now: UnixTime) -> bool {
        // `now` is before `from` if the clock was ahead and has been set back.
        let is_due = |keys: &ZoneKeys| {
            keys.until.is_some_and(|until| until <= now) || keys.from.is_some_and(|from| now < from)
        };
        if !is_due(&self.keys.load()) {
            return false;
        }
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        self.keys.store(Arc::new(ring.at(now)));
        true
    }

    /// Warnings about the files of the keys, a line each.
    pub fn warnings(&self) -> Vec<String> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.warnings().to_vec()
    }

    /// The current keys. Hold the guard for one answer, not longer.
    pub fn keys(&self) -> Guard<Arc<ZoneKeys>> {
        self.keys.load()
    }

    /// The zone.
    pub fn origin(&self) -> &ZoneName {
        &self.origin
    }

    /// How long signatures are valid.
    pub fn validity(&self) -> Validity {
        Validity {
            validity: self.config.signature_validity,
            jitter: self.config.signature_jitter,
            inception_offset: self.config.inception_offset,
        }
    }

    /// The largest TTL that a signed record has, in seconds.
    pub fn max_ttl(&self) -> u32 {
        self.config.max_ttl()
    }
}
