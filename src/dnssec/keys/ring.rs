//! The keys of a zone, loaded: what the zone is signed with at any time.
//!
//! The times of the list cut time into phases, in each of which nothing changes. They are worked out when
//! the keys are loaded; a list by which something would not be signed in one of them is refused then, and
//! not when that time has come.

use std::sync::Arc;

use super::ZoneKeys;
use super::directory::{exposed, read_key};
use super::error::{KeysError, ListProblem};
use super::list::{KeyEntry, KeyList, LIST_FILE};
use crate::base::clock::UnixTime;
use crate::base::name::ZoneName;
use crate::dnssec::DnssecConfig;
use crate::dnssec::ds::{DELETE_CDNSKEY, DELETE_CDS, Ds};
use crate::dnssec::key::{Duty, Role, SigningKey};

/// The keys of a zone, and what each of them does when.
#[derive(Debug)]
pub struct KeyRing {
    /// The TTL of the DNSKEY, CDS and CDNSKEY records, in seconds.
    ttl: u32,
    /// In the order of the list; none where a key does nothing any more and its file has gone.
    keys: Vec<Option<Loaded>>,
    /// In order of time; there is one at least. Before the first, that one holds: a clock may be slow.
    phases: Vec<Phase>,
    /// The tags of all keys of the list.
    tags: Vec<u16>,
    /// What there is to say of the files.
    warnings: Vec<String>,
}

#[derive(Debug)]
struct Loaded {
    key: Arc<SigningKey>,
    cds: Vec<u8>,
}

/// What is so from a time on. Keys are told by their places in the list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Phase {
    from: UnixTime,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
struct State {
    published: Vec<usize>,
    cds: Wanted,
    key_signers: Vec<usize>,
    zone_signers: Vec<usize>,
}

/// The DS records that the parent zone is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// Those of these keys; of none means that it is asked for nothing.
    Keys(Vec<usize>),
    /// None at all (RFC 8078 §4).
    Delete,
}

impl KeyRing {
    /// Reads the keys of the zone with this origin.
    ///
    /// # Errors
    /// [`KeysError`], with the file to blame. Also where there would be a time in which no key signs the
    /// DNSKEY records, or none the others.
    pub fn load(
        config: &DnssecConfig,
        origin: &ZoneName,
        now: UnixTime,
    ) -> Result<Self, KeysError> {
        let list = KeyList::read(config, origin, now)?;
        let keys = list.keys.iter().map(|entry| {
            let key = read_key(&config.keys, origin, entry);
            match entry.removed.filter(|removed| *removed <= now) {
                // It does nothing any more, and its file may have been deleted.
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

    /// Whether the list has a key with this tag, whatever that does.
    pub fn has(&self, tag: u16) -> bool {
        self.tags.contains(&tag)
    }

    /// What there is to say of the files of the keys, a line each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// That of a list and its keys, in the same order.
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

    /// What the zone is signed with at this time.
    pub fn at(&self, now: UnixTime) -> ZoneKeys {
        let begun = self.phases.partition_point(|phase| phase.from <= now);
        let current = begun.saturating_sub(1);
        let until = self.phases.get(current + 1).map(|phase| phase.from);
        let from = (begun > 0).then(|| self.phases[current].from);
        // There is a phase, and `begun` is at most their number.
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

/// Canonical order, each once (RFC 4034 §6.3).
fn in_order(records: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let mut records: Vec<_> = records.collect();
    records.sort_unstable();
    records.dedup();
    records
}

/// What is so when; from the first time on at which all is signed.
pub(super) fn phases(list: &KeyList) -> Result<Vec<Phase>, ListProblem> {
    let keys = list.keys.iter();
    let times = keys.flat_map(KeyEntry::turns).chain(list.unsigning);
    let mut times: Vec<UnixTime> = times.collect();
    times.sort_unstable();
    let mut phases: Vec<Phase> = Vec::new();
    let mut missing = Duty::Keys;
    for from in times {
        let state = State::at(list, from);
        match (state.missing(), phases.last()) {
            // Before there were keys enough, nothing was signed.
            (Some(duty), None) => missing = duty,
            (Some(duty), Some(_)) => return Err(ListProblem::Unsigned { from, duty }),
            (None, Some(last)) if last.state == state => {}
            (None, _) => phases.push(Phase { from, state }),
        }
    }
    match phases.is_empty() {
        true => Err(ListProblem::NeverSigned { duty: missing }),
        false => Ok(phases),
    }
}

impl State {
    fn at(list: &KeyList, time: UnixTime) -> Self {
        let keys_that = |test: &dyn Fn(&KeyEntry) -> bool| -> Vec<usize> {
            let keys = list.keys.iter().enumerate();
            keys.filter(|(_, key)| test(key))
                .map(|(at, _)| at)
                .collect()
        };
        let of_role = |role: Role| keys_that(&|key| key.role == role && key.signs(time));
        let (csks, zsks) = (of_role(Role::Csk), of_role(Role::Zsk));
        let is_unsigning = list.unsigning.is_some_and(|from| from <= time);
        Self {
            published: keys_that(&|key| key.is_published(time)),
            cds: match is_unsigning {
                true => Wanted::Delete,
                false => Wanted::Keys(keys_that(&|key| key.wants_ds(time))),
            },
            key_signers: keys_that(&|key| key.role.has_ds() && key.signs(time)),
            // Where there is a key for the zone alone, a combined one has to sign the other keys only.
            zone_signers: if zsks.is_empty() { csks } else { zsks },
        }
    }

    /// What nobody signs.
    fn missing(&self) -> Option<Duty> {
        match (self.key_signers.is_empty(), self.zone_signers.is_empty()) {
            (true, _) => Some(Duty::Keys),
            (false, true) => Some(Duty::Zone),
            (false, false) => None,
        }
    }
}

impl KeyEntry {
    /// The times at which the key does something else than before.
    fn turns(&self) -> impl Iterator<Item = UnixTime> {
        [
            Some(self.publish),
            self.active,
            self.retired,
            self.removed,
            self.cds,
            self.cds_removed,
        ]
        .into_iter()
        .flatten()
    }

    /// Whether it is in the DNSKEY set.
    pub fn is_published(&self, time: UnixTime) -> bool {
        is_within(Some(self.publish), self.removed, time)
    }

    /// Whether it signs.
    pub fn signs(&self, time: UnixTime) -> bool {
        is_within(self.active, self.retired, time)
    }

    /// Whether there are CDS and CDNSKEY records of it.
    pub fn wants_ds(&self, time: UnixTime) -> bool {
        is_within(self.cds, self.cds_removed, time)
    }
}

/// Whether a time is in a span: from its beginning on, before its end.
fn is_within(from: Option<UnixTime>, to: Option<UnixTime>, time: UnixTime) -> bool {
    from.is_some_and(|from| from <= time) && to.is_none_or(|to| time < to)
}
