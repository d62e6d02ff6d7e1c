//! The DS records in the parent zone, as far as the operator has confirmed them. tinyns cannot see the parent
//! zone.

use super::list::{KeyEntry, KeyList};
use super::refused::Refused;
use crate::base::clock::UnixTime;

/// The assumed TTL of DS records in the parent zone if the operator gives none, in seconds: a day, the largest
/// that is common.
pub const DEFAULT_DS_TTL: u32 = 86_400;

impl KeyList {
    /// Notes that the parent zone has published the DS record of a key since a time, with this TTL in seconds.
    ///
    /// # Errors
    /// [`Refused`] for a key that has no DS record or is removed, and for impossible times.
    pub fn ds_seen(
        &mut self,
        tag: u16,
        since: UnixTime,
        ttl: u32,
        now: UnixTime,
    ) -> Result<(), Refused> {
        let key = self.key_with_ds_at(tag, since, now)?;
        if let Some(since) = key.removed.filter(|removed| *removed <= now) {
            return Err(Refused::Removed { tag, since });
        }
        let everywhere = since.after(ttl.into());
        match key.active {
            Some(at) if now < at && at < everywhere => Err(Refused::TakesOverBefore {
                tag,
                at,
                everywhere,
            }),
            _ => {
                (key.ds_seen, key.ds_ttl, key.ds_gone) = (Some(since), Some(ttl), None);
                Ok(())
            }
        }
    }

    /// Notes that the parent zone has not published the DS record of a key since a time. `ttl`, in seconds,
    /// replaces the known TTL of the record.
    ///
    /// # Errors
    /// [`Refused`] while the record is needed, for a key that has none, and for impossible times.
    pub fn ds_gone(
        &mut self,
        tag: u16,
        since: UnixTime,
        ttl: Option<u32>,
        now: UnixTime,
    ) -> Result<(), Refused> {
        let is_unsigning = self.unsigning.is_some_and(|from| from <= now);
        let key = self.key_with_ds_at(tag, since, now)?;
        // It signs, or is planned to sign.
        let is_needed = key.active.is_some() && key.retired.is_none_or(|at| now < at);
        if is_needed && !is_unsigning {
            return Err(Refused::DsNeeded(tag));
        }
        if let Some(seen) = key.ds_seen.filter(|seen| since < *seen) {
            return Err(Refused::SeenLater { tag, seen });
        }
        key.ds_ttl = Some(ttl.or(key.ds_ttl).unwrap_or(DEFAULT_DS_TTL));
        key.ds_gone = Some(since);
        Ok(())
    }

    /// The key with this tag, whose role has a DS record.
    ///
    /// # Errors
    /// [`Refused`] if there is no such key, and for a zone signing key.
    pub fn key_with_ds(&self, tag: u16) -> Result<&KeyEntry, Refused> {
        let key = self.key(tag).ok_or(Refused::NoSuchKey(tag))?;
        match key.role.has_ds() {
            true => Ok(key),
            false => Err(Refused::NoDs(tag)),
        }
    }

    /// The keys whose DS records the parent zone should publish now or later; none while the zone is being
    /// unsigned.
    pub fn wanted_ds(&self, now: UnixTime) -> impl Iterator<Item = &KeyEntry> {
        let is_unsigning = self.unsigning.is_some_and(|from| from <= now);
        let is_wanted = move |key: &&KeyEntry| {
            key.cds.is_some() && key.cds_removed.is_none_or(|removed| now < removed)
        };
        self.keys
            .iter()
            .filter(move |_| !is_unsigning)
            .filter(is_wanted)
    }

    fn key_with_ds_at(
        &mut self,
        tag: u16,
        since: UnixTime,
        now: UnixTime,
    ) -> Result<&mut KeyEntry, Refused> {
        let created = self.key_with_ds(tag)?.created;
        match since {
            _ if since > now => Err(Refused::Future(since)),
            _ if since < created => Err(Refused::BeforeKey { tag, time: since }),
            _ => self.key_mut(tag).ok_or(Refused::NoSuchKey(tag)),
        }
    }

    /// Begins to unsign the zone at this time: CDS and CDNSKEY records then ask the parent zone to remove all DS
    /// records. The keys go on signing.
    ///
    /// # Errors
    /// [`Refused`] if that has been done, and for a time in the past.
    pub fn retire_all(&mut self, at: UnixTime, now: UnixTime) -> Result<(), Refused> {
        self.not_unsigning(now)?;
        if at < now {
            return Err(Refused::Past(at));
        }
        self.unsigning = Some(at);
        Ok(())
    }

    /// The time from which no resolver expects signatures any more, for a zone that is being unsigned.
    ///
    /// # Errors
    /// The tags of the keys whose DS records are not confirmed to be gone.
    pub fn unsigned_from(&self, unsigning: UnixTime) -> Result<UnixTime, Vec<u16>> {
        let known =
            |key: &&KeyEntry| key.ds_seen.is_some() || key.cds.is_some_and(|cds| cds < unsigning);
        let known: Vec<&KeyEntry> = self.keys.iter().filter(known).collect();
        let there = known.iter().filter(|key| key.ds_gone.is_none());
        let there: Vec<u16> = there.map(|key| key.tag).collect();
        if !there.is_empty() {
            return Err(there);
        }
        let gone = known.iter().filter_map(|key| key.ds_gone_everywhere());
        Ok(gone.max().unwrap_or(unsigning).max(unsigning))
    }

    pub(super) fn not_unsigning(&self, now: UnixTime) -> Result<(), Refused> {
        match self.unsigning {
            Some(since) if since <= now => Err(Refused::Unsigning(since)),
            _ => Ok(()),
        }
    }
}

impl KeyEntry {
    /// When no cache has a DS set without its DS record any more, if the operator has confirmed the record.
    pub fn ds_everywhere(&self) -> Option<UnixTime> {
        match (self.ds_seen, self.ds_ttl, self.ds_gone) {
            (Some(seen), Some(ttl), None) => Some(seen.after(ttl.into())),
            _ => None,
        }
    }

    /// When no cache has its DS record any more, if the operator has confirmed that it is gone.
    pub fn ds_gone_everywhere(&self) -> Option<UnixTime> {
        let (gone, ttl) = self.ds_gone.zip(self.ds_ttl)?;
        Some(gone.after(ttl.into()))
    }
}
