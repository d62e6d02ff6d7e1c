//! Both paths again, in random zones: nested, with and without links, with wildcards, DNAMEs and zone cuts. The
//! queries have random names and options.

use std::time::Instant;

use super::*;
use crate::zone::Zone;

/// The duration in seconds, and the seed; `FUZZ_SECONDS` and `FUZZ_SEED` choose others.
const SECONDS: u64 = 2;
const SEED: u64 = 1;

const ORIGINS: [&str; 6] = [
    "s.example.com",
    "example.com",
    "old.s.example.com",
    "abc.s.example.com",
    "com",
    "x.r.s.example.com",
];

const HEAD: &str = "$TTL 300\n@ 3600 IN SOA ns hostmaster 1 3600 600 604800 60\n\
                    @ IN NS ns\nns IN A 192.0.2.1\n@ IN NS a\\.b\\000\n";

const LINES: [&str; 48] = [
    "* IN A 192.0.2.77",
    "* IN CNAME abc",
    "* IN CNAME x.old",
    "* IN TXT hello",
    "*.r IN A 192.0.2.10",
    "*.r IN AAAA 2001:db8::1",
    "*.r IN HTTPS 1 . alpn=h2",
    "r IN TXT x",
    "r IN A 192.0.2.3",
    "x.r IN A 192.0.2.4",
    "y.x.r IN A 192.0.2.4",
    "abc.r IN TXT taken",
    "s IN NS ns.s",
    "s IN DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000",
    "ns.s IN A 192.0.2.9",
    "sub IN NS ns.sub",
    "sub IN NS ns.else.example.",
    "ns.sub IN A 192.0.2.5",
    "sub IN DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000",
    "old IN DNAME new",
    "old2 IN DNAME abc",
    "old3 IN DNAME @",
    "*.new IN A 192.0.2.6",
    "promo IN CNAME abc",
    "promo2 IN CNAME nothing8",
    "promo3 IN CNAME abc.r",
    "promo4 IN CNAME x.sub",
    "promo5 IN CNAME other.example.",
    "promo6 IN CNAME promo",
    "*.wild IN MX 10 ns",
    "a.*.wild IN A 192.0.2.8",
    "\\000\\255 IN TXT bin",
    "*.\\000 IN TXT star",
    "_tcp IN SRV 1 1 1 ns",
    "a.b.c.d IN A 192.0.2.8",
    "c IN TXT c",
    "@ IN MX 10 abc",
    "@ IN MX 20 ns",
    "@ IN HTTPS 1 ns",
    "@ IN TXT apex",
    "mx IN MX 10 \\000.s.example.com.",
    "mx IN MX 10 \\000\\000\\000",
    "svc IN SVCB 1 _tcp",
    "promo7 IN CNAME _acme-challenge",
    "abc.r IN CNAME _acme-challenge",
    "x._acme-challenge IN A 192.0.2.8",
    "_acme-challenge IN CNAME abc",
    "@ IN CAA 0 issue ca.example",
];

const NAME_LABELS: [&[u8]; 33] = [
    b"abc",
    b"x",
    b"later",
    b"s",
    b"new",
    b"r",
    b"ns",
    b"old",
    b"old2",
    b"old3",
    b"promo",
    b"promo2",
    b"promo3",
    b"promo4",
    b"sub",
    b"wild",
    b"*",
    b"\0",
    b"\0\xff",
    b"\xff",
    b"_tcp",
    b"a",
    b"b",
    b"c",
    b"d",
    b"nothing8",
    b"mx",
    b"\0\0\0",
    b"a.b\0",
    b"svc",
    b"promo7",
    b"_acme-challenge",
    b"_acme-challenge",
];

/// The parts of a zone; see [`Fixture::of`].
pub(super) type ZoneParts = (&'static str, String, Option<&'static str>, Layout);

/// Pseudorandom numbers (Marsaglia's xorshift), the same for the same seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    /// A number below `n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % n
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }

    pub(super) fn of<T: Copy>(&mut self, choice: &[T]) -> T {
        choice[self.below(choice.len())]
    }
}

