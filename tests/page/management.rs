use serde_json::json;

use super::visitor::{Visitor, hidden, log_in};
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
            ("rate", "1000"),
        ],
    );
    assert_eq!(made.status, 201, "{made:?}");
    let at = made.body.find("tns_").unwrap();
    let secret = &made.body[at..at + 68];
    assert!(!visitor.get("/tokens").body.contains(secret));
    let listed = server.api("GET", "/v1/tokens", None).json();
    assert_eq!(listed["tokens"][0]["zones"], json!(["s.example.com"]));
    assert!(listed["tokens"][0]["expires_at"].is_string());
    assert_eq!(listed["tokens"][0]["rate"], 1_000);
    assert!(
        visitor
            .get("/tokens")
            .body
            .contains("at most 1000 calls a second")
    );

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
    for rate in ["0", "-1", "2.5", "fast", "1000001"] {
        check(
            &[("name", "a"), role, ("rate", rate)],
            422,
            "id=\"rate-error\"",
        );
    }
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

#[test]
fn admins_withhold_a_link_and_release_it() {
    let server = Server::start();
    server.register("sale", "https://example.net/sale");
    let admin = Visitor::root(&server);
    let version = || {
        let link = server.api("GET", "/v1/links/sale", None).json();
        link["version"].to_string()
    };
    let send = |visitor: &Visitor<'_>, version: &str, fields: &[(&str, &str)]| {
        let all = [&[("zone", "s.example.com"), ("version", version)], fields].concat();
        visitor.post("/links/sale/withhold", &all)
    };
    let (kind, reason) = (("kind", "abuse"), ("reason", "Phishing <b>"));
    let page = admin.get("/links/sale/withhold");
    assert!(page.body.contains("id=\"withhold-link\""), "{page:?}");
    assert!(!page.body.contains("id=\"release-link\""), "{page:?}");
    let refused = send(&admin, &version(), &[kind, ("reason", "")]);
    assert_eq!(refused.status, 422, "{refused:?}");
    let error = "id=\"reason-error\">The reason is empty";
    assert!(refused.body.contains(error), "{refused:?}");
    let late = send(&admin, "1", &[kind, reason]);
    assert_eq!(late.status, 412, "{late:?}");
    assert!(
        late.body.contains("value=\"Phishing &#60;b&#62;\""),
        "{late:?}"
    );
    let done = send(&admin, &version(), &[kind, reason]);
    assert_eq!(done.status, 303, "{done:?}");
    let at = done.header("location").unwrap();
    assert_eq!(at, "/links/sale?zone=s.example.com&made=withheld");
    let page = admin.get(at);
    assert!(page.body.contains("Phishing &#60;b&#62;"), "{page:?}");
    for id in ["withheld", "edit", "delete", "withhold"] {
        assert!(
            page.body.contains(&format!("id=\"{id}\"")),
            "{id}: {page:?}"
        );
    }
    for list in ["/links", "/links?state=withheld", "/"] {
        let page = admin.get(list);
        assert!(page.body.contains(">withheld</span>"), "{list}: {page:?}");
    }
    assert!(
        admin
            .get("/links?state=live")
            .body
            .contains("No links found")
    );

    let editor = json!({"name": "ann", "role": "editor"});
    let made = server.api("POST", "/v1/tokens", Some(&editor)).json();
    let editor = Visitor::of(&server, made["token"].as_str().unwrap());
    let page = editor.get("/links/sale");
    assert!(
        page.body.contains("Only admins can change or release it"),
        "{page:?}"
    );
    for id in ["edit", "delete", "withhold"] {
        assert!(
            !page.body.contains(&format!("id=\"{id}\"")),
            "{id}: {page:?}"
        );
    }
    assert_eq!(editor.get("/links/sale/withhold").status, 403);
    assert_eq!(send(&editor, &version(), &[("do", "release")]).status, 403);
    let change = [("zone", "s.example.com"), ("version", &*version())];
    assert_eq!(editor.post("/links/sale/delete", &change).status, 403);

    // What is deleted and made again is still withheld.
    let gone = admin.post("/links/sale/delete", &change);
    assert_eq!(gone.status, 200, "{gone:?}");
    let withheld = hidden(&gone.body, "withheld")
        .replace("&#34;", "\"")
        .replace("&#60;", "<");
    let withheld = withheld.replace("&#62;", ">");
    let url = ("url", "https://example.net/sale");
    let again = admin.post("/links", &[url, ("code", "sale"), ("withheld", &withheld)]);
    assert_eq!(again.status, 303, "{again:?}");
    let link = server.api("GET", "/v1/links/sale", None).json();
    assert_eq!(
        link["withheld"],
        json!({"kind": "abuse", "reason": "Phishing <b>"})
    );

    let page = admin.get("/links/sale/withhold");
    assert!(page.body.contains("id=\"release-link\""), "{page:?}");
    let done = send(&admin, &version(), &[("do", "release")]);
    assert_eq!(done.status, 303, "{done:?}");
    let link = server.api("GET", "/v1/links/sale", None).json();
    assert_eq!(link["withheld"], json!(null));
}

#[test]
fn a_table_of_an_export_keeps_links_withheld() {
    let server = Server::start();
    let visitor = Visitor::root(&server);
    let table = "url,code,withheld,withheld_reason,withheld_authority\n\
        https://example.net/1,one,legal,Order 12,https://court.example/\n\
        https://example.net/2,two,,,\n\
        https://example.net/3,three,abuse,,\n";
    let page = visitor.upload("/bulk", "text/html", &[("lines", table), ("file", "")]);
    assert_eq!(page.status, 200, "{page:?}");
    let held = |code: &str| server.api("GET", &format!("/v1/links/{code}"), None);
    let legal =
        json!({"kind": "legal", "reason": "Order 12", "authority": "https://court.example/"});
    assert_eq!(held("one").json()["withheld"], legal);
    assert_eq!(held("two").json()["withheld"], json!(null));
    assert_eq!(held("three").status, 404);
}
