//! Signed zones, checked by independent programs: unbound, delv, drill, DNSViz, ldns-walk, and the message reader of the
//! comparison with Knot DNS and NSD.
//!
//! Each validator is first tested with zones that Knot DNS has signed: it must find these secure, and changed records
//! bogus. After that, a wrong verdict is a fault of tinyns.

mod additions;
mod anchor;
mod answers;
mod controls;
mod denial;
mod dnsviz;
mod flood;
mod judges;
mod relay;
mod resolvers;
mod rollover;
mod sizes;
mod tampering;
mod types;
mod walk;
mod wire;

use std::path::{Path, PathBuf};

use anchor::Anchor;
use judges::Question;

use crate::harness::{Server, Setup, ZONE, tinyns};

const NS: u16 = 2;
const SOA: u16 = 6;
const TXT: u16 = 16;
const DS: u16 = 43;
const RRSIG: u16 = 46;
const NSEC: u16 = 47;
const DNSKEY: u16 = 48;
/// In the bitmap of a name that does not exist (RFC 9824 §3.1).
const NXNAME: u16 = 128;

const ORIGIN: &str = "s.example.com";
const PARENT: &str = "example.com";
const TARGET: &str = "https://example.net/some/page?x=1";
/// A link's code.
const CODE: &str = "abc";
/// Other links, which no test queries; no reply may reveal their names.
const SECRETS: [&str; 3] = ["abd", "b7z9q2", "zzzz"];

/// Further records of the zone besides [`ZONE`]: a DNAME record, and zone cuts with and without DS. No server serves
/// the zones below the cuts.
const FURTHER: &str = "\
moved        IN DNAME wild
safe         IN NS   ns.safe
safe         IN DS   12345 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
ns.safe      IN A    127.0.0.1
";

/// All combinations of link layout and key algorithm.
const WAYS: [Way; 4] = [
    Way("cname", "ecdsap256sha256"),
    Way("cname", "ed25519"),
    Way("direct", "ecdsap256sha256"),
    Way("direct", "ed25519"),
];

/// Questions with every kind of answer, apart from referrals, which are not signed, and from links.
const QUESTIONS: [Question<'static>; 35] = [
    ("s.example.com", "SOA"),
    ("s.example.com", "NS"),
    ("s.example.com", "A"),
    ("s.example.com", "MX"),
    ("s.example.com", "DNSKEY"),
    ("s.example.com", "CDS"),
    ("s.example.com", "CDNSKEY"),
    ("s.example.com", "NSEC"),
    ("s.example.com", "ANY"),
    // NODATA.
    ("s.example.com", "AAAA"),
    ("s.example.com", "NSEC3PARAM"),
    ("mail.s.example.com", "TXT"),
    ("ns1.s.example.com", "NSEC"),
    // NXDOMAIN: no such name, also below a name, below a link and below an alias.
    ("nosuch.s.example.com", "A"),
    ("nosuch.s.example.com", "TXT"),
    ("nosuch.s.example.com", "NSEC"),
    ("nosuch.s.example.com", "ANY"),
    ("below.mail.s.example.com", "A"),
    ("below.abc.s.example.com", "TXT"),
    ("below.www.s.example.com", "A"),
    // Empty non-terminals.
    ("deep.s.example.com", "A"),
    ("b.deep.s.example.com", "TXT"),
    ("a.b.deep.s.example.com", "TXT"),
    ("wild.s.example.com", "TXT"),
    // A wildcard, and types that it does not have.
    ("x.wild.s.example.com", "TXT"),
    ("x.y.wild.s.example.com", "TXT"),
    ("x.wild.s.example.com", "A"),
    ("*.wild.s.example.com", "TXT"),
    // Aliases.
    ("www.s.example.com", "A"),
    ("www.s.example.com", "CNAME"),
    ("www.s.example.com", "TXT"),
    ("moved.s.example.com", "DNAME"),
    ("x.moved.s.example.com", "TXT"),
    // Zone cuts.
    ("sub.s.example.com", "DS"),
    ("safe.s.example.com", "DS"),
];

/// Questions for links, for links that do not exist, and for names above and below them.
const LINKS: [Question<'static>; 18] = [
    ("abc.s.example.com", "TXT"),
    ("abc.s.example.com", "URI"),
    ("abc.s.example.com", "CNAME"),
    ("abc.s.example.com", "A"),
    ("abc.s.example.com", "AAAA"),
    ("abc.s.example.com", "HTTPS"),
    ("abc.s.example.com", "ANY"),
    ("abc.s.example.com", "MX"),
    ("abc.s.example.com", "NSEC"),
    ("abc.r.s.example.com", "TXT"),
    ("abc.r.s.example.com", "URI"),
    ("abc.r.s.example.com", "A"),
    ("abc.r.s.example.com", "HTTPS"),
    ("abc.r.s.example.com", "MX"),
    ("abc.r.s.example.com", "NSEC"),
    ("r.s.example.com", "A"),
    ("nosuch.r.s.example.com", "TXT"),
    ("below.abc.r.s.example.com", "A"),
];

