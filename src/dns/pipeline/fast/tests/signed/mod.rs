//! Signed zones: every reply has to satisfy a validator that knows only the published keys, over random zones,
//! changes, and time.
//!
//! The integration tests use validators by others; this one checks far more replies.

mod additions;
mod judge;
mod withheld;

use std::path::Path;
use std::time::Instant;

use hickory_proto::op::ResponseCode;

use self::judge::Judge;
pub(super) use self::judge::wire_of;
use super::zones::{Random, add_additions, add_links, name, seconds_and_seed, zones};
use super::*;
use crate::dns::limits::rate_limit::SignatureLimits;
use crate::dns::pipeline::packet::Fate;
use crate::dns::pipeline::tally::Tally;
use crate::dnssec::key::{Role, SigningKey};
use crate::dnssec::keys::directory::{LockedDirectory, read_list};
use crate::dnssec::keys::list::KeyList;
use crate::dnssec::{DnssecConfig, Signing};

/// The validator of a fixture's zones.
pub(super) fn judge_of(fixture: &Fixture) -> Judge<'_> {
    Judge::of(fixture)
}

const RRSIG: u16 = 46;
const NSEC: u16 = 47;
const NXNAME: u16 = 128;
const EDNS: Option<(u16, bool)> = Some((1_232, true));

pub(super) fn config(directory: &Path, origin: &ZoneName) -> DnssecConfig {
    DnssecConfig {
        keys: directory.join(format!("keys-{}", origin.file_part())),
        signature_validity: 40_000,
        signature_jitter: 4_000,
        inception_offset: 1_000,
        dnskey_ttl: 600,
        propagation_delay: 60,
    }
}

/// Makes a key for a zone.
pub(super) fn signing(zone: &ZoneConfig, algorithm: Algorithm) -> Signing {
    let config = zone.dnssec.clone().unwrap();
    let directory = LockedDirectory::open(&config.keys, true).unwrap();
    let mut list = KeyList::new(zone.origin.clone(), &config);
    let (_, key) = directory.make_key(&list, algorithm, Role::Csk).unwrap();
    list.add(&key, &config, NOW).unwrap();
    directory.write_list(&list).unwrap();
    Signing::load(config, zone.origin.clone(), NOW).unwrap()
}

fn fixture(layout: Layout, algorithm: Algorithm) -> Fixture {
    let zone = ("s.example.com", ZONE.to_owned(), Some("r"), layout);
    Fixture::signed_by(&[zone], Some(algorithm), Settings::default())
}

#[test]
fn all_kinds_of_answers_are_valid() {
    let algorithms = [Algorithm::EcdsaP256Sha256, Algorithm::Ed25519];
    for (layout, algorithm) in [Layout::Cname, Layout::Direct].into_iter().zip(algorithms) {
        let fixture = fixture(layout, algorithm);
        fixture.add("abc", "https://example.net/", None, None);
        let judge = Judge::of(&fixture);
        let names = [
            "abc", "abc.r", "ABC", "x.abc", "nosuch", "nosuch.r", "r", "promo", "old", "x.old",
            "www.old", "wild", "x.wild", "loop1", "sub", "x.sub", "ns.sub", "ns", "mail", "big",
            "",
        ];
        for name in names {
            let name = match name {
                "" => "s.example.com".to_owned(),
                name => format!("{name}.s.example.com"),
            };
            for qtype in [
                1, 2, 5, 6, 15, 16, 28, 39, 43, NSEC, 48, 59, 60, 65, 255, 256,
            ] {
                let packet = query(&name, qtype, EDNS);
                let (message, found) = judge.ask(&fixture, &packet);
                assert_eq!(
                    message.metadata.response_code,
                    ResponseCode::NoError,
                    "{name}"
                );
                assert!(found.signatures > 0, "{name} {qtype}: {message:#?}");
                // The unsigned reply and the general path agree with it.
                let (_, plain) = fixture.ask(&query(&name, qtype, Some((1_232, false))));
                let plain = Message::from_vec(&plain).unwrap();
                let is_missing = found.nsec.iter().any(|(_, types)| types.contains(&NXNAME));
                let is_error = plain.metadata.response_code == ResponseCode::NXDomain;
                assert_eq!(is_missing, is_error, "{name} {qtype}");
                let mut odd = packet.clone();
                odd[2] |= 2;
                let (sent, odd) = fixture.ask_generally(&odd);
                judge.look(&Message::from_vec(&odd).unwrap());
                assert_eq!(sent.rcode, 0);
            }
        }
        // RFC 9824 §5.1
        let mut packet = query("nosuch.s.example.com", 1, EDNS);
        let flags = packet.len() - 4;
        packet[flags] |= 0x40;
        let (sent, wire) = fixture.ask(&packet);
        assert_eq!((sent.rcode, wire[3] & 0x0F), (3, 3));
        let at = wire.windows(2).rposition(|w| w == [0xC0, 0]);
        assert!(at.is_some(), "CO comes back: {wire:02x?}");
        let (sent, _) = fixture.ask_generally(&packet);
        assert_eq!(sent.rcode, 3);
    }
}

