//! What may be done with the keys of a zone, and when. All of it is a matter of times in the list: nothing here
//! reads a clock or a file.
//!
//! One rule is behind all others: all that a resolver may have in its caches has to fit together. A resolver may
//! have anything that any server has sent within its TTL. So a step that makes old records or signatures useless
//! waits until no cache has them. `waits` has the times.

use super::list::{KeyEntry, KeyList, MAX_KEYS};
use super::phases::phases;
use super::refused::{Cached, Refused};
use crate::base::clock::UnixTime;
use crate::dnssec::DnssecConfig;
use crate::dnssec::key::{Algorithm, Duty, Role, SigningKey};

/// How long a removed key stays in the list, in seconds, so that operators can see what happened.
const REMEMBERED: u64 = 30 * 86_400;

/// The state of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyState {
    /// It is in the DNSKEY set and does not sign yet.
    Published,
    /// It signs.
    Active,
    /// It does not sign any more, and is still in the DNSKEY set.
    Retired,
    /// It is not in the DNSKEY set any more.
    Removed,
}

impl KeyState {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Removed => "removed",
        }
    }
}

/// The keys that take over from a key, and when that is safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Succession {
    /// The first time at which the key can be retired.
    pub from: UnixTime,
    /// The tags of the keys that then sign.
    pub successors: Vec<u16>,
}

impl KeyList {
    /// Whether a key of this algorithm can be added.
    ///
    /// # Errors
    /// [`Refused`] while the zone is being unsigned, for another algorithm than that of the other keys, and for
    /// too many keys.
    pub fn may_add(&self, algorithm: Algorithm, now: UnixTime) -> Result<(), Refused> {
        self.not_unsigning(now)?;
        let others = self.keys.first().map(|first| first.algorithm);
        match others.filter(|others| *others != algorithm) {
            Some(others) => Err(Refused::OtherAlgorithm(others)),
            None if self.keys.len() >= MAX_KEYS => Err(Refused::TooMany),
            None => Ok(()),
        }
    }

    /// Adds a key. It is in the DNSKEY set at once, and signs at once if no other key has its duties.
    ///
    /// # Errors
    /// As [`KeyList::may_add`].
    pub fn add(
        &mut self,
        key: &SigningKey,
        config: &DnssecConfig,
        now: UnixTime,
    ) -> Result<(), Refused> {
        self.may_add(key.algorithm(), now)?;
        let waits = self.waits(config, now);
        let role = key.role();
        let is_done = |duty: &Duty| {
            let mut keys = self.keys.iter();
            keys.any(|other| other.role.duties().contains(duty) && other.stays_active())
        };
        let is_first = !role.duties().iter().all(is_done);
        if is_first {
            // The zone is signed only from now on: DS records must wait until caches have nothing unsigned.
            let signed = waits.records_gone(now);
            for other in &mut self.keys {
                other.cds = other.cds.map(|cds| cds.max(signed));
            }
        }
        let ready = if is_first {
            now
        } else {
            waits.dnskeys_gone(now)
        };
        let cds_of_others = self.keys.iter().filter_map(|other| other.cds).min();
        let own_cds = if is_first {
            waits.records_gone(now)
        } else {
            ready
        };
        self.keys.push(KeyEntry {
            tag: key.tag(),
            algorithm: key.algorithm(),
            role,
            created: now,
            publish: now,
            ready,
            active: is_first.then_some(now),
            retired: None,
            removed: None,
            cds: role
                .has_ds()
                .then_some(cds_of_others.map_or(own_cds, |others| own_cds.max(others))),
            cds_removed: None,
            ds_seen: None,
            ds_ttl: None,
            ds_gone: None,
        });
        Ok(())
    }

    /// Plans that a key stops signing at a time and others sign in its place, and returns their tags. The key
    /// leaves the DNSKEY set when no cache needs it any more; a key that was never used leaves it at once.
    ///
    /// # Errors
    /// [`Refused`] if no other key can take over at that time.
    pub fn retire(
        &mut self,
        tag: u16,
        at: UnixTime,
        config: &DnssecConfig,
        now: UnixTime,
    ) -> Result<Vec<u16>, Refused> {
        self.not_unsigning(now)?;
        if at < now {
            return Err(Refused::Past(at));
        }
        let succession = self.succession(tag, now, Some(at))?;
        let mut changed = self.clone();
        let waits = changed.waits(config, now);
        for successor in &succession.successors {
            changed.take_over(tag, *successor, at, now)?;
        }
        let key = changed.key_mut(tag).ok_or(Refused::NoSuchKey(tag))?;
        key.retire(at, &waits);
        phases(&changed)?;
        *self = changed;
        Ok(succession.successors)
    }

