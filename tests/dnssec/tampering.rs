//! Changed records, and signatures that are expired or not yet valid, are bogus for every validator.

use std::net::SocketAddr;

use time::OffsetDateTime;

use super::anchor::Anchor;
use super::controls::knot;
use super::judges::{Judgement, Program, Question, Verdict, by_unbound, unbound};
use super::relay::{Change, Relay};
use super::resolvers::{Kind, Resolver};
use super::{DNSKEY, NSEC, SOA, Signed, TXT, WAYS};

const DAY: i64 = 86_400;
const A: u16 = 1;

/// Changes, each with a question whose answer becomes bogus, and the validators that do not check it.
const CHANGES: [(Change, Question<'static>, &[Judge]); 9] = [
    (Change::Data(TXT), ("x.wild.s.example.com", "TXT"), &[]),
    (Change::Signature(TXT), ("x.wild.s.example.com", "TXT"), &[]),
    (
        Change::Expiration(TXT),
        ("x.wild.s.example.com", "TXT"),
        &[],
    ),
    // drill checks only the first alias.
    (Change::Data(A), ("www.s.example.com", "A"), &[Judge::Drill]),
    (Change::Data(NSEC), ("nosuch.s.example.com", "A"), &[]),
    (Change::Signature(NSEC), ("mail.s.example.com", "TXT"), &[]),
    (Change::Signature(SOA), ("s.example.com", "SOA"), &[]),
    (Change::Data(DNSKEY), ("s.example.com", "A"), &[]),
    // These validators accept a key with a matching DS record without checking the signature over it.
    (
        Change::Signature(DNSKEY),
        ("s.example.com", "A"),
        &[Judge::Drill, Judge::PowerDns],
    ),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judge {
    Unbound,
    PowerDns,
    Knot,
    Delv,
    Drill,
}

impl Judge {
    const ALL: [Self; 5] = [
        Self::Unbound,
        Self::PowerDns,
        Self::Knot,
        Self::Delv,
        Self::Drill,
    ];

    fn judge(self, server: SocketAddr, anchor: &Anchor, question: Question<'_>) -> Judgement {
        let by = |kind| Resolver::start(kind, anchor, server).judge(question);
        match self {
            Self::Unbound => by_unbound(&unbound(anchor, server, ""), question),
            Self::PowerDns => by(Kind::PowerDns),
            Self::Knot => by(Kind::Knot),
            Self::Delv => Program::Delv.judge(server, anchor, question),
            Self::Drill => Program::DrillChase.judge(server, anchor, question),
        }
    }
}

/// Checks that answers through a relay that changes a bit are bogus, and through one that changes nothing secure.
fn check(server: SocketAddr, anchor: &Anchor) {
    for (change, question, excused) in CHANGES {
        let judges = Judge::ALL.into_iter();
        for judge in judges.filter(|judge| !excused.contains(judge)) {
            let relay = Relay::to(server, change);
            let (verdict, text) = judge.judge(relay.address, anchor, question);
            assert_eq!(verdict, Verdict::Bogus, "{judge:?} {change:?}: {text}");
            assert!(relay.changed() > 0, "{judge:?} {change:?}");
        }
    }
    for question in [CHANGES[0].1, CHANGES[4].1, CHANGES[7].1] {
        for judge in Judge::ALL {
            let relay = Relay::to(server, Change::None);
            let (verdict, text) = judge.judge(relay.address, anchor, question);
            assert_eq!(verdict, Verdict::Secure, "{judge:?} {question:?}: {text}");
        }
    }
}

/// The verdict of an unbound whose clock is wrong by so many seconds.
fn at(server: SocketAddr, anchor: &Anchor, seconds: i64, question: Question<'_>) -> Verdict {
    let time = OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
    let (date, hour) = (time.date(), time.time());
    let date = format!(
        "{}{:02}{:02}{:02}{:02}{:02}",
        date.year(),
        u8::from(date.month()),
        date.day(),
        hour.hour(),
        hour.minute(),
        hour.second()
    );
    // Without the tolerance of unbound for wrong clocks.
    let lines =
        format!("val-override-date: \"{date}\"\n  val-sig-skew-min: 0\n  val-sig-skew-max: 0");
    let unbound = unbound(anchor, server, &lines);
    by_unbound(&unbound, question).0
}

const QUESTIONS: [Question<'static>; 3] = [
    ("x.wild.s.example.com", "TXT"),
    ("nosuch.s.example.com", "A"),
    ("s.example.com", "DNSKEY"),
];

#[test]
fn an_altered_answer_of_knot_dns_is_bogus() {
    let (knot, anchor) = knot(true);
    check(knot.address(), &anchor);
}

#[test]
fn signatures_of_knot_dns_expire() {
    let (knot, anchor) = knot(true);
    for question in QUESTIONS {
        let at = |seconds| at(knot.address(), &anchor, seconds, question);
        assert_eq!(at(0), Verdict::Secure, "{question:?}");
        assert_eq!(at(-3 * DAY), Verdict::Bogus, "{question:?}");
        assert_eq!(at(15 * DAY), Verdict::Bogus, "{question:?}");
    }
}

#[test]
fn an_altered_answer_is_bogus() {
    for way in [WAYS[0], WAYS[3]] {
        let signed = Signed::start(way);
        check(signed.server.dns, &signed.anchor);
    }
}

/// RFC 4034 §3.1.5. By default a signature is valid for 14 days, beginning an hour before it is made. The server
/// replaces it when half of the time is left.
#[test]
fn rfc4034_3_1_5_an_answer_holds_for_its_time() {
    let signed = Signed::start(WAYS[0]);
    let link = ("abc.s.example.com", "TXT");
    for question in QUESTIONS.into_iter().chain([link]) {
        let at = |seconds| at(signed.server.dns, &signed.anchor, seconds, question);
        assert_eq!(at(0), Verdict::Secure, "{question:?}");
        assert_eq!(at(-1_800), Verdict::Secure, "{question:?}");
        assert_eq!(at(6 * DAY), Verdict::Secure, "{question:?}");
        assert_eq!(at(-2 * 3_600), Verdict::Bogus, "{question:?}");
        assert_eq!(at(15 * DAY), Verdict::Bogus, "{question:?}");
    }
}
