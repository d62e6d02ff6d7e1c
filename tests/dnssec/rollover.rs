//! Keys are replaced while a client asks a validating resolver all the time. All its answers must validate.
//!
//! In service a replacement takes days. Here the tests move the times in `keys.toml` into the past, as if the days
//! had passed. The caches of the resolver are real: all records have a TTL of a second, and the tests wait for
//! them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::anchor::{Anchor, dnskeys};
use super::judges::{Verdict, by_unbound, unbound, unbound_with};
use super::wire::{DO, ask, covered, of_type};
use super::{DNSKEY, DS, ORIGIN, PARENT, Plan, RRSIG, Signed, TXT, WAYS, keys, keys_dir, parent};
use crate::harness::{PATIENCE, eventually};
use crate::resolver::Unbound;

const DAY: i64 = 86_400;
const CDS: u16 = 59;
const CDNSKEY: u16 = 60;
/// The TTL of all records, in seconds.
const TTL: u32 = 1;
/// The delays of a zone whose keys are replaced. With this propagation delay, `tinyns keys` refuses a step that comes
/// too early for an hour, also on a slow machine. No cache waits for it.
const DELAYS: &str = "dnskey_ttl = 1\npropagation_delay = 3600\n";
/// After this time all records have left the caches.
const CACHES: Duration = Duration::from_millis(2_500);
/// The fewest answers that show that the client has asked all the time.
const MIN_ANSWERS: usize = 300;
/// How long a SERVFAIL has to last to count. Unbound keeps bogus answers for 60 seconds, and a failure to reach a
/// server, as a busy machine causes it, for 5 seconds.
const BOGUS_LASTS: Duration = Duration::from_secs(15);

/// A zone whose keys are replaced.
struct Roll {
    signed: Signed,
    plan: Plan,
}

impl Roll {
    fn start(roles: &'static [&'static str]) -> Self {
        let plan = Plan {
            roles,
            ttl: Some(TTL),
            lines: DELAYS,
            ..Plan::new(WAYS[0])
        };
        let signed = Signed::with(&plan);
        Self { signed, plan }
    }

    fn dns(&self) -> SocketAddr {
        self.signed.server.dns
    }

    fn dir(&self) -> &Path {
        self.signed.server.dir()
    }

    /// Runs `tinyns keys`.
    fn keys(&self, args: &[&str]) -> Result<String, String> {
        keys(self.signed.server.config(), ORIGIN, args)
    }

    /// Has the server read its files again, and waits until `is_so` holds.
    fn reload(&self, what: &str, is_so: impl Fn() -> bool) {
        let reloads = || {
            let labels = [("outcome", "Success")];
            let name = "tinyns_dnssec_reloads_total";
            self.signed.server.metric(name, &labels)
        };
        let before = reloads();
        self.signed.server.signal(Signal::SIGHUP);
        eventually(what, PATIENCE, is_so);
        eventually("the reload is counted", PATIENCE, || reloads() > before);
    }

    /// The tags of the keys that the zone has.
    fn tags(&self) -> BTreeSet<u16> {
        let records = dnskeys(self.dns(), ORIGIN);
        // One at a time: the anchor of one key has one tag.
        let tag = |record: &str| Anchor::from_dnskeys(ORIGIN, record).tags()[0];
        records.lines().map(tag).collect()
    }

    /// The tags in the records of a type: DS, or CDS.
    fn tags_in(&self, rtype: u16) -> BTreeSet<u16> {
        let reply = ask(self.dns(), "s.example.com.", rtype, DO);
        let records = of_type(&reply.answer, rtype).into_iter();
        records.map(|record| u16_at(&record.rdata, 0)).collect()
    }

    /// The tags of the keys that sign the records of a type at a name.
    fn signers(&self, owner: &str, rtype: u16) -> BTreeSet<u16> {
        let reply = ask(self.dns(), owner, rtype, DO);
        let signatures = of_type(&reply.answer, RRSIG).into_iter();
        let signatures = signatures.filter(|rrsig| covered(rrsig) == rtype);
        // RFC 4034 §3.1.
        signatures.map(|rrsig| u16_at(&rrsig.rdata, 16)).collect()
    }

    /// Puts the DS records that `tinyns keys ds` prints into the parent zone.
    fn parent_follows(&self) {
        let text = match self.keys(&["ds"]) {
            Ok(text) if !text.is_empty() => Anchor::from_ds(ORIGIN, &text).records(),
            _ => String::new(),
        };
        let file = self.dir().join(format!("{PARENT}.zone"));
        std::fs::write(file, self.plan.text(&parent(&text))).unwrap();
        let count = text.lines().count();
        self.reload("the parent has other DS records", || {
            self.tags_in(DS).len() == count
        });
    }

    /// Lets all caches empty, and lets time pass for the keys.
    fn pass(&self, seconds: i64) {
        std::thread::sleep(CACHES);
        let file = keys_dir(self.dir(), ORIGIN).join("keys.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let put_back = |line: &str| {
            let time = line.split_once(" = ").and_then(|(key, time)| {
                let time = OffsetDateTime::parse(time, &Rfc3339).ok()?;
                Some((key, time - time::Duration::seconds(seconds)))
            });
            match time {
                Some((key, time)) => format!("{key} = {}\n", time.format(&Rfc3339).unwrap()),
                None => format!("{line}\n"),
            }
        };
        let earlier: String = text.lines().map(put_back).collect();
        assert_ne!(earlier, text, "there are no times in {text}");
        std::fs::write(&file, earlier).unwrap();
        self.signed.server.signal(Signal::SIGHUP);
    }
}

