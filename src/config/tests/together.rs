//! All faults of a file are reported at once, each once.

use super::*;

fn check_all(text: &str, expected: &[&str]) {
    let shown = parse(text).unwrap_err().to_string();
    assert_eq!(shown.lines().collect::<Vec<_>>(), expected, "for {text}");
}

#[test]
fn every_fault_is_reported_with_its_place() {
    check_all(
        r#"# A file with everything wrong.
[dns]
listn = "127.0.0.1:53"
udp_payload = 100
nsid = "0xz"
[dns.tcp]
idle = "10"
lifetime = -1
[dns.tls]
listen = ["127.0.0.1:853", "localhost:854"]
key = ""
[[zone]]
origin = "a..b"
fil = "a.zone"
redirect_host = "r.x"
layout = "tree"
[[zone]]
file = "b.zone"
link_ttl = 604801
[zone.dnssec]
dnskey_tll = 1
[store]
kind = "dynamodb"
path = "links.sqlite"
table = "a b"
reads_per_second = -1
[redis]
mode = "cluster"
url = ["redis://a", "http://b", "redis://a/2"]
keep = 0
[cache]
filter = true
refresh = 0
[rate_limit]
slip = 11
exempt = ["127.0.0.1", "net"]
[cookies]
secret_file = ""
[query_log]
sample = 0
[admin]
listen = "127.0.0.1:5300"
[redirect]
short_url_scheme = "ftp"
short_url_port = 0
[process]
group = "a:b"
"#,
        &[
            "t.toml:3:1: dns.listn: unknown key; did you mean \"listen\"? Known here: listen, \
             udp_payload, nsid, version, identity, tcp, tls",
            "t.toml:4:15: dns.udp_payload: 100 is not within 512 to 4096 bytes",
            "t.toml:5:8: dns.nsid: \"0xz\" is not an even number of hexadecimal digits after 0x",
            "t.toml:7:8: dns.tcp.idle: invalid type: string \"10\", expected a whole number",
            "t.toml:8:12: dns.tcp.lifetime: -1 is not within 0 to 604800 seconds",
            "t.toml:9:1: dns.tls: missing; [dns.tls] needs \"certificate\"",
            "t.toml:10:28: dns.tls.listen: \"localhost:854\" is not an IP address with a port, \
             such as \"127.0.0.1:5300\" or \"[::1]:5300\"",
            "t.toml:11:7: dns.tls.key: a path must not be empty",
            "t.toml:13:10: zone.origin: \"a..b\" is not a domain name: it has an empty label",
            "t.toml:14:1: zone.fil: unknown key; did you mean \"file\"? Known here: origin, \
             file, redirect_host, layout, link_ttl, dnssec, pools, route",
            "t.toml:15:17: zone.redirect_host: \"r.x\" is not one label of 1 to 63 letters, \
             digits and inner hyphens",
            "t.toml:16:10: zone.layout: unknown value \"tree\", expected \"cname\" or \"direct\"",
            "t.toml:17:1: zone: missing; a [[zone]] needs \"origin\"",
            "t.toml:19:12: zone.link_ttl: 604801 is not within 0 to 604800 seconds",
            "t.toml:20:1: zone.dnssec: missing; [zone.dnssec] needs \"keys\"",
            "t.toml:21:1: zone.dnssec.dnskey_tll: unknown key; did you mean \"dnskey_ttl\"? \
             Known here: keys, signature_validity, signature_jitter, inception_offset, \
             dnskey_ttl, propagation_delay",
            "t.toml:24:8: store.path: belongs to the \"sqlite\" store, and kind is \"dynamodb\"",
            "t.toml:25:9: store.table: \"a b\" is not the name of a table: 3 to 255 letters, digits, \
             and any of \"_-.\"",
            "t.toml:26:20: store.reads_per_second: -1 is not within 0 to 1000000 look-ups a \
             second",
            "t.toml:29:21: redis.url: not a redis:// or rediss:// URL with a host, such as \
             \"redis://127.0.0.1:6379\"",
            "t.toml:29:33: redis.url: a cluster has only database 0; leave the number out of the URL",
            "t.toml:30:8: redis.keep: 0 is not within 1 to 604800 seconds",
            "t.toml:33:11: cache.refresh: 0 is not within 1 to 86400 seconds",
            "t.toml:35:8: rate_limit.slip: 11 is not within 0 to 10",
            "t.toml:36:24: rate_limit.exempt: \"net\": not a prefix, such as \"192.0.2.0/24\" or \
             \"2001:db8::/32\"",
            "t.toml:38:15: cookies.secret_file: a path must not be empty",
            "t.toml:39:1: query_log: missing; [query_log] needs \"file\" or \"socket\"",
            "t.toml:40:10: query_log.sample: 0 is not within 1 to 1000000000",
            "t.toml:44:20: redirect.short_url_scheme: unknown value \"ftp\", expected \"http\" \
             or \"https\"",
            "t.toml:45:18: redirect.short_url_port: 0 is not within 1 to 65535",
            "t.toml:47:9: process.group: missing; a group needs \"user\"",
            "t.toml:47:9: process.group: \"a:b\" is not the name or number of a user or group: 1 \
             to 255 bytes without blanks and colons",
        ],
    );
}

