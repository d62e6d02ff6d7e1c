//! A change, a reload or the end of a link shows in the next reply.

use super::*;
use crate::dns::pipeline::pending::Found;

#[test]
fn a_change_shows_at_once_in_all_types_and_names() {
    let fixture = filled(Layout::Cname);
    let all = |fixture: &Fixture| {
        for name in ["abc.s.example.com", "abc.r.s.example.com"] {
            for qtype in [1, 16, 5, 255, 256] {
                fixture.ask(&query(name, qtype, None));
            }
        }
    };
    all(&fixture);
    let target = TargetUrl::parse("https://example.org/new").unwrap();
    let change = Change {
        target: Some(target),
        ..Change::default()
    };
    fixture.change("abc", change);
    assert_eq!(
        fixture.txt("abc").as_deref(),
        Some("https://example.org/new")
    );
    let (sent, _) = fixture.ask(&query("abc.r.s.example.com", 256, None));
    assert!(!sent.hot, "of the other name, too");
    all(&fixture);
    fixture.delete("abc");
    for name in ["abc.s.example.com", "abc.r.s.example.com"] {
        for qtype in [1, 16, 5, 255, 256] {
            let (sent, _) = fixture.ask(&query(name, qtype, None));
            assert_eq!(sent.rcode, 3, "{name} {qtype}");
        }
    }
    fixture.add("abc", "https://example.net/again", None, None);
    assert_eq!(
        fixture.txt("abc").as_deref(),
        Some("https://example.net/again")
    );
}

#[test]
fn ttls_never_reach_beyond_the_end_of_a_link() {
    let fixture = filled(Layout::Cname);
    let ttl = |fixture: &Fixture| {
        let message = fixture.message("later.s.example.com", RecordType::TXT);
        message.answers.iter().map(|record| record.ttl).max()
    };
    // The link ends after 100 seconds; the TTL of links is 300.
    for second in [0, 0, 1, 1, 50, 98, 99, 99] {
        fixture.clock.set(UnixTime(NOW.0 + second));
        let left = u32::try_from(99 - second).unwrap();
        assert_eq!(ttl(&fixture), Some(left), "in second {second}");
    }
    fixture.clock.set(UnixTime(NOW.0 + 100));
    assert_eq!(ttl(&fixture), None);
    assert_eq!(fixture.txt("later"), None);

    // A link that ends later has its full TTL until its end is nearer than that.
    fixture.add(
        "far",
        "https://example.net/",
        Some(UnixTime(NOW.0 + 1_000)),
        Some(100),
    );
    let far = |second: u64| {
        fixture.clock.set(UnixTime(NOW.0 + second));
        let (sent, wire) = fixture.ask(&query("far.s.example.com", 16, None));
        let message = Message::from_vec(&wire).unwrap();
        (sent.hot, message.answers[0].ttl)
    };
    assert_eq!(far(200), (false, 100));
    assert_eq!(far(201), (true, 100));
    assert_eq!(far(899), (true, 100));
    assert_eq!(far(900), (false, 99));
    assert_eq!(far(900), (true, 99));
    assert_eq!(far(901), (false, 98));
}

#[test]
fn a_reload_shows_at_once() {
    let fixture = filled(Layout::Cname);
    let serial = |fixture: &Fixture, name: &str| {
        let message = fixture.message(name, RecordType::SOA);
        let mut all = message.answers.iter().chain(&message.authorities);
        let soa = all.find(|record| record.record_type() == RecordType::SOA);
        soa.map(|record| record.data.to_string())
    };
    let names = [
        "s.example.com",
        "none.s.example.com",
        "x.none.s.example.com",
        "abc.s.example.com",
    ];
    let before: Vec<_> = names.map(|name| serial(&fixture, name)).into();
    let file = fixture.directory.path().join("zone");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(" 1 3600", " 2 3600")).unwrap();
    assert_eq!(Vec::from(names.map(|name| serial(&fixture, name))), before);
    fixture.zones.reload().unwrap();
    fixture.handler.zones_replaced();
    for (name, before) in names.iter().zip(before) {
        assert_ne!(serial(&fixture, name), before, "{name}");
    }
}