/// A zone for the first origin, and for some of the others.
pub(super) fn zones(random: &mut Random) -> Vec<ZoneParts> {
    let mut zones = Vec::new();
    for (n, origin) in ORIGINS.into_iter().enumerate() {
        if n == 0 || random.one_in(3) {
            let host = (n == 0 || random.one_in(2)).then_some("r");
            let layout = random.of(&[Layout::Cname, Layout::Direct]);
            zones.push((origin, text(random, origin, host, layout), host, layout));
        }
    }
    zones
}

/// A zone file of a third of the lines, without lines that make it invalid.
fn text(random: &mut Random, origin: &str, host: Option<&str>, layout: Layout) -> String {
    let config = ZoneConfig {
        origin: ZoneName::parse(origin).unwrap(),
        file: "test".into(),
        redirect_host: host.map(Into::into),
        layout,
        link_ttl: 300,
        dnssec: None,
    };
    let mut text = HEAD.to_owned();
    for line in LINES {
        let more = format!("{text}{line}\n");
        if random.one_in(3) && Zone::parse(&config, &more).is_ok() {
            text = more;
        }
    }
    text
}

/// Adds links of all kinds, where static names leave room for them.
pub(super) fn add_links(random: &mut Random, fixture: &Fixture, origin: &str) {
    for (code, expires_at, ttl) in [
        ("abc", None, None),
        ("x", None, Some(5)),
        ("later", Some(UnixTime(NOW.0 + 100)), None),
        ("s", None, None),
        ("new", None, None),
    ] {
        let length = random.below(4) * random.below(500);
        let url = format!("https://example.net/{}", "y".repeat(length));
        let request = CreateLink {
            origin: Origin::parse(origin).unwrap(),
            target: TargetUrl::parse(&url).unwrap(),
            code: Some(Code::parse(code).unwrap()),
            use_reserved: false,
            expires_at,
            ttl: ttl.and_then(Ttl::from_secs),
            about: crate::link::About::default(),
            destinations: None,
            withheld: None,
            created_by: "test".into(),
        };
        // The name may be a static name.
        let _ = fixture.runtime.block_on(fixture.links.create(request));
    }
}

/// Additions of all kinds, where the zone file leaves room for them, and sometimes challenges.
pub(super) fn add_additions(random: &mut Random, fixture: &Fixture, origin: &str) {
    let origin = Origin::parse(origin).unwrap();
    let additions = ZoneAdditions {
        challenge: random.one_in(2),
        caa: random
            .one_in(2)
            .then(|| CaaAddition::new(["ca.example"], "https://ca.example/acct/1"))
            .flatten(),
        https: random.one_in(2),
    };
    let _ = fixture.zones.set_additions(&origin, additions);
    fixture.handler.zones_replaced();
    let values = ["first", "second"];
    let values = &values[..random.below(3)];
    let offer = fixture
        .challenges
        .offer(&origin, values, UnixTime(NOW.0 + 200_000));
    fixture.runtime.block_on(offer).unwrap();
}

/// A name in wire form, mostly at or below this origin.
pub(super) fn name(random: &mut Random, origin: &str) -> Vec<u8> {
    let mut suffix = Vec::new();
    if !random.one_in(12) {
        for label in origin.split('.') {
            suffix.push(label.len() as u8);
            suffix.extend(label.as_bytes());
        }
    }
    suffix.push(0);
    let mut name = match random.one_in(8) {
        true => long_prefix(random, 255 - suffix.len()),
        false => short_prefix(random),
    };
    name.extend(suffix);
    name
}

fn short_prefix(random: &mut Random) -> Vec<u8> {
    let mut prefix = Vec::new();
    for _ in 0..random.below(5) {
        let label = random.of(&NAME_LABELS);
        prefix.push(label.len() as u8);
        for byte in label {
            prefix.push(match random.one_in(2) {
                true => byte.to_ascii_uppercase(),
                false => *byte,
            });
        }
    }
    prefix
}

