use serde_json::json;

use super::visitor::{Visitor, hidden};
use crate::harness::{Reply, Server};

/// The path of a redirect.
fn goes_to(reply: &Reply) -> String {
    assert_eq!(reply.status, 303, "{reply:?}");
    reply.header("location").unwrap().to_owned()
}

fn shows(reply: &Reply, texts: &[&str]) {
    for text in texts {
        assert!(reply.body.contains(text), "no {text:?} in {}", reply.body);
    }
}

#[test]
fn a_link_is_made_found_changed_and_deleted() {
    let server = Server::start();
    let visitor = Visitor::root(&server);
    let fields = [
        ("url", "https://example.net/sale?a=1&b=2"),
        ("code", "sale"),
        ("ends", "30d"),
        ("ttl", "5m"),
        ("title", "Winter & more"),
        ("tags", "winter, sale"),
        ("note", "two\r\nlines"),
    ];
    let path = goes_to(&visitor.post("/links", &fields));
    assert_eq!(path, "/links/sale?zone=s.example.com&made=new");
    let page = visitor.get(&path);
    assert_eq!(page.status, 200);
    let dig = format!(
        "dig @{} -p {} TXT sale.s.example.com +short",
        server.dns.ip(),
        server.dns.port()
    );
    shows(
        &page,
        &[
            "Your link is ready",
            "https://example.net/sale?a=1&#38;b=2",
            "Winter &#38; more",
            &dig,
            "<time datetime=\"20",
        ],
    );
    let link = server.api("GET", "/v1/links/sale", None).json();
    assert_eq!(link["ttl"], 300);
    assert_eq!(link["tags"], json!(["sale", "winter"]));
    assert_eq!(link["note"], "two\nlines");
    let image = visitor.get("/links/sale/qr?zone=s.example.com&format=svg&download=yes");
    assert_eq!(image.header("content-type"), Some("image/svg+xml"));
    assert_eq!(
        image.header("content-disposition"),
        Some("attachment; filename=\"sale.svg\"")
    );

    // The same URL again.
    let again = visitor.post(
        "/links",
        &[
            ("url", "https://example.net/sale?a=1&b=2"),
            ("code", "sale"),
            ("ttl", "60"),
        ],
    );
    shows(
        &visitor.get(&goes_to(&again)),
        &["This URL had a link already", "had no effect"],
    );

    for search in [
        "q=winter",
        "tag=sale",
        "host=example.net",
        "created_by=admin",
        "sort=code",
        "",
    ] {
        shows(
            &visitor.get(&format!("/links?{search}")),
            &["/links/sale?zone=s.example.com"],
        );
    }
    shows(&visitor.get("/links?q=nothing"), &["No links found"]);

    let edit = visitor.get("/links/sale/edit?zone=s.example.com");
    let version = hidden(&edit.body, "version");
    let ends = hidden(&edit.body, "ends");
    let changes = [
        ("zone", "s.example.com"),
        ("version", &*version),
        ("url", "https://example.net/autumn"),
        ("ends", &*ends),
        ("ttl", ""),
        ("title", ""),
        ("tags", "autumn"),
    ];
    let path = goes_to(&visitor.post("/links/sale/edit", &changes));
    shows(
        &visitor.get(&path),
        &["Saved", "https://example.net/autumn"],
    );
    let changed = server.api("GET", "/v1/links/sale", None).json();
    assert_eq!(changed["expires_at"], link["expires_at"]);
    assert_eq!(changed["ttl"], json!(null));
    assert_eq!(changed["note"], json!(null));
    assert_eq!(changed["created_at"], link["created_at"]);

    let ask = visitor.get("/links/sale/delete?zone=s.example.com");
    let version = hidden(&ask.body, "version");
    let gone = visitor.post(
        "/links/sale/delete",
        &[("zone", "s.example.com"), ("version", &version)],
    );
    assert_eq!(gone.status, 200);
    assert_eq!(server.api("GET", "/v1/links/sale", None).status, 404);
    // Undo.
    let names = [
        "zone", "url", "code", "ends", "ttl", "title", "tags", "note",
    ];
    let values = names.map(|name| hidden(&gone.body, name));
    let fields: Vec<_> = names
        .iter()
        .copied()
        .zip(values.iter().map(|v| &**v))
        .collect();
    goes_to(&visitor.post("/links", &fields));
    let back = server.api("GET", "/v1/links/sale", None).json();
    for member in ["url", "expires_at", "ttl", "title", "tags", "note"] {
        assert_eq!(back[member], changed[member], "{member}");
    }
}

