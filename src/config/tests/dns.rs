//! `[dns]` without its addresses.

use super::*;
use crate::dns::Identity;

fn settings(lines: &str) -> Settings {
    ok(&format!("[dns]\n{lines}\n")).dns.settings
}

#[test]
fn what_replies_are_like() {
    let expected = Settings {
        udp_payload: 4_096,
        nsid: Some((*b"fra1").into()),
        identity: Identity {
            version: Some("tinyns".into()),
            id: Some("ns1.fra".into()),
        },
        ..Settings::default()
    };
    let lines = r#"udp_payload = 4096
nsid = "fra1"
version = "tinyns"
identity = "ns1.fra""#;
    assert_eq!(settings(lines), expected);
    assert_eq!(settings("udp_payload = 512").udp_payload, 512);
    let nsid = settings(r#"nsid = "0x00Ff""#).nsid;
    assert_eq!(nsid.as_deref(), Some(&[0, 0xFF][..]));
}

#[test]
fn what_replies_cannot_be_like() {
    let refused = |line: &str, expected: &str| {
        check(
            &format!("[dns]\n{line}\n"),
            &format!("t.toml:2: {expected}"),
        );
    };
    for size in [-1, 0, 511, 4_097] {
        refused(
            &format!("udp_payload = {size}"),
            &format!("dns.udp_payload: {size} is not within 512 to 4096 bytes"),
        );
    }
    for (hex, shown) in [
        ("0x0", "\"0x0\""),
        ("0xfg", "\"0xfg\""),
        ("0x\u{e9}", "\"0x\u{e9}\""),
    ] {
        refused(
            &format!("nsid = \"{hex}\""),
            &format!("dns.nsid: {shown} is not an even number of hexadecimal digits after 0x"),
        );
    }
    for nsid in ["", "0x", &"x".repeat(129)] {
        refused(
            &format!("nsid = \"{nsid}\""),
            "dns.nsid: not 1 to 128 bytes long",
        );
    }
    for key in ["version", "identity"] {
        for text in ["", &"x".repeat(256)] {
            refused(
                &format!("{key} = \"{text}\""),
                &format!("dns.{key}: not 1 to 255 bytes long"),
            );
        }
    }
}
