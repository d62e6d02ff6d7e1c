//! `tokens`.

use serde_json::Value;

use super::{check_failed, on};
use crate::harness::{Server, http};

#[test]
fn a_token_is_made_used_listed_and_revoked() {
    let server = Server::start();
    let made = on(
        &server,
        &[
            "tokens",
            "add",
            "ann",
            "--role",
            "editor",
            "--expires",
            "90d",
        ],
    );
    assert_eq!(made.code, Some(0), "{made:?}");
    // The output is the secret alone, so that it can be a token file.
    let secret = made.out.trim_end();
    assert_eq!(made.out, format!("{secret}\n"));
    assert!(secret.starts_with("tns_"), "{made:?}");
    assert!(
        made.err
            .contains("token ann made, role editor, for all zones, ends at 20"),
        "{made:?}"
    );

    let file = server.dir().join("ann.token");
    std::fs::write(&file, &made.out).unwrap();
    let file = file.display().to_string();
    let add = [
        "add",
        "https://example.net/a",
        "--code",
        "a",
        "--token-file",
        &file,
    ];
    assert_eq!(on(&server, &add).code, Some(0));
    let shown = on(&server, &["get", "a"]);
    assert!(shown.out.contains("  made by    ann\n"), "{shown:?}");
    check_failed(
        &on(&server, &["tokens", "list", "--token-file", &file]),
        1,
        "needs the role admin",
    );

    let listed = on(&server, &["tokens", "list"]);
    let rows: Vec<&str> = listed.out.lines().collect();
    assert_eq!(rows.len(), 2, "{listed:?}");
    assert!(rows[1].starts_with("ann   editor  20"), "{listed:?}");
    let slow = ["tokens", "add", "b", "--role", "reader", "--rate", "0"];
    check_failed(&on(&server, &slow), 1, "a rate is 1 to 1000000 requests");
    let burst = ["tokens", "add", "b", "--role", "reader", "--burst", "5"];
    check_failed(&on(&server, &burst), 2, "--rate");
    let json = on(&server, &["tokens", "list", "--json"]);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["tokens"][0]["name"], "ann");

    let robot = ["tokens", "add", "robot", "--role", "reader", "--rate", "5"];
    let robot = on(&server, &robot);
    assert!(
        robot.err.contains("at most 5 requests a second"),
        "{robot:?}"
    );
    let listed = on(&server, &["tokens", "list"]);
    let row = listed.out.lines().find(|row| row.starts_with("robot"));
    assert!(row.unwrap().contains("  5/s  "), "{listed:?}");
    assert_eq!(on(&server, &["tokens", "revoke", "robot"]).code, Some(0));

    assert_eq!(on(&server, &["tokens", "end-sessions"]).code, Some(0));
    let by_ann = ["tokens", "end-sessions", "--token-file", &file];
    check_failed(&on(&server, &by_ann), 1, "needs the role admin");
    let log = server
        .api("GET", "/v1/audit?action=sessions.ended", None)
        .json();
    assert_eq!(log["entries"].as_array().unwrap().len(), 1, "{log}");

    let again = on(&server, &["tokens", "add", "ann", "--role", "reader"]);
    check_failed(&again, 1, "there is a token \"ann\" already");
    let zone = [
        "tokens",
        "add",
        "b",
        "--role",
        "reader",
        "--zone",
        "nowhere.example.com",
    ];
    check_failed(
        &on(&server, &zone),
        1,
        "no zone nowhere.example.com holds links here",
    );
    check_failed(
        &on(&server, &["tokens", "add", "b", "--role", "owner"]),
        2,
        "a role is",
    );

    let some = on(&server, &["tokens", "revoke", "ann", "absent"]);
    assert_eq!(some.code, Some(1), "{some:?}");
    assert!(
        some.err.contains("absent: refused (404 Not Found)"),
        "{some:?}"
    );
    assert!(
        some.err.contains("1 of 2 tokens were not revoked"),
        "{some:?}"
    );
    let bearer = format!("Bearer {secret}");
    let url = format!("http://{}/v1/links", server.admin);
    let refused = http("GET", &url, &[("authorization", &*bearer)], None);
    assert_eq!(refused.status, 401);
    let none = on(&server, &["tokens", "list"]);
    assert_eq!((none.out.as_str(), none.code), ("", Some(0)), "{none:?}");
}