#[test]
fn a_signature_is_made_once_and_again_when_half_of_its_life_is_over() {
    let fixture = fixture(Layout::Cname, Algorithm::EcdsaP256Sha256);
    fixture.add("abc", "https://example.net/", None, None);
    let made = || fixture.metrics.dnssec_signatures.get();
    let ask = |name: &str, qtype| {
        let judge = Judge::of(&fixture);
        judge.ask(
            &fixture,
            &query(&format!("{name}.s.example.com"), qtype, EDNS),
        );
        made()
    };
    assert_eq!(ask("abc", 16), 2);
    assert_eq!(ask("abc", 16), 2, "a hit");
    assert_eq!(ask("abc.r", 16), 2, "of the same RRset");
    assert_eq!(ask("abc", 1), 3, "the CNAME was signed");
    assert_eq!(ask("abc.r", 15), 5, "NODATA: SOA and NSEC");
    assert_eq!(ask("abc.r", 17), 5, "whatever the type");
    assert_eq!(ask("nosuch1", 16), 6, "a name that does not exist");
    assert_eq!(ask("nosuch1", 16), 7, "each time: there is no end of them");
    // The link is looked up again, but not signed.
    fixture.clock.set(UnixTime(NOW.0 + 3_600));
    let before = made();
    fixture.handler.zones_replaced();
    assert_eq!(ask("abc", 16), before);
    assert_eq!(ask("ns", 15), before + 1, "NSEC, and the SOA of before");
    assert_eq!(ask("", 6), before + 1, "the SOA itself");
    assert_eq!(ask("ns", 17), before + 1);
    let change = |url: &str| {
        let target = TargetUrl::parse(url).unwrap();
        fixture.change(
            "abc",
            Change {
                target: Some(target),
                ..Change::default()
            },
        );
    };
    change("https://example.net/2");
    let before = made();
    assert!(ask("abc", 16) > before, "another TXT");
    let before = made();
    assert_eq!(ask("abc", 16), before);
    // The alias was signed at first, the text an hour later; each is due between 18,000 and 20,000 seconds after
    // that, by its jitter.
    fixture.clock.set(UnixTime(NOW.0 + 17_999));
    assert_eq!(ask("abc", 16), before);
    fixture.clock.set(UnixTime(NOW.0 + 20_000));
    assert_eq!(ask("abc", 16), before + 1);
    fixture.clock.set(UnixTime(NOW.0 + 3_600 + 17_999));
    assert_eq!(ask("abc", 16), before + 1);
    fixture.clock.set(UnixTime(NOW.0 + 3_600 + 20_000));
    assert_eq!(ask("abc", 16), before + 2);
}

