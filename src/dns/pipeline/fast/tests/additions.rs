//! What zones answer beyond their files while HTTPS is on.

use super::*;

pub(super) const CHALLENGE: &str = "_acme-challenge.s.example.com";
pub(super) const LATER: UnixTime = UnixTime(NOW.0 + 200_000);

/// All additions.
pub(super) fn all() -> ZoneAdditions {
    ZoneAdditions {
        challenge: true,
        caa: CaaAddition::new(["ca.example"], "https://ca.example/acct/1"),
        https: true,
    }
}

impl Fixture {
    /// A fixture whose zone leaves room for all additions; `more` is appended to its text.
    fn plain(more: &str) -> Self {
        let text = ZONE.replace("*.r    IN HTTPS 1 .\n", "") + more;
        Self::of(&[("s.example.com", text, Some("r"), Layout::Cname)])
    }

    /// Sets the additions, as the server does; returns what forbids them.
    pub(super) fn set_additions(&self, additions: ZoneAdditions) -> Result<bool, String> {
        let set = self.zones.set_additions(&origin(), additions);
        self.handler.zones_replaced();
        set.map_err(|error| error.to_string())
    }

    pub(super) fn offer(&self, values: &[&str]) {
        let origin = origin();
        let offer = self.challenges.offer(&origin, values, LATER);
        self.runtime.block_on(offer).unwrap();
    }

    fn withdraw(&self, values: &[&str]) {
        let origin = origin();
        let withdraw = self.challenges.withdraw(&origin, values);
        self.runtime.block_on(withdraw).unwrap();
    }

    /// The rcode, and the records of the answer and authority sections; `owner type TTL data` each, without data
    /// in the authority section.
    fn shown(&self, name: &str, qtype: u16) -> Vec<String> {
        let (sent, wire) = self.ask(&query(name, qtype, None));
        let message = Message::from_vec(&wire).unwrap();
        let line = |record: &Record| {
            let line = format!("{} {} {}", record.name, record.record_type(), record.ttl);
            line.replace(".s.example.com.", "")
        };
        let answers = message.answers.iter();
        let answers = answers.map(|record| format!("{} {}", line(record), record.data));
        let authorities = message.authorities.iter().map(line);
        [sent.rcode.to_string()]
            .into_iter()
            .chain(answers)
            .chain(authorities)
            .collect()
    }
}

fn check(fixture: &Fixture, name: &str, qtype: u16, expected: &[&str]) {
    // The second reply would come from a hot answer, if one were kept.
    for time in 0..2 {
        assert_eq!(
            fixture.shown(name, qtype),
            expected,
            "{name} {qtype}, time {time}"
        );
    }
}

#[test]
fn without_additions_nothing_changes() {
    let fixture = Fixture::plain("");
    fixture.add("abc", "https://example.net/", None, None);
    fixture.offer(&["one"]);
    check(&fixture, CHALLENGE, 16, &["3", "s.example.com. SOA 60"]);
    check(
        &fixture,
        "s.example.com",
        257,
        &["0", "s.example.com. SOA 60"],
    );
    check(
        &fixture,
        "abc.r.s.example.com",
        65,
        &["0", "s.example.com. SOA 60"],
    );
}