fn u16_at(data: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([data[at], data[at + 1]])
}

/// A client that asks a resolver all the time.
struct Watch<'w> {
    unbound: &'w Unbound,
    over: AtomicBool,
    answers: AtomicUsize,
    step: Mutex<&'static str>,
    doubts: Mutex<Vec<String>>,
}

impl<'w> Watch<'w> {
    fn new(unbound: &'w Unbound) -> Self {
        Self {
            unbound,
            over: AtomicBool::new(false),
            answers: AtomicUsize::new(0),
            step: Mutex::new("start"),
            doubts: Mutex::default(),
        }
    }

    fn run(&self, is_fine: fn(Verdict) -> bool) {
        for number in 0.. {
            let absent = format!("nosuch{number}.s.example.com");
            let questions = [
                ("abc.s.example.com", "TXT"),
                ("s.example.com", "DNSKEY"),
                (&absent, "A"),
                ("x.wild.s.example.com", "TXT"),
            ];
            for question in questions {
                if self.over.load(Ordering::Relaxed) {
                    return;
                }
                if let Some(doubt) = self.doubt(question, is_fine) {
                    self.doubts.lock().unwrap().push(doubt);
                    return;
                }
                self.answers.fetch_add(1, Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The fault of the answer to a question, if it has one.
    fn doubt(&self, question: (&str, &str), is_fine: fn(Verdict) -> bool) -> Option<String> {
        let step = *self.step.lock().unwrap();
        let begin = Instant::now();
        loop {
            let (verdict, text) = by_unbound(self.unbound, question);
            if is_fine(verdict) {
                return None;
            }
            if verdict != Verdict::Bogus || begin.elapsed() > BOGUS_LASTS {
                return Some(format!("{step}: {question:?} is {verdict:?}: {text}"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn step(&self, step: &'static str) {
        *self.step.lock().unwrap() = step;
    }
}

/// Ends a watch, even if the test panics.
struct End<'w>(&'w Watch<'w>);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

/// Takes steps while a client asks a resolver that trusts the key of the parent zone.
fn watched(roll: &Roll, is_fine: fn(Verdict) -> bool, steps: impl FnOnce(&Watch<'_>)) {
    let server = roll.dns();
    let unbound = unbound_with(&roll.signed.parent, server, &[(PARENT, server)], "");
    let watch = Watch::new(&unbound);
    std::thread::scope(|scope| {
        scope.spawn(|| watch.run(is_fine));
        let _end = End(&watch);
        steps(&watch);
        eventually("the client has asked enough", PATIENCE, || {
            let is_over = !watch.doubts.lock().unwrap().is_empty();
            is_over || watch.answers.load(Ordering::Relaxed) >= MIN_ANSWERS
        });
    });
    let doubts = watch.doubts.into_inner().unwrap();
    assert!(doubts.is_empty(), "{}", doubts.join("\n"));
}

fn is_secure(verdict: Verdict) -> bool {
    verdict == Verdict::Secure
}

/// A new key directory would make a served zone bogus at once: its parent has the DS record of the lost key.
#[test]
fn a_list_without_the_key_that_signs_is_refused() {
    let roll = Roll::start(&["csk"]);
    let first = roll.tags();
    for file in std::fs::read_dir(keys_dir(roll.dir(), ORIGIN)).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    roll.keys(&["generate"]).unwrap();
    let server = &roll.signed.server;
    server.signal(Signal::SIGHUP);
    server.log().wait_for("is not in the list any more");
    eventually("the failed reload is counted", PATIENCE, || {
        let labels = [("outcome", "Failure")];
        server.metric("tinyns_dnssec_reloads_total", &labels) == 1.0
    });
    assert_eq!(roll.tags(), first);
    assert_eq!(roll.signers("abc.s.example.com.", 5), first);
}

/// RFC 6781 §4.1.2, RFC 7583 §3.3: a combined signing key is replaced, with its DS record in the parent zone.
#[test]
fn rfc7583_3_3_a_combined_key_is_replaced_and_all_answers_validate() {
    let roll = Roll::start(&["csk"]);
    let first = roll.signed.anchor.tags()[0];
    watched(&roll, is_secure, |watch| {
        watch.step("a second key");
        roll.pass(40 * DAY);
        roll.keys(&["generate"]).unwrap();
        roll.reload("there are two keys", || roll.tags().len() == 2);
        let mut others = roll.tags();
        others.remove(&first);
        let second = *others.first().unwrap();
        let old = first.to_string();
        let new = second.to_string();
        assert_eq!(roll.signers("abc.s.example.com.", 5), [first].into());
        // The DS record of the new key is not confirmed.
        roll.keys(&["retire", &old]).unwrap_err();

        watch.step("the second key's DS record");
        roll.pass(DAY);
        roll.parent_follows();
        assert_eq!(roll.tags_in(DS), [first, second].into());
        eventually("the parent is asked for both", PATIENCE, || {
            roll.tags_in(CDS) == [first, second].into()
        });
        roll.keys(&["ds", "--seen", &new, "--ttl", "3600"]).unwrap();
        // Caches may have DS records without the new one.
        roll.keys(&["retire", &old]).unwrap_err();

        watch.step("the first key retires");
        roll.pass(DAY);
        roll.keys(&["retire", &old]).unwrap();
        roll.reload("the second key signs", || {
            roll.signers("abc.s.example.com.", 5) == [second].into()
        });
        assert_eq!(roll.tags().len(), 2);
        assert!(roll.signers("s.example.com.", DNSKEY).contains(&second));

        watch.step("the first key's DS record goes");
        roll.pass(DAY);
        roll.parent_follows();
        assert_eq!(roll.tags_in(DS), [second].into());
        eventually("the parent is asked for one", PATIENCE, || {
            roll.tags_in(CDS) == [second].into()
        });
        roll.keys(&["ds", "--gone", &old]).unwrap();

        watch.step("the first key goes");
        roll.pass(60 * DAY);
        eventually("the first key is gone", PATIENCE, || {
            roll.tags() == [second].into()
        });
        std::thread::sleep(CACHES);
    });
    // A resolver that still trusts only the first key finds that it is gone.
    let unbound = unbound(&roll.signed.anchor, roll.dns(), "");
    let (verdict, text) = by_unbound(&unbound, ("abc.s.example.com", "TXT"));
    assert_eq!(verdict, Verdict::Bogus, "{text}");
}

/// RFC 6781 §4.1.1.1, RFC 7583 §3.2.1: a zone signing key is replaced without a change in the parent zone.
#[test]
fn rfc7583_3_2_1_a_zone_signing_key_is_replaced_and_all_answers_validate() {
    let roll = Roll::start(&["ksk", "zsk"]);
    let ksk = roll.signed.anchor.tags()[0];
    watched(&roll, is_secure, |watch| {
        let mut tags = roll.tags();
        tags.remove(&ksk);
        let first = *tags.first().unwrap();
        assert_eq!(roll.signers("s.example.com.", DNSKEY), [ksk].into());
        assert_eq!(roll.signers("abc.r.s.example.com.", TXT), [first].into());

        watch.step("a second key");
        roll.pass(40 * DAY);
        roll.keys(&["generate", "--role", "zsk"]).unwrap();
        let old = first.to_string();
        // Caches may have DNSKEY records without the new one.
        let refusal = roll.keys(&["retire", &old]).unwrap_err();
        assert!(refusal.contains("may have DNSKEY records"), "{refusal}");
        roll.reload("there are three keys", || roll.tags().len() == 3);
        assert_eq!(roll.signers("abc.r.s.example.com.", TXT), [first].into());

        watch.step("the first key retires");
        roll.pass(DAY);
        roll.keys(&["retire", &old]).unwrap();
        roll.reload("another key signs", || {
            !roll.signers("abc.r.s.example.com.", TXT).contains(&first)
        });
        assert_eq!(roll.tags().len(), 3);

        watch.step("the first key goes");
        roll.pass(60 * DAY);
        eventually("the first key is gone", PATIENCE, || {
            roll.tags().len() == 2 && !roll.tags().contains(&first)
        });
        assert_eq!(roll.signers("s.example.com.", DNSKEY), [ksk].into());
        std::thread::sleep(CACHES);
    });
}

/// RFC 8078 §4: the parent is asked to remove all DS records. Answers are secure until it has, and insecure from
/// then on, also without keys. They are never bogus.
#[test]
fn rfc8078_4_a_zone_is_unsigned_and_no_answer_is_bogus() {
    let mut roll = Roll::start(&["csk"]);
    let tag = roll.signed.anchor.tags()[0].to_string();
    watched(
        &roll,
        |verdict| verdict != Verdict::Bogus,
        |watch| {
            watch.step("the parent is asked");
            roll.pass(40 * DAY);
            eventually("there are CDS records", PATIENCE, || {
                roll.tags_in(CDS).len() == 1
            });
            roll.keys(&["ds", "--seen", &tag, "--ttl", "3600"]).unwrap();
            roll.keys(&["retire", "--all"]).unwrap();
            let wish = |rtype, wish: &[u8]| {
                let reply = ask(roll.dns(), "s.example.com.", rtype, DO);
                let records = of_type(&reply.answer, rtype);
                records.len() == 1 && records[0].rdata == wish
            };
            roll.reload("only the request to delete is left", || {
                wish(CDS, &[0, 0, 0, 0, 0]) && wish(CDNSKEY, &[0, 0, 3, 0, 0])
            });
            let fresh = |expected| {
                let server = roll.dns();
                let above = [(PARENT, server)];
                let unbound = unbound_with(&roll.signed.parent, server, &above, "");
                let (verdict, text) = by_unbound(&unbound, ("abc.s.example.com", "TXT"));
                assert_eq!(verdict, expected, "{text}");
            };
            fresh(Verdict::Secure);

            watch.step("the parent has done so");
            roll.parent_follows();
            assert!(roll.tags_in(DS).is_empty());
            fresh(Verdict::Insecure);
            roll.keys(&["ds", "--gone", &tag, "--ttl", "3600"]).unwrap();
            roll.pass(60 * DAY);
            fresh(Verdict::Insecure);
        },
    );
    let config = std::fs::read_to_string(roll.signed.server.config()).unwrap();
    let (child, rest) = config.split_once("[zone.dnssec]").unwrap();
    let (_, rest) = rest.split_once("[[zone]]").unwrap();
    std::fs::write(
        roll.signed.server.config(),
        format!("{child}[[zone]]{rest}"),
    )
    .unwrap();
    roll.signed.server = roll.signed.server.restart();
    let server = roll.dns();
    let unbound = unbound_with(&roll.signed.parent, server, &[(PARENT, server)], "");
    for question in [("abc.s.example.com", "TXT"), ("nosuch.s.example.com", "A")] {
        let (verdict, text) = by_unbound(&unbound, question);
        assert_eq!(verdict, Verdict::Insecure, "{question:?}: {text}");
    }
    let (verdict, text) = by_unbound(&unbound, ("s.example.com", "DS"));
    assert_eq!(verdict, Verdict::Secure, "{text}");
}
