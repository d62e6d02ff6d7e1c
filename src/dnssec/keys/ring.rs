//! The loaded keys of a zone: which of them sign at any time.
//!
//! The [phases](super::phases) of the list are computed when the keys are loaded. So a list that would leave
//! records unsigned at some time is refused at once, and not at that time.

use std::sync::Arc;

use super::ZoneKeys;
use super::directory::{exposed, read_key, read_list};
use super::error::KeysError;
use super::list::{KeyList, LIST_FILE, ListProblem};
use super::phases::{Phase, Wanted, phases};
use crate::base::clock::UnixTime;
use crate::base::name::ZoneName;
use crate::dnssec::DnssecConfig;
use crate::dnssec::ds::{DELETE_CDNSKEY, DELETE_CDS, Ds};
use crate::dnssec::key::SigningKey;

/// The keys of a zone, and the phases of their list.
#[derive(Debug)]
pub struct KeyRing {
    /// The TTL of the DNSKEY, CDS and CDNSKEY records, in seconds.
    ttl: u32,
    /// In the order of the list; none for a removed key whose file is missing.
    keys: Vec<Option<Loaded>>,
    /// In order of time, at least one. The first also holds before its time, because the clock may be slow.
    phases: Vec<Phase>,
    /// The tags of all keys of the list.
    tags: Vec<u16>,
    /// Warnings about the files, a line each.
    warnings: Vec<String>,
}

#[derive(Debug)]
struct Loaded {
    key: Arc<SigningKey>,
    cds: Vec<u8>,
}

impl KeyRing {
    /// Reads the keys of the zone with this origin.
    ///
    /// # Errors
    /// [`KeysError`] with the file that is wrong. It is an error if at some time no key signs the DNSKEY records,
    /// or no key signs the other records.
    pub fn load(
        config: &DnssecConfig,
        origin: &ZoneName,
        now: UnixTime,
    ) -> Result<Self, KeysError> {
        let list = read_list(config, origin, now)?;
        let keys = list.keys.iter().map(|entry| {
            let key = read_key(&config.keys, origin, entry);
            match entry.removed.filter(|removed| *removed <= now) {
                // The operator may delete the file of a removed key.
                Some(_) => Ok(key.ok().map(Arc::new)),
                None => key.map(|key| Some(key.into())),
            }
        });
        let keys = keys.collect::<Result<_, KeysError>>()?;
        let ring = Self::new(&list, keys, config.dnskey_ttl);
        let ring = ring.map_err(|problem| KeysError::List {
            file: config.keys.join(LIST_FILE),
            line: 1,
            problem,
        })?;
        Ok(Self {
            warnings: exposed(&config.keys, &list),
            ..ring
        })
    }

    /// Whether the list has a key with this tag, in any state.
    pub fn has(&self, tag: u16) -> bool {
        self.tags.contains(&tag)
    }

    /// Warnings about the files of the keys, a line each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The ring of a list and its keys, which are in the same order.
    pub(super) fn new(
        list: &KeyList,
        keys: Vec<Option<Arc<SigningKey>>>,
        ttl: u32,
    ) -> Result<Self, ListProblem> {
        let load = |key: Arc<SigningKey>| Loaded {
            cds: Ds::of(&list.origin, &key).to_wire(),
            key,
        };
        let keys = keys.into_iter().map(|key| key.map(load));
        Ok(Self {
            ttl,
            keys: keys.collect(),
            phases: phases(list)?,
            tags: list.keys.iter().map(|key| key.tag).collect(),
            warnings: Vec::new(),
        })
    }

    /// The keys that sign the zone at this time.
    pub fn at(&self, now: UnixTime) -> ZoneKeys {
        let begun = self.phases.partition_point(|phase| phase.from <= now);
        let current = begun.saturating_sub(1);
        let until = self.phases.get(current + 1).map(|phase| phase.from);
        let from = (begun > 0).then(|| self.phases[current].from);
        // There is at least one phase, and `begun` is at most their number.
        let state = &self.phases[current].state;
        let pick = |places: &[usize]| -> Vec<&Loaded> {
            let keys = places.iter().map(|at| self.keys.get(*at));
            keys.filter_map(|key| key?.as_ref()).collect()
        };
        let signers = |places: &[usize]| -> Vec<Arc<SigningKey>> {
            pick(places)
                .iter()
                .map(|loaded| loaded.key.clone())
                .collect()
        };
        let records = |places: &[usize], data: fn(&Loaded) -> &[u8]| {
            in_order(pick(places).into_iter().map(|loaded| data(loaded).to_vec()))
        };
        let (cds, cdnskeys) = match &state.cds {
            Wanted::Keys(keys) => (
                records(keys, |loaded| &loaded.cds),
                records(keys, Loaded::dnskey),
            ),
            Wanted::Delete => (vec![DELETE_CDS.into()], vec![DELETE_CDNSKEY.into()]),
        };
        ZoneKeys {
            dnskeys: records(&state.published, Loaded::dnskey),
            cds,
            cdnskeys,
            ttl: self.ttl,
            key_signers: signers(&state.key_signers),
            zone_signers: signers(&state.zone_signers),
            from,
            until,
        }
    }
}

impl Loaded {
    fn dnskey(&self) -> &[u8] {
        self.key.dnskey()
    }
}

/// Sorts records into canonical order and drops repeated ones (RFC 4034 §6.3).
fn in_order(records: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let mut records: Vec<_> = records.collect();
    records.sort_unstable();
    records.dedup();
    records
}
