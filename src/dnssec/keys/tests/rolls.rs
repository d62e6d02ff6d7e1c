//! Each kind of roll-over, with its times; and steps that are refused until a time.

use super::*;
use crate::dnssec::key::Duty;
use crate::dnssec::keys::plan::KeyState;
use crate::dnssec::keys::refused::{Cached, Refused};
use crate::dnssec::keys::{KeyRing, ListProblem, ZoneKeys};

/// Checks the zone of a list at a time. `expected` has the places in the list of the keys with DNSKEY records,
/// with CDS records, and of those that sign the keys and the zone.
fn check(list: &KeyList, time: u64, expected: [&[usize]; 4]) {
    let keys = keys_of(list);
    let ring = KeyRing::new(list, keys.clone(), 600).unwrap();
    let found = ring.at(at(time));
    let place = |data: &Vec<u8>| {
        keys.iter()
            .flatten()
            .position(|key| key.dnskey() == data)
            .unwrap()
    };
    let sorted = |places: &mut dyn Iterator<Item = usize>| {
        let mut places: Vec<usize> = places.collect();
        places.sort_unstable();
        places
    };
    let signers = |signers: &[Arc<SigningKey>]| {
        sorted(&mut signers.iter().map(|key| place(&key.dnskey().to_vec())))
    };
    let found = [
        sorted(&mut found.dnskeys.iter().map(place)),
        sorted(&mut found.cdnskeys.iter().map(place)),
        signers(&found.key_signers),
        signers(&found.zone_signers),
    ];
    assert_eq!(found, expected, "at {time} of\n{}", list.to_toml());
}

/// The same just before a time, and at that time.
fn turn(list: &KeyList, time: u64, before: [&[usize]; 4], from: [&[usize]; 4]) {
    check(list, time - 1, before);
    check(list, time, from);
    let ring = KeyRing::new(list, keys_of(list), 600).unwrap();
    assert_eq!(ring.at(at(time - 1)).until, Some(at(time)));
}

struct Zone {
    config: DnssecConfig,
    list: KeyList,
}

impl Zone {
    fn new() -> Self {
        let config = config(Path::new("unused"));
        Self {
            list: new_list(&config),
            config,
        }
    }

    fn generate(&mut self, role: Role, now: u64) -> u16 {
        let key = new_key(&self.list, role).unwrap();
        self.list.add(&key, &self.config, at(now)).unwrap();
        key.tag()
    }

    fn seen(&mut self, tag: u16, now: u64) {
        self.list.ds_seen(tag, at(now), 7_200, at(now)).unwrap();
    }

    fn retire(&mut self, tag: u16, now: u64) -> Result<Vec<u16>, Refused> {
        self.list.retire(tag, at(now), &self.config, at(now))
    }

    /// Checks that a key can be retired from a time on, and not a second earlier.
    fn retire_from(&mut self, tag: u16, from: u64, what: Cached, successor: u16) {
        let expected = Refused::TooEarly {
            tag,
            successor,
            from: at(from),
            what,
        };
        assert_eq!(self.retire(tag, from - 1), Err(expected));
        assert_eq!(
            self.list.succession(tag, at(from - 1), None).unwrap().from,
            at(from)
        );
        assert_eq!(self.retire(tag, from), Ok(vec![successor]));
    }

    fn state(&self, tag: u16, time: u64) -> KeyState {
        self.list.key(tag).unwrap().state(at(time))
    }
}

/// An hour until all servers sign, and 6 hours until nothing unsigned is in caches; before that a DS set
/// would make validators reject what they have.
#[test]
fn the_first_key_signs_at_once_and_its_ds_waits() {
    let mut zone = Zone::new();
    let first = zone.generate(Role::Csk, 1_000);
    check(&zone.list, 0, [&[0], &[], &[0], &[0]]);
    turn(
        &zone.list,
        1_000 + 3_600 + 21_600,
        [&[0], &[], &[0], &[0]],
        [&[0], &[0], &[0], &[0]],
    );
    assert_eq!(zone.state(first, 1_000), KeyState::Active);
}