#[test]
fn rfc8555_8_4_challenges_come_from_the_store_each_time() {
    let fixture = Fixture::plain("x._acme-challenge IN A 192.0.2.8\n* IN TXT wildcard\n");
    let no_data = ["0", "s.example.com. SOA 0"];
    for _ in 0..2 {
        check(&fixture, CHALLENGE, 16, &["0", "s.example.com. SOA 60"]);
        fixture.set_additions(all()).unwrap();
        check(&fixture, CHALLENGE, 16, &no_data);
        fixture.offer(&["one"]);
        check(&fixture, CHALLENGE, 16, &["0", "_acme-challenge TXT 0 one"]);
        fixture.offer(&["two"]);
        let both = [
            "0",
            "_acme-challenge TXT 0 one",
            "_acme-challenge TXT 0 two",
        ];
        check(&fixture, CHALLENGE, 16, &both);
        // RFC 8482 §4.1
        check(&fixture, CHALLENGE, 255, &both);
        let odd = "_ACME-challenge.S.example.com";
        assert_eq!(fixture.shown(odd, 16).len(), 3);
        // Other types, and names next to it.
        for qtype in [1, 5, 28, 65, 257, 65_280] {
            check(&fixture, CHALLENGE, qtype, &no_data);
        }
        let below = ["0", "x._acme-challenge A 300 192.0.2.8"];
        check(&fixture, "x._acme-challenge.s.example.com", 1, &below);
        let absent = ["3", "s.example.com. SOA 60"];
        check(&fixture, "y._acme-challenge.s.example.com", 16, &absent);
        let wild = ["0", "_acme-challenges TXT 300 wildcard"];
        check(&fixture, "_acme-challenges.s.example.com", 16, &wild);
        let wild = ["0", "x._acme-challenges TXT 300 wildcard"];
        check(&fixture, "x._acme-challenges.s.example.com", 16, &wild);
        fixture.withdraw(&["one"]);
        check(&fixture, CHALLENGE, 16, &["0", "_acme-challenge TXT 0 two"]);
        fixture.withdraw(&["two"]);
        check(&fixture, CHALLENGE, 16, &no_data);
        let is_hot = fixture.ask(&query(CHALLENGE, 16, None)).0.hot;
        assert!(!is_hot, "challenges are never kept");
        fixture.set_additions(ZoneAdditions::default()).unwrap();
    }
}

/// The wildcard of the zone does not match below a name that exists (RFC 4592 §2.2.1).
#[test]
fn rfc4592_2_2_1_names_below_the_challenges_do_not_exist() {
    let fixture = Fixture::plain("* IN TXT wildcard\n");
    let below = "x._acme-challenge.s.example.com";
    check(
        &fixture,
        below,
        16,
        &["0", "x._acme-challenge TXT 300 wildcard"],
    );
    fixture.set_additions(all()).unwrap();
    check(&fixture, below, 16, &["3", "s.example.com. SOA 60"]);
}

#[test]
fn challenges_that_cannot_be_read_are_servfail() {
    let fixture = Fixture::plain("alias IN CNAME _acme-challenge\n");
    fixture.set_additions(all()).unwrap();
    fixture.offer(&["one"]);
    fixture.runtime.block_on(fixture.store.close());
    for name in [CHALLENGE, "alias.s.example.com"] {
        assert_eq!(fixture.shown(name, 16)[0], "2", "{name}");
        // What is known without the store is answered.
        assert_eq!(fixture.shown(name, 1)[0], "0", "{name}");
    }
}

#[test]
fn an_alias_of_the_challenges_is_not_kept_either() {
    let fixture = Fixture::plain(
        "alias IN CNAME _acme-challenge\nabc.r IN CNAME _acme-challenge\n*.deep IN CNAME _acme-challenge\n",
    );
    fixture.set_additions(all()).unwrap();
    for value in ["one", "two"] {
        fixture.offer(&[value]);
        let values = fixture.shown(CHALLENGE, 16).split_off(1);
        for owner in ["alias", "abc.r", "x.deep"] {
            let name = format!("{owner}.s.example.com");
            let cname = format!("{owner} CNAME 300 {CHALLENGE}.");
            let expected = [&["0".to_owned(), cname], &values[..]].concat();
            assert_eq!(fixture.shown(&name, 16), expected);
            check_both(&fixture, &name, 16, None);
        }
    }
    // A link of before the file took its name: its alias leads on, and the resolver follows.
    let fixture = Fixture::plain("");
    fixture.add("abc", "https://example.net/", None, None);
    let file = fixture.directory.path().join("zone");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text + "abc.r IN CNAME _acme-challenge\n").unwrap();
    fixture.zones.reload().unwrap();
    fixture.set_additions(all()).unwrap();
    fixture.offer(&["one"]);
    let shown = fixture.shown("abc.s.example.com", 16);
    assert_eq!(shown.len(), 3, "two aliases: {shown:?}");
}