/// The layout of the links and the algorithm of the keys.
#[derive(Clone, Copy, Debug)]
struct Way(&'static str, &'static str);

/// The text of the zone. The addresses of its servers are on this machine, because some programs query them.
fn zone() -> String {
    let zone = ZONE.replace("192.0.2.1\n", "127.0.0.1\n");
    let zone = zone.replace("192.0.2.2\n", "127.0.0.1\n");
    zone.replace("ns1          IN AAAA 2001:db8::1\n", "") + FURTHER
}

/// The text of the parent zone.
fn parent(ds: &str) -> String {
    format!(
        "$ORIGIN example.com.\n$TTL 300\n@ 3600 IN SOA ns hostmaster 1 3600 600 604800 60\n\
         @ 3600 IN NS ns\nns IN A 127.0.0.1\ns IN NS ns1.s\ns IN NS ns2.s\n\
         ns1.s IN A 127.0.0.1\nns2.s IN A 127.0.0.1\n{ds}"
    )
}

/// The settings of a zone and of its parent.
struct Plan {
    way: Way,
    /// The keys of the zone; the parent has one combined key.
    roles: &'static [&'static str],
    /// The TTL of all records, in seconds; without it, the TTLs of the texts.
    ttl: Option<u32>,
    /// Further lines of `[zone.dnssec]`.
    lines: &'static str,
    /// Further sections of the configuration.
    sections: &'static str,
    /// The text of the zone.
    zone: String,
}

impl Plan {
    fn new(way: Way) -> Self {
        Self {
            way,
            roles: &["csk"],
            ttl: None,
            lines: "",
            sections: "",
            zone: zone(),
        }
    }

    /// The text of a zone with the TTL of these settings.
    fn text(&self, text: &str) -> String {
        let Some(ttl) = self.ttl else {
            return text.into();
        };
        let text = text.replace("$TTL 300", &format!("$TTL {ttl}"));
        text.replace(" 3600 IN", &format!(" {ttl} IN"))
    }
}

/// A tinyns with a signed zone of links and its signed parent.
struct Signed {
    server: Server,
    /// The trust anchor of the zone of links.
    anchor: Anchor,
    /// The trust anchor of its parent.
    parent: Anchor,
}

impl Signed {
    fn start(way: Way) -> Self {
        Self::with(&Plan::new(way))
    }

    fn with(plan: &Plan) -> Self {
        let Way(layout, algorithm) = plan.way;
        let setup = Setup::empty().section(plan.sections);
        let dnssec = |origin: &str| {
            let keys = keys_dir(setup.dir(), origin);
            let lines = plan.lines;
            format!("[zone.dnssec]\nkeys = \"{}\"\n{lines}", keys.display())
        };
        let (child, above) = (dnssec(ORIGIN), dnssec(PARENT));
        let ttl = plan.ttl.unwrap_or(300);
        let links = format!("redirect_host = \"r\"\nlayout = \"{layout}\"\nlink_ttl = {ttl}\n");
        let setup = setup.zone(ORIGIN, &(links + &child), &plan.text(&plan.zone));
        let anchor = generate(&setup.write(), ORIGIN, plan.roles, algorithm);
        let above_text = plan.text(&parent(&anchor.records()));
        let setup = setup.zone(PARENT, &above, &above_text);
        let parent = generate(&setup.write(), PARENT, &["csk"], algorithm);
        let server = setup.start();
        server.register(CODE, TARGET);
        for (number, code) in SECRETS.iter().enumerate() {
            server.register(code, &format!("https://example.net/secret/{number}"));
        }
        Self {
            server,
            anchor,
            parent,
        }
    }
}

/// The key directory of a zone.
fn keys_dir(dir: &Path, origin: &str) -> PathBuf {
    dir.join(format!("keys-{origin}"))
}

/// Generates the first keys of a zone.
fn generate(config: &Path, origin: &str, roles: &[&str], algorithm: &str) -> Anchor {
    for role in roles {
        let args = ["generate", "--role", role, "--algorithm", algorithm];
        keys(config, origin, &args).unwrap();
    }
    Anchor::from_ds(origin, &keys(config, origin, &["ds"]).unwrap())
}

/// Runs `tinyns keys`. Returns its output, or its error message.
fn keys(config: &Path, origin: &str, args: &[&str]) -> Result<String, String> {
    let output = tinyns()
        .arg("keys")
        .args(args)
        .args(["--zone", origin, "--config"])
        .arg(config)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    match output.status.success() {
        true => Ok(text(output.stdout)),
        false => Err(text(output.stderr)),
    }
}
