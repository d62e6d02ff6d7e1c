//! The times of a list divide time into phases. Nothing changes within a phase.

use super::list::{KeyEntry, KeyList, ListProblem};
use crate::base::clock::UnixTime;
use crate::dnssec::key::{Duty, Role};

/// The state of the keys from a time on. Keys are given by their places in the list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Phase {
    pub(super) from: UnixTime,
    pub(super) state: State,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) published: Vec<usize>,
    pub(super) cds: Wanted,
    pub(super) key_signers: Vec<usize>,
    pub(super) zone_signers: Vec<usize>,
}

/// The DS records that CDS and CDNSKEY records ask the parent zone for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The DS records of these keys. Without a key, the parent is asked for no change.
    Keys(Vec<usize>),
    /// The parent is asked to remove all DS records (RFC 8078 §4).
    Delete,
}

/// The phases of a list, from the first time at which keys sign all records.
///
/// # Errors
/// [`ListProblem`] if there is no such time, or if a later phase leaves records unsigned.
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
            // Before all roles had a key, nothing was signed.
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

impl KeyList {
    /// The records that no key signs, if keys are missing.
    pub fn missing_duty(&self) -> Option<Duty> {
        match phases(self) {
            Err(ListProblem::NeverSigned { duty }) => Some(duty),
            _ => None,
        }
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
            // A zone signing key relieves a combined key of the records of the zone.
            zone_signers: if zsks.is_empty() { csks } else { zsks },
        }
    }

    /// The records that no key signs.
    fn missing(&self) -> Option<Duty> {
        match (self.key_signers.is_empty(), self.zone_signers.is_empty()) {
            (true, _) => Some(Duty::Keys),
            (false, true) => Some(Duty::Zone),
            (false, false) => None,
        }
    }
}

impl KeyEntry {
    /// The times at which the state of the key changes.
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

/// Whether a time is in a span, which includes its beginning and excludes its end.
fn is_within(from: Option<UnixTime>, to: Option<UnixTime>, time: UnixTime) -> bool {
    from.is_some_and(|from| from <= time) && to.is_none_or(|to| time < to)
}