/// RFC 6781 §4.1.1.1, RFC 7583 §3.2.1.
#[test]
fn a_zsk_is_replaced_by_pre_publication() {
    let mut zone = Zone::new();
    let ksk = zone.generate(Role::Ksk, 1_000);
    assert_eq!(zone.list.missing_duty(), Some(Duty::Zone));
    let old = zone.generate(Role::Zsk, 2_000);
    // The zone is signed from the second key on, so all waits begin then.
    turn(
        &zone.list,
        27_200,
        [&[0, 1], &[], &[0], &[1]],
        [&[0, 1], &[0], &[0], &[1]],
    );
    let refused = Refused::NoSuccessor {
        tag: old,
        duty: Duty::Zone,
        wanted: Role::Zsk,
    };
    assert_eq!(zone.retire(old, 50_000), Err(refused));

    let new = zone.generate(Role::Zsk, 50_000);
    let before: [&[usize]; 4] = [&[0, 1, 2], &[0], &[0], &[1]];
    check(&zone.list, 50_000, before);
    // An hour until all servers have it, ten minutes until all caches do.
    zone.retire_from(old, 54_200, Cached::Dnskeys, new);
    turn(&zone.list, 54_200, before, [&[0, 1, 2], &[0], &[0], &[2]]);
    // An hour until all servers sign with the new one, 6 hours until signatures of the old one are gone.
    turn(
        &zone.list,
        54_200 + 3_600 + 21_600,
        [&[0, 1, 2], &[0], &[0], &[2]],
        [&[0, 2], &[0], &[0], &[2]],
    );
    for (time, state) in [(54_200, KeyState::Retired), (79_400, KeyState::Removed)] {
        assert_eq!(zone.state(old, time), state);
    }
    assert_eq!(zone.state(ksk, 79_400), KeyState::Active);
}

/// RFC 6781 §4.1.3, RFC 7583 §3.3.2.
#[test]
fn a_csk_is_replaced_by_double_ds() {
    let mut zone = Zone::new();
    let old = zone.generate(Role::Csk, 1_000);
    zone.seen(old, 40_000);
    let new = zone.generate(Role::Csk, 50_000);
    let pending: [&[usize]; 4] = [&[0, 1], &[0], &[0], &[0]];
    check(&zone.list, 50_000, pending);
    // CDS records ask for both DS records once all resolvers can use both keys.
    let both: [&[usize]; 4] = [&[0, 1], &[0, 1], &[0], &[0]];
    turn(&zone.list, 54_200, pending, both);
    let refused = Refused::DsNotSeen {
        tag: old,
        successor: new,
    };
    assert_eq!(zone.retire(old, 60_000), Err(refused));
    zone.seen(new, 60_000);
    zone.retire_from(old, 67_200, Cached::Ds, new);
    let switched: [&[usize]; 4] = [&[0, 1], &[0, 1], &[1], &[1]];
    turn(&zone.list, 67_200, both, switched);
    // The old DS stays until no cache has DNSKEY records that only the old key has signed.
    let ds_gone: [&[usize]; 4] = [&[0, 1], &[1], &[1], &[1]];
    turn(&zone.list, 67_200 + 3_600 + 600, switched, ds_gone);
    turn(
        &zone.list,
        67_200 + 3_600 + 21_600,
        ds_gone,
        [&[1], &[1], &[1], &[1]],
    );
    assert_eq!(
        zone.retire(old, 70_000),
        Err(Refused::Retired {
            tag: old,
            since: at(67_200)
        })
    );
    assert_eq!(
        zone.retire(old, 99_999),
        Err(Refused::Removed {
            tag: old,
            since: at(92_400)
        })
    );
}

/// A DS record that the operator has put into the parent zone earlier than it was asked for.
#[test]
fn an_early_ds_does_not_make_a_key_ready() {
    let mut zone = Zone::new();
    let old = zone.generate(Role::Csk, 1_000);
    let new = zone.generate(Role::Csk, 50_000);
    zone.list.ds_seen(new, at(50_000), 60, at(50_000)).unwrap();
    zone.retire_from(old, 54_200, Cached::Dnskeys, new);
}

