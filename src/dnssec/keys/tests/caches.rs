//! A model of everything that resolvers may have in their caches, while an operator gives random commands.
//!
//! The operator gives most commands as early as they are accepted. Each server learns of a command a while later,
//! at a time of its own. The parent zone publishes the DS records that it is asked for, at any later time. Every
//! second the test checks everything that may be in a cache: each DS set, each DNSKEY set and each signature must
//! fit together. A resolver may have received them from another resolver, so they are validated now, and not when
//! they were sent.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use super::*;
use crate::dnssec::keys::{KeyRing, ZoneKeys};

/// The first second.
const BEGIN: u64 = 1_000;

/// Tags of keys.
type Tags = BTreeSet<u16>;

/// DNSKEY records, and the keys that have signed them.
type Dnskeys = (Tags, Tags);

/// The state of the zone from one command to the next.
struct Version {
    ring: KeyRing,
    dnskey_ttl: u64,
    max_ttl: u64,
    /// The time from which there is a newer one.
    replaced: Option<u64>,
    /// Its current content, and the time until which that holds.
    current: Option<(Current, Option<UnixTime>)>,
}

/// The records that a server with this version sends.
#[derive(Clone)]
struct Current {
    dnskeys: Dnskeys,
    zone_signers: Tags,
}

/// Cached things, each with the time at which the last copy expires.
struct Cache<T> {
    ends: HashMap<T, u64>,
    /// Whether something was added since the last check.
    is_new: bool,
}

impl<T: Hash + Eq + Clone> Cache<T> {
    fn new() -> Self {
        Self {
            ends: HashMap::new(),
            is_new: false,
        }
    }

    fn add(&mut self, thing: T, ends: u64) {
        self.is_new |= !self.ends.contains_key(&thing);
        let known = self.ends.entry(thing).or_insert(ends);
        *known = ends.max(*known);
    }

    fn clean(&mut self, now: u64) {
        self.is_new = false;
        self.ends.retain(|_, ends| now < *ends);
    }
}

struct World {
    random: fastrand::Rng,
    config: DnssecConfig,
    ds_ttl: u32,
    list: KeyList,
    versions: Vec<Version>,
    /// When signing began, and when it ended.
    signed: Option<u64>,
    unsigned: Option<u64>,
    /// The time until which signing must not end.
    end: u64,
    /// The largest TTL of the zone without signatures.
    unsigned_ttl: u64,
    parent: Tags,
    ds: Cache<Tags>,
    dnskeys: Cache<Dnskeys>,
    /// The keys that have signed records; empty for records without signatures.
    records: Cache<Tags>,
    retirements: usize,
    is_hurried: bool,
}

fn tags(keys: &[Arc<SigningKey>]) -> Tags {
    keys.iter().map(|key| key.tag()).collect()
}

fn tags_of_data(dnskeys: &[Vec<u8>]) -> Tags {
    dnskeys
        .iter()
        .map(|data| crate::dnssec::key::key_tag(data))
        .collect()
}

impl Version {
    fn current(&mut self, now: u64) -> Current {
        match &self.current {
            Some((current, until)) if until.is_none_or(|until| now < until.0) => current.clone(),
            _ => {
                let keys = self.ring.at(at(now));
                let current = Current {
                    dnskeys: (tags_of_data(&keys.dnskeys), tags(&keys.key_signers)),
                    zone_signers: tags(&keys.zone_signers),
                };
                let (published, signers) = &current.dnskeys;
                assert!(signers.is_subset(published) && current.zone_signers.is_subset(published));
                self.current = Some((current.clone(), keys.until));
                current
            }
        }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut config = config(Path::new("unused"));
        config.propagation_delay = random.u32(0..6);
        config.dnskey_ttl = random.u32(1..6);
        config.signature_validity = 4 * random.u32(6..12);
        Self {
            ds_ttl: random.u32(1..8),
            end: BEGIN + random.u64(20..400),
            random,
            list: new_list(&config),
            config,
            versions: Vec::new(),
            signed: None,
            unsigned: None,
            unsigned_ttl: 0,
            parent: Tags::new(),
            ds: Cache::new(),
            dnskeys: Cache::new(),
            records: Cache::new(),
            retirements: 0,
            is_hurried: seed % 2 == 1,
        }
    }

    /// Publishes the list and the configuration.
    fn publish(&mut self, now: u64) {
        let text = self.list.to_toml();
        let mut list = self.list.clone();
        if self.random.u32(0..10) == 0 {
            // Reading the list gives what was written.
            let read = KeyList::parse(text.as_bytes(), &self.list.origin).unwrap();
            assert_eq!(read, list);
        }
        list.adapt(&self.config, at(now));
        let ttl = self.config.dnskey_ttl;
        let Ok(ring) = KeyRing::new(&list, keys_of(&list), ttl) else {
            // Only while keys are missing.
            assert_eq!(self.signed, None, "{text}");
            return;
        };
        self.signed.get_or_insert(now);
        if let Some(last) = self.versions.last_mut() {
            last.replaced = Some(now);
        }
        self.versions.push(Version {
            ring,
            dnskey_ttl: ttl.into(),
            max_ttl: self.config.max_ttl().into(),
            replaced: None,
            current: None,
        });
    }

