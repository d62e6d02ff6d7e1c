//! What operators see of certificates: in the API, in `/readyz`, and on the command line.

use serde_json::{Value, json};

use super::pebble::{Options, Pebble};
use super::proxy::{Proxy, Verdict};
use super::{IN_USE, ORIGIN, https_of, name_server, sections, serial, setup};
use crate::harness::{PATIENCE, Server, TOKEN, eventually, tinyns};

/// The only certificate in the API.
fn certificate(server: &Server) -> Value {
    let listed = server.api("GET", "/v1/certificates", None);
    assert_eq!(listed.status, 200, "{listed:?}");
    let listed = listed.json();
    assert_eq!(listed["source"], "acme", "{listed}");
    listed["certificates"][0].clone()
}

fn readiness(server: &Server) -> Value {
    server.api("GET", "/readyz", None).json()
}

/// What `tinyns certificates` prints with these arguments, and its exit code.
fn command(server: &Server, args: &[&str]) -> (String, String, i32) {
    let output = tinyns()
        .arg("certificates")
        .args(args)
        .arg("--server")
        .arg(format!("http://{}", server.admin))
        .env("TINYNS_ADMIN_TOKEN", TOKEN)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (text(output.stdout), text(output.stderr), code)
}

/// The audit log has who ordered, and each certificate that was issued.
fn check_audit(server: &Server, first: &str, second: &str) {
    let entries = |query: &str| {
        let listed = server.api("GET", &format!("/v1/audit?{query}"), None);
        listed.json()["entries"].as_array().unwrap().clone()
    };
    let issued = entries("actor=system:acme");
    let serials: Vec<_> = issued
        .iter()
        .map(|entry| {
            assert_eq!(entry["action"], "certificate.issued", "{entry}");
            assert_eq!(entry["zone"], ORIGIN, "{entry}");
            assert_eq!(entry["address"], Value::Null, "{entry}");
            [&entry["before"]["serial"], &entry["after"]["serial"]]
        })
        .collect();
    assert_eq!(
        serials,
        [
            [&json!(first), &json!(second)],
            [&Value::Null, &json!(first)]
        ]
    );
    let ordered = entries("action=certificate.ordered");
    assert_eq!(ordered.len(), 2, "{ordered:?}");
    assert_eq!(ordered[0]["actor"], "admin", "{ordered:?}");
}

#[test]
fn operators_see_why_there_is_no_certificate_and_then_the_certificate() {
    let dns = name_server();
    let pebble = Pebble::start(&Options::new(dns));
    let proxy = Proxy::start(&pebble.identity, pebble.address);
    let away = || Verdict::Answer(502, Vec::new(), "a proxy without a server".into());
    proxy.judge(move |_| away());
    let sections = sections(&proxy.directory(), &pebble.identity, dns, "");
    let server = setup(dns, &sections).start();
    eventually("failing", PATIENCE, || {
        certificate(&server)["state"] == "failing"
    });
    let failing = certificate(&server);
    assert_eq!(failing["zone"], ORIGIN);
    assert_eq!(failing["names"], json!([ORIGIN, format!("*.{ORIGIN}")]));
    assert_eq!(failing["serial"], Value::Null);
    assert_eq!(failing["failure"]["kind"], "directory", "{failing}");
    assert!(failing["next_attempt_at"].is_string(), "{failing}");
    // Queries are answered all the same.
    let state = readiness(&server);
    assert_eq!(
        (&state["status"], &state["serves"]),
        (&json!("degraded"), &json!(true))
    );
    let reason = "a zone has no certificate for HTTPS: `tinyns certificates` has the reason";
    assert_eq!(state["reasons"], json!([reason]));
    let (shown, _, code) = command(&server, &[]);
    assert_eq!(code, 0);
    assert!(shown.contains("no certificate"), "{shown}");
    let why = failing["failure"]["reason"].as_str().unwrap();
    assert!(shown.contains(why), "{shown}");

    // An operator need not wait for the next attempt.
    proxy.judge(|_| Verdict::Pass);
    let (ordered, error, code) = command(&server, &["order", ORIGIN, "--wait"]);
    assert_eq!(code, 0, "{error}");
    server.log().wait_for(IN_USE);
    let valid = certificate(&server);
    assert_eq!(valid["state"], "valid", "{valid}");
    assert_eq!(valid["failure"], Value::Null);
    assert_eq!(valid["ends_soon"], false);
    let first = serial(https_of(&server), ORIGIN).unwrap();
    assert_eq!(valid["serial"].as_str().unwrap(), first);
    assert!(ordered.contains(&first), "{ordered}");
    eventually("ready", PATIENCE, || {
        readiness(&server)["status"] == "ready"
    });

    // Another one, although none is due.
    let order = server.api("POST", &format!("/v1/certificates/{ORIGIN}/order"), None);
    assert_eq!(order.status, 202, "{order:?}");
    eventually("another certificate", PATIENCE, || {
        certificate(&server)["serial"].as_str() != Some(&*first)
    });
    check_audit(&server, &first, &serial(https_of(&server), ORIGIN).unwrap());
    let other = server.api("POST", "/v1/certificates/example.net/order", None);
    assert_eq!(other.status, 404, "{other:?}");
    let (_, error, code) = command(&server, &["order", "example.net"]);
    assert_eq!(code, 1);
    assert!(error.contains("no zone of this origin"), "{error}");
    let (listed, _, _) = command(&server, &["--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["certificates"][0]["zone"], ORIGIN);
}
