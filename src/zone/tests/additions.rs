//! Additions: where they are, and what forbids them.

use super::*;

const ACCOUNT: &str = "https://ca.example/acct/1";

fn caa() -> CaaAddition {
    CaaAddition::new(["ca.example", "also.example"], ACCOUNT).unwrap()
}

fn challenge() -> ZoneAdditions {
    ZoneAdditions {
        challenge: true,
        ..ZoneAdditions::default()
    }
}

fn links() -> ZoneConfig {
    config("example", Some("r"))
}

#[test]
fn the_name_of_challenges_exists_while_it_is_added() {
    let text = plain_text("*.r 1 A 192.0.2.1\n* 1 TXT wild\nx._acme-challenge.d 1 A 192.0.2.1\n");
    let (zone, _) = load(&links(), &text);
    let with = zone.with_additions(&challenge());
    for (name, before, after) in [
        ("_acme-challenge.example", "wildcard TXT", "challenge"),
        ("_ACME-Challenge.Example", "wildcard TXT", "challenge"),
        ("x._acme-challenge.example", "wildcard TXT", "no name"),
        ("a.b._acme-challenge.example", "wildcard TXT", "no name"),
        ("_acme-challeng.example", "wildcard TXT", "wildcard TXT"),
        (
            "_acme-challenge.x.example",
            "below link x or TXT",
            "below link x or TXT",
        ),
        ("_acme-challenge.r.example", "no name", "no name"),
        (
            "_acme-challenge.d.example",
            "exact nothing",
            "exact nothing",
        ),
        ("example", "exact NS SOA", "exact NS SOA"),
    ] {
        check_lookup(&zone, name, before);
        check_lookup(&with, name, after);
        let wire = WireName::from_labels(lower(name).iter()).unwrap();
        assert_eq!(
            with.has_name(&wire),
            after == "challenge" || after.contains("exact"),
            "{name}"
        );
    }
    // A name below that the file has stays, and so does nothing else.
    let (zone, _) = load(&links(), &plain_text("x._acme-challenge 1 A 192.0.2.1\n"));
    let with = zone.with_additions(&challenge());
    check_lookup(&zone, "_acme-challenge.example", "exact nothing");
    check_lookup(&with, "_acme-challenge.example", "challenge");
    check_lookup(&with, "x._acme-challenge.example", "exact A");
    check_lookup(&with, "y._acme-challenge.example", "no name");
    assert!(with.refusals(&challenge()).is_empty());
}

#[test]
fn a_changed_zone_shares_its_names() {
    let (zone, _) = load(&links(), &plain_text("*.r 7 A 192.0.2.1\n"));
    let additions = ZoneAdditions {
        caa: Some(caa()),
        https: true,
        ..challenge()
    };
    let with = zone.with_additions(&additions);
    assert!(Arc::ptr_eq(&zone.tree, &with.tree));
    check_lookup(&with, "example", "exact NS SOA CAA");
    check_lookup(&with, "*.r.example", "exact A HTTPS");
    assert_eq!(types(with.link_template().unwrap()), "A HTTPS");
    assert_eq!(
        with.link_template()
            .unwrap()
            .rrset(RecordType::HTTPS)
            .unwrap()
            .ttl,
        7
    );
    let without = with.with_additions(&ZoneAdditions::default());
    check_lookup(&without, "example", "exact NS SOA");
    check_lookup(&without, "*.r.example", "exact A");
    assert!(!with.is_strange(257) && !with.is_strange(65));
}

#[test]
fn texts_that_cannot_stand_in_caa_records_are_refused() {
    let is_valid = |issuer: &str, uri: &str| CaaAddition::new([issuer], uri).is_some();
    assert!(is_valid("ca.example", ACCOUNT) && is_valid("Ca-1.Example", "x"));
    for issuer in [
        "",
        ".",
        "ca.",
        "ca..example",
        "-ca.example",
        "ca;example",
        "ca example",
    ] {
        assert!(!is_valid(issuer, ACCOUNT), "{issuer:?}");
    }
    for uri in ["", "https://ca.example/a b", "https://ca.example/;x", "ü"] {
        assert!(!is_valid("ca.example", uri), "{uri:?}");
    }
    assert!(CaaAddition::new([], ACCOUNT).is_none());
}

