//! `[[zone]]`.

use super::*;

/// Checks the message for a zone with these lines, which begin in line 2.
fn check_zone(lines: &str, expected: &str) {
    check(&format!("[[zone]]\n{lines}\n[store]\n"), expected);
}

#[test]
fn zones_are_checked() {
    check_zone(
        "file = \"a\"\nredirect_host = \"r\"",
        "t.toml:1: zone: missing; a [[zone]] needs \"origin\"",
    );
    check_zone(
        "origin = \"a\"\nredirect_host = \"r\"",
        "t.toml:1: zone: missing; a [[zone]] needs \"file\"",
    );
    check(
        "[[zone]]\norigin = \"a\"\nfile = \"a\"\nredirect_host = \"r\"\n[[zone]]\norigin = \"b\"\n",
        "t.toml:5: zone: missing; a [[zone]] needs \"file\"",
    );
    check_zone(
        "origin = \"a..b\"\nfile = \"a\"\nredirect_host = \"r\"",
        "t.toml:2: zone.origin: \"a..b\" is not a domain name: it has an empty label",
    );
    // RFC 2317 §4 uses such names, which URLs cannot have.
    check_zone(
        "origin = \"0/25.a\"\nfile = \"a\"\nredirect_host = \"r\"",
        "t.toml:2: zone.origin: the origin \"0/25.a\" has the character '/'; redirect_host puts the \
         origin into URLs, where only letters, digits, hyphens and underscores are allowed; without \
         redirect_host any name is allowed",
    );
    check_zone(
        "origin = \"a\"\nfile = \"\"\nredirect_host = \"r\"",
        "t.toml:3: zone.file: a path must not be empty",
    );
    let host = |host: &str, expected: &str| {
        let lines = format!("origin = \"a\"\nfile = \"a\"\nredirect_host = \"{host}\"");
        check_zone(&lines, &format!("t.toml:4: zone.redirect_host: {expected}"));
    };
    host(
        "",
        "\"\" is not one label of 1 to 63 letters, digits and inner hyphens",
    );
    host(
        "*",
        "\"*\" is not one label of 1 to 63 letters, digits and inner hyphens",
    );
    host(
        "r.x",
        "\"r.x\" is not one label of 1 to 63 letters, digits and inner hyphens",
    );
    check_zone(
        "origin = \"a\"\nfile = \"a\"\nlayout = \"CNAME\"\nredirect_host = \"r\"",
        "t.toml:4: zone.layout: unknown value \"CNAME\", expected \"cname\" or \"direct\"",
    );
    check_zone(
        "origin = \"a\"\nfile = \"a\"\nlink_ttl = 604801\nredirect_host = \"r\"",
        "t.toml:4: zone.link_ttl: 604801 is not within 0 to 604800 seconds",
    );
    check_zone(
        "origin = \"a\"\nfile = \"a\"\nlink_ttl = -1\nredirect_host = \"r\"",
        "t.toml:4: zone.link_ttl: -1 is not within 0 to 604800 seconds",
    );
    check(
        "zone = []\n",
        "t.toml:1: zone: at least one zone is needed; leave the key out for the default zone",
    );
    check_zone(
        "origin = \"a\"\nfile = \"a\"",
        "t.toml:1: zone: no zone has a redirect_host, so no zone can hold links; set it in one of them",
    );
    check(
        "[[zone]]\norigin = \"a.b\"\nfile = \"a\"\nredirect_host = \"r\"\n[[zone]]\nfile = \"b\"\norigin = \"A.B.\"\n",
        "t.toml:7: zone.origin: a.b is already the origin of the zone in line 2",
    );
}

/// RFC 1035 §2.3.4: a code of 63 bytes, the redirect host and the origin have to fit in 255.
#[test]
fn redirect_host_leaves_room_for_a_code() {
    let zone = |origin_len: usize| {
        let origin = format!("{0}.{0}.{1}", "a".repeat(61), "b".repeat(origin_len - 124));
        format!("[[zone]]\norigin = \"{origin}\"\nfile = \"a\"\nredirect_host = \"rr\"\n")
    };
    assert_eq!(64 + 2 + 1 + 186, 253);
    assert_eq!(ok(&zone(186)).zones[0].origin.as_str().len(), 186);
    check(
        &zone(187),
        "t.toml:4: zone.redirect_host: \"rr\" and the origin leave no room for a code of 63 \
         characters",
    );
}
