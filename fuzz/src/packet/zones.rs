//! The zones and links of the server that packets are sent to: of everything that answers are made
//! differently for, something.

use std::path::PathBuf;
use std::sync::Arc;

use tinyns::base::name::ZoneName;
use tinyns::dnssec::key::{Algorithm, Role};
use tinyns::dnssec::keys::directory::LockedDirectory;
use tinyns::dnssec::keys::list::KeyList;
use tinyns::dnssec::{DnssecConfig, Signing};
use tinyns::zone::{Layout, ZoneSet};

use super::super::world::{Files, FirstLink, NOW, zone_config};

/// The origins, in the order in which recipes count them.
pub const ORIGINS: [&str; 7] = [
    "s.example.com",
    "d.example.com",
    "example.net",
    "sub.example.net",
    "s.example.org",
    "d.example.org",
    "n.example.org",
];
/// Those that hold links.
pub const LINK_ORIGINS: [&str; 4] = [
    "s.example.com",
    "d.example.com",
    "s.example.org",
    "d.example.org",
];
/// Those that are signed.
pub const SIGNED_ORIGINS: [&str; 3] = ["s.example.org", "d.example.org", "n.example.org"];

/// Links as aliases, no wildcard.
const ALIASES: &str = "\
$TTL 300
@ 3600  IN SOA ns hostmaster 1 3600 600 604800 60
@       IN NS ns
@       IN NS ns.sub
@       IN MX 10 mail
ns      IN A 192.0.2.1
mail    IN A 192.0.2.2
mail    IN AAAA 2001:db8::2
*.r     IN A 192.0.2.10
*.r     IN AAAA 2001:db8::10
*.r     IN HTTPS 1 . alpn=h2
x.r     IN A 192.0.2.11
loop1   IN CNAME loop2
loop2   IN CNAME loop1
old     IN DNAME new
www.new IN A 192.0.2.20
promo   IN CNAME abc
promo2  IN CNAME nothing
sub     IN NS ns.sub
sub     IN NS ns.else.example.
ns.sub  IN A 192.0.2.53
*.wild  IN TXT wild
a.*.wild IN A 192.0.2.8
svc     IN HTTPS 1 www.new
";

/// Links that own their records, and a wildcard for what is no link.
const DIRECT: &str = "\
$TTL 60
@    IN SOA ns.example.net. hostmaster 1 3600 600 604800 3600
@    IN NS ns.example.net.
*.r  IN A 192.0.2.10
*    IN MX 10 mail
*    IN TXT any
mail IN A 192.0.2.2
old  IN DNAME abc
www  IN CNAME abc.r
";

/// A zone without links, with sets that fill a message, and a child that is served here as well.
const PLAIN: &str = "\
$TTL 86400
@      IN SOA ns hostmaster 1 3600 600 604800 60
@      IN NS ns
@      IN NS ns2.sub
@      IN TXT apex
ns     IN A 192.0.2.1
*      IN CNAME abc.s.example.com.
sub    IN NS ns2.sub
sub    IN DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000
ns2.sub IN A 192.0.2.2
far    IN NS ns1.far
far    IN NS ns2.far
_dns   IN SRV 1 2 53 ns
a.b.c  IN URI 10 1 \"https://example.net/\"
raw    IN TYPE65280 \\# 4 00010203
\\000  IN TXT \\000\\255
chain1 IN CNAME chain2
chain2 IN CNAME chain3
chain3 IN CNAME long
dname  IN DNAME sub
";

/// The child.
const CHILD: &str = "\
@   60 IN SOA ns2 hostmaster 1 3600 600 604800 60
@   60 IN NS ns2
ns2 60 IN A 192.0.2.2
abc 60 IN AAAA 2001:db8::3
";

/// Links of all kinds. Those whose URLs are long do not fit 512 bytes, or 1,232.
pub fn links(long: &str, longest: &str, add: &mut dyn FnMut(FirstLink<'_>)) {
    let all = [
        ("abc", "https://example.net/", None, None),
        ("short", "https://example.net/short", None, Some(5)),
        ("never", "https://example.net/never", None, Some(0)),
        ("later", "https://example.net/later", Some(100), None),
        ("lengthy", long, None, None),
        ("longest", longest, None, None),
    ];
    for (code, url, ends_in, ttl) in all {
        add(FirstLink {
            code,
            url,
            ends_in,
            ttl,
        });
    }
}

/// The zones.
pub fn zones() -> Arc<ZoneSet> {
    let many: String = (0..80)
        .map(|n| format!("many IN A 192.0.2.{n}\n"))
        .collect();
    let glue: String = ["ns1.far", "ns2.far"]
        .iter()
        .flat_map(|ns| (0..24).map(move |n| format!("{ns} IN AAAA 2001:db8::{n}\n")))
        .collect();
    let long = format!("long IN TXT {}\n", "\"0123456789abcdef\" ".repeat(60));
    let huge = format!("huge IN TXT {}\n", "\"0123456789abcdef\" ".repeat(3_700));
    let plain = [PLAIN, &many, &glue, &long, &huge].concat();
    let texts = [ALIASES, DIRECT, &plain, CHILD, ALIASES, DIRECT, &plain];
    let files = Files::new();
    let configs = ORIGINS.into_iter().zip(texts).map(|(origin, text)| {
        files.write(origin, text);
        let layout = match origin {
            "d.example.com" | "d.example.org" => Layout::Direct,
            _ => Layout::Cname,
        };
        let has_links = LINK_ORIGINS.contains(&origin);
        let mut config = zone_config(origin, &files.path(origin), has_links, layout);
        if SIGNED_ORIGINS.contains(&origin) {
            config.dnssec = Some(dnssec(files.path(&format!("{origin}.keys"))));
        }
        config
    });
    let configs: Vec<_> = configs.collect();
    let signings = configs.iter().filter_map(|config| {
        let signing = signing(&config.origin, config.dnssec.as_ref()?);
        Some((config.origin.clone(), Arc::new(signing)))
    });
    let signings = signings.collect();
    let (zones, _) = ZoneSet::load_signed(configs, signings).expect("zones");
    Arc::new(zones)
}

/// How a zone is signed whose keys are there.
fn dnssec(keys: PathBuf) -> DnssecConfig {
    DnssecConfig {
        keys,
        signature_validity: 14 * 86_400,
        signature_jitter: 3_600,
        inception_offset: 3_600,
        dnskey_ttl: 3_600,
        propagation_delay: 3_600,
    }
}

/// A new key that signs a zone. Of Ed25519, whose signatures are the same each time (RFC 8032 §5.1.6).
fn signing(origin: &ZoneName, config: &DnssecConfig) -> Signing {
    let directory = LockedDirectory::open(&config.keys, true).expect("a directory");
    let mut list = KeyList::new(origin.clone(), config);
    let (_, key) = directory
        .make_key(&list, Algorithm::Ed25519, Role::Csk)
        .expect("a key");
    list.add(&key, config, NOW).expect("it is the first");
    directory.write_list(&list).expect("a list");
    Signing::load(config.clone(), origin.clone(), NOW).expect("keys")
}
