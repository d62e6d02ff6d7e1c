//! What may be done with the keys of a zone and when, and what comes of it. All of this is a matter of
//! times in a list; nothing here reads a clock or a file.
//!
//! The rule behind all others: whatever a resolver has in its caches has to fit together, and what it may
//! have there is what some server has sent within a TTL. So a step that makes something old worthless waits
//! until that is in no cache. The waits are those of RFC 7583 §3:
//!
//! * from a change of keys on, some servers answer without it for `propagation_delay` at most;
//! * what they have sent by then is in caches for a TTL: that of the DNSKEY records, for a DNSKEY set; the
//!   largest of the zone, for a signature or for a record that had none; the parent's, for a DS set.

use super::error::ListProblem;
use super::list::{KeyEntry, KeyList, MAX_KEYS};
use super::ring::phases;
use crate::base::clock::UnixTime;
use crate::dnssec::DnssecConfig;
use crate::dnssec::key::{Algorithm, Duty, Role, SigningKey};

/// The TTL of DS records in the parent zone where nobody has said it, in seconds: a day, which is the most
/// that is common.
pub const DEFAULT_DS_TTL: u32 = 86_400;
/// For how long a removed key stays in the list, in seconds: for whoever looks into what has happened.
const REMEMBERED: u64 = 30 * 86_400;

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such key.
    #[error("there is no key with the tag {0}")]
    NoSuchKey(u16),
    /// The zone has keys of another algorithm.
    #[error(
        "the keys of this zone have the algorithm {0}; all keys of a zone have one algorithm \
         (RFC 4035 §2.2), and replacing it by another is not offered"
    )]
    OtherAlgorithm(Algorithm),
    /// Too many keys.
    #[error("there are {MAX_KEYS} keys already, which is the most")]
    TooMany,
    /// The zone is about to be signed no more.
    #[error("the zone is being unsigned since {}", .0.rfc3339())]
    Unsigning(UnixTime),
    /// It has been done.
    #[error("{tag} is retired since {}", .since.rfc3339())]
    Retired {
        /// The key.
        tag: u16,
        /// Since when.
        since: UnixTime,
    },
    /// The key is gone.
    #[error("{tag} is removed since {}", .since.rfc3339())]
    Removed {
        /// The key.
        tag: u16,
        /// Since when.
        since: UnixTime,
    },
    /// Somebody counts on the key.
    #[error("{tag} cannot be retired: it takes over at {}", .at.rfc3339())]
    TakesOver {
        /// The key.
        tag: u16,
        /// When.
        at: UnixTime,
    },
    /// Nobody would sign.
    #[error(
        "{tag} cannot be retired: no other key could sign {duty} then; \
         `tinyns keys generate --role {}` makes one", .wanted.name()
    )]
    NoSuccessor {
        /// The key.
        tag: u16,
        /// What would not be signed.
        duty: Duty,
        /// The role of a key that is missing.
        wanted: Role,
    },
    /// The parent zone does not know the key that would sign, as far as anybody has said.
    #[error(
        "{tag} cannot be retired: its successor {successor} has no DS record in the parent zone yet; \
         once all servers of the parent have it, `tinyns keys ds --seen {successor}` is to say so"
    )]
    DsNotSeen {
        /// The key.
        tag: u16,
        /// The key that would sign.
        successor: u16,
    },
    /// There may be something in caches that would be worthless.
    #[error(
        "{tag} cannot be retired before {}: until then resolvers may have {what} without its successor \
         {successor} in their caches", .from.rfc3339()
    )]
    TooEarly {
        /// The key.
        tag: u16,
        /// The key that would sign.
        successor: u16,
        /// From when on it can be done.
        from: UnixTime,
        /// What they may have.
        what: Cached,
    },
    /// A time that does not fit what is to happen then.
    #[error("{} is past", .0.rfc3339())]
    Past(UnixTime),
    /// A time that does not fit what has happened then.
    #[error("{} is yet to come", .0.rfc3339())]
    Future(UnixTime),
    /// The key was not there yet.
    #[error("at {} there was no key {tag} yet", .time.rfc3339())]
    BeforeKey {
        /// The key.
        tag: u16,
        /// That time.
        time: UnixTime,
    },
    /// A DS record cannot go before it comes.
    #[error("the DS record of {tag} was seen later, at {}", .seen.rfc3339())]
    SeenLater {
        /// The key.
        tag: u16,
        /// When it was seen.
        seen: UnixTime,
    },
    /// A plan counts on the DS record being there earlier.
    #[error(
        "{tag} takes over at {}, and until {} resolvers may have DS records without it in their caches; \
         that it takes over has to be put off first, by `tinyns keys retire` with a later `--at`",
        .at.rfc3339(), .everywhere.rfc3339()
    )]
    TakesOverBefore {
        /// The key.
        tag: u16,
        /// When it is to sign.
        at: UnixTime,
        /// When all have its DS record.
        everywhere: UnixTime,
    },
    /// A zone signing key has no DS record.
    #[error("{0} is a ZSK, which has no DS record")]
    NoDs(u16),
    /// Validators need it.
    #[error(
        "{0} signs the DNSKEY records, or is to; without its DS record in the parent zone nothing of \
         this zone can be validated, so if it is missing there, it has to be put back"
    )]
    DsNeeded(u16),
    /// What would come of it cannot be right.
    #[error(transparent)]
    Inconsistent(#[from] ListProblem),
}

