//! Import and export of files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use serde_json::{Value, json};

use super::{Counts, links, on, run, run_with, target, url_of};
use crate::dynamo::Emulator;
use crate::harness::{PATIENCE, Server, Setup, ZONE};

#[test]
fn files_become_links() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("links.csv");
    let text = "\u{feff}Code,url,expires_at,ttl,Notes\r\n\
                aB3,https://example.net/1,,,\"one,\r\ntwo\"\r\n\
                Ab3,https://example.net/2,2030-01-01T00:00:00Z,60,\r\n\
                \"c4\",\"https://example.net/3?a,b\",1893456000,,\r\n\
                c5,,,,\r\n\
                c6,https://example.net/6,soon,,\r\n\
                c7,https://example.net/7,7,,\r\n";
    std::fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap();
    let said = run(on(server.admin, &["import", "csv", path, "--json"]));
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    let expected = Counts {
        read: 6,
        made: 2,
        renamed: 1,
        ended: 1,
        refused: 2,
        ..Counts::default()
    };
    assert_eq!(said.counts(), expected, "{}{}", said.stdout, said.stderr);
    let report: Vec<Value> = said
        .stdout
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    // The first of two equal codes in a file keeps it.
    assert_eq!(report[0]["outcome"], "renamed");
    assert_eq!(
        (&report[0]["key"], &report[0]["line"]),
        (&json!("Ab3"), &json!(4))
    );
    assert_eq!(report[0]["taken_by"], "https://example.net/1");
    assert_eq!(
        (&report[1]["key"], &report[1]["line"]),
        (&json!("c5"), &json!(6))
    );
    assert_eq!(
        report[2]["reason"],
        "expires_at is neither epoch seconds nor a time such as 2030-01-31T12:00:00Z: \"soon\""
    );
    assert_eq!(report.len(), 3);
    let found = links(&server, "s.example.com");
    let end = json!("2030-01-01T00:00:00Z");
    assert_eq!(found["ab3"].0, "https://example.net/1");
    assert_eq!(
        found["c4"],
        ("https://example.net/3?a,b".into(), end.clone(), Value::Null)
    );
    let renamed = report[0]["name"]
        .as_str()
        .unwrap()
        .split('.')
        .next()
        .unwrap();
    assert_eq!(
        found[renamed],
        ("https://example.net/2".into(), end, json!(60))
    );
    assert_eq!(found.len(), 3);

    let text = "{\"code\":\"d1\",\"url\":\"https://example.net/d1\",\"expires_at\":null}\n\n\
                {\"Item\":{\"miniUrl\":{\"S\":\"D2\"},\"fullUrl\":{\"S\":\"https://example.net/d2\"},\
                \"ttl\":{\"N\":\"60\"}}}\n\
                {\"miniUrl\":\"D3.s.example.com\",\"fullUrl\":\"https://example.net/d3\"}\n\
                {\"miniUrl\":\"d4.s.example.com\",\"deletedAt\":7,\"version\":8}\n\
                nonsense\n";
    let said = run_with(on(server.admin, &["import", "ndjson", "-"]), text);
    let expected = Counts {
        read: 5,
        made: 3,
        deleted: 1,
        refused: 1,
        ..Counts::default()
    };
    assert_eq!(said.counts(), expected, "{}{}", said.stdout, said.stderr);
    assert!(
        said.stdout
            .starts_with("(line 6) : refused: the line is not JSON")
    );
    assert_eq!(url_of(&server, "d3"), "https://example.net/d3");
    assert_eq!(links(&server, "s.example.com")["d2"].2, 60);
    // All good is exit code 0, and nothing to report.
    let good = "{\"code\":\"d1\",\"url\":\"https://example.net/d1\"}\n";
    let said = run_with(on(server.admin, &["import", "ndjson", "-"]), good);
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), ""));
    assert_eq!(said.counts().there, 1);
}