#[test]
fn errors_are_at_their_field_and_what_was_typed_stays() {
    let server = Server::start();
    let visitor = Visitor::root(&server);
    server.register("taken", "https://example.net/1");
    let check = |field: &str, fields: &[(&str, &str)], status: u16| {
        let page = visitor.post("/links", fields);
        assert_eq!(page.status, status, "{page:?}");
        let error = format!("id=\"{field}-error\"");
        let tie = format!("aria-describedby=\"{field}-hint {field}-error\" aria-invalid=\"true\"");
        shows(&page, &[&error, &tie, "value=\"my &#60;title&#62;\""]);
    };
    let url = ("url", "https://example.net/2");
    let title = ("title", "my <title>");
    check("url", &[("url", "nonsense"), title], 422);
    check("url", &[("url", ""), title], 422);
    check("code", &[url, ("code", "taken"), title], 409);
    check("code", &[url, ("code", "a b"), title], 422);
    check("ends", &[url, ("ends", "tomorrow"), title], 422);
    check("ends", &[url, ("ends", "2001-01-01"), title], 422);
    check("ttl", &[url, ("ttl", "long"), title], 422);
    check("ttl", &[url, ("ttl", "8d"), title], 422);
    check("tags", &[url, ("tags", &"x".repeat(33)), title], 422);
    let links = server.api("GET", "/v1/links", None).json();
    assert_eq!(links["links"].as_array().unwrap().len(), 1);
}

#[test]
fn a_change_of_someone_else_is_shown_and_not_overwritten() {
    let server = Server::start();
    let visitor = Visitor::root(&server);
    server.register("sale", "https://example.net/1");
    let edit = visitor.get("/links/sale/edit?zone=s.example.com");
    let version = hidden(&edit.body, "version");
    server.redirect_to("sale", "https://example.net/theirs");
    let zone = ("zone", "s.example.com");
    let mine = ("url", "https://example.net/mine");
    let conflict = visitor.post("/links/sale/edit", &[zone, mine, ("version", &version)]);
    assert_eq!(conflict.status, 412);
    shows(
        &conflict,
        &[
            "https://example.net/theirs",
            "https://example.net/mine",
            "id=\"save-mine\"",
        ],
    );
    let link = server.api("GET", "/v1/links/sale", None).json();
    assert_eq!(link["url"], "https://example.net/theirs");
    // A deletion of the old version is no better.
    let deletion = visitor.post("/links/sale/delete", &[zone, ("version", &version)]);
    assert_eq!(deletion.status, 412);
    shows(&deletion, &["https://example.net/theirs"]);

    let version = hidden(&conflict.body, "version");
    goes_to(&visitor.post("/links/sale/edit", &[zone, mine, ("version", &version)]));
    let link = server.api("GET", "/v1/links/sale", None).json();
    assert_eq!(link["url"], "https://example.net/mine");
}

