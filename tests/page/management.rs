use serde_json::json;

use super::visitor::{Visitor, log_in};
use crate::harness::Server;

#[test]
fn a_token_is_shown_once_works_and_is_revoked() {
    let server = Server::start();
    let visitor = Visitor::root(&server);
    let made = visitor.post(
        "/tokens",
        &[
            ("name", "ann"),
            ("role", "editor"),
            ("zones", "s.example.com"),
            ("ends", "90d"),
        ],
    );
    assert_eq!(made.status, 201, "{made:?}");
    let at = made.body.find("tns_").unwrap();
    let secret = &made.body[at..at + 68];
    assert!(!visitor.get("/tokens").body.contains(secret));
    let listed = server.api("GET", "/v1/tokens", None).json();
    assert_eq!(listed["tokens"][0]["zones"], json!(["s.example.com"]));
    assert!(listed["tokens"][0]["expires_at"].is_string());

    let ann = Visitor::of(&server, secret);
    let link = ann.post(
        "/links",
        &[("url", "https://example.net/1"), ("code", "one")],
    );
    assert_eq!(link.status, 303, "{link:?}");
    let created_by = server.api("GET", "/v1/links/one", None).json()["created_by"].clone();
    assert_eq!(created_by, "ann");

    let ask = visitor.get("/tokens/ann/revoke");
    assert!(ask.body.contains("id=\"revoke-token\""), "{ask:?}");
    assert_eq!(visitor.post("/tokens/ann/revoke", &[]).status, 303);
    assert_eq!(ann.get("/").status, 303);
    assert_eq!(log_in(&server, secret).status, 403);
    assert_eq!(visitor.post("/tokens/ann/revoke", &[]).status, 404);
    assert_eq!(visitor.post("/tokens/..%2Flinks/revoke", &[]).status, 404);
}

#[test]
fn errors_of_tokens_are_at_their_field() {
    let server = Server::start();
    let visitor = Visitor::root(&server);
    let check = |fields: &[(&str, &str)], status: u16, expected: &str| {
        let page = visitor.post("/tokens", fields);
        assert_eq!(page.status, status, "{page:?}");
        assert!(page.body.contains(expected), "{expected}: {page:?}");
    };
    let role = ("role", "reader");
    check(&[("name", "a b"), role], 422, "id=\"name-error\"");
    check(&[("name", "admin"), role], 422, "id=\"name-error\"");
    check(
        &[("name", "a"), role, ("ends", "soon")],
        422,
        "id=\"token-ends-error\"",
    );
    check(
        &[("name", "a"), ("role", "admin"), ("zones", "s.example.com")],
        422,
        "all zones",
    );
    check(&[("name", "a"), ("role", "owner")], 422, "A role is");
}

#[test]
fn the_audit_log_names_who_used_the_page() {
    let server = Server::start();
    let visitor = Visitor::root(&server);
    assert!(visitor.get("/audit").body.contains("No entries yet"));
    visitor.post(
        "/links",
        &[("url", "https://example.net/1"), ("code", "one")],
    );
    let page = visitor.get("/audit");
    assert_eq!(page.status, 200, "{page:?}");
    for text in [
        "link made",
        "one.s.example.com",
        "by admin",
        "from 127.0.0.1",
        "https://example.net/1",
    ] {
        assert!(page.body.contains(text), "{text}: {page:?}");
    }
    assert!(
        visitor
            .get("/audit?action=link.deleted")
            .body
            .contains("No entries found")
    );
    assert_eq!(visitor.get("/audit?action=nonsense").status, 400);
}

#[test]
fn health_shows_what_readyz_says() {
    let server = Server::start();
    let visitor = Visitor::root(&server);
    let page = visitor.get("/health");
    assert_eq!(page.status, 200, "{page:?}");
    for text in ["All is well", "not used", "There is no HTTPS"] {
        assert!(page.body.contains(text), "{text}: {page:?}");
    }
}