#[test]
fn signatures_made_while_the_clock_was_ahead_are_not_used() {
    let fixture = fixture(Layout::Cname, Algorithm::EcdsaP256Sha256);
    fixture.add("abc", "https://example.net/", None, None);
    let ask = || {
        let judge = Judge::of(&fixture);
        let (_, found) = judge.ask(&fixture, &query("abc.s.example.com", 16, EDNS));
        assert_eq!(found.signatures, 2);
    };
    fixture.clock.set(UnixTime(NOW.0 + 10_000));
    ask();
    fixture.clock.set(NOW);
    // As the server does when the clock goes back.
    fixture.handler.zones_replaced();
    ask();
}

/// RFC 4034 §3.1.4: the signature covers the zone's TTL, so a TTL that shrinks each second needs no new signature.
#[test]
fn a_link_that_ends_soon_is_signed_once() {
    for layout in [Layout::Cname, Layout::Direct] {
        let fixture = fixture(layout, Algorithm::EcdsaP256Sha256);
        let made = || fixture.metrics.dnssec_signatures.get();
        fixture.add(
            "ends",
            "https://example.net/",
            Some(UnixTime(NOW.0 + 50)),
            None,
        );
        let mut first = 0;
        for passed in 0..50 {
            fixture.clock.set(UnixTime(NOW.0 + passed));
            for (name, qtype) in [("ends", 16), ("ends", 1), ("ends.r", 65)] {
                let packet = query(&format!("{name}.s.example.com"), qtype, EDNS);
                let (message, _) = Judge::of(&fixture).ask(&fixture, &packet);
                for record in &message.answers {
                    assert_eq!(u64::from(record.ttl), 49 - passed, "{record}");
                }
            }
            match passed {
                0 => first = made(),
                _ => assert_eq!(made(), first, "after {passed} seconds"),
            }
        }
    }
}

/// UDP workers sign nothing. A query that needs a new signature waits for the signing thread, or gets a truncated
/// reply if the queue is full.
#[test]
fn replies_that_need_signatures_go_to_the_signing_thread() {
    let fixture = fixture(Layout::Cname, Algorithm::EcdsaP256Sha256);
    fixture.add("abc", "https://example.net/", None, None);
    let handler = &fixture.handler;
    let made = || fixture.metrics.dnssec_signatures.get();
    let take = |packet: &[u8]| {
        let (mut reply, mut encoding) = (ReplyBuffer::new(1_232), Vec::new());
        let scratch = Scratch {
            reply: &mut reply,
            encoding: &mut encoding,
        };
        let read = handler.read(packet, CLIENT, Via::Udp);
        let (now, mut tally) = (handler.time(), Tally::default());
        match handler.take(&read, &now, scratch, &mut tally, Signatures::Later) {
            Fate::Replied => "replied",
            Fate::Waits(_) => "waits for its link",
            Fate::Dropped => "dropped",
            Fate::Signs { is_made_up } => {
                // As where the queue is full.
                assert!(handler.take_unsigned(&read, &now, &mut reply, &mut tally));
                let message = Message::from_vec(reply.as_bytes()).unwrap();
                assert!(message.metadata.truncation && message.metadata.authoritative);
                assert!(message.answers.is_empty() && message.authorities.is_empty());
                match is_made_up {
                    true => "to be signed after others",
                    false => "to be signed",
                }
            }
        }
    };
    let link = query("abc.s.example.com", 16, EDNS);
    let mut odd = link.clone();
    odd[2] |= 2;
    let absent = query("nosuch.s.example.com", 16, EDNS);
    // There is no filter here, so the link may exist.
    for packet in [&link, &absent] {
        assert_eq!(take(packet), "to be signed");
    }
    assert_eq!(take(&odd), "to be signed after others");
    for name in ["ns", "", "wild", "sub", "promo", "r", "abc.r"] {
        let name = format!("{name}.s.example.com");
        let packet = query(name.trim_start_matches('.'), 16, EDNS);
        assert_eq!(take(&packet), "to be signed", "{name}");
    }
    for name in [
        "x.wild", "x.abc", "x.old", "_x", "a.b.c", "x.ns", "x.sub", "a.b.sub",
    ] {
        let packet = query(&format!("{name}.s.example.com"), 16, EDNS);
        assert_eq!(take(&packet), "to be signed after others", "{name}");
    }
    assert_eq!(made(), 0);
    assert_eq!(fixture.metrics.dnssec_signatures_refused.get(), 18);
    // Without DO nothing is signed. Kept signatures stay.
    assert_eq!(take(&query("ns.s.example.com", 1, None)), "replied");
    fixture.ask(&link);
    let before = made();
    assert_eq!((take(&link), take(&absent)), ("replied", "to be signed"));
    assert_eq!(made(), before);
}

