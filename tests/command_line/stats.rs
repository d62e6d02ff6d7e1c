//! `stats`.

use serde_json::Value;

use super::on;
use crate::harness::{Server, Setup, with_counts};

fn counted() -> Server {
    let server = Server::start();
    server.register("sale", "https://example.net/sale");
    let name = "sale.s.example.com";
    let counts = [
        (name, 0, "click:person", 1_200),
        (name, 0, "click:bot", 5),
        (name, 0, "lookup:txt", 7),
        (name, 0, "referrer:example.org", 3),
        (name, 48, "click:person", 40),
    ];
    with_counts(server, &counts)
}

#[test]
fn statistics_as_text_json_and_csv() {
    let server = counted();
    let shown = on(&server, &["stats", "sale"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(shown.out.starts_with("sale.s.example.com\n"), "{shown:?}");
    for part in [
        "clicked    1,240  by persons; bots 5,",
        "looked up  7 ",
        "\nexample.org  3\n",
    ] {
        assert!(shown.out.contains(part), "{part}: {}", shown.out);
    }
    let long = shown
        .out
        .lines()
        .filter(|line| line.chars().count() > 80)
        .count();
    assert_eq!(long, 0, "{}", shown.out);

    let json = on(
        &server,
        &["stats", "sale.s.example.com", "--json", "--from", "24h"],
    );
    let read: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(read["clicks"]["person"], 1_200);
    assert_eq!(read["all_time"]["clicks"], 1_240);

    let csv = on(&server, &["stats", "--by", "day", "--from", "6d", "--csv"]);
    let rows: Vec<&str> = csv.out.split_terminator("\r\n").collect();
    assert_eq!(rows.len(), 8, "{csv:?}");
    assert!(rows[0].starts_with("start,lookups,"), "{csv:?}");
    assert!(
        rows[7].ends_with("T00:00:00Z,7,0,7,0,0,1200,5,0,0,0"),
        "{csv:?}"
    );

    let all = on(&server, &["stats"]);
    assert!(
        all.out
            .contains("Most clicked of all time\nsale.s.example.com  1,240\n"),
        "{all:?}"
    );
}

#[test]
fn what_the_server_does_not_have_is_an_error() {
    let server = counted();
    let old = on(&server, &["stats", "sale", "--by", "hour", "--from", "10d"]);
    assert_eq!(old.code, Some(1), "{old:?}");
    assert!(old.err.contains("hours are kept for 7 days"), "{old:?}");
    let none = on(&server, &["stats", "nothing"]);
    assert_eq!(none.code, Some(1), "{none:?}");
    let wrong = on(&server, &["stats", "--from", "yesterday"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");

    let off = Setup::new()
        .section("[statistics]\nenabled = false\n")
        .start();
    let off = on(&off, &["stats"]);
    assert_eq!(off.code, Some(1), "{off:?}");
    assert!(off.err.contains("statistics are switched off"), "{off:?}");
}