#[test]
fn a_ksk_leaves_earlier_than_a_csk() {
    let mut zone = Zone::new();
    let old = zone.generate(Role::Ksk, 1_000);
    zone.generate(Role::Zsk, 1_000);
    let new = zone.generate(Role::Ksk, 50_000);
    zone.seen(new, 60_000);
    zone.retire_from(old, 67_200, Cached::Ds, new);
    // It has signed nothing but the DNSKEY, CDS and CDNSKEY records.
    let before: [&[usize]; 4] = [&[0, 1, 2], &[0, 2], &[2], &[1]];
    turn(
        &zone.list,
        67_200 + 3_600 + 600,
        before,
        [&[1, 2], &[2], &[2], &[1]],
    );
}

#[test]
fn one_key_is_replaced_by_two_and_two_by_one() {
    let mut zone = Zone::new();
    let csk = zone.generate(Role::Csk, 1_000);
    let ksk = zone.generate(Role::Ksk, 50_000);
    zone.seen(ksk, 60_000);
    let refused = Refused::NoSuccessor {
        tag: csk,
        duty: Duty::Zone,
        wanted: Role::Zsk,
    };
    assert_eq!(zone.retire(csk, 70_000), Err(refused));
    let zsk = zone.generate(Role::Zsk, 80_000);
    assert_eq!(zone.retire(csk, 90_000), Ok(vec![ksk, zsk]));
    let one: [&[usize]; 4] = [&[0, 1, 2], &[0, 1], &[0], &[0]];
    turn(&zone.list, 90_000, one, [&[0, 1, 2], &[0, 1], &[1], &[2]]);

    let new = zone.generate(Role::Csk, 200_000);
    zone.seen(new, 210_000);
    assert_eq!(zone.retire(ksk, 220_000), Ok(vec![new]));
    // While there is a zone signing key, it alone signs the zone.
    check(&zone.list, 220_000, [&[1, 2, 3], &[1, 3], &[3], &[2]]);
    assert_eq!(zone.retire(zsk, 220_000), Ok(vec![new]));
    check(&zone.list, 220_000, [&[1, 2, 3], &[1, 3], &[3], &[3]]);
    check(&zone.list, 300_000, [&[3], &[3], &[3], &[3]]);
}

#[test]
fn a_retirement_can_be_planned_and_planned_anew() {
    let mut zone = Zone::new();
    let old = zone.generate(Role::Csk, 1_000);
    let new = zone.generate(Role::Csk, 50_000);
    zone.seen(new, 60_000);
    let config = zone.config.clone();
    let mut plan = |time: u64, now: u64| zone.list.retire(old, at(time), &config, at(now));
    assert!(matches!(
        plan(67_199, 60_000),
        Err(Refused::TooEarly { .. })
    ));
    assert_eq!(plan(59_999, 60_000), Err(Refused::Past(at(59_999))));
    for time in [100_000, 90_000, 67_200, 95_000] {
        assert_eq!(plan(time, 60_001), Ok(vec![new]));
    }
    let before: [&[usize]; 4] = [&[0, 1], &[0, 1], &[0], &[0]];
    turn(&zone.list, 95_000, before, [&[0, 1], &[0, 1], &[1], &[1]]);
    check(&zone.list, 120_199, [&[0, 1], &[1], &[1], &[1]]);
    check(&zone.list, 120_200, [&[1], &[1], &[1], &[1]]);
    // The plan needs the new key and its DS record.
    let refused = Refused::TakesOver {
        tag: new,
        at: at(95_000),
    };
    assert_eq!(zone.retire(new, 70_000), Err(refused));
    let gone = zone.list.ds_gone(new, at(70_000), Some(0), at(70_000));
    assert_eq!(gone, Err(Refused::DsNeeded(new)));
    let late = zone.list.ds_seen(new, at(70_000), 25_001, at(70_000));
    assert!(
        matches!(late, Err(Refused::TakesOverBefore { .. })),
        "{late:?}"
    );
    assert_eq!(
        zone.list.ds_seen(new, at(70_000), 25_000, at(70_000)),
        Ok(())
    );
}

