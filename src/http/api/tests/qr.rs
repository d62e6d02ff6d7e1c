//! The QR codes of links, as images. tests/command_line/qr.rs reads what is in them.

use axum::http::Method;
use serde_json::json;

use super::URL;
use crate::http::testing::{Call, Server};

async fn server() -> Server {
    let server = Server::new();
    server.link(json!({"url": URL, "code": "x"})).await;
    server
}

#[tokio::test]
async fn an_image_of_the_short_url() {
    let server = server().await;
    let svg = server.call(Call::get("/v1/links/X/qr")).await;
    assert_eq!(svg.status, 200);
    assert_eq!(svg.header("content-type"), Some("image/svg+xml"));
    let file = svg.header("content-disposition");
    assert_eq!(file, Some("inline; filename=\"x.svg\""));
    let title = "<title>HTTP://X.S.EXAMPLE.COM:8080</title>";
    assert!(svg.text().contains(title), "{}", svg.text());
    // A code of 25 modules and two margins of 4, with 8 pixels each.
    assert!(svg.text().contains("width=\"264\""), "{}", svg.text());
    let small = "/v1/links/x/qr?format=svg&scale=1&margin=0&level=L&zone=s.example.com";
    let small = server.call(Call::get(small)).await;
    assert!(small.text().contains("width=\"25\""), "{}", small.text());

    let png = server.call(Call::get("/v1/links/x/qr?format=png")).await;
    assert_eq!(png.header("content-type"), Some("image/png"));
    let file = png.header("content-disposition");
    assert_eq!(file, Some("inline; filename=\"x.png\""));
    assert!(png.body.starts_with(b"\x89PNG\r\n\x1a\n"));
    // A high level needs a larger code.
    let high = server.call(Call::get("/v1/links/x/qr?level=H&scale=1&margin=0"));
    let high = high.await;
    assert!(high.text().contains("width=\"29\""), "{}", high.text());
}

#[tokio::test]
async fn the_entity_tag_is_that_of_the_image() {
    let server = server().await;
    let get = async |path: &str| server.call(Call::get(path)).await;
    let first = get("/v1/links/x/qr").await;
    let tag = first.header("etag").unwrap().to_owned();
    // Where the link leads does not matter.
    let patch = Call::patch("/v1/links/x").json(&json!({"url": "https://example.org/"}));
    server.call(patch).await;
    assert_eq!(get("/v1/links/x/qr").await.header("etag"), Some(&*tag));
    let larger = get("/v1/links/x/qr?scale=9").await;
    assert_ne!(larger.header("etag"), Some(&*tag));

    for (sent, status) in [
        (&*tag, 304),
        (&*format!("W/{tag}"), 304),
        ("*", 304),
        ("\"1\"", 200),
    ] {
        let call = Call::get("/v1/links/x/qr").header("if-none-match", sent);
        let reply = server.call(call).await;
        assert_eq!(reply.status, status, "{sent}");
        assert_eq!(reply.header("etag"), Some(&*tag));
    }
    let head = server.call(Call::new(Method::HEAD, "/v1/links/x/qr")).await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("etag"), Some(&*tag));
    let length = first.body.len().to_string();
    assert_eq!(head.header("content-length"), Some(&*length));
    assert!(head.body.is_empty());
}

#[tokio::test]
async fn parameters_have_bounds() {
    let server = server().await;
    for (query, field) in [
        ("format=gif", "format"),
        ("format=", "format"),
        ("scale=0", "scale"),
        ("scale=41", "scale"),
        ("scale=-1", "scale"),
        ("scale=1.5", "scale"),
        ("scale=99999999999", "scale"),
        ("margin=17", "margin"),
        ("margin=", "margin"),
        ("level=X", "level"),
        ("level=m", "level"),
        ("level=L&level=L", "level"),
    ] {
        let reply = server
            .call(Call::get(&format!("/v1/links/x/qr?{query}")))
            .await;
        assert_eq!(reply.status, 400, "{query}");
        let expected = ("invalid-query".to_owned(), Some(field.to_owned()));
        assert_eq!(reply.problem(), expected, "{query}");
    }
    let unknown = server.call(Call::get("/v1/links/x/qr?size=9")).await;
    assert_eq!(unknown.problem(), ("invalid-query".into(), None));
    // The largest image.
    let large = "/v1/links/x/qr?format=png&scale=40&margin=16&level=H";
    let large = server.call(Call::get(large)).await;
    assert_eq!(large.status, 200);
    assert!(large.body.len() < 100_000, "{}", large.body.len());
}

#[tokio::test]
async fn only_links_have_one() {
    let server = server().await;
    for (path, kind) in [
        ("/v1/links/y/qr", "no-such-link"),
        ("/v1/links/a_b/qr", "no-such-link"),
        ("/v1/links/x/qr?zone=t.example.net", "no-such-link"),
        ("/v1/links/x/qr?zone=other.example", "no-such-zone"),
    ] {
        let reply = server.call(Call::get(path)).await;
        assert_eq!(reply.status, 404, "{path}");
        assert_eq!(reply.problem().0, kind, "{path}");
    }
    let closed = Call::get("/v1/links/x/qr").header("authorization", "");
    assert_eq!(server.call(closed).await.status, 401);
    server.store.fail(Some(super::unavailable));
    assert_eq!(server.call(Call::get("/v1/links/x/qr")).await.status, 503);
}
