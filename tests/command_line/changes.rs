//! `edit` and `delete`.

use serde_json::{Value, json};

use super::{Said, check_failed, on, on_terminal, piped};
use crate::harness::Server;

/// Creates `sale`, and returns its version.
fn sale(server: &Server) -> u64 {
    let args = ["add", "https://example.net/a", "--code", "sale", "--json"];
    version(&on(server, &args))
}

fn version(said: &Said) -> u64 {
    assert_eq!(said.code, Some(0), "{said:?}");
    let link: Value = serde_json::from_str(&said.out).unwrap();
    link["version"].as_u64().unwrap()
}

#[test]
fn edit_changes_what_its_options_name() {
    let server = Server::start();
    let first = sale(&server);
    let edit = |options: &[&str]| {
        let said = on(&server, &[&["edit", "sale", "--json"], options].concat());
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
        serde_json::from_str::<Value>(&said.out).unwrap()
    };
    let link = edit(&["--url", "https://example.net/b"]);
    assert_eq!(link["url"], "https://example.net/b");
    assert!(link["version"].as_u64().unwrap() > first);
    let link = edit(&["--expires", "2099-01-01T00:00:00Z", "--ttl", "5m"]);
    assert_eq!(
        (&link["url"], &link["expires_at"], &link["ttl"]),
        (
            &json!("https://example.net/b"),
            &json!("2099-01-01T00:00:00Z"),
            &json!(300)
        )
    );
    let link = edit(&["--expires", "never"]);
    assert_eq!(
        (&link["expires_at"], &link["ttl"]),
        (&Value::Null, &json!(300))
    );
    let link = edit(&["--ttl", "default"]);
    assert_eq!(link["ttl"], Value::Null);

    // Without --json the output is that of get.
    let named = ["edit", "http://sale.s.example.com/", "--ttl", "60"];
    let edited = on(&server, &named);
    let shown = on(&server, &["get", "sale"]);
    assert_eq!((edited.code, &edited.out), (Some(0), &shown.out));
    assert!(shown.out.contains("TTL        60 seconds"), "{shown:?}");
    check_failed(&on(&server, &["edit", "sale"]), 2, "--url <URL>");
    let absent = ["edit", "absent", "--ttl", "60"];
    check_failed(&on(&server, &absent), 1, "refused (404 Not Found)");
    let refused = ["edit", "sale", "--url", "ftp://example.net/"];
    check_failed(&on(&server, &refused), 1, "refused (422");
}

#[test]
fn a_version_guards_against_changes_of_others() {
    let server = Server::start();
    let first = sale(&server);
    let old = first.to_string();
    let edit = ["edit", "sale", "--ttl", "60", "--if-version"];
    let second = version(&on(&server, &[&edit[..], &[&old, "--json"]].concat()));
    assert!(second > first);
    let late = on(&server, &[&edit[..], &[&old]].concat());
    check_failed(&late, 1, "refused (412 Precondition Failed)");
    assert!(
        late.err.contains(&format!("its ETag is \"{second}\" now")),
        "{late:?}"
    );
    let delete = ["delete", "sale", "--if-version"];
    let late = on(&server, &[&delete[..], &[&old]].concat());
    check_failed(&late, 1, "refused (412 Precondition Failed)");
    let gone = on(&server, &[&delete[..], &[&second.to_string()]].concat());
    assert_eq!(gone.code, Some(0), "{gone:?}");
    let two = ["delete", "a", "b", "--if-version", "1"];
    check_failed(
        &on(&server, &two),
        2,
        "--if-version is the version of one link",
    );
}

#[test]
fn delete_prints_what_it_deleted() {
    let server = Server::start();
    sale(&server);
    let one = on(&server, &["delete", "Sale.S.example.com."]);
    assert_eq!(one.out, "sale.s.example.com\thttps://example.net/a\n");
    assert_eq!((one.code, one.err.as_str()), (Some(0), ""), "{one:?}");
    check_failed(&on(&server, &["get", "sale"]), 1, "refused (404 Not Found)");
    check_failed(
        &on(&server, &["delete", "sale"]),
        1,
        "refused (404 Not Found)",
    );
    // What --json prints is a link that an import takes.
    sale(&server);
    let deleted = on(&server, &["delete", "sale", "--json"]);
    let back = piped(&server, &["import", "ndjson", "-"], deleted.out.as_bytes());
    assert_eq!(back.code, Some(0), "{back:?}");
    let shown = on(&server, &["get", "sale"]);
    assert!(shown.out.contains("https://example.net/a"), "{shown:?}");
}