/// A prefix of the maximum length, or a little less; sometimes below a DNAME.
fn long_prefix(random: &mut Random, room: usize) -> Vec<u8> {
    let below = match random.one_in(2) {
        true => random.of(&[&b"\x03old"[..], b"\x04wild", b"\x01r", b"\x04OLD3"]),
        false => b"",
    };
    let end = room - below.len() - random.below(3);
    let mut prefix = Vec::new();
    while prefix.len() + 2 <= end {
        let len = (1 + random.below(63)).min(end - prefix.len() - 1);
        prefix.push(len as u8);
        prefix.extend((0..len).map(|_| random.of(&[b'a', 0, 255, b'Z'])));
    }
    prefix.extend(below);
    prefix
}

/// A query for a name, and the maximum length of its reply.
fn packet(random: &mut Random, name: &[u8]) -> (Vec<u8>, u16) {
    let flags = [random.of(&[0, 1, 4, 5]), random.byte()];
    let mut packet = vec![random.byte(), random.byte(), flags[0], flags[1]];
    packet.extend([0, 1, 0, 0, 0, 0, 0, 0]);
    packet.extend(name);
    let qtype = match random.below(10) {
        0 => random.below(65_536) as u16,
        1 => random.below(260) as u16,
        _ => random.of(&TYPES),
    };
    packet.extend(qtype.to_be_bytes());
    packet.extend([0, 1]);
    if random.one_in(2) {
        return (packet, 512);
    }
    packet[11] = 1;
    let any = random.below(2_000) as u16;
    let size = random.of(&[0, 512, 600, 700, 900, 1_232, 4_096, 65_535, any]);
    packet.extend([0, 0, 41]);
    packet.extend(size.to_be_bytes());
    packet.extend([0, 0, random.byte(), random.byte()]);
    let options = options(random);
    packet.extend((options.len() as u16).to_be_bytes());
    packet.extend(options);
    (packet, size.clamp(512, 1_232))
}

fn options(random: &mut Random) -> Vec<u8> {
    let mut options = Vec::new();
    for _ in 0..random.of(&[0, 0, 1, 2, 3]) {
        // Not 5 to 8: hickory reads these options and refuses malformed ones.
        let code: u16 = random.of(&[10, 10, 10, 3, 15, 11, 12, 9, 13, 20, 65_001, 0]);
        let len: u16 = random.of(&[0, 8, 16, 24, 40, 7, 41, 2]);
        options.extend(code.to_be_bytes());
        options.extend(len.to_be_bytes());
        options.extend((0..len).map(|_| random.byte()));
    }
    options
}

/// The duration in seconds, and the seed.
pub(super) fn seconds_and_seed() -> (u64, u64) {
    let number = |variable, default| {
        let text = std::env::var(variable);
        text.map_or(default, |text| text.parse().unwrap())
    };
    (number("FUZZ_SECONDS", SECONDS), number("FUZZ_SEED", SEED))
}

#[test]
fn both_paths_agree_in_random_zones() {
    let (seconds, seed) = seconds_and_seed();
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let began = Instant::now();
    let mut asked = 0;
    while asked == 0 || began.elapsed().as_secs() < seconds {
        let zones = zones(&mut random);
        let fixture = Fixture::of(&zones);
        for (origin, _, host, _) in &zones {
            if host.is_some() {
                add_links(&mut random, &fixture, origin);
                add_additions(&mut random, &fixture, origin);
            }
        }
        for _ in 0..400 {
            let origin = zones[random.below(zones.len())].0;
            let name = name(&mut random, origin);
            let (packet, limit) = packet(&mut random, &name);
            if fixture
                .handler
                .prepare(&packet, (CLIENT.ip(), Via::Udp))
                .is_some()
            {
                let context = format!("seed {seed} {zones:#?} {packet:02x?}");
                check_packet(&fixture, &packet, limit, &context);
                asked += 1;
            }
        }
    }
}