/// The servers of a fleet have copies of the directory, and do the same at the same time.
#[test]
fn servers_with_copies_of_the_keys_agree_at_any_time() {
    let fixture = fixture(Layout::Cname, Algorithm::EcdsaP256Sha256);
    let origin = ZoneName::parse("s.example.com").unwrap();
    let config = config(fixture.directory.path(), &origin);
    let directory = LockedDirectory::open(&config.keys, false).unwrap();
    let mut list = read_list(&config, &origin, NOW).unwrap();
    let old = list.keys[0].tag;
    let made = directory.make_key(&list, Algorithm::EcdsaP256Sha256, Role::Csk);
    let (_, key) = made.unwrap();
    list.add(&key, &config, NOW).unwrap();
    list.ds_seen(key.tag(), NOW, 600, NOW).unwrap();
    let at = UnixTime(NOW.0 + 20_000);
    list.retire(old, at, &config, NOW).unwrap();
    directory.write_list(&list).unwrap();
    let copy = DnssecConfig {
        keys: fixture.directory.path().join("copy"),
        ..config.clone()
    };
    fs::create_dir(&copy.keys).unwrap();
    for file in fs::read_dir(&config.keys).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() {
            fs::copy(file.path(), copy.keys.join(file.file_name())).unwrap();
        }
    }
    let [one, other] = [config, copy].map(|c| Signing::load(c, origin.clone(), NOW).unwrap());
    let does = |signing: &Signing, now| {
        signing.turn(now);
        let keys = signing.keys();
        let tags = |keys: &[Arc<SigningKey>]| keys.iter().map(|key| key.tag()).collect::<Vec<_>>();
        let signers = (tags(&keys.key_signers), tags(&keys.zone_signers));
        (keys.dnskeys.clone(), keys.cds.clone(), signers)
    };
    let mut phases = Vec::new();
    for now in (NOW.0..NOW.0 + 60_000).step_by(50).map(UnixTime) {
        let does_now = does(&one, now);
        assert_eq!(does_now, does(&other, now), "{now}");
        phases.push(does_now);
    }
    phases.dedup();
    assert!(phases.len() >= 3, "{}", phases.len());
}