#[test]
fn a_key_that_was_never_used_is_dropped_at_once() {
    let mut zone = Zone::new();
    zone.generate(Role::Csk, 1_000);
    let unused = zone.generate(Role::Csk, 50_000);
    let never_asked_for = zone.generate(Role::Csk, 59_000);
    assert_eq!(zone.retire(unused, 60_000), Ok(vec![]));
    assert_eq!(zone.retire(never_asked_for, 60_000), Ok(vec![]));
    turn(
        &zone.list,
        60_000,
        [&[0, 1, 2], &[0, 1], &[0], &[0]],
        [&[0], &[0], &[0], &[0]],
    );
    assert_eq!(zone.list.key(never_asked_for).unwrap().cds, None);
}

/// RFC 8078 §4.
#[test]
fn a_zone_is_unsigned_when_no_cache_has_a_ds() {
    let mut zone = Zone::new();
    let old = zone.generate(Role::Csk, 1_000);
    let new = zone.generate(Role::Csk, 50_000);
    zone.seen(new, 60_000);
    zone.retire(old, 70_000).unwrap();
    zone.list.retire_all(at(200_000), at(100_000)).unwrap();
    let ring = KeyRing::new(&zone.list, keys_of(&zone.list), 600).unwrap();
    let data = |ZoneKeys { cds, cdnskeys, .. }: ZoneKeys| (cds, cdnskeys);
    assert_eq!(data(ring.at(at(199_999))).0.len(), 1);
    let delete = (vec![vec![0; 5]], vec![vec![0, 0, 3, 0, 0]]);
    assert_eq!(data(ring.at(at(200_000))), delete);
    let keys = ring.at(at(9_999_999));
    assert_eq!((keys.key_signers.len(), keys.zone_signers.len()), (1, 1));

    assert_eq!(
        zone.list.retire_all(at(200_000), at(200_000)),
        Err(Refused::Unsigning(at(200_000)))
    );
    assert_eq!(
        zone.retire(new, 200_000),
        Err(Refused::Unsigning(at(200_000)))
    );
    // It is not confirmed that the DS record of the first key is gone.
    assert_eq!(zone.list.unsigned_from(at(200_000)), Err(vec![old, new]));
    assert_eq!(
        zone.list.ds_gone(new, at(210_000), None, at(210_000)),
        Ok(())
    );
    assert_eq!(zone.list.unsigned_from(at(200_000)), Err(vec![old]));
    assert_eq!(
        zone.list.ds_gone(old, at(205_000), None, at(210_000)),
        Ok(())
    );
    assert_eq!(
        zone.list.unsigned_from(at(200_000)),
        Ok(at(205_000 + 86_400))
    );
}

#[test]
fn impossible_confirmations_are_refused() {
    let mut zone = Zone::new();
    let csk = zone.generate(Role::Csk, 1_000);
    let zsk = zone.generate(Role::Zsk, 1_000);
    let now = at(5_000);
    let mut seen = |tag, since| zone.list.ds_seen(tag, at(since), 0, now);
    assert_eq!(seen(zsk, 4_000), Err(Refused::NoDs(zsk)));
    assert_eq!(seen(1, 4_000), Err(Refused::NoSuchKey(1)));
    assert_eq!(seen(csk, 5_001), Err(Refused::Future(at(5_001))));
    assert_eq!(
        seen(csk, 999),
        Err(Refused::BeforeKey {
            tag: csk,
            time: at(999)
        })
    );
    assert_eq!(seen(csk, 5_000), Ok(()));
    assert_eq!(
        zone.list.ds_gone(csk, now, Some(0), now),
        Err(Refused::DsNeeded(csk))
    );
    let refused = zone
        .list
        .may_add(Algorithm::EcdsaP256Sha256, now)
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the keys of this zone have the algorithm ED25519; all keys of a zone must have the same algorithm \
         (RFC 4035 §2.2), and tinyns cannot replace it by another"
    );
}

