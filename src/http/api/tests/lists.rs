//! Lists of links and zones: pages, parameters, and links of other zones.

use serde_json::json;

use super::URL;
use crate::base::clock::UnixTime;
use crate::http::testing::{Call, NOW, Server};

#[tokio::test]
async fn a_list_has_pages() {
    let server = Server::new();
    for n in 0..25 {
        let body = json!({"url": URL, "code": format!("c{n:02}")});
        server.link(body).await;
    }
    let other = json!({"url": URL, "code": "other"});
    server
        .call(Call::post("/v1/links?zone=t.example.net").json(&other))
        .await;
    let mut found = Vec::new();
    let mut next = "/v1/links?limit=10".to_owned();
    let mut pages = 0;
    loop {
        let page = server.call(Call::get(&next)).await;
        assert_eq!(page.status, 200);
        let page = page.json();
        let links = page["links"].as_array().unwrap().iter();
        found.extend(links.map(|link| link["code"].as_str().unwrap().to_owned()));
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(cursor) => next = format!("/v1/links?limit=10&cursor={cursor}"),
            None => break,
        }
    }
    let expected: Vec<_> = (0..25).map(|n| format!("c{n:02}")).collect();
    assert_eq!(found, expected);
    assert_eq!(pages, 3);
    let all = server.call(Call::get("/v1/links")).await.json();
    assert_eq!(all["links"].as_array().unwrap().len(), 25);
}

#[tokio::test]
async fn expired_links_are_neither_listed_nor_read() {
    let server = Server::new();
    let ends = json!({"url": URL, "code": "x", "expires_at": "2023-11-14T22:13:21Z"});
    server.link(ends).await;
    let count = async || {
        let list = server.call(Call::get("/v1/links")).await.json();
        list["links"].as_array().unwrap().len()
    };
    assert_eq!(count().await, 1);
    server.clock.set(UnixTime(NOW.0 + 1));
    assert_eq!(count().await, 0);
    assert_eq!(server.call(Call::get("/v1/links/x")).await.status, 404);
    assert_eq!(server.call(Call::delete("/v1/links/x")).await.status, 404);
}

#[tokio::test]
async fn unknown_and_invalid_parameters_are_refused() {
    let server = Server::new();
    let check = async |query: &str, status: u16, field: Option<&str>| {
        let reply = server.call(Call::get(&format!("/v1/links?{query}"))).await;
        assert_eq!(reply.status, status, "{query}");
        if status != 200 {
            assert_eq!(reply.problem().1.as_deref(), field, "{query}");
        }
    };
    check("", 200, None).await;
    check("limit=1", 200, None).await;
    check("limit=1000", 200, None).await;
    check("zone=S.example.com.", 200, None).await;
    check("zone=t.example.net", 200, None).await;
    for limit in [
        "0",
        "1001",
        "-1",
        "+1",
        "x",
        "",
        "1.0",
        "99999999999999999999",
    ] {
        check(&format!("limit={limit}"), 400, Some("limit")).await;
    }
    let elsewhere = crate::access::token::hex(b"x.t.example.net");
    for cursor in ["", "x", "abc", "ff", "C3A9", &elsewhere] {
        check(&format!("cursor={cursor}"), 400, Some("cursor")).await;
    }
    check("limit=1&limit=2", 400, Some("limit")).await;
    check(
        "zone=s.example.com&limit=1&zone=s.example.com",
        400,
        Some("zone"),
    )
    .await;
    check("limt=1", 400, None).await;
    for zone in ["example.org", "", "x.s.example.com", "..", "%FF"] {
        check(&format!("zone={zone}"), 404, Some("zone")).await;
    }
    let one = Call::get("/v1/links/x?limit=1");
    assert_eq!(server.call(one).await.status, 400);
}

