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
    assert_eq!(server.call(Call::get(&location)).await.json(), made.json());
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