#[test]
fn unreadable_imports_fail_at_once() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("links.csv");
    std::fs::write(&file, "a;b\n").unwrap();
    let path = file.to_str().unwrap();
    let check = |args: &[&str], expected: &str| {
        let begin = Instant::now();
        let said = run(on(server.admin, args));
        assert_eq!(said.code, Some(1), "{args:?}: {}", said.stderr);
        assert!(said.stderr.contains(expected), "{args:?}: {}", said.stderr);
        assert!(begin.elapsed() < PATIENCE, "{args:?}");
        // It would fail again.
        assert!(!said.stderr.contains("to continue"), "{}", said.stderr);
    };
    check(
        &["import", "csv", path],
        "has no column for the code, such as miniUrl, name, code",
    );
    check(
        &["import", "csv", "/nonexistent"],
        "cannot open /nonexistent",
    );
    let state = ["import", "ndjson", "-", "--state", "x"];
    check(&state, "--state needs a regular file");
    let zone = ["import", "csv", path, "--zone", "a.example"];
    check(
        &zone,
        "the server has no zone a.example with links; its zones with links are s.example.com",
    );
    check(
        &["export", "--zone", "a.example"],
        "no zone of this origin holds links",
    );
    let emulator = Emulator::start();
    let url = emulator.url();
    let table = ["import", "dynamodb", "--table", "x", "--endpoint-url", &url];
    check(&table, "the DynamoDB table \"x\"");
    let mut command = on(server.admin, &["import", "csv", path]);
    command.env("TINYNS_ADMIN_TOKEN", "wrong-token-0123456789");
    let said = run(command);
    assert!(
        said.stderr.contains("refused (401 Unauthorized)"),
        "{}",
        said.stderr
    );
}

#[test]
fn an_export_can_be_imported() {
    let two = || {
        let config = "redirect_host = \"r\"\n";
        Setup::empty()
            .zone("s.example.com", config, ZONE)
            .zone(
                "t.example.net",
                config,
                &ZONE.replace("s.example.com", "t.example.net"),
            )
            .start()
    };
    let (from, other, third) = (two(), two(), two());
    let mut lines = String::new();
    for i in 0..1_500 {
        writeln!(
            lines,
            "{}",
            json!({"url": target(i), "code": format!("c{i}")})
        )
        .unwrap();
    }
    let type_ = "application/x-ndjson";
    let batch = from.api_raw(
        "POST",
        "/v1/links:batch",
        &[],
        Some((type_, lines.into_bytes())),
    );
    assert_eq!(batch.status, 200);
    from.add("https://example.net/folded");
    from.add_with(
        &json!({"url": "https://example.net/?a,\"b\"", "code": "odd",
        "expires_at": "2030-01-01T00:00:00Z", "ttl": 0}),
    );
    for i in 0..10 {
        let body = json!({"url": target(i), "code": format!("c{i}"), "ttl": i});
        let path = "/v1/links?zone=t.example.net";
        assert_eq!(from.api("POST", path, Some(&body)).status, 201);
    }
    let both = |server: &Server| ["s.example.com", "t.example.net"].map(|z| links(server, z));
    let all = both(&from);
    assert_eq!(all.each_ref().map(BTreeMap::len), [1_502, 10]);

    // By a pipe, as NDJSON.
    let exported = run(on(from.admin, &["export"]));
    assert_eq!(exported.code, Some(0), "{}", exported.stderr);
    assert_eq!(exported.stdout.lines().count(), 1_512);
    assert!(
        exported.stderr.contains("exported 1512 links of 2 zones"),
        "{}",
        exported.stderr
    );
    let said = run_with(
        on(other.admin, &["import", "ndjson", "-"]),
        &exported.stdout,
    );
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (Some(0), ""),
        "{}",
        said.stderr
    );
    assert_eq!(said.counts().made, 1_512);
    assert_eq!(both(&other), all);
    // And back: it is there already, and no link is another's other spelling.
    let said = run_with(on(from.admin, &["import", "ndjson", "-"]), &exported.stdout);
    assert_eq!(said.counts().there, 1_512);

    // By a file, as CSV, one zone after the other.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("links.csv");
    let path = file.to_str().unwrap();
    for zone in ["t.example.net", "s.example.com"] {
        let args = ["export", "--format", "csv", "--zone", zone, "-o", path];
        let exported = run(on(from.admin, &args));
        assert_eq!((exported.code, exported.stdout.as_str()), (Some(0), ""));
        let said = run(on(third.admin, &["import", "csv", path, "--zone", zone]));
        assert_eq!(
            (said.code, said.stdout.as_str()),
            (Some(0), ""),
            "{}",
            said.stderr
        );
    }
    assert_eq!(both(&third), all);
    // Into the wrong zone nothing goes.
    let said = run(on(
        third.admin,
        &["import", "csv", path, "--zone", "t.example.net"],
    ));
    assert_eq!((said.counts().refused, said.code), (1_502, Some(1)));
    assert_eq!(both(&third), all);
    // An export that fails leaves the old file as it is.
    let before = std::fs::read(&file).unwrap();
    let failed = run(on(
        from.admin,
        &["export", "-o", path, "--zone", "a.example"],
    ));
    assert_eq!(failed.code, Some(1));
    assert_eq!(std::fs::read(&file).unwrap(), before);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}