/// What the CAA records of a zone file say of the account: the lines of the records that forbid a certificate for
/// the origin, and for the wildcard.
fn forbidden(records: &[&str]) -> Vec<String> {
    let text: String = records
        .iter()
        .map(|record| format!("@ 1 CAA {record}\n"))
        .collect();
    let (zone, _) = load(&links(), &plain_text(&format!("*.r 1 A 192.0.2.1\n{text}")));
    let additions = ZoneAdditions {
        caa: Some(caa()),
        ..ZoneAdditions::default()
    };
    let found = zone.refusals(&additions);
    let place = |one: &Diagnostic| match &one.defect {
        Defect::CaaForbids { name, .. } => format!("{} {name}", one.line.unwrap()),
        Defect::CaaCritical { tag } => format!("{} {tag}", one.line.unwrap()),
        other => panic!("{other}"),
    };
    found.iter().map(place).collect()
}

#[track_caller]
fn check_caa(records: &[&str], expected: &[&str]) {
    assert_eq!(forbidden(records), expected, "{records:?}");
}

const BOTH: [&str; 2] = ["4 example.", "4 *.example."];

#[test]
fn rfc8659_4_2_issue() {
    check_caa(&[], &[]);
    for allowed in [
        r#"0 issue "ca.example""#,
        r#"0 issue "also.example""#,
        r#"128 issue "ca.example""#,
        r#"0 ISSUE " CA.Example ""#,
        r#"0 issue "ca.example;""#,
        r#"0 issue "ca.example; other=1""#,
        r#"0 issue "ca.example ;a=1;b=2 ;""#,
    ] {
        check_caa(&[allowed], &[]);
    }
    for forbidden in [
        r#"0 issue ";""#,
        r#"0 issue """#,
        r#"0 issue "other.example""#,
        r#"0 issue "x.ca.example""#,
        // Not in the grammar: the same as a semicolon.
        r#"0 issue "ca.example.""#,
        r#"0 issue "%%%%%""#,
        r#"0 issue "ca.example x=1""#,
        r#"0 issue "ca.example; x""#,
        r#"0 issue "ca.example; =1""#,
        r#"0 issue "ca.example; x=a b""#,
    ] {
        check_caa(&[forbidden], &BOTH);
        check_caa(&[forbidden, r#"0 issue "ca.example""#], &[]);
    }
    // RFC 8659 §4.2: properties that say nothing of issuers restrict none.
    check_caa(&[r#"0 iodef "mailto:x@example.org""#], &[]);
}

#[test]
fn rfc8659_4_3_issuewild_takes_precedence_for_wildcards() {
    let (other, ours) = (r#""other.example""#, r#""ca.example""#);
    let issue = |who: &str| format!("0 issue {who}");
    let wild = |who: &str| format!("0 issuewild {who}");
    check_caa(&[&wild(other)], &["4 *.example."]);
    check_caa(&[&wild(ours)], &[]);
    check_caa(&[&issue(ours), &wild(other)], &["5 *.example."]);
    check_caa(&[&issue(other), &wild(ours)], &["4 example."]);
    check_caa(
        &[&issue(other), &wild(other)],
        &["4 example.", "5 *.example."],
    );
    check_caa(&[&issue(ours), &wild(other), &wild(ours)], &[]);
}

#[test]
fn rfc8659_4_1_critical_properties_that_nobody_knows_forbid_all() {
    check_caa(&[r#"128 tbs "Unknown""#], &["4 tbs"]);
    check_caa(&[r#"0 tbs "Unknown""#], &[]);
    check_caa(&[r#"0 issue "ca.example""#, r#"128 tbs "x""#], &["5 tbs"]);
    check_caa(&[r#"128 iodef "mailto:x@example.org""#], &[]);
}

#[test]
fn rfc8657_accounts_and_methods() {
    let with = |parameters: &str| format!(r#"0 issue "ca.example; {parameters}""#);
    for allowed in [
        "accounturi=https://ca.example/acct/1",
        "AccountURI = https://ca.example/acct/1 ; validationmethods=dns-01",
        "validationmethods=http-01,dns-01",
        "validationmethods=dns-01",
    ] {
        check_caa(&[&with(allowed)], &[]);
    }
    for forbidden in [
        "accounturi=https://ca.example/acct/2",
        "accounturi=https://ca.example/acct/",
        "accounturi=",
        "validationmethods=http-01",
        "validationmethods=",
        "validationmethods=dns-011",
        "accounturi=https://ca.example/acct/1; validationmethods=http-01",
        // Section 3: a parameter that is given twice cannot be satisfied.
        "accounturi=https://ca.example/acct/1; accounturi=https://ca.example/acct/1",
    ] {
        check_caa(&[&with(forbidden)], &BOTH);
    }
}

/// The records that tinyns answers allow what they are for.
#[test]
fn the_own_records_allow_the_account() {
    let value = caa().issue_value();
    let records = ["issue", "issuewild"].map(|tag| format!("0 {tag} \"{value}\""));
    check_caa(&[&records[0], &records[1]], &[]);
}

#[test]
fn messages_name_the_line_and_what_to_do() {
    let text = plain_text(
        "*.r 1 A 192.0.2.1\n_acme-challenge 1 TXT x\n@ 1 CAA 0 issuewild \";\"\n@ 1 CAA 128 x y\n",
    );
    let (zone, _) = load(&links(), &text);
    let additions = ZoneAdditions {
        caa: Some(caa()),
        ..challenge()
    };
    let found: Vec<_> = zone
        .refusals(&additions)
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = [
        "t.zone:4: _acme-challenge.example. has TXT, but [https.acme] answers this name itself: remove this name from \
         the file",
        "t.zone:6: the CAA property \"x\" is critical, and certificate authorities do not know it, so they issue no \
         certificate for this zone (RFC 8659 §4.1); remove it or its flag 128",
        "t.zone:5: the CAA records forbid a certificate for *.example.: none with the property issuewild allows this \
         issuer, account and method; add `CAA 0 issuewild \"ca.example; accounturi=https://ca.example/acct/1; \
         validationmethods=dns-01\"`, or remove the CAA records of the origin, and tinyns answers its own",
    ];
    assert_eq!(found, expected);
    // Without additions the file is as good as any.
    assert!(zone.refusals(&ZoneAdditions::default()).is_empty());
    let delegated = plain_text("_acme-challenge 1 NS ns.test.\nx._acme-challenge 1 TXT x\n");
    let (zone, _) = load(&links(), &delegated);
    let found = zone.refusals(&challenge());
    assert!(
        found[0]
            .to_string()
            .contains("t.zone:3: _acme-challenge.example. has NS"),
        "{found:?}"
    );
}

#[test]
fn no_zone_can_be_at_the_name_of_challenges() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, config: ZoneConfig| {
        let path = directory.path().join(name);
        fs::write(&path, plain_text("")).unwrap();
        ZoneConfig {
            file: path,
            ..config
        }
    };
    let configs = vec![
        file("one", links()),
        file("two", config("_acme-challenge.example", None)),
    ];
    let (set, _) = ZoneSet::load(configs).unwrap();
    let origin = Origin::parse("example").unwrap();
    let error = set.set_additions(&origin, challenge()).unwrap_err();
    let error = error.to_string();
    assert!(
        error.ends_with(
            "two: there can be no zone _acme-challenge.example: [https.acme] answers this name itself, for the \
             certificates of example; remove this zone"
        ),
        "{error}"
    );
    assert_eq!(set.additions(&origin), ZoneAdditions::default());
    // A zone without links has no additions.
    let other = Origin::parse("_acme-challenge.example").unwrap();
    assert!(!set.set_additions(&other, challenge()).unwrap());
    assert_eq!(set.additions(&other), ZoneAdditions::default());
}
