//! `[zone.dnssec]`.

use super::*;
use crate::dnssec::DnssecConfig;

/// A section with these lines, which begin in line 5.
fn section(lines: &str) -> String {
    format!(
        "[[zone]]\norigin = \"a\"\nfile = \"a\"\n[zone.dnssec]\n{lines}\n\
         [[zone]]\norigin = \"b\"\nfile = \"b\"\nredirect_host = \"r\"\n"
    )
}

fn dnssec(lines: &str) -> DnssecConfig {
    let mut config = ok(&section(lines));
    assert_eq!(config.zones[1].dnssec, None);
    config.zones.swap_remove(0).dnssec.unwrap()
}

fn defaults() -> DnssecConfig {
    DnssecConfig {
        keys: "data/keys/s.example.com".into(),
        signature_validity: 1_209_600,
        signature_jitter: 3_600,
        inception_offset: 3_600,
        dnskey_ttl: 3_600,
        propagation_delay: 3_600,
    }
}

#[test]
fn how_a_zone_is_signed() {
    assert_eq!(dnssec("keys = \"data/keys/s.example.com\""), defaults());
    let documented = documented("zone.dnssec");
    let lines = documented.strip_prefix("[zone.dnssec]\n").unwrap();
    assert_eq!(lines.matches(" = ").count(), 6);
    assert_eq!(dnssec(lines), defaults());
    let all = "keys = \"k\"\nsignature_validity = 7776000\nsignature_jitter = 0\n\
               inception_offset = 86400\ndnskey_ttl = 1944000\npropagation_delay = 604800";
    let expected = DnssecConfig {
        keys: "k".into(),
        signature_validity: 7_776_000,
        signature_jitter: 0,
        inception_offset: 86_400,
        dnskey_ttl: 1_944_000,
        propagation_delay: 604_800,
    };
    assert_eq!(dnssec(all), expected);
    assert_eq!(expected.max_ttl(), 1_944_000);
}

#[test]
fn short_signatures_shorten_the_defaults() {
    let short = dnssec("keys = \"k\"\nsignature_validity = 3600");
    assert_eq!((short.signature_jitter, short.dnskey_ttl), (450, 900));
}

#[test]
fn what_signing_needs() {
    check(
        &section("dnskey_ttl = 5"),
        "t.toml:4: zone.dnssec: missing; [zone.dnssec] needs \"keys\"",
    );
    check(
        &section("keys = \"\""),
        "t.toml:5: zone.dnssec.keys: a path must not be empty",
    );
    check(
        &section("kyes = \"k\""),
        "t.toml:5: zone.dnssec.kyes: unknown key; did you mean \"keys\"? Known here: keys, signature_validity, \
         signature_jitter, inception_offset, dnskey_ttl, propagation_delay",
    );
    check(
        &section("keys = \"k\"\ndnskey_ttl = \"1h\""),
        "t.toml:6: zone.dnssec.dnskey_ttl: invalid type: string \"1h\", expected a whole number",
    );
    check(
        "[[zone]]\norigin = \"a\"\nfile = \"a\"\nredirect_host = \"r\"\ndnssec = true\n",
        "t.toml:5: zone.dnssec: invalid type: boolean `true`, expected a table, [zone.dnssec]",
    );
    for (line, range) in [
        ("signature_validity = 3599", "3600 to 7776000"),
        ("signature_validity = 7776001", "3600 to 7776000"),
        ("signature_jitter = 302400", "0 to 302399"),
        ("inception_offset = 86401", "0 to 86400"),
        ("dnskey_ttl = 0", "1 to 302400"),
        ("dnskey_ttl = 302401", "1 to 302400"),
        ("propagation_delay = -1", "0 to 604800"),
        ("propagation_delay = 604801", "0 to 604800"),
    ] {
        let (key, value) = line.split_once(" = ").unwrap();
        check(
            &section(&format!("keys = \"k\"\n{line}")),
            &format!("t.toml:6: zone.dnssec.{key}: {value} is not within {range} seconds"),
        );
    }
}