/// The validator has the keys that are published at each time, so every reply needs a signature by one of them.
#[test]
fn replies_stay_valid_during_a_key_rollover() {
    let fixture = fixture(Layout::Cname, Algorithm::EcdsaP256Sha256);
    fixture.add("abc", "https://example.net/", None, None);
    let origin = ZoneName::parse("s.example.com").unwrap();
    let signing = &fixture.zones.signings()[&origin];
    let config = config(fixture.directory.path(), &origin);
    let directory = LockedDirectory::open(&config.keys, false).unwrap();
    let mut list = read_list(&config, &origin, NOW).unwrap();
    let old = list.keys[0].tag;
    let (_, key) = directory
        .make_key(&list, Algorithm::EcdsaP256Sha256, Role::Csk)
        .unwrap();
    list.add(&key, &config, NOW).unwrap();
    directory.write_list(&list).unwrap();
    let tick = |now: u64| {
        fixture.clock.set(UnixTime(now));
        if signing.turn(UnixTime(now)) {
            fixture.handler.zones_replaced();
        }
    };
    signing.reload(NOW).unwrap();
    fixture.handler.zones_replaced();
    let tags = |qtype| {
        let judge = Judge::of(&fixture);
        let (message, found) = judge.ask(&fixture, &query("s.example.com", qtype, EDNS));
        assert!(found.signatures > 0);
        let signers = message
            .answers
            .iter()
            .filter(|r| u16::from(r.record_type()) == RRSIG);
        let signers = signers.map(|record| {
            let data = wire_of(&record.data);
            u16::from_be_bytes([data[16], data[17]])
        });
        let records = message
            .answers
            .iter()
            .filter(|r| u16::from(r.record_type()) == qtype);
        (signers.collect::<Vec<_>>(), records.count())
    };
    assert_eq!(
        tags(48),
        (vec![old], 2),
        "both are published, the old one signs"
    );
    let ready = list.key(key.tag()).unwrap().ready.0;
    list.ds_seen(key.tag(), NOW, 600, NOW).unwrap();
    let at = UnixTime(ready.max(NOW.0 + 20_000));
    list.retire(old, at, &config, NOW).unwrap();
    directory.write_list(&list).unwrap();
    tick(at.0 - 1);
    signing.reload(UnixTime(at.0 - 1)).unwrap();
    fixture.handler.zones_replaced();
    assert_eq!(tags(6).0, [old], "a second before");
    tick(at.0);
    assert_eq!(tags(6).0, [key.tag()], "at its time");
    assert_eq!(
        tags(48),
        (vec![key.tag()], 2),
        "the old one is still needed"
    );
    let removed = list.key(old).unwrap().removed.unwrap().0;
    tick(removed - 1);
    assert_eq!(tags(48).1, 2);
    tick(removed);
    assert_eq!(tags(48), (vec![key.tag()], 1));
}

#[test]
fn beyond_the_limit_replies_are_truncated_but_not_those_of_links() {
    let zone = ("s.example.com", ZONE.to_owned(), Some("r"), Layout::Cname);
    let settings = Settings {
        signatures: SignatureLimits {
            per_second: 1_000,
            per_client: 1_000,
            made_up_per_second: 1_000,
            made_up_per_client: 1,
        },
        ..Settings::default()
    };
    let algorithm = Some(Algorithm::EcdsaP256Sha256);
    let fixture = Fixture::signed_by(&[zone], algorithm, settings);
    fixture.add("abc", "https://example.net/", None, None);
    let refused = || fixture.metrics.dnssec_signatures_refused.get();
    let ask = |name: &str| fixture.ask(&query(&format!("{name}.s.example.com"), 16, EDNS));
    let mut cut = 0;
    for n in 0..200 {
        for name in [format!("nosuch{n}"), format!("made-up{n}.wild")] {
            let (sent, wire) = ask(&name);
            assert_eq!(sent.rcode, 0);
            // RFC 2181 §9: a truncated reply has no records.
            assert!(!sent.truncated || wire[6..10] == [0, 0, 0, 0]);
            cut += u64::from(sent.truncated);
        }
    }
    assert!(cut > 0 && refused() == cut, "{cut}");
    let (sent, _) = ask("abc");
    assert!(!sent.truncated, "a link that was not signed before");
    let (sent, _) = ask("abc");
    assert!(sent.hot);
}

