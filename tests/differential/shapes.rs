//! Zones of many shapes: names of few labels, so that wildcards, cuts, aliases and names that are only
//! on the way to others come to stand above, below and beside one another.

use std::collections::BTreeMap;

use super::HEAD;
use super::queries::Random;
use super::servers::Zone;

/// The labels, a star among them.
const LABELS: [&str; 4] = ["a", "b", "c", "*"];
/// The most labels of a name below the apex.
const MAX_DEPTH: usize = 4;
/// How many records a zone has beside those of its apex; not all of them can stand together.
const RECORDS: usize = 14;

/// The origins of the zones.
const ORIGINS: [&str; 16] = [
    "z0.test", "z1.test", "z2.test", "z3.test", "z4.test", "z5.test", "z6.test", "z7.test",
    "z8.test", "z9.test", "z10.test", "z11.test", "z12.test", "z13.test", "z14.test", "z15.test",
];

/// Zones at random, the same for the same seed.
pub fn zones(random: &mut Random) -> Vec<Zone<'static>> {
    ORIGINS.map(|origin| (origin, zone(random))).into()
}

fn zone(random: &mut Random) -> String {
    let mut text = HEAD.to_owned();
    let mut types: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for number in 0..RECORDS {
        let owner = name(random);
        let rtype = ["A", "A", "TXT", "MX", "CNAME", "NS", "NS", "DNAME", "DS"][random.below(9)];
        if !can_stand(&types, &owner, rtype) {
            continue;
        }
        let target = match random.below(6) {
            0 => "host.example.net.".to_owned(),
            _ => name(random),
        };
        let data = match rtype {
            "A" => format!("192.0.2.{number}"),
            "TXT" => number.to_string(),
            "MX" => format!("{number} {target}"),
            "DS" => "60485 8 1 2BB183AF5F22588179A53B0A98631FAD1A292118".to_owned(),
            _ => target,
        };
        text += &format!("{owner} {rtype} {data}\n");
        types.entry(owner).or_default().push(rtype);
    }
    text
}

fn name(random: &mut Random) -> String {
    let depth = 1 + random.below(MAX_DEPTH);
    let labels: Vec<_> = (0..depth)
        .map(|_| LABELS[random.below(LABELS.len())])
        .collect();
    labels.join(".")
}

/// Whether a record is legal beside those that are there (RFC 2181 §10.1, RFC 6672 §2.4, RFC 4592 §4,
/// RFC 4035 §2.4), and means the same to all: Knot and NSD make glue of a wildcard below a cut.
fn can_stand(types: &BTreeMap<String, Vec<&str>>, owner: &str, rtype: &str) -> bool {
    let has = |name: &str, rtype: &str| types.get(name).is_some_and(|all| all.contains(&rtype));
    let is_below = |name: &str, above: &str| name.ends_with(&format!(".{above}"));
    let is_wildcard = owner.starts_with('*');
    let below_dname = types
        .keys()
        .any(|above| has(above, "DNAME") && is_below(owner, above));
    let cut_wildcard = types.keys().any(|name| {
        is_wildcard && has(name, "NS") && is_below(owner, name)
            || rtype == "NS" && name.starts_with('*') && is_below(name, owner)
    });
    let single = has(owner, "CNAME") || rtype == "CNAME" && types.contains_key(owner);
    !below_dname
        && !cut_wildcard
        && !single
        && match rtype {
            "DNAME" => {
                !is_wildcard
                    && !has(owner, "DNAME")
                    && !has(owner, "NS")
                    && !types.keys().any(|name| is_below(name, owner))
            }
            "NS" => !is_wildcard && !has(owner, "DNAME"),
            "DS" => has(owner, "NS"),
            _ => true,
        }
}
