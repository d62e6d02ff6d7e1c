//! `$GENERATE`: the records, which are those that BIND makes, and the places of its errors.

use super::*;

/// The TXT, A, CNAME or MX data of a name, or another result of its search.
fn data(zone: &Zone, name: &str) -> String {
    match zone.lookup(&lower(name)) {
        Lookup::Exact(node) => {
            let sets = node.rrsets().flat_map(|set| {
                let ttl = set.ttl;
                set.rdata.iter().map(move |rdata| format!("{ttl} {rdata}"))
            });
            sets.collect::<Vec<_>>().join("; ")
        }
        other => show(&other),
    }
}

#[test]
fn records_are_what_bind_makes_of_them() {
    let text = plain_text(
        r#"$TTL 60
p A 192.0.2.9
$GENERATE 1-2 a$ A 192.0.2.$
 A 192.0.2.8
$GENERATE 10-20/5 h${0,3,x} CNAME $.${1}
$GENERATE 1-2 m$ 30 IN MX "0 mx${-1,3}"
$GENERATE 1-2 n$ IN 30 MX 5 mx${-1,3}
$GENERATE 1-1 t$ TXT "text $ b"
$GENERATE 1-1 u$ TXT "\"text $ b\" c"
$GENERATE 1-1 v$ TXT "a $" "b;$" ; not $
$GENERATE 1-1 d\$$ A 192.0.2.1
$GENERATE 1-1 $$e$ A 192.0.2.1
$GENERATE 31-31 ${0,7,n} PTR (
  host$. )
$GENERATE 31-31 x.${0,8,N}y A 192.0.2.1
$ORIGIN sub
$GENERATE 0-1 $ A 192.0.2.1
c A 192.0.2.1
"#,
    );
    let (zone, warnings) = load(&config("example", None), &text);
    assert_eq!(warnings, [""; 0]);
    let check = |name: &str, expected: &str| {
        assert_eq!(data(&zone, &format!("{name}.example.")), expected, "{name}");
    };
    check("a1", "60 192.0.2.1");
    check("a2", "60 192.0.2.2");
    check("a3", "no name");
    // The line below inherits the owner above, not a generated one.
    check("p", "60 192.0.2.9; 60 192.0.2.8");
    check("h00a", "60 10.11.example.");
    check("h014", "60 20.21.example.");
    check("h015", "no name");
    check("m1", "30 0 mx000.example.");
    check("n2", "30 5 mx001.example.");
    check("t1", "60 text1b");
    check("u1", "60 text 1 bc");
    check("v1", "60 a 1b;1");
    check("f.1.0.0", "60 host31.");
    check("x.F.1.0.0.y", "60 192.0.2.1");
    check("0.sub", "60 192.0.2.1");
    check("c.sub", "60 192.0.2.1");
    // A dollar sign in a name.
    let labels = |first: &[u8]| Name::from_labels([first, b"example"]).unwrap();
    for name in [&b"d$1"[..], b"$e1"] {
        let found = zone.lookup(&LowerName::new(&labels(name)));
        assert_eq!(show(&found), "exact A");
    }
}

#[test]
fn errors_have_the_place_of_their_field() {
    check_errors(
        "$GENERATE 3-1 a$ A 192.0.2.$",
        &["t.zone:3:11: the range must be start-stop"],
    );
    check_errors("$GENERATE 1-3", &["t.zone:3:11: the record has no type"]);
    check_errors("$GENERATE", &["t.zone:3:1: $GENERATE needs a range"]);
    check_errors("$GENERATE 1-3 a$", &["t.zone:3:15: the record has no type"]);
    check_errors(
        "$GENERATE 1-3 a$ NSEC a",
        &["t.zone:3:18: NSEC belongs to a signed zone"],
    );
    check_errors(
        "$GENERATE 1-3 a${0,1,q} A 192.0.2.$",
        &["t.zone:3:15: a modifier must be ${offset}"],
    );
    check_errors(
        "$TTL 5\n$GENERATE 1-3 a$ A 192.0.2.${-2}",
        &["t.zone:4:20: with 1 for $: bad A data"],
    );
    // Only the first wrong number is reported.
    check_errors(
        "$TTL 5\n$GENERATE 250-300 a$ A (\n 192.0.2.$ )\nb A 1",
        &[
            "t.zone:5:2: with 256 for $: bad A data",
            "t.zone:6:5: bad A data",
        ],
    );
    check_errors(
        "$TTL 5\n$GENERATE 1-3 a..$ A 192.0.2.1",
        &["t.zone:4:15: with 1 for $: \"a..1\" is not a name"],
    );
}

#[test]
fn quoted_data_makes_one_record() {
    for (data, expected) in [
        (
            "\"a\nb\"",
            "the quote that opens here is not closed in its line",
        ),
        ("\"a (\"", "the parenthesis that opens here is never closed"),
        ("\"a )\"", "unmatched \")\""),
        ("\"\\\"a\"", "the quote that opens here is not closed"),
    ] {
        let text = plain_text(&format!("$TTL 5\n$GENERATE 1-3 a$ TXT {data}\n"));
        let error = Zone::parse(&config("example", None), &text).unwrap_err();
        let error = error.to_string();
        assert!(
            error.starts_with("t.zone:4:22: ") && error.contains(expected),
            "{error}"
        );
    }
}

#[test]
fn generated_records_count_towards_the_bounds() {
    check_errors(
        "$TTL 5\n$GENERATE 0-2147483647 a$ A 192.0.2.1",
        &["t.zone:4:11: the zone has more than 1000000 records"],
    );
    // 64 MiB of text from a file of 64 KiB.
    let long = " ".repeat(65_536);
    check_errors(
        &format!("$TTL 5\n$GENERATE 1-9999 a$ TXT \"a{long}\""),
        &["t.zone:4:11: the zone's files have more than 67108864 bytes together"],
    );
    // Gone through for each of the records, but for none of them.
    let blanks = " ".repeat(262_100);
    check_errors(
        &format!("$TTL 5\n$GENERATE 1-9 a$ TXT \"{blanks}\" \"{blanks}\""),
        &["t.zone:4:262125: the field has more than 262142 bytes"],
    );
}
