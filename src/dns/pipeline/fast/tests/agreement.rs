//! The fast path and the general path send the same bytes.

use proptest::prelude::*;

use super::*;

#[test]
fn both_paths_send_the_same_bytes() {
    for layout in [Layout::Cname, Layout::Direct] {
        let fixture = filled(layout);
        let codes = ["abc", "short", "later", "lengthy", "longest", "none"];
        let mut names: Vec<String> = codes
            .iter()
            .flat_map(|code| {
                ["", "r.", "x.", "x.r."].map(|more| match more {
                    "x." | "x.r." => format!("x.{code}.{}s.example.com", &more[2..]),
                    more => format!("{code}.{more}s.example.com"),
                })
            })
            .collect();
        names.extend(LABELS.map(|label| format!("{label}.s.example.com")));
        names.extend(
            [
                "s.example.com",
                "S.Example.COM",
                "example.com",
                "",
                "other.org",
            ]
            .map(String::from),
        );
        names.extend(["ABC.s.example.COM", "aBc.R.s.example.com"].map(String::from));
        for name in names {
            for qtype in TYPES {
                for edns in [
                    None,
                    Some((512, false)),
                    Some((1_232, true)),
                    Some((9_000, false)),
                ] {
                    check_both(&fixture, &name, qtype, edns);
                }
            }
        }
    }
}

#[test]
fn both_paths_send_the_same_cookies() {
    let fixture = filled(Layout::Cname);
    for name in [
        "abc.s.example.com",
        "none.s.example.com",
        "example.org",
        "longest.s.example.com",
    ] {
        for len in 0..50 {
            let mut packet = query(name, 16, Some((1_232, true)));
            let at = packet.len() - 1;
            packet[at] = 4 + len;
            packet.extend([0, 10, 0, len]);
            packet.extend((0..len).map(|n| n ^ 0x5A));
            if len == 8 || (16..=40).contains(&len) {
                let (_, long) = fixture.ask_generally(&packet);
                let (_, short) = fixture.ask(&packet);
                assert_eq!(said(&short), said(&long), "{name}, {len} bytes");
                assert!(
                    short
                        .windows(12)
                        .any(|w| w[..4] == [0, 10, 0, 24] && w[4..] == packet[at + 5..at + 13])
                );
            } else {
                assert!(
                    fixture
                        .handler
                        .prepare(&packet, (CLIENT.ip(), Via::Udp))
                        .is_none()
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn both_paths_agree_on_any_name(
        queries in prop::collection::vec(
            (
                prop::collection::vec(prop::sample::select(&LABELS[..]), 0..4),
                prop::sample::select(&TYPES[..]),
                prop::option::of((0_u16..2_000, any::<bool>())),
                any::<u64>(),
            ),
            1..60,
        ),
        direct in any::<bool>(),
    ) {
        let fixture = filled(if direct { Layout::Direct } else { Layout::Cname });
        for (labels, qtype, edns, case) in queries {
            let mut name = labels.join(".");
            name.push_str(".s.example.com");
            let name = name.trim_start_matches('.').to_owned();
            // Random letter case, as resolvers use it (0x20).
            let mixed: String = name
                .char_indices()
                .map(|(n, c)| match case >> (n % 64) & 1 {
                    0 => c,
                    _ => c.to_ascii_uppercase(),
                })
                .collect();
            check_both(&fixture, &mixed, qtype, edns);
        }
    }
}

/// RFC 1035 §3.1: a label may hold any bytes, and so may those of a zone's own names.
#[test]
fn rfc1035_3_1_a_stand_in_never_shows_its_labels() {
    for host in ["\\000", "\\000.\\000", "\\000\\000\\000\\000"] {
        let text = format!(
            "$TTL 300\n@ IN SOA {host} hostmaster 1 3600 600 604800 60\n@ IN NS ns\nns IN A 192.0.2.1\n"
        );
        let fixture = Fixture::of(&[("s.example.com", text, Some("r"), Layout::Cname)]);
        for name in ["a.s.example.com", "abc.s.example.com", "abcd.s.example.com"] {
            check_both(&fixture, name, 16, None);
        }
    }
}

#[test]
fn rfc7873_5_4_a_cookie_alone() {
    let fixture = filled(Layout::Cname);
    let mut packet = vec![1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    packet.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\x0c\0\x0a\0\x08ABCDEFGH");
    let mut buffers = Buffers::default();
    let reply = fixture
        .handler
        .reply_to(&packet, CLIENT, Via::Udp, &mut buffers);
    let reply = reply.unwrap().unwrap();
    assert_eq!(reply[..4], [1, 2, 0x80, 0], "NOERROR");
    let at = reply.windows(12).position(|w| w == b"\0\x0a\0\x18ABCDEFGH");
    let cookie = reply[at.unwrap() + 4..][..24].to_vec();
    // A client may also ask whether its cookie is valid. BADCOOKIE is 23; its upper bits are in OPT.
    for (last, rcode) in [(cookie[23], (0, 0)), (cookie[23] ^ 1, (7, 1))] {
        let mut packet = vec![1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        packet.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\x1c\0\x0a\0\x18");
        packet.extend(&cookie[..23]);
        packet.push(last);
        let reply = fixture
            .handler
            .reply_to(&packet, CLIENT, Via::Udp, &mut buffers);
        let reply = reply.unwrap().unwrap();
        assert_eq!((reply[3] & 0xF, reply[12 + 5]), rcode);
    }
}