/// A TTL that was larger a moment ago may still be in caches.
#[test]
fn smaller_ttls_count_when_caches_have_no_larger_ones() {
    let mut zone = Zone::new();
    let old = zone.generate(Role::Csk, 1_000);
    zone.config.dnskey_ttl = 1;
    zone.config.signature_validity = 40;
    let new = zone.generate(Role::Csk, 50_000);
    zone.list.ds_seen(new, at(50_000), 0, at(50_000)).unwrap();
    zone.retire_from(old, 50_000 + 3_600 + 21_600, Cached::Dnskeys, new);
    let removed = zone.list.key(old).unwrap().removed;
    assert_eq!(removed, Some(at(75_200 + 3_600 + 10)));
    assert_eq!(zone.list.settled, None);
}

/// A TTL that is made larger while signatures are still made with a key keeps them in caches for longer.
#[test]
fn larger_ttls_postpone_the_removal_of_a_key() {
    let mut zone = Zone::new();
    let old = zone.generate(Role::Zsk, 1_000);
    zone.generate(Role::Ksk, 1_000);
    zone.generate(Role::Zsk, 50_000);
    zone.list
        .retire(old, at(80_000), &zone.config, at(60_000))
        .unwrap();
    zone.config.signature_validity *= 2;
    zone.list.adapt(&zone.config, at(60_000));
    let key = zone.list.key(old).unwrap();
    assert_eq!(
        (key.retired, key.removed),
        (Some(at(80_000)), Some(at(80_000 + 3_600 + 43_200)))
    );
}

#[test]
fn keys_leave_the_list_a_month_after_their_removal() {
    let mut zone = Zone::new();
    let first = zone.generate(Role::Csk, 1_000);
    let second = zone.generate(Role::Csk, 50_000);
    zone.seen(second, 60_000);
    zone.retire(first, 70_000).unwrap();
    let removed = zone.list.key(first).unwrap().removed.unwrap();
    let long_after = removed.after(30 * 86_400);
    // The parent zone may still have its DS record.
    assert!(zone.list.clone().forget(long_after).is_empty());
    zone.list
        .ds_gone(first, at(75_000), Some(0), at(80_000))
        .unwrap();
    assert!(
        zone.list
            .clone()
            .forget(UnixTime(long_after.0 - 1))
            .is_empty()
    );
    assert_eq!(zone.list.forget(long_after), [first]);
    check(&zone.list, 0, [&[0], &[0], &[0], &[0]]);
}

#[test]
fn a_list_that_leaves_records_unsigned_is_refused() {
    let problem = |list: &KeyList| KeyRing::new(list, keys_of(list), 600).unwrap_err();
    let mut zone = Zone::new();
    let never = |duty| ListProblem::NeverSigned { duty };
    assert_eq!(problem(&zone.list), never(Duty::Keys));
    zone.generate(Role::Ksk, 1_000);
    assert_eq!(problem(&zone.list), never(Duty::Zone));
    zone.generate(Role::Zsk, 1_000);
    zone.list.keys[1].retired = Some(at(5_000));
    zone.list.keys[1].removed = Some(at(9_000));
    let expected = ListProblem::Unsigned {
        from: at(5_000),
        duty: Duty::Zone,
    };
    assert_eq!(problem(&zone.list), expected);
    assert_eq!(
        expected.to_string(),
        "from 1970-01-01T01:23:20Z on no key signs the records of the zone"
    );
}

#[test]
fn refusals_say_what_to_do() {
    let check = |refused: Refused, expected: &str| assert_eq!(refused.to_string(), expected);
    check(
        Refused::NoSuccessor {
            tag: 1,
            duty: Duty::Keys,
            wanted: Role::Csk,
        },
        "1 cannot be retired: no other key could then sign the DNSKEY records; `tinyns keys generate --role csk` \
         makes one",
    );
    check(
        Refused::DsNotSeen {
            tag: 1,
            successor: 2,
        },
        "1 cannot be retired: the DS record of its successor 2 is not confirmed; when all servers of the parent \
         zone publish it, confirm that with `tinyns keys ds --seen 2`",
    );
    check(
        Refused::TooEarly {
            tag: 1,
            successor: 2,
            from: at(0),
            what: Cached::Ds,
        },
        "1 cannot be retired before 1970-01-01T00:00:00Z: until then resolvers may have DS records without its \
         successor 2 in their caches",
    );
}