/// What caches may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cached {
    /// A DNSKEY set.
    Dnskeys,
    /// A DS set.
    Ds,
}

impl std::fmt::Display for Cached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Dnskeys => "DNSKEY records",
            Self::Ds => "DS records",
        })
    }
}

/// How far a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyState {
    /// In the DNSKEY set, and not signing yet.
    Published,
    /// Signing.
    Active,
    /// Not signing any more, and still in the DNSKEY set.
    Retired,
    /// Not in the DNSKEY set any more.
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

/// Who takes over from a key, and from when on that is safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Succession {
    /// From when on the key can be retired.
    pub from: UnixTime,
    /// The keys that sign then.
    pub successors: Vec<u16>,
}

/// How long things are in caches.
struct Waits {
    propagation: u64,
    dnskey_ttl: u64,
    max_ttl: u64,
    /// Until when there may be something with a TTL of before.
    settled: Option<UnixTime>,
}

impl Waits {
    /// When no cache has a DNSKEY set of before this time any more.
    fn dnskeys_gone(&self, time: UnixTime) -> UnixTime {
        let gone = time.after(self.propagation + self.dnskey_ttl);
        self.settled.map_or(gone, |settled| gone.max(settled))
    }

    /// When no cache has any record or signature of before this time any more.
    fn records_gone(&self, time: UnixTime) -> UnixTime {
        let gone = time.after(self.propagation + self.max_ttl);
        self.dnskeys_gone(time).max(gone)
    }
}

impl KeyList {
    /// Takes over what the configuration says of TTLs, and gives what follows from that.
    fn waits(&mut self, config: &DnssecConfig, now: UnixTime) -> Waits {
        let propagation = u64::from(config.propagation_delay);
        let (dnskey_ttl, max_ttl) = (config.dnskey_ttl, config.max_ttl());
        // When a TTL was made smaller nobody knows, but that it was before now.
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

    /// Puts off the end of retired keys where TTLs have become larger since that was worked out: servers send
    /// signatures with those TTLs until the key is retired, which may be planned for later. What has gone stays so.
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

    /// Whether a key of this algorithm can be added.
    ///
    /// # Errors
    /// [`Refused`] while the zone is being unsigned, and for a key that does not go with the others.
    pub fn may_add(&self, algorithm: Algorithm, now: UnixTime) -> Result<(), Refused> {
        self.not_unsigning(now)?;
        let others = self.keys.first().map(|first| first.algorithm);
        match others.filter(|others| *others != algorithm) {
            Some(others) => Err(Refused::OtherAlgorithm(others)),
            None if self.keys.len() >= MAX_KEYS => Err(Refused::TooMany),
            None => Ok(()),
        }
    }

    /// Adds a key: in the DNSKEY set at once, and signing at once if nothing else does what it is for.
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
            // The zone is signed from now on only: a DS set has to wait until nothing unsigned is in caches.
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

    /// Takes down that the parent zone has the DS record of a key since then, with this TTL in seconds.
    ///
    /// # Errors
    /// [`Refused`] for a key that has none or is gone, and for times that cannot be.
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

    /// Takes down that the parent zone does not have the DS record of a key any more since then; its TTL, in
    /// seconds, if it is not the one that is known.
    ///
    /// # Errors
    /// [`Refused`] while it is needed, for a key that has none, and for times that cannot be.
    pub fn ds_gone(
        &mut self,
        tag: u16,
        since: UnixTime,
        ttl: Option<u32>,
        now: UnixTime,
    ) -> Result<(), Refused> {
        let is_unsigning = self.unsigning.is_some_and(|from| from <= now);
        let key = self.key_with_ds_at(tag, since, now)?;
        // It signs, or a plan has it sign.
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

    /// A key that has a DS record.
    ///
    /// # Errors
    /// [`Refused`] where there is no key with this tag, and for a zone signing key.
    pub fn key_with_ds(&self, tag: u16) -> Result<&KeyEntry, Refused> {
        let key = self.key(tag).ok_or(Refused::NoSuchKey(tag))?;
        match key.role.has_ds() {
            true => Ok(key),
            false => Err(Refused::NoDs(tag)),
        }
    }

    /// The keys whose DS records the parent zone is to have, or is to have later; none where it is asked to
    /// remove all.
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

    /// What no key signs, if the zone does not have keys enough yet.
    pub fn missing_duty(&self) -> Option<Duty> {
        match phases(self) {
            Err(ListProblem::NeverSigned { duty }) => Some(duty),
            _ => None,
        }
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
            _ => self.key_mut(tag),
        }
    }

    /// Has a key sign no more from then on, and others in its place; it leaves the DNSKEY set when no cache
    /// needs it any more. A key that was never used leaves it then.
    ///
    /// # Errors
    /// [`Refused`] where there is nobody to take over, or not yet.
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
        changed.key_mut(tag)?.retire(at, &waits);
        phases(&changed)?;
        *self = changed;
        Ok(succession.successors)
    }