/// The query began with the old zones, and its link came after the reload.
#[test]
fn an_answer_from_replaced_zones_is_not_kept() {
    let fixture = filled(Layout::Cname);
    let packet = query("abc.s.example.com", 1, None);
    let handler = &fixture.handler;
    let (mut reply, mut encoding) = (ReplyBuffer::new(1_232), Vec::new());
    let from = (CLIENT.ip(), Via::Udp);
    let prepared = handler.prepare(&packet, from).unwrap();
    let scratch = Scratch {
        reply: &mut reply,
        encoding: &mut encoding,
    };
    let now = handler.time();
    let unanswered = handler.reply_now(&prepared, from, &now, scratch, Signatures::Now);
    let Err(Pending::LookUp(mut unanswered)) = unanswered else {
        panic!("something is known of the link");
    };
    fixture
        .runtime
        .block_on(async { handler.look_up([&mut *unanswered]) });
    let file = fixture.directory.path().join("zone");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("192.0.2.10\n", "192.0.2.111\n")).unwrap();
    fixture.zones.reload().unwrap();
    handler.zones_replaced();
    let name = link_name("abc");
    let known = fixture.runtime.block_on(fixture.links.resolve(&name));
    assert!(matches!(known, Ok(Resolution::Live(_))));
    let answerable = Answerable {
        zones: unanswered.zones,
        stamp: unanswered.stamp,
        found: Found::Link(fixture.links.resolve_now(&name).expect("it is in memory")),
    };
    let scratch = Scratch {
        reply: &mut reply,
        encoding: &mut encoding,
    };
    let sent = handler.reply_with(&prepared.query, from, answerable, scratch);
    assert_eq!(sent.map(|sent| sent.rcode), Some(0));
    let shown = |wire: &[u8]| said(wire).0.contains("192.0.2.111");
    assert!(!shown(reply.as_bytes()), "of the zones that it has seen");
    let (sent, wire) = fixture.ask(&packet);
    assert!(!sent.hot && shown(&wire));
}

/// Links change and go, and the zone is reloaded, while other threads ask: no reply is older than the last change
/// acknowledged before its query.
#[test]
fn no_reply_is_older_than_an_acknowledged_change() {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    const ROUNDS: u64 = 400;
    let fixture = filled(Layout::Cname);
    let file = fixture.directory.path().join("zone");
    let text = fs::read_to_string(&file).unwrap();
    let codes = ["w0", "w1", "w2"];
    for code in codes {
        fixture.add(code, "https://example.net/0", None, None);
    }
    let links: [AtomicU64; 3] = Default::default();
    let (serial, done) = (AtomicU64::new(1), AtomicBool::new(false));
    let (asked, hot) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for reader in 0..3_usize {
            let (fixture, links, serial, done, asked, hot) =
                (&fixture, &links, &serial, &done, &asked, &hot);
            scope.spawn(move || {
                let mut n = reader;
                while !done.load(Ordering::Acquire) {
                    n += 1;
                    let place = n % 3;
                    let before = links[place].load(Ordering::Acquire);
                    let name = format!("{}.s.example.com", codes[place]);
                    let (sent, wire) = fixture.ask(&query(&name, 16, Some((1_232, false))));
                    asked.fetch_add(1, Ordering::Relaxed);
                    hot.fetch_add(sent.hot.into(), Ordering::Relaxed);
                    let message = Message::from_vec(&wire).unwrap();
                    let txt = message
                        .answers
                        .iter()
                        .find(|r| r.record_type() == RecordType::TXT);
                    match txt {
                        Some(txt) => {
                            let text = txt.data.to_string();
                            let version: u64 = text
                                .trim_matches('"')
                                .rsplit('/')
                                .next()
                                .unwrap()
                                .parse()
                                .unwrap();
                            assert!(version >= before, "{name}: {version} after {before}");
                        }
                        // The link was deleted in between. The next query gets at least this round.
                        None => assert_eq!(sent.rcode, 3, "{name}"),
                    }
                    // Answers that depend on no link, and those of the stand-in.
                    let before = serial.load(Ordering::Acquire);
                    let name = [
                        "s.example.com",
                        "absent.s.example.com",
                        "a.b.c.s.example.com",
                    ][place];
                    let (sent, wire) = fixture.ask(&query(name, 6, None));
                    asked.fetch_add(1, Ordering::Relaxed);
                    hot.fetch_add(sent.hot.into(), Ordering::Relaxed);
                    let message = Message::from_vec(&wire).unwrap();
                    let mut all = message.answers.iter().chain(&message.authorities);
                    let soa = all.find(|r| r.record_type() == RecordType::SOA).unwrap();
                    let published: u64 = soa
                        .data
                        .to_string()
                        .split(' ')
                        .nth(2)
                        .unwrap()
                        .parse()
                        .unwrap();
                    assert!(
                        published >= before,
                        "{name}: serial {published} after {before}"
                    );
                }
            });
        }
        for round in 1..=ROUNDS {
            let place = (round % 3) as usize;
            let code = codes[place];
            let url = format!("https://example.net/{round}");
            match round % 4 {
                0 => {
                    fixture.delete(code);
                    let gone = fixture.txt(code);
                    assert_eq!(gone, None, "round {round}");
                    fixture.add(code, &url, None, None);
                }
                _ => {
                    let target = Some(TargetUrl::parse(&url).unwrap());
                    fixture.change(
                        code,
                        Change {
                            target,
                            ..Change::default()
                        },
                    );
                }
            }
            links[place].store(round, Ordering::Release);
            if round % 5 == 0 {
                let next = 1 + round;
                fs::write(&file, text.replace(" 1 3600", &format!(" {next} 3600"))).unwrap();
                fixture.zones.reload().unwrap();
                fixture.handler.zones_replaced();
                serial.store(next, Ordering::Release);
            }
        }
        done.store(true, Ordering::Release);
    });
    let (asked, hot) = (asked.into_inner(), hot.into_inner());
    assert!(hot > asked / 4, "{hot} of {asked} were hot");
}
