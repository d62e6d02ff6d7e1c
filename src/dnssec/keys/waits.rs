//! How long caches keep records and signatures, and so how long a retired key must stay.
//!
//! The waits are those of RFC 7583 §3:
//!
//! * After a change of keys, some servers answer without it, for at most `propagation_delay`.
//! * Caches keep what these servers have sent for a TTL: a DNSKEY set for the TTL of the DNSKEY records, any other
//!   record or signature for the largest TTL of the zone, and a DS set for the TTL in the parent zone.

use super::list::{KeyEntry, KeyList};
use crate::base::clock::UnixTime;
use crate::dnssec::DnssecConfig;
use crate::dnssec::key::Duty;

/// The times that waits consist of, in seconds.
pub(super) struct Waits {
    propagation: u64,
    dnskey_ttl: u64,
    max_ttl: u64,
    /// The time until which caches may have records with larger TTLs, from before the TTLs were lowered.
    settled: Option<UnixTime>,
}

impl Waits {
    /// When no cache has a DNSKEY set any more that was sent before `time`.
    pub(super) fn dnskeys_gone(&self, time: UnixTime) -> UnixTime {
        let gone = time.after(self.propagation + self.dnskey_ttl);
        self.settled.map_or(gone, |settled| gone.max(settled))
    }

    /// When no cache has a record or signature any more that was sent before `time`.
    pub(super) fn records_gone(&self, time: UnixTime) -> UnixTime {
        let gone = time.after(self.propagation + self.max_ttl);
        self.dnskeys_gone(time).max(gone)
    }
}

impl KeyList {
    /// Takes the TTLs of the configuration into the list, and returns the waits that follow from them.
    pub(super) fn waits(&mut self, config: &DnssecConfig, now: UnixTime) -> Waits {
        let propagation = u64::from(config.propagation_delay);
        let (dnskey_ttl, max_ttl) = (config.dnskey_ttl, config.max_ttl());
        // It is not known when a TTL was lowered, only that it was before now.
        for (before, ttl) in [(self.dnskey_ttl, dnskey_ttl), (self.max_ttl, max_ttl)] {
            if ttl < before {
                let gone = now.after(propagation + u64::from(before));
                self.settled = self.settled.max(Some(gone));
            }
        }
        self.settled = self.settled.filter(|settled| *settled > now);
        (self.dnskey_ttl, self.max_ttl) = (dnskey_ttl, max_ttl);
        Waits {
            propagation,
            dnskey_ttl: dnskey_ttl.into(),
            max_ttl: max_ttl.into(),
            settled: self.settled,
        }
    }

    /// Postpones the removal of retired keys if TTLs have become larger since it was planned: servers send
    /// signatures with the larger TTLs until the key is retired, which may be in the future. Times in the past do
    /// not change.
    pub(super) fn adapt(&mut self, config: &DnssecConfig, now: UnixTime) {
        if config.dnskey_ttl <= self.dnskey_ttl && config.max_ttl() <= self.max_ttl {
            return;
        }
        let waits = Waits {
            propagation: config.propagation_delay.into(),
            dnskey_ttl: config.dnskey_ttl.into(),
            max_ttl: config.max_ttl().into(),
            settled: None,
        };
        for key in &mut self.keys {
            let Some(retired) = key.retired else { continue };
            let has_gone = |time: &UnixTime| *time <= now;
            let (cds_removed, removed) = (key.cds_removed, key.removed);
            key.retire(retired, &waits);
            key.cds_removed = match cds_removed.filter(has_gone) {
                None => key.cds.and(key.cds_removed.max(cds_removed)),
                gone => gone,
            };
            key.removed = match removed.filter(has_gone) {
                None => key.removed.max(removed),
                gone => gone,
            };
        }
    }
}

impl KeyEntry {
    /// Plans that the key stops signing at this time, and leaves the DNSKEY set when no cache needs it any more.
    pub(super) fn retire(&mut self, at: UnixTime, waits: &Waits) {
        let was_used = self.active.is_some();
        let dnskeys_gone = if was_used { waits.dnskeys_gone(at) } else { at };
        let removed = match was_used && self.role.duties().contains(&Duty::Zone) {
            true => waits.records_gone(at),
            false => dnskeys_gone,
        };
        self.retired = was_used.then_some(at);
        self.removed = Some(removed);
        // CDS records that would appear only after their end never appear.
        self.cds = self.cds.filter(|cds| *cds < dnskeys_gone);
        self.cds_removed = self.cds.and(Some(dnskeys_gone));
    }
}