    /// The keys that can take over from a key, and when. The choice may depend on the wanted time.
    ///
    /// # Errors
    /// [`Refused`] if there is no such key, if the time is not known, and if the wanted time is too early.
    pub fn succession(
        &self,
        tag: u16,
        now: UnixTime,
        wanted: Option<UnixTime>,
    ) -> Result<Succession, Refused> {
        let key = self.key(tag).ok_or(Refused::NoSuchKey(tag))?;
        match (key.active, key.retired, key.removed) {
            (_, _, Some(since)) if since <= now => return Err(Refused::Removed { tag, since }),
            (_, Some(since), _) if since <= now => return Err(Refused::Retired { tag, since }),
            (Some(at), _, _) if at > now => return Err(Refused::TakesOver { tag, at }),
            _ => {}
        }
        let mut succession = Succession {
            from: now,
            successors: Vec::new(),
        };
        if key.active.is_none() {
            return Ok(succession);
        }
        for duty in key.role.duties() {
            let (successor, from, what) = self.successor(key, *duty, wanted.unwrap_or(now))?;
            if wanted.is_some_and(|wanted| wanted < from) {
                return Err(Refused::TooEarly {
                    tag,
                    successor,
                    from,
                    what,
                });
            }
            succession.from = succession.from.max(from);
            if !succession.successors.contains(&successor) {
                succession.successors.push(successor);
            }
        }
        Ok(succession)
    }

    /// The key that takes over a duty, the first time at which it can, and the records that this time waits for.
    /// In this order, preferred are keys that can take over at the time `at`, keys with the same role, keys that
    /// already sign, and the key that can take over first.
    fn successor(
        &self,
        key: &KeyEntry,
        duty: Duty,
        at: UnixTime,
    ) -> Result<(u16, UnixTime, Cached), Refused> {
        let tag = key.tag;
        let others = self.keys.iter().filter(|other| {
            let is_there = other.retired.is_none() && other.removed.is_none();
            other.tag != tag && is_there && other.role.duties().contains(&duty)
        });
        let best = others.min_by_key(|other| {
            let able = other.able_from(duty).map(|(from, _)| from);
            let signs = other.signs(at);
            let is_late = able.is_none_or(|able| able > at);
            (
                is_late,
                other.role != key.role,
                !signs,
                able.is_none(),
                able,
            )
        });
        let Some(best) = best else {
            return Err(Refused::NoSuccessor {
                tag,
                duty,
                wanted: match duty {
                    Duty::Keys => key.role,
                    Duty::Zone => Role::Zsk,
                },
            });
        };
        let successor = best.tag;
        let (from, what) = best
            .able_from(duty)
            .ok_or(Refused::DsNotSeen { tag, successor })?;
        Ok((successor, from, what))
    }

    /// Plans that a key signs from a time on, because the key `from` then stops.
    fn take_over(
        &mut self,
        from: u16,
        tag: u16,
        at: UnixTime,
        now: UnixTime,
    ) -> Result<(), Refused> {
        let planned = self.key(tag).and_then(|key| key.active);
        let stays = planned.is_some_and(|planned| {
            let mut others = self.keys.iter().filter(|other| other.tag != from);
            // It may be planned to sign earlier, to replace a third key.
            let is_for_others = others.any(|other| other.retired == Some(planned));
            planned <= now || (planned <= at && is_for_others)
        });
        if !stays {
            let key = self.key_mut(tag).ok_or(Refused::NoSuchKey(tag))?;
            key.active = Some(at);
        }
        Ok(())
    }

    /// Takes keys out of the list that were removed a month ago or earlier, and returns their tags.
    pub fn forget(&mut self, now: UnixTime) -> Vec<u16> {
        let is_past = |key: &KeyEntry| {
            let is_old = |removed: UnixTime| removed.after(REMEMBERED) <= now;
            // To unsign the zone, the operator has to know each DS record that the parent may still publish.
            let ds_is_gone = (key.ds_seen.is_none() && key.cds.is_none())
                || key.ds_gone_everywhere().is_some_and(|gone| gone <= now);
            key.removed.is_some_and(is_old) && ds_is_gone
        };
        // In the order in which they signed, so that the times in the list have no gap.
        let mut removed: Vec<&KeyEntry> = self.keys.iter().collect();
        removed.retain(|key| key.removed.is_some());
        removed.sort_by_key(|key| key.retired);
        let past = removed.into_iter().take_while(|key| is_past(key));
        let past: Vec<u16> = past.map(|key| key.tag).collect();
        self.keys.retain(|key| !past.contains(&key.tag));
        past
    }
}

impl KeyEntry {
    /// Its state at this time.
    pub fn state(&self, time: UnixTime) -> KeyState {
        let reached = |milestone: Option<UnixTime>| milestone.is_some_and(|at| at <= time);
        match () {
            () if reached(self.removed) => KeyState::Removed,
            () if reached(self.retired) => KeyState::Retired,
            () if reached(self.active) => KeyState::Active,
            () => KeyState::Published,
        }
    }

    /// Whether it signs or is planned to, and no end of that is planned.
    fn stays_active(&self) -> bool {
        self.active.is_some() && self.retired.is_none()
    }

    /// The first time at which caches allow it to take over a duty, and the records that this time waits for; none
    /// if its DS record is needed and not confirmed.
    fn able_from(&self, duty: Duty) -> Option<(UnixTime, Cached)> {
        match duty {
            Duty::Zone => Some((self.ready, Cached::Dnskeys)),
            Duty::Keys => {
                let ds = self.ds_everywhere()?;
                match ds > self.ready {
                    true => Some((ds, Cached::Ds)),
                    false => Some((self.ready, Cached::Dnskeys)),
                }
            }
        }
    }
}