/// A key that is misspelt or of the wrong type is not reported as missing as well.
#[test]
fn a_fault_has_no_other_fault_in_its_wake() {
    let zone = "origin = \"a\"\nfile = \"a\"\nredirect_host = \"r\"\n";
    for (text, expected) in [
        (
            "[dns.tls]\nlisten = 853\ncertificate = \"c\"\nkye = \"k\"\n",
            [2, 4],
        ),
        (
            "[[zone]]\norigin = 5\nfil = \"a\"\nredirect_host = \"r\"\n",
            [2, 3],
        ),
        (
            "[[zone]]\norigin = \"a\"\nfile = 1\nredirect_hots = \"r\"\n",
            [3, 4],
        ),
        (
            "[redis]\nurl = 5\nmode = 5\nsentinel_master = \"a\"\n",
            [2, 3],
        ),
        (
            "[store]\nkind = \"sqlight\"\ntable = \"abc\"\n[query_log]\nfile = 1\n",
            [2, 5],
        ),
        (
            "[process]\nuser = 1\ngroup = \"a\"\n[dns]\nlisten = 5300\n[admin]\nlisten = \"127.0.0.1:5300\"\n",
            [2, 5],
        ),
        (
            &format!("[[zone]]\n{zone}layout = \"a\"\n[[zone]]\n{zone}layout = \"b\"\n"),
            [5, 10],
        ),
    ] {
        let lines: Vec<_> = refused(text).iter().map(|fault| fault.line).collect();
        assert_eq!(lines, expected, "{text}\n{}", parse(text).unwrap_err());
    }
}

#[test]
fn columns_are_counted_in_characters() {
    check_all(
        "[admin]\n\tlisten = [\"127.0.0.1:1\", \"\u{e9}\u{e9}\", \"x\"]\n",
        &[
            "t.toml:2:27: admin.listen: \"\u{e9}\u{e9}\" is not an IP address with a port, such as \
             \"127.0.0.1:5300\" or \"[::1]:5300\"",
            "t.toml:2:33: admin.listen: \"x\" is not an IP address with a port, such as \
             \"127.0.0.1:5300\" or \"[::1]:5300\"",
        ],
    );
}

/// Each line with a fault of syntax, and each duplicate key. In spite of duplicates, the other keys are read.
#[test]
fn faults_of_syntax() {
    let lines = |text: &str| -> Vec<_> {
        let faults = refused(text);
        faults.iter().map(|fault| fault.line).collect()
    };
    assert_eq!(lines("[dns]\nlisten =\n[admin]\nlisten\n"), [2, 4]);
    let twice = "[admin]\nlisten = []\nlisten = []\nport = 1\n[admin]\ntoken_file = \"\"\n";
    assert_eq!(lines(twice), [3, 4, 5, 6]);
    // After an unclosed quote nothing can be read.
    assert_eq!(lines("[dns]\nversion = \"1\nudp_payload = 1\n"), [2]);
}

#[test]
fn faults_have_a_bound() {
    let unknown: String = (0..2_000).map(|key| format!("key-{key} = 1\n")).collect();
    let addresses = "\"x\",".repeat(64);
    for text in [
        format!("[cache]\n{unknown}"),
        unknown,
        format!("[dns]\nlisten = [{addresses}]\n[admin]\nlisten = [{addresses}]\n"),
        "[dns]\n".repeat(2_000),
        "a b\n".repeat(2_000),
    ] {
        let shown = parse(&text).unwrap_err().to_string();
        assert_eq!(shown.lines().count(), 51, "{shown}");
        let last = shown.lines().last().unwrap();
        assert!(last.starts_with("and at least "), "{last}");
    }
}
