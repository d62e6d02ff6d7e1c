//! DNSViz, a checker of signed zones, reports no error.
//!
//! `dnsviz probe` queries the given servers of the zone and of its parent, and the addresses of their NS records, which
//! are on this machine. `dnsviz grok` needs graphviz only with trusted keys. Without any, it still checks the DS records
//! of the parent and each signature.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::Value;

use super::controls::knot;
use super::judges::bounded;
use super::relay::{Change, Relay};
use super::{ORIGIN, PARENT, Signed, TXT, WAYS};

/// The directory in which tests/run.sh installs DNSViz.
fn program() -> String {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let program = target.with_file_name("tools").join("dnsviz/bin/dnsviz");
    assert!(
        program.exists(),
        "{}: tests/run.sh makes it",
        program.display()
    );
    program.to_str().unwrap().into()
}

/// Names with every kind of answer, apart from those below zone cuts, whose servers do not exist. DNSViz 0.11.2 fails if
/// it analyses a zone before the hosts of the zone's MX records.
const NAMES: [&str; 11] = [
    "mail.s.example.com",
    ORIGIN,
    "abc.s.example.com",
    "abc.r.s.example.com",
    "nosuch.s.example.com",
    "below.abc.s.example.com",
    "www.s.example.com",
    "deep.s.example.com",
    "x.wild.s.example.com",
    "x.moved.s.example.com",
    "*.wild.s.example.com",
];

/// The analysis of DNSViz.
struct Analysis(Value);

impl Analysis {
    fn of(server: SocketAddr, names: &[&str], types: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("probe.json");
        let file = file.to_str().unwrap();
        let zone = |zone: &str, hosts: &[&str]| {
            let hosts = hosts.iter().map(|host| format!("{host}={server}"));
            format!("{zone}:{}", hosts.collect::<Vec<_>>().join(","))
        };
        // DNSViz does not query the zones above the parent.
        let parent = zone(&format!("{PARENT}+"), &["ns.example.com"]);
        let child = zone(ORIGIN, &["ns1.s.example.com", "ns2.s.example.com"]);
        let program = program();
        let mut probe = vec!["probe", "-4", "-b", "127.0.0.1", "-d", "1", "-A"];
        probe.extend(["-a", PARENT, "-x", &parent, "-x", &child, "-o", file]);
        probe.extend(types.map(|types| ["-R", types]).into_iter().flatten());
        run(&program, &[&probe, names].concat());
        let text = run(&program, &["grok", "-c", "-P", "-r", file]);
        Self(serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}")))
    }

    /// The codes of all errors and warnings, each with its explanation and its place.
    fn faults(&self) -> BTreeSet<String> {
        let mut faults = BTreeSet::new();
        collect(&self.0, "", &mut faults);
        faults
    }

    /// The status of the delegation of the zone.
    fn delegation(&self) -> &str {
        let zone = &self.0[format!("{ORIGIN}.")];
        zone["delegation"]["status"].as_str().unwrap()
    }

    /// The number of valid signatures.
    fn valid(&self) -> usize {
        self.0.to_string().matches("\"status\":\"VALID\"").count()
    }
}

fn run(program: &str, args: &[&str]) -> String {
    let output = bounded(program, args);
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {text}{errors}");
    text
}

fn collect(value: &Value, place: &str, faults: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if matches!(&key[..], "errors" | "warnings") {
                    for fault in value.as_array().unwrap() {
                        let text = |key: &str| fault[key].as_str().unwrap();
                        let (code, what) = (text("code"), text("description"));
                        faults.insert(format!("{code} {place}: {what}"));
                    }
                }
                collect(value, &format!("{place}/{key}"), faults);
            }
        }
        Value::Array(values) => {
            for value in values {
                collect(value, place, faults);
            }
        }
        _ => {}
    }
}

/// DNSViz detects records that a relay has changed.
#[test]
fn dnsviz_finds_what_is_wrong() {
    let (knot, _) = knot(true);
    let faults = |change: Change| {
        let relay = Relay::to(knot.address(), change);
        Analysis::of(relay.address, &["x.wild.s.example.com"], Some("TXT")).faults()
    };
    let has = |faults: &BTreeSet<String>, code: &str| faults.iter().any(|f| f.starts_with(code));
    assert!(!has(&faults(Change::None), "SIGNATURE_INVALID"));
    assert!(has(&faults(Change::Data(TXT)), "SIGNATURE_INVALID"));
}

#[test]
fn dnsviz_finds_no_fault() {
    for way in [WAYS[0], WAYS[3]] {
        let signed = Signed::start(way);
        for types in [None, Some("TXT,URI,CNAME,HTTPS,MX,DNAME")] {
            let analysis = Analysis::of(signed.server.dns, &NAMES, types);
            let faults: Vec<_> = analysis.faults().into_iter().collect();
            assert!(faults.is_empty(), "{way:?}:\n{}", faults.join("\n"));
            assert_eq!(analysis.delegation(), "SECURE", "{way:?}");
            assert!(analysis.valid() >= 2 * NAMES.len(), "{way:?}");
        }
    }
}