/// Made-up names that lead to a link count as made up: their signatures are not charged to links.
#[test]
fn names_that_lead_to_a_link_take_nothing_from_links() {
    let text = format!("{ZONE}*.go IN CNAME abc\n* IN TXT any\n");
    let zone = ("s.example.com", text, Some("r"), Layout::Direct);
    let settings = Settings {
        signatures: SignatureLimits {
            per_second: 20,
            per_client: 20,
            made_up_per_second: 0,
            made_up_per_client: 0,
        },
        ..Settings::default()
    };
    let fixture = Fixture::signed_by(&[zone], Some(Algorithm::Ed25519), settings);
    for code in ["abc", "fresh"] {
        fixture.add(code, "https://example.net/", None, None);
    }
    for n in 0..100 {
        for (name, qtype) in [("go", 16), ("abc", NSEC), ("abc", RRSIG), ("wild", 16)] {
            let packet = query(&format!("x{n}.{name}.s.example.com"), qtype, EDNS);
            let (sent, _) = fixture.ask(&packet);
            assert!(!sent.truncated && !sent.hot, "{name}");
        }
    }
    let (sent, _) = fixture.ask(&query("fresh.s.example.com", 16, EDNS));
    assert!(!sent.truncated, "a link that was not signed before");
}

/// RFC 6672 §5.3.1, for any name below the DNAME.
#[test]
fn the_alias_that_a_dname_stands_for_has_no_signature() {
    let fixture = fixture(Layout::Cname, Algorithm::Ed25519);
    for name in ["x", "www", "*", "a.*", "*.a", "*.*"] {
        let (_, wire) = fixture.ask(&query(&format!("{name}.old.s.example.com"), 1, EDNS));
        let message = Message::from_vec(&wire).unwrap();
        let is_signed = |rtype: u16| {
            message.answers.iter().any(|record| {
                record.record_type() == RecordType::RRSIG
                    && wire_of(&record.data)[..2] == rtype.to_be_bytes()
            })
        };
        assert!(is_signed(39) && !is_signed(5), "{name}: {message:#?}");
    }
}

/// Random signed zones, names and types: every reply is valid, and says the same as the reply without DO.
#[test]
fn replies_of_random_zones_are_valid() {
    let (seconds, seed) = seconds_and_seed();
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let began = Instant::now();
    let mut asked = 0;
    while asked == 0 || began.elapsed().as_secs() < seconds {
        let zones = zones(&mut random);
        let algorithm = random.of(&[Algorithm::EcdsaP256Sha256, Algorithm::Ed25519]);
        let fixture = Fixture::signed_by(&zones, Some(algorithm), Settings::default());
        for (origin, _, host, _) in &zones {
            if host.is_some() {
                add_links(&mut random, &fixture, origin);
                add_additions(&mut random, &fixture, origin);
            }
        }
        let judge = Judge::of(&fixture);
        for _ in 0..200 {
            let origin = zones[random.below(zones.len())].0;
            let name = name(&mut random, origin);
            let qtype = match random.one_in(5) {
                true => random.below(260) as u16,
                false => random.of(&[1, 2, 5, 6, 15, 16, 28, 39, 43, NSEC, 48, 65, 255, 256]),
            };
            let packet = query_for(&name, qtype, EDNS);
            if fixture
                .handler
                .prepare(&packet, (CLIENT.ip(), Via::Udp))
                .is_none()
            {
                continue;
            }
            let context = || eprintln!("seed {seed} {zones:#?} {packet:02x?}");
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let (message, found) = judge.ask(&fixture, &packet);
                let (plain, _) = fixture.ask(&query_for(&name, qtype, Some((1_232, false))));
                let is_missing = found.nsec.iter().any(|(_, types)| types.contains(&NXNAME));
                let is_limited = message.metadata.truncation;
                // A query for NSEC or RRSIG asks for the proof itself.
                if !is_limited && ![NSEC, RRSIG].contains(&qtype) {
                    assert_eq!(is_missing, plain.rcode == 3, "{message:#?}");
                }
                // The same again, from kept signatures.
                judge.ask(&fixture, &packet);
            }));
            if let Err(error) = outcome {
                context();
                std::panic::resume_unwind(error);
            }
            asked += 1;
        }
    }
}
