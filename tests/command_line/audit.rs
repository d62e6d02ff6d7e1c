//! `audit`.

use serde_json::Value;

use super::{check_failed, on};
use crate::harness::Server;

#[test]
fn the_log_as_lines_json_and_csv() {
    let server = Server::start();
    assert_eq!(
        on(
            &server,
            &["add", "https://example.net/a,b", "--code", "sale"]
        )
        .code,
        Some(0)
    );
    assert_eq!(on(&server, &["edit", "sale", "--ttl", "5m"]).code, Some(0));
    assert_eq!(
        on(
            &server,
            &["add", "https://example.net/c", "--code", "other"]
        )
        .code,
        Some(0)
    );
    assert_eq!(
        on(&server, &["tokens", "add", "ann", "--role", "editor"]).code,
        Some(0)
    );

    let shown = on(&server, &["audit"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let rows: Vec<&str> = shown.out.lines().collect();
    assert_eq!(rows.len(), 4, "{shown:?}");
    assert!(
        rows[0].contains("  admin  127.0.0.1  token.added  ann  role=editor"),
        "{shown:?}"
    );
    assert!(
        rows[2].ends_with("  link.changed  sale.s.example.com  ttl: none -> 300"),
        "{shown:?}"
    );

    let json = on(&server, &["audit", "--json", "--code", "sale"]);
    let entries: Vec<Value> = json
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let actions = entries
        .iter()
        .map(|entry| entry["action"].as_str().unwrap());
    assert_eq!(
        actions.collect::<Vec<_>>(),
        ["link.changed", "link.created"]
    );
    assert_eq!(entries[1]["after"]["url"], "https://example.net/a,b");

    let csv = on(
        &server,
        &[
            "audit",
            "--csv",
            "--action",
            "link.created",
            "--since",
            "1d",
        ],
    );
    let rows: Vec<&str> = csv.out.lines().collect();
    assert_eq!(rows.len(), 3, "{csv:?}");
    assert_eq!(
        rows[0],
        "at,actor,address,request_id,action,zone,code,token,before,after,id"
    );
    assert!(
        rows[2].contains(",link.created,s.example.com,sale,,,\"{"),
        "{csv:?}"
    );

    assert_eq!(
        on(&server, &["audit", "--limit", "1"]).out.lines().count(),
        1
    );
    let none = on(&server, &["audit", "--until", "1d"]);
    assert_eq!((none.out.as_str(), none.code), ("", Some(0)));
    assert!(
        none.err.contains("the audit log has no such entries"),
        "{none:?}"
    );
    check_failed(
        &on(&server, &["audit", "--action", "eaten"]),
        2,
        "link.created",
    );
    check_failed(
        &on(&server, &["audit", "--csv", "--json"]),
        2,
        "cannot be used with",
    );
}