#[test]
fn many_links_at_once_each_with_its_result() {
    let server = Server::start();
    let visitor = Visitor::root(&server);
    server.register("taken", "https://example.net/taken");
    let lines = "https://example.net/1\r\n\r\nnonsense\r\nhttps://example.net/2 taken\r\nhttps://example.net/3 three";
    let page = visitor.upload("/bulk", "text/html", &[("lines", lines), ("file", "")]);
    assert_eq!(page.status, 200, "{page:?}");
    shows(
        &page,
        &[
            "2 made, 0 were there already, 2 failed.",
            "http://three.s.example.com",
            "data:text/csv;",
        ],
    );
    let url =
        |code: &str| server.api("GET", &format!("/v1/links/{code}"), None).json()["url"].clone();
    assert_eq!(url("three"), "https://example.net/3");
    assert_eq!(url("taken"), "https://example.net/taken");

    let file = "code;url;title\nfour;https://example.net/4;Four\n;https://example.net/1;\n";
    let stream = visitor.upload(
        "/bulk",
        "application/x-ndjson",
        &[("lines", ""), ("file", file)],
    );
    assert_eq!(stream.header("content-type"), Some("application/x-ndjson"));
    let results: Vec<serde_json::Value> = stream
        .body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(results[0], json!({"total": 2}));
    assert_eq!(
        (&results[1]["line"], &results[1]["kind"]),
        (&json!(2), &json!("made"))
    );
    assert_eq!(
        (&results[2]["line"], &results[2]["kind"]),
        (&json!(3), &json!("there"))
    );
    assert_eq!(
        server.api("GET", "/v1/links/four", None).json()["title"],
        "Four"
    );

    let none = visitor.upload("/bulk", "text/html", &[("lines", " "), ("file", "")]);
    assert_eq!(none.status, 422);
    let huge = "x".repeat(3 << 20);
    let refused = visitor.upload("/bulk", "text/html", &[("file", &huge)]);
    assert_eq!(refused.status, 413);
}

#[test]
fn roles_decide_what_is_offered_and_what_happens() {
    let server = Server::start();
    server.register("sale", "https://example.net/1");
    let token = |name: &str, role: &str| {
        let made = server.api(
            "POST",
            "/v1/tokens",
            Some(&json!({"name": name, "role": role})),
        );
        made.json()["token"].as_str().unwrap().to_owned()
    };
    let reader = Visitor::of(&server, &token("r", "reader"));
    let home = reader.get("/");
    assert!(!home.body.contains("id=\"new-link\""), "{home:?}");
    assert!(!home.body.contains("href=\"/bulk\""));
    let link = reader.get("/links/sale?zone=s.example.com");
    assert_eq!(link.status, 200);
    assert!(!link.body.contains("id=\"edit\""));
    let url = ("url", "https://example.net/2");
    assert_eq!(reader.post("/links", &[url]).status, 403);
    assert_eq!(
        reader
            .upload("/bulk", "text/html", &[("lines", "https://example.net/2")])
            .status,
        403
    );
    let version = server.api("GET", "/v1/links/sale", None).json()["version"].to_string();
    let edit = [("zone", "s.example.com"), ("version", &*version), url];
    assert_eq!(reader.post("/links/sale/edit", &edit).status, 403);
    assert_eq!(reader.post("/links/sale/delete", &edit).status, 403);

    let editor = Visitor::of(&server, &token("e", "editor"));
    goes_to(&editor.post("/links/sale/edit", &edit));
    for path in ["/tokens", "/audit", "/pools"] {
        assert!(!editor.get("/").body.contains(&format!("href=\"{path}\"")));
        assert_eq!(editor.get(path).status, 403, "{path}");
    }
    let new = [("name", "evil"), ("role", "admin")];
    assert_eq!(editor.post("/tokens", &new).status, 403);
    assert_eq!(editor.post("/tokens/r/revoke", &[]).status, 403);
    assert_eq!(editor.post("/pools/eu/drain", &[]).status, 403);
    // Certificates are for administrators.
    assert_eq!(editor.get("/health").status, 200);
    assert!(!editor.get("/health").body.contains("certificates-title"));
}

#[test]
fn pages_that_do_not_exist_look_like_the_others() {
    let server = Server::start();
    let visitor = Visitor::root(&server);
    for path in [
        "/links/none?zone=s.example.com",
        "/links/no%20code",
        "/links/none/edit",
        "/tokens/x/y",
        "/assets/x",
    ] {
        let page = visitor.get(path);
        assert_eq!(page.status, 404, "{path}");
        shows(&page, &["<main", "href=\"/links\""]);
    }
    let origin = super::visitor::origin(&server);
    let page = crate::harness::http(
        "GET",
        &format!("{origin}/nothing"),
        &[("accept", "text/html")],
        None,
    );
    assert_eq!(page.status, 404);
    shows(&page, &["Nothing here"]);
    // Programs get what they got before.
    let page = crate::harness::http("GET", &format!("{origin}/nothing"), &[], None);
    assert_eq!(page.status, 401);
}