#[test]
fn rfc8659_caa_is_at_the_origin_and_hot() {
    let fixture = Fixture::plain("");
    fixture.set_additions(all()).unwrap();
    let (_, wire) = fixture.ask(&query("s.example.com", 257, None));
    let message = Message::from_vec(&wire).unwrap();
    let data = message.answers.iter().map(|record| {
        assert_eq!(
            (record.name.to_ascii(), record.ttl),
            ("s.example.com.".into(), 3_600)
        );
        String::from_utf8(signed::wire_of(&record.data)[2..].to_vec()).unwrap()
    });
    let value = "ca.example; accounturi=https://ca.example/acct/1; validationmethods=dns-01";
    let expected = [format!("issue{value}"), format!("issuewild{value}")];
    assert_eq!(data.collect::<Vec<_>>(), expected);
    assert!(fixture.ask(&query("s.example.com", 257, None)).0.hot);
    // Another account: the hot answer of the first is not used.
    let caa = CaaAddition::new(["other.example", "second.example"], "https://o.example/2");
    assert!(
        fixture
            .set_additions(ZoneAdditions { caa, ..all() })
            .unwrap()
    );
    let (sent, wire) = fixture.ask(&query("s.example.com", 257, None));
    assert!(!sent.hot && wire.windows(13).any(|bytes| bytes == b"other.example"));
}

#[test]
fn the_zone_file_has_the_last_word() {
    let own = "@ IN CAA 0 issue \"ca.example\"\n*.r IN HTTPS 1 . alpn=h2\n*.r IN A 192.0.2.11\n";
    let fixture = Fixture::plain(own);
    fixture.add("abc", "https://example.net/", None, None);
    fixture.set_additions(all()).unwrap();
    let caa = fixture.message("s.example.com", RecordType::CAA);
    assert_eq!(caa.answers.len(), 1);
    let https = fixture.message("abc.r.s.example.com", RecordType::HTTPS);
    assert_eq!(https.answers[0].data.to_string(), "1 . alpn=h2,");
    // Without addresses browsers have nowhere to go.
    let text = ZONE.replace("*.r    IN A 192.0.2.10\n*.r    IN HTTPS 1 .\n", "");
    let bare = Fixture::of(&[("s.example.com", text, Some("r"), Layout::Cname)]);
    bare.add("abc", "https://example.net/", None, None);
    bare.set_additions(all()).unwrap();
    check(
        &bare,
        "abc.r.s.example.com",
        65,
        &["0", "s.example.com. SOA 60"],
    );
}

/// RFC 9460: a browser asks for A, AAAA and HTTPS at once, and follows the alias of the link for each of them.
#[test]
fn rfc9460_links_have_an_https_record_behind_their_alias() {
    for layout in [Layout::Cname, Layout::Direct] {
        let text = ZONE.replace("*.r    IN HTTPS 1 .\n", "*.r 120 IN AAAA 2001:db8::10\n");
        let fixture = Fixture::of(&[("s.example.com", text, Some("r"), layout)]);
        fixture.add("abc", "https://example.net/", None, None);
        fixture.add(
            "ends",
            "https://example.net/e",
            Some(UnixTime(NOW.0 + 50)),
            None,
        );
        fixture.set_additions(all()).unwrap();
        let record = |owner: &str, ttl| format!("{owner} HTTPS {ttl} 1 . alpn=h2,http/1.1,");
        for (code, ttl, cname_ttl) in [("abc", 120, 300), ("ends", 49, 49)] {
            let name = format!("{code}.s.example.com");
            let target = format!("{code}.r.s.example.com");
            let expected = match layout {
                Layout::Cname => vec![
                    "0".to_owned(),
                    format!("{code} CNAME {cname_ttl} {target}."),
                    record(&format!("{code}.r"), ttl),
                ],
                Layout::Direct => vec!["0".to_owned(), record(code, ttl)],
            };
            assert_eq!(fixture.shown(&name, 65), expected);
            assert!(
                fixture.ask(&query(&name, 65, None)).0.hot,
                "the second is hot"
            );
            assert_eq!(
                fixture.shown(&target, 65)[1],
                record(&format!("{code}.r"), ttl)
            );
            check_both(&fixture, &name, 65, Some((1_232, true)));
        }
        check(
            &fixture,
            "none.s.example.com",
            65,
            &["3", "s.example.com. SOA 60"],
        );
        // Off: at once, also where answers are hot.
        fixture.set_additions(ZoneAdditions::default()).unwrap();
        assert!(
            !fixture
                .shown("abc.s.example.com", 65)
                .concat()
                .contains("alpn")
        );
    }
}