    /// Confirms DS records at once, and replaces keys as early as that is accepted.
    fn hurry(&mut self, now: u64) {
        let (time, ttl) = (at(now), self.ds_ttl);
        let mut changed = false;
        for key in self.list.keys.clone() {
            let (tag, is_there) = (key.tag, self.parent.contains(&key.tag));
            changed |= match (is_there, key.ds_seen, key.ds_gone) {
                (true, None, _) => self.list.ds_seen(tag, time, ttl, time).is_ok(),
                (false, Some(_), None) => self.list.ds_gone(tag, time, Some(ttl), time).is_ok(),
                _ => false,
            };
            if key.active.is_some() && self.random.u32(0..8) == 0 {
                let config = self.config.clone();
                let retired = self.list.retire(tag, time, &config, time).is_ok();
                self.retirements += usize::from(retired);
                changed |= retired;
            }
        }
        if changed {
            self.publish(now);
        }
    }

    /// Gives a random command.
    fn operate(&mut self, now: u64) {
        let time = at(now);
        self.list.adapt(&self.config, time);
        let keys = &self.list.keys;
        let Some(tag) = self.random.choice(keys).map(|key| key.tag) else {
            let role = *self
                .random
                .choice(&[Role::Csk, Role::Ksk, Role::Zsk])
                .unwrap();
            return self.generate(role, now);
        };
        let config = self.config.clone();
        let (ttl, max_ttl) = (config.dnskey_ttl, config.max_ttl());
        let changed = match self.random.u32(0..100) {
            0..6 => {
                let role = *self
                    .random
                    .choice(&[Role::Csk, Role::Ksk, Role::Zsk])
                    .unwrap();
                return self.generate(role, now);
            }
            6..30 if self.parent.contains(&tag) => {
                let ttl = self.ds_ttl;
                self.list.ds_seen(tag, time, ttl, time).is_ok()
            }
            30..50 if !self.parent.contains(&tag) => {
                let ttl = self.ds_ttl;
                self.list.ds_gone(tag, time, Some(ttl), time).is_ok()
            }
            50..70 => {
                let delay = self.random.u64(0..3) * self.random.u64(0..20);
                let active = self.list.key(tag).unwrap().active.is_some();
                // Unused keys are retired less often; else none would ever be used.
                let wanted = active || self.random.u32(0..20) == 0;
                let retired = wanted
                    && self
                        .list
                        .retire(tag, at(now + delay), &config, time)
                        .is_ok();
                self.retirements += usize::from(retired && active);
                retired
            }
            70 if now > self.end => self.list.retire_all(at(now + 3), time).is_ok(),
            // A command has to run while the TTLs are in force; else no list would record them.
            71..74 if (self.list.dnskey_ttl, self.list.max_ttl) == (ttl, max_ttl) => {
                self.config.dnskey_ttl = self.random.u32(1..6);
                self.config.signature_validity = 4 * self.random.u32(6..12);
                true
            }
            _ => false,
        };
        if changed {
            self.publish(now);
        }
    }

    fn generate(&mut self, role: Role, now: u64) {
        let pending = self
            .list
            .keys
            .iter()
            .filter(|key| key.active.is_none() && key.removed.is_none());
        // More keys than in practice, but not so many that none is ever used.
        if pending.count() >= 4 {
            return;
        }
        let forgotten = self.list.forget(at(now));
        assert!(forgotten.is_empty());
        let Some(key) = new_key(&self.list, role) else {
            return;
        };
        if self.list.add(&key, &self.config, at(now)).is_ok() {
            self.publish(now);
        }
    }

    /// The parent zone follows the CDS records at a random time, record by record.
    fn follow(&mut self, keys: &ZoneKeys) {
        if self.random.u32(0..4) > 0 {
            return;
        }
        let is_delete = keys.cds == [vec![0; 5]];
        let tag = |data: &Vec<u8>| u16::from_be_bytes([data[0], data[1]]);
        let wanted: Tags = match is_delete {
            true => Tags::new(),
            false => keys.cds.iter().map(tag).collect(),
        };
        assert_eq!(keys.cds.len(), keys.cdnskeys.len());
        if !is_delete {
            assert_eq!(wanted, tags_of_data(&keys.cdnskeys));
            assert!(wanted.is_subset(&tags_of_data(&keys.dnskeys)));
        }
        if wanted.is_empty() && !is_delete {
            // RFC 7344 §4.1: no records ask for no change.
            return;
        }
        // The DS record of a key that does not sign yet is never the only one.
        let whole = self.parent.is_empty() || is_delete || self.random.bool();
        let changes: Vec<u16> = self.parent.symmetric_difference(&wanted).copied().collect();
        for tag in changes {
            if whole || self.random.bool() {
                match wanted.contains(&tag) {
                    true => self.parent.insert(tag),
                    false => self.parent.remove(&tag),
                };
            }
        }
    }