#[test]
fn delete_goes_on_after_a_link_that_is_not_there() {
    let server = Server::start();
    for code in ["one", "two"] {
        on(&server, &["add", "https://example.net/", "--code", code]);
    }
    let said = on(&server, &["delete", "one", "absent", "two"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(
        said.out,
        "one.s.example.com\thttps://example.net/\ntwo.s.example.com\thttps://example.net/\n"
    );
    assert_eq!(
        said.err,
        "tinyns: absent: refused (404 Not Found): there is no link \"absent.s.example.com\"\n\
         tinyns: 1 of 3 links were not deleted; see above\n"
    );
    let other = on(
        &server,
        &[
            "delete",
            "one.t.example.net",
            "x",
            "--zone",
            "s.example.com",
        ],
    );
    check_failed(&other, 2, "the link is in the zone t.example.net");
}

#[test]
fn on_a_terminal_delete_asks() {
    let server = Server::start();
    sale(&server);
    on(
        &server,
        &["add", "https://example.net/b", "--code", "other"],
    );
    let question = "tinyns: sale.s.example.com leads to https://example.net/a\n\
                    tinyns: delete this link? [y/N] ";
    for keys in ["n\n", "\n"] {
        let (code, shown) = on_terminal(&server, "delete sale", 80, keys);
        let text = format!("{question}tinyns: nothing was deleted\n");
        assert_eq!((code, shown), (Some(1), text));
    }
    let (code, shown) = on_terminal(&server, "delete sale other", 80, "n\n");
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("delete these 2 links? [y/N] "), "{shown}");
    assert_eq!(on(&server, &["get", "other"]).code, Some(0));

    let (code, shown) = on_terminal(&server, "delete sale", 80, "y\n");
    let line = "sale.s.example.com\thttps://example.net/a\n";
    assert_eq!((code, shown), (Some(0), format!("{question}{line}")));
    let (code, shown) = on_terminal(&server, "delete other --yes", 80, "");
    let line = "other.s.example.com\thttps://example.net/b\n";
    assert_eq!((code, shown.as_str()), (Some(0), line));
}

#[test]
fn edit_withholds_and_releases() {
    let server = Server::start();
    sale(&server);
    let edit = |options: &[&str]| on(&server, &[&["edit", "sale"], options].concat());
    let said = edit(&["--withhold", "abuse", "--reason", "Phishing"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.out.contains("\n  withheld   abuse: Phishing\n"),
        "{said:?}"
    );
    let court = "https://court.example/12";
    let legal = [
        "--withhold",
        "legal",
        "--reason",
        "Order 12",
        "--authority",
        court,
    ];
    let said = edit(&[&legal[..], &["--json"]].concat());
    let link: Value = serde_json::from_str(&said.out).unwrap();
    let withheld = json!({"kind": "legal", "reason": "Order 12", "authority": court});
    assert_eq!(link["withheld"], withheld);
    let shown = on(&server, &["get", "sale"]);
    let row = format!("\n  withheld   legal: Order 12 ({court})\n");
    assert!(shown.out.contains(&row), "{shown:?}");
    let listed = on(&server, &["list", "--state", "withheld", "--json"]);
    let listed: Value = serde_json::from_str(&listed.out).unwrap();
    assert_eq!(listed["withheld"], withheld);
    assert_eq!(on(&server, &["list", "--state", "live"]).out, "");
    let (_, table) = on_terminal(&server, "list", 80, "");
    assert!(table.contains("(withheld)"), "{table}");

    let said = edit(&["--release"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!said.out.contains("withheld"), "{said:?}");
    for (options, text) in [
        (&["--withhold", "abuse"][..], "--reason <TEXT>"),
        (
            &["--withhold", "spam", "--reason", "x"],
            "invalid value 'spam'",
        ),
        (
            &["--withhold", "abuse", "--reason", "x", "--release"],
            "cannot be used with",
        ),
        (
            &["--withhold", "abuse", "--reason", " "],
            "the reason is empty",
        ),
        (
            &["--withhold", "abuse", "--reason", "x", "--authority", court],
            "leave it out",
        ),
        (&["--reason", "x"], "--withhold <abuse|legal>"),
    ] {
        check_failed(&edit(options), 2, text);
    }
}