    /// Who would take over from a key and from when on; who that is may depend on the time at which it is
    /// wanted.
    ///
    /// # Errors
    /// [`Refused`] where there is nobody, or nobody can tell when.
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

    /// Who takes a duty of a key over, from when on, and what that time waits for. Rather one that can at
    /// this time, rather one with the same role, rather one that signs already; in the end, the first that
    /// can.
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

    /// Has a key sign from then on, because another one does not.
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
            // Where a plan has it sign earlier, that may be for the sake of a third.
            let is_for_others = others.any(|other| other.retired == Some(planned));
            planned <= now || (planned <= at && is_for_others)
        });
        if !stays {
            self.key_mut(tag)?.active = Some(at);
        }
        Ok(())
    }

    /// Has the parent zone asked, from then on, to remove all DS records, and signs on.
    ///
    /// # Errors
    /// [`Refused`] where that has been done.
    pub fn retire_all(&mut self, at: UnixTime, now: UnixTime) -> Result<(), Refused> {
        self.not_unsigning(now)?;
        if at < now {
            return Err(Refused::Past(at));
        }
        self.unsigning = Some(at);
        Ok(())
    }

    /// From when on nobody expects signatures any more, if the zone is being unsigned and all DS records are
    /// known to be gone; else the keys whose are not.
    ///
    /// # Errors
    /// The tags of keys whose DS records are still to be seen gone.
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

    /// Takes out of the list what has been removed for a month; gives the tags.
    pub fn forget(&mut self, now: UnixTime) -> Vec<u16> {
        let is_past = |key: &KeyEntry| {
            let is_old = |removed: UnixTime| removed.after(REMEMBERED) <= now;
            // Whoever unsigns the zone has to know of each DS record that the parent may still have.
            let ds_is_gone = (key.ds_seen.is_none() && key.cds.is_none())
                || key.ds_gone_everywhere().is_some_and(|gone| gone <= now);
            key.removed.is_some_and(is_old) && ds_is_gone
        };
        // In the order in which they signed, so that what is left has no gap.
        let mut removed: Vec<&KeyEntry> = self.keys.iter().collect();
        removed.retain(|key| key.removed.is_some());
        removed.sort_by_key(|key| key.retired);
        let past = removed.into_iter().take_while(|key| is_past(key));
        let past: Vec<u16> = past.map(|key| key.tag).collect();
        self.keys.retain(|key| !past.contains(&key.tag));
        past
    }

    fn not_unsigning(&self, now: UnixTime) -> Result<(), Refused> {
        match self.unsigning {
            Some(since) if since <= now => Err(Refused::Unsigning(since)),
            _ => Ok(()),
        }
    }

    fn key_mut(&mut self, tag: u16) -> Result<&mut KeyEntry, Refused> {
        let mut keys = self.keys.iter_mut();
        keys.find(|key| key.tag == tag)
            .ok_or(Refused::NoSuchKey(tag))
    }
}

impl KeyEntry {
    /// How far it is at this time.
    pub fn state(&self, time: UnixTime) -> KeyState {
        let reached = |milestone: Option<UnixTime>| milestone.is_some_and(|at| at <= time);
        match () {
            () if reached(self.removed) => KeyState::Removed,
            () if reached(self.retired) => KeyState::Retired,
            () if reached(self.active) => KeyState::Active,
            () => KeyState::Published,
        }
    }

    /// From when on no cache has a DS set without it any more, as far as the operator has said.
    pub fn ds_everywhere(&self) -> Option<UnixTime> {
        match (self.ds_seen, self.ds_ttl, self.ds_gone) {
            (Some(seen), Some(ttl), None) => Some(seen.after(ttl.into())),
            _ => None,
        }
    }

    /// From when on no cache has its DS record any more, as far as the operator has said.
    pub fn ds_gone_everywhere(&self) -> Option<UnixTime> {
        let (gone, ttl) = self.ds_gone.zip(self.ds_ttl)?;
        Some(gone.after(ttl.into()))
    }

    /// Whether it signs or is to, and nothing is planned about an end of that.
    fn stays_active(&self) -> bool {
        self.active.is_some() && self.retired.is_none()
    }

    /// From when on it can have a duty without any cache being in the way, and what that time waits for; none
    /// where nobody has said that the parent zone knows it.
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

    fn retire(&mut self, at: UnixTime, waits: &Waits) {
        let was_used = self.active.is_some();
        let dnskeys_gone = if was_used { waits.dnskeys_gone(at) } else { at };
        let removed = match was_used && self.role.duties().contains(&Duty::Zone) {
            true => waits.records_gone(at),
            false => dnskeys_gone,
        };
        self.retired = was_used.then_some(at);
        self.removed = Some(removed);
        // What has not begun by its end never does.
        self.cds = self.cds.filter(|cds| *cds < dnskeys_gone);
        self.cds_removed = self.cds.and(Some(dnskeys_gone));
    }
}
