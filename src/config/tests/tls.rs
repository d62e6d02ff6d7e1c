//! `[dns.tls]`.

use super::*;
use crate::certificates::CertificateFiles;

#[test]
fn where_tls_is_served() {
    let text = "[dns.tls]\nlisten = [\"[::1]:853\", \"192.0.2.1:853\"]\n\
                certificate = \"/etc/chain.pem\"\nkey = \"key.pem\"\n";
    let expected = TlsConfig {
        listen: addresses(&["[::1]:853", "192.0.2.1:853"]),
        files: CertificateFiles {
            certificate: "/etc/chain.pem".into(),
            key: "key.pem".into(),
        },
    };
    assert_eq!(ok(text).dns.tls, Some(expected));
    let one = "[dns.tls]\nlisten = \"127.0.0.1:853\"\ncertificate = \"c\"\nkey = \"k\"\n";
    let listen = ok(one).dns.tls.unwrap().listen;
    assert_eq!(listen, addresses(&["127.0.0.1:853"]));
    assert_eq!(ok("").dns.tls, None);
}

#[test]
fn what_tls_needs() {
    let all = [
        "listen = \"127.0.0.1:853\"",
        "certificate = \"c\"",
        "key = \"k\"",
    ];
    for (missing, key) in ["listen", "certificate", "key"].iter().enumerate() {
        let mut lines = all.to_vec();
        lines.remove(missing);
        check(
            &format!("[dns]\n[dns.tls]\n{}\n", lines.join("\n")),
            &format!("t.toml:2: dns.tls: missing; [dns.tls] needs {key:?}"),
        );
    }
    let with = |line: &str, key: &str| {
        let others = all.iter().filter(|other| !other.starts_with(key));
        let others: Vec<_> = others.copied().collect();
        format!("[dns.tls]\n{line}\n{}\n", others.join("\n"))
    };
    for (key, line, expected) in [
        (
            "listen",
            "listen = []",
            "dns.tls.listen: at least one address is needed",
        ),
        (
            "listen",
            "listen = \"853\"",
            "dns.tls.listen: \"853\" is not an IP address with a port, such as \
             \"127.0.0.1:5300\" or \"[::1]:5300\"",
        ),
        (
            "listen",
            "listen = \"127.0.0.1:5300\"",
            "dns.tls.listen: 127.0.0.1:5300 is the default of dns.listen; set that key to another address",
        ),
        (
            "certificate",
            "certificate = \"\"",
            "dns.tls.certificate: a path must not be empty",
        ),
        ("key", "key = \"\"", "dns.tls.key: a path must not be empty"),
    ] {
        check(&with(line, key), &format!("t.toml:2: {expected}"));
    }
    assert!(parse("[dns.tls]\nport = 853\n").is_err());
}
