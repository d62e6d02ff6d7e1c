//! Errors as JSON.

use serde_json::{Value, json};

use super::{Said, at, on};
use crate::harness::Server;

/// The one line of standard error, as JSON.
fn error(said: &Said, code: i32) -> Value {
    assert_eq!((said.code, said.out.as_str()), (Some(code), ""), "{said:?}");
    let mut error: Value = serde_json::from_str(&said.err).unwrap();
    assert_eq!(error.as_object().unwrap().len(), 1, "{said:?}");
    error["error"].take()
}

#[test]
fn with_json_errors_are_json() {
    let server = Server::start();
    let refused = error(&on(&server, &["get", "absent", "--json"]), 1);
    let detail = "there is no link \"absent.s.example.com\"";
    assert_eq!(
        refused["message"],
        format!("refused (404 Not Found): {detail}")
    );
    assert_eq!(refused["type"], "urn:tinyns:problem:no-such-link");
    assert_eq!(refused["title"], "No such link");
    assert_eq!(
        (&refused["status"], &refused["detail"]),
        (&json!(404), &json!(detail))
    );
    assert!(refused["request_id"].is_string(), "{refused}");
    assert_eq!(refused.get("field"), None);

    let taken = ["add", "https://example.net/", "--code", "www", "--json"];
    assert_eq!(error(&on(&server, &taken), 1)["field"], "code");
    for command in [
        &["edit", "absent", "--ttl", "1", "--json"][..],
        &["delete", "absent", "--json"],
    ] {
        let refused = error(&on(&server, command), 1);
        assert_eq!(refused["status"], 404, "{command:?}");
    }
    let zone = ["list", "--zone", "other.example", "--json"];
    let refused = error(&on(&server, &zone), 1);
    assert_eq!(refused["type"], "urn:tinyns:problem:no-such-zone");
}

#[test]
fn errors_that_are_not_the_servers_have_a_message_alone() {
    let away = at("http://127.0.0.1:1/", &["list", "--json"]);
    let message = "cannot reach the admin API at http://127.0.0.1:1/: is `tinyns serve` running?";
    assert_eq!(error(&away, 1), json!({"message": message}));
    // Also those of the command line, which are found before the option is known.
    let usage = at("http://127.0.0.1:1/", &["get", "a_b", "--json"]);
    let message = "invalid value 'a_b' for '<LINK>': a code has only letters, digits and hyphens; this one has '_'";
    assert_eq!(error(&usage, 2), json!({"message": message}));
    let zones = ["get", "a.b.c", "--zone", "d.e", "--json"];
    let usage = at("http://127.0.0.1:1/", &zones);
    let message = "the link is in the zone b.c, and --zone is d.e; see --help";
    assert_eq!(error(&usage, 2), json!({"message": message}));
    // Help is no error.
    let help = at("http://127.0.0.1:1/", &["get", "--json", "--help"]);
    assert_eq!((help.code, help.err.as_str()), (Some(0), ""), "{help:?}");
}