    /// Adds everything to the caches that a server may send in this second.
    fn send(&mut self, now: u64) {
        let delay = u64::from(self.config.propagation_delay);
        self.ds
            .add(self.parent.clone(), now + u64::from(self.ds_ttl));
        if self.signed.is_none() {
            self.unsigned_ttl = self.config.max_ttl().into();
        }
        if self.signed.is_none_or(|signed| now <= signed + delay) || self.unsigned.is_some() {
            // Some servers have not been restarted.
            self.records.add(Tags::new(), now + self.unsigned_ttl);
        }
        if self.unsigned.is_some_and(|unsigned| now > unsigned + delay) {
            return;
        }
        for version in &mut self.versions {
            if version
                .replaced
                .is_some_and(|replaced| now > replaced + delay)
            {
                continue;
            }
            let current = version.current(now);
            self.dnskeys.add(current.dnskeys, now + version.dnskey_ttl);
            self.records
                .add(current.zone_signers, now + version.max_ttl);
        }
    }

    /// Checks that everything in caches fits together.
    fn check(&self, now: u64) {
        if !(self.ds.is_new || self.dnskeys.is_new || self.records.is_new) {
            return;
        }
        for ds in self.ds.ends.keys().filter(|ds| !ds.is_empty()) {
            for (keys, signers) in self.dnskeys.ends.keys() {
                let anchors = ds.intersection(keys).filter(|tag| signers.contains(tag));
                assert!(
                    anchors.count() > 0,
                    "at {now} nothing leads from DS {ds:?} to DNSKEY {keys:?} signed by {signers:?}\n{}",
                    self.list.to_toml()
                );
                for signers in self.records.ends.keys() {
                    assert!(
                        signers.intersection(keys).count() > 0,
                        "at {now} with DS {ds:?} and DNSKEY {keys:?} records are signed by {signers:?}\n{}",
                        self.list.to_toml()
                    );
                }
            }
        }
    }

    fn unsign(&mut self, now: u64) {
        let Some(unsigning) = self.list.unsigning.filter(|from| from.0 <= now) else {
            return;
        };
        if self.unsigned.is_none()
            && self
                .list
                .unsigned_from(unsigning)
                .is_ok_and(|from| from.0 <= now)
        {
            self.unsigned = Some(now);
        }
    }

    /// Runs for a while. Returns how many keys were retired, and whether the zone was unsigned in the end.
    fn run(mut self) -> (usize, bool) {
        let mut before = None;
        for now in BEGIN..BEGIN + 500 {
            // In the second of a change, servers may still send the old records.
            self.send(now);
            if let Some(version) = self.versions.last().filter(|_| self.unsigned.is_none()) {
                let keys = version.ring.at(at(now));
                self.follow(&keys);
            }
            let versions = self.versions.len();
            self.operate(now);
            if self.is_hurried {
                self.hurry(now);
            }
            self.unsign(now);
            if let Some(version) = self.versions.last() {
                let keys = version.ring.at(at(now));
                check_until(&mut before, &keys, now, versions == self.versions.len());
            }
            self.send(now);
            self.check(now);
            self.ds.clean(now + 1);
            self.dnskeys.clean(now + 1);
            self.records.clean(now + 1);
        }
        (self.retirements, self.unsigned.is_some())
    }
}

/// The keys of a zone, without the time at which that state ends.
type State = ((Tags, Tags), [Vec<Vec<u8>>; 3]);

/// While the list does not change, the state changes exactly at the time that was announced.
fn check_until(before: &mut Option<(State, Option<u64>)>, keys: &ZoneKeys, now: u64, same: bool) {
    let signers = (tags(&keys.key_signers), tags(&keys.zone_signers));
    let records = [&keys.dnskeys, &keys.cds, &keys.cdnskeys].map(Clone::clone);
    let state = (signers, records);
    let until = keys.until.map(|until| until.0);
    assert!(until.is_none_or(|until| until > now));
    if let Some((state_before, until_before)) = before.as_ref().filter(|_| same) {
        match *until_before == Some(now) {
            true => assert_ne!(*state_before, state, "at {now}"),
            false => assert_eq!((state_before, until_before), (&state, &until), "at {now}"),
        }
    }
    *before = Some((state, until));
}

#[test]
fn after_all_allowed_commands_caches_fit_together() {
    let runs = std::env::var("KEYS_RUNS").map_or(60, |runs| runs.parse().unwrap());
    let outcomes: Vec<_> = (0..runs).map(|seed| World::new(seed).run()).collect();
    let retirements: usize = outcomes.iter().map(|(retirements, _)| retirements).sum();
    let unsigned = outcomes.iter().filter(|(_, unsigned)| *unsigned).count();
    // A model that refuses all commands would pass as well.
    assert!(retirements > 2 * outcomes.len(), "{retirements}");
    assert!(unsigned > outcomes.len() / 20, "{unsigned}");
}
