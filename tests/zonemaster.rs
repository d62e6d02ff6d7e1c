//! Zonemaster, with which registries check delegations, finds no fault with a zone of tinyns.
//!
//! It asks at port 53 only, so this test needs root. There is no parent zone and no DNS root here: the test passes
//! the delegation to Zonemaster, and tinyns stands in for the root, for which it has no data.

use std::collections::BTreeSet;

use nix::unistd::geteuid;
use serde_json::Value;

use crate::harness::{Setup, ZONE, output, own_host};

/// Faults of any server on the loopback interface.
const EXPECTED: [&str; 2] = [
    "ADDRESS01 NAMESERVER_IP_PRIVATE_NETWORK",
    "ADDRESS02 NAMESERVER_IP_WITHOUT_REVERSE",
];

/// Messages about successful checks; without these Zonemaster did not check.
const WELL: [&str; 21] = [
    "BASIC02 HAS_NAMESERVERS",
    "CONSISTENCY01 ONE_SOA_SERIAL",
    "CONSISTENCY02 ONE_SOA_RNAME",
    "CONSISTENCY03 ONE_SOA_TIME_PARAMETER_SET",
    "CONSISTENCY04 ONE_NS_SET",
    "CONSISTENCY06 ONE_SOA_MNAME",
    "DELEGATION02 DISTINCT_IP_ADDRESS",
    "DELEGATION03 REFERRAL_SIZE_OK",
    "DELEGATION04 ARE_AUTHORITATIVE",
    "DELEGATION05 NO_NS_CNAME",
    "DELEGATION06 SOA_EXISTS",
    "DELEGATION07 NAMES_MATCH",
    "NAMESERVER01 NO_RECURSOR",
    "NAMESERVER02 EDNS0_SUPPORT",
    "NAMESERVER03 AXFR_FAILURE",
    "NAMESERVER04 SAME_SOURCE_IP",
    "NAMESERVER07 NO_UPWARD_REFERRAL",
    "NAMESERVER08 QNAME_CASE_SENSITIVE",
    "NAMESERVER09 CASE_QUERIES_RESULTS_OK",
    "SYNTAX07 MNAME_SYNTAX_OK",
    "ZONE10 ONE_SOA",
];

#[test]
fn zonemaster_finds_no_fault() {
    if !geteuid().is_root() {
        return println!("skipped: only root may listen on port 53");
    }
    let hosts = [own_host(), own_host()];
    let zone = ZONE
        .replace("192.0.2.1\n", &format!("{}\n", hosts[0]))
        .replace("192.0.2.2\n", &format!("{}\n", hosts[1]))
        .replace("ns1          IN AAAA 2001:db8::1\n", "");
    let server = Setup::empty()
        .zone("s.example.com", "redirect_host = \"r\"\n", &zone)
        .listen(&format!("[\"{}:53\", \"{}:53\"]", hosts[0], hosts[1]))
        .start();
    let hints = server.dir().join("hints");
    let root = format!(". 3600 IN NS a.root.\na.root. 3600 IN A {}\n", hosts[0]);
    std::fs::write(&hints, root).unwrap();
    let delegation = [1, 2].map(|n| format!("ns{n}.s.example.com/{}", hosts[n - 1]));
    let report = output(
        "zonemaster-cli",
        &[
            "--no-progress",
            "--json",
            "--level=INFO",
            "--hints",
            hints.to_str().unwrap(),
            "--ns",
            &delegation[0],
            "--ns",
            &delegation[1],
            "s.example.com",
        ],
    );
    let text = String::from_utf8(report.stdout).unwrap();
    let results: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let of_level = |levels: &[&str]| -> BTreeSet<String> {
        let results = results.as_array().unwrap().iter();
        let results = results.filter(|result| levels.contains(&result["level"].as_str().unwrap()));
        let name = |result: &Value| {
            let [case, tag] = ["testcase", "tag"].map(|key| result[key].as_str().unwrap());
            format!("{case} {tag}")
        };
        results.map(name).collect()
    };
    let faults = of_level(&["WARNING", "ERROR", "CRITICAL"]);
    assert_eq!(faults, EXPECTED.map(String::from).into(), "{text}");
    let well = of_level(&["INFO"]);
    for expected in WELL {
        assert!(well.contains(expected), "{expected} is not in {text}");
    }
}