#[test]
fn additions_survive_a_reload_and_a_file_that_forbids_them_does_not_load() {
    let fixture = Fixture::plain("");
    assert!(fixture.set_additions(all()).unwrap());
    assert!(!fixture.set_additions(all()).unwrap(), "no change");
    fixture.offer(&["one"]);
    let file = fixture.directory.path().join("zone");
    let text = fs::read_to_string(&file).unwrap();
    let reload = |more: &str| {
        fs::write(&file, format!("{text}{more}")).unwrap();
        let loaded = fixture.zones.reload().map_err(|error| error.to_string());
        fixture.handler.zones_replaced();
        loaded.map(|_| ())
    };
    let lines = text.lines().count() + 1;
    reload("later IN A 192.0.2.1\n").unwrap();
    check(
        &fixture,
        "later.s.example.com",
        1,
        &["0", "later A 300 192.0.2.1"],
    );
    check(&fixture, CHALLENGE, 16, &["0", "_acme-challenge TXT 0 one"]);
    for (own, expected) in [
        (
            "_acme-challenge IN TXT x\n",
            "remove this name from the file",
        ),
        (
            "_acme-challenge IN NS ns.example.org.\n",
            "has NS, but [https.acme]",
        ),
        (
            "@ IN CAA 0 issue \";\"\n",
            "the CAA records forbid a certificate for s.example.com",
        ),
    ] {
        let error = reload(own).unwrap_err();
        assert!(
            error.contains(&format!("zone:{lines}: ")) && error.contains(expected),
            "{error}"
        );
        check(
            &fixture,
            "later.s.example.com",
            1,
            &["0", "later A 300 192.0.2.1"],
        );
        check(&fixture, CHALLENGE, 16, &["0", "_acme-challenge TXT 0 one"]);
    }
    reload("_acme-challenge IN TXT x\n").unwrap_err();
    fixture.set_additions(ZoneAdditions::default()).unwrap();
    reload("_acme-challenge IN TXT x\n").unwrap();
    check(&fixture, CHALLENGE, 16, &["0", "_acme-challenge TXT 300 x"]);
    let error = fixture.set_additions(all()).unwrap_err();
    assert!(error.contains("remove this name from the file"), "{error}");
    check(&fixture, CHALLENGE, 16, &["0", "_acme-challenge TXT 300 x"]);
}

/// A flood by UDP for the name makes resolvers ask by TCP, where the flood's senders cannot follow.
#[test]
fn too_many_queries_by_udp_for_challenges_leave_tcp_alone() {
    let fixture = Fixture::plain("");
    fixture.set_additions(all()).unwrap();
    fixture.offer(&["one"]);
    let packet = query(CHALLENGE, 16, None);
    let ask = |via| {
        let wire = fixture.ask_by(via, &packet).1;
        let message = Message::from_vec(&wire).unwrap();
        let metadata = message.metadata;
        assert_eq!(u16::from(metadata.response_code), 0);
        assert!(metadata.authoritative && message.authorities.is_empty());
        (metadata.truncation, message.answers.len())
    };
    let tcp = Via::Tcp { keepalive: 0 };
    let flood = fixture.challenges.take_all_seats();
    let failures = fixture.metrics.link_failures.get();
    assert_eq!(ask(Via::Udp), (true, 0));
    assert_eq!(fixture.metrics.link_failures.get(), failures + 1);
    assert_eq!(ask(tcp), (false, 1));
    drop(flood);
    assert_eq!(ask(Via::Udp), (false, 1));
}
