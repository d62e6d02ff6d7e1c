//! Wildcards, by the examples of RFC 4592.

use super::*;

/// A zone without links with the records of RFC 4592 §2.2.1.
const WILDCARDS: &str = "\
*.wild IN TXT \"this is a wildcard\"
*.wild IN MX 10 host1.wild
sub.*.wild IN TXT \"this is not a wildcard\"
host1.wild IN A 192.0.2.1
_ssh._tcp.host1.wild IN SRV 0 0 22 host1.wild
_ssh._tcp.host2.wild IN SRV 0 0 22 host2.wild
subdel.wild IN NS ns.example.net.
*.cname IN CNAME host1.wild
*.dangling IN CNAME nothing_here
";

/// The rcode, and the types in the answer and authority sections.
#[track_caller]
fn check_wildcards(name: &str, qtype: RecordType, expected: &str) {
    let zone = zone_with(Layout::Cname, WILDCARDS);
    let Step::Ready(reply) = ask(&zone, &format!("{name}.s.example.com."), qtype, None) else {
        panic!("{name} needs a link");
    };
    let types = |records: &[Record]| {
        let types: Vec<_> = records
            .iter()
            .map(|r| r.record_type().to_string())
            .collect();
        types.join(" ")
    };
    let rcode = u16::from(reply.rcode);
    let shown = format!(
        "{rcode} | {} | {}",
        types(&reply.answers),
        types(&reply.authorities)
    );
    assert_eq!(shown, expected, "{name} {qtype}");
    // RFC 4592 §3.3.1: what is synthesised has the name that was asked for.
    let first = reply.answers.first().map(|record| record.name.to_ascii());
    let asked = format!("{name}.s.example.com.");
    assert!(first.is_none_or(|first| first == asked), "{name} {qtype}");
}

#[test]
fn rfc4592_2_2_1_the_examples() {
    use RecordType as T;
    // "The following responses would be synthesized from one of the wildcards in the zone".
    check_wildcards("host3.wild", T::MX, "0 | MX | ");
    check_wildcards("host3.wild", T::A, "0 |  | SOA");
    check_wildcards("foo.bar.wild", T::TXT, "0 | TXT | ");
    // "The following responses would not be synthesized from any of the wildcards in the zone".
    check_wildcards("host1.wild", T::MX, "0 |  | SOA");
    check_wildcards("sub.*.wild", T::MX, "0 |  | SOA");
    check_wildcards("_telnet._tcp.host1.wild", T::SRV, "3 |  | SOA");
    check_wildcards("host.subdel.wild", T::A, "0 |  | NS");
    check_wildcards("ghost.*.wild", T::MX, "3 |  | SOA");
}

#[test]
fn rfc4592_3_3_1_closest_enclosers_and_sources() {
    use RecordType as T;
    check_wildcards("host3.wild", T::TXT, "0 | TXT | ");
    check_wildcards("_telnet._tcp.host1.wild", T::TXT, "3 |  | SOA");
    check_wildcards("_dns._udp.host2.wild", T::TXT, "3 |  | SOA");
    check_wildcards("_telnet._tcp.host3.wild", T::TXT, "0 | TXT | ");
    check_wildcards("_chat._udp.host3.wild", T::TXT, "0 | TXT | ");
    check_wildcards("foobar.*.wild", T::TXT, "3 |  | SOA");
}

#[test]
fn rfc4592_2_1_1_an_asterisk_is_a_label_like_others_in_a_query() {
    check_wildcards("*.wild", RecordType::TXT, "0 | TXT | ");
    check_wildcards("*.wild", RecordType::A, "0 |  | SOA");
    check_wildcards("*.host1.wild", RecordType::TXT, "3 |  | SOA");
    check_wildcards("*.host3.wild", RecordType::TXT, "0 | TXT | ");
}

#[test]
fn rfc4592_4_3_aliases_of_a_wildcard() {
    check_wildcards("x.cname", RecordType::A, "0 | CNAME A | ");
    check_wildcards("x.y.cname", RecordType::CNAME, "0 | CNAME | ");
    check_wildcards("x.cname", RecordType::TXT, "0 | CNAME | SOA");
}

#[test]
fn rfc4592_2_2_2_and_rfc8020_2_names_on_the_way_exist() {
    check_wildcards("host2.wild", RecordType::A, "0 |  | SOA");
    check_wildcards("_tcp.host2.wild", RecordType::ANY, "0 |  | SOA");
    check_wildcards("x.host2.wild", RecordType::A, "3 |  | SOA");
}

#[test]
fn rfc6604_3_the_rcode_is_that_of_the_last_name() {
    check_wildcards("x.dangling", RecordType::A, "3 | CNAME | SOA");
    check_wildcards("x.dangling", RecordType::CNAME, "0 | CNAME | ");
    // RFC 2308 §2.1.2 and §2.2.1: the SOA is that of the zone in which the last name is not.
    check_records(
        "one IN CNAME two\ntwo IN CNAME three_\n",
        "one.s.example.com.",
        RecordType::A,
        None,
        &["one CNAME two", "two CNAME three_", "s.example.com. SOA"],
    );
    // Of a name that is not ours we know nothing, and say nothing.
    check_records(
        "one IN CNAME www.example.org.\n",
        "one.s.example.com.",
        RecordType::A,
        None,
        &["one CNAME www.example.org."],
    );
}

#[test]
fn rfc8482_4_1_one_rrset_for_any() {
    use RecordType as T;
    check_wildcards("host3.wild", T::ANY, "0 | MX | ");
    check_wildcards("x.cname", T::ANY, "0 | CNAME | ");
    check_wildcards("x.host2.wild", T::ANY, "3 |  | SOA");
    check_wildcards("x.subdel.wild", T::ANY, "0 |  | NS");
}