#[tokio::test]
async fn each_zone_has_its_own_links() {
    let server = Server::new();
    let body = json!({"url": URL, "code": "x"});
    let call = Call::post("/v1/links?zone=T.example.net.").json(&body);
    let made = server.call(call).await;
    assert_eq!(made.status, 201);
    let location = made.header("location").unwrap().to_owned();
    assert_eq!(location, "/v1/links/x?zone=t.example.net");
    assert_eq!(server.call(Call::get(&location)).await.json(), made.link());
    assert_eq!(made.json()["name"], "x.t.example.net");
    assert_eq!(server.call(Call::get("/v1/links/x")).await.status, 404);
}

#[tokio::test]
async fn the_zones_are_listed_in_the_configured_order() {
    let server = Server::new();
    let reply = server.call(Call::get("/v1/zones")).await;
    assert_eq!(reply.status, 200);
    let expected = json!({"zones": [{"origin": "s.example.com"}, {"origin": "t.example.net"}]});
    assert_eq!(reply.json(), expected);
    // The first is the zone of calls that name none.
    let link = server.link(json!({"url": URL, "code": "x"})).await;
    assert_eq!(link["name"], "x.s.example.com");
    let refused = server.call(Call::get("/v1/zones?zone=s.example.com")).await;
    assert_eq!(refused.status, 400);
}

#[tokio::test]
async fn lists_have_filters() {
    let server = Server::new();
    for n in 0..6 {
        let host = ["one.example", "two.example"][n % 2];
        let tag = ["a", "b"][n / 3];
        let body = json!({"url": format!("https://{host}/{n}"), "code": format!("c{n}"),
            "title": format!("Title {n}"), "tags": [tag]});
        server.link(body).await;
    }
    let check = async |query: &str, expected: &[&str]| {
        let reply = server.call(Call::get(&format!("/v1/links?{query}"))).await;
        assert_eq!(reply.status, 200, "{query}");
        let json = reply.json();
        let links = json["links"].as_array().unwrap().iter();
        let codes: Vec<_> = links.map(|link| link["code"].as_str().unwrap()).collect();
        assert_eq!(codes, expected, "{query}");
    };
    check("q=TITLE+3", &["c3"]).await;
    check("tag=A&host=two.example.", &["c1"]).await;
    check("tag=B&created_by=admin&state=live", &["c3", "c4", "c5"]).await;
    check("state=ended", &[]).await;
    check("q=%25", &[]).await;
    let refuse = async |query: &str, status: u16, kind: &str, field: &str| {
        let reply = server.call(Call::get(&format!("/v1/links?{query}"))).await;
        assert_eq!(reply.status, status, "{query}");
        let (found, at) = reply.problem();
        assert_eq!((&*found, at.as_deref()), (kind, Some(field)), "{query}");
    };
    refuse("q=", 400, "invalid-query", "q").await;
    refuse("q=a%00", 400, "invalid-query", "q").await;
    refuse("tag=a,b", 400, "invalid-query", "tag").await;
    refuse("host=https://one.example/", 400, "invalid-query", "host").await;
    refuse("state=dead", 400, "invalid-query", "state").await;
    refuse("created_by=", 400, "invalid-query", "created_by").await;
    refuse("sort=url", 400, "invalid-query", "sort").await;
    // The store of these tests has no order.
    refuse("sort=newest", 422, "sort-refused", "sort").await;
}

#[tokio::test]
async fn a_cursor_belongs_to_its_query() {
    let server = Server::new();
    for n in 0..4 {
        server
            .link(json!({"url": URL, "code": format!("c{n}")}))
            .await;
    }
    let page = server.call(Call::get("/v1/links?limit=2&q=c")).await.json();
    let cursor = page["next_cursor"].as_str().unwrap();
    let status = async |query: &str| {
        let reply = server
            .call(Call::get(&format!("/v1/links?{query}&cursor={cursor}")))
            .await;
        reply.status.as_u16()
    };
    assert_eq!(status("q=c").await, 200);
    // The number of links of a page may change.
    assert_eq!(status("q=C&limit=1").await, 200);
    for other in [
        "q=d",
        "limit=2",
        "q=c&tag=a",
        "q=c&state=ended",
        "q=c&zone=t.example.net",
    ] {
        assert_eq!(status(other).await, 400, "{other}");
    }
}
