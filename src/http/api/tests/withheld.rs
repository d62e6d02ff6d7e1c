//! Links that are withheld: who may do that, and what the API shows of them.

use serde_json::{Value, json};

use super::tokens::make;
use super::{URL, detail};
use crate::base::clock::UnixTime;
use crate::http::testing::{Call, NOW, Reply, Server};

fn hold(withheld: Value) -> Call {
    Call::patch("/v1/links/x").json(&json!({ "withheld": withheld }))
}

fn refused(reply: &Reply) -> (u16, String, Option<String>) {
    let (kind, field) = reply.problem();
    (reply.status.as_u16(), kind, field)
}

#[tokio::test]
async fn an_admin_withholds_a_link_and_gives_it_back() {
    let server = Server::new();
    let made = server.link(json!({"url": URL, "code": "x"})).await;
    assert_eq!(made["withheld"], Value::Null);
    let abuse = json!({"kind": "abuse", "reason": "Phishing"});
    let legal =
        json!({"kind": "legal", "reason": "Order 12", "authority": "https://court.example/"});
    for (sent, shown) in [
        (
            json!({"kind": "abuse", "reason": " Phishing ", "authority": null}),
            &abuse,
        ),
        (legal.clone(), &legal),
        // It is replaced as a whole.
        (abuse.clone(), &abuse),
    ] {
        let reply = server.call(hold(sent)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(&reply.json()["withheld"], shown);
        let read = server.call(Call::get("/v1/links/x")).await.json();
        assert_eq!((&read["withheld"], &read["url"]), (shown, &json!(URL)));
        let list = server.call(Call::get("/v1/links")).await.json();
        assert_eq!(&list["links"][0]["withheld"], shown);
    }
    // A request for the same link finds it as it is.
    let again = json!({"url": URL, "code": "x"});
    let again = server.call(Call::post("/v1/links").json(&again)).await;
    assert_eq!(
        (again.status.as_u16(), &again.json()["withheld"]),
        (200, &abuse)
    );
    // The QR code is that of the short URL, which leads to the reason.
    assert_eq!(server.call(Call::get("/v1/links/x/qr")).await.status, 200);
    let released = server.call(hold(Value::Null)).await.json();
    assert_eq!(released["withheld"], Value::Null);

    let log = server.call(Call::get("/v1/audit?code=x")).await.json();
    let states = |n: usize| {
        let entry = &log["entries"][n];
        [&entry["before"]["withheld"], &entry["after"]["withheld"]].map(Value::clone)
    };
    assert_eq!(states(0), [abuse.clone(), Value::Null]);
    assert_eq!(states(1), [legal.clone(), abuse.clone()]);
    assert_eq!(states(3), [Value::Null, abuse]);
}

#[tokio::test]
async fn only_admins_may_touch_a_link_that_is_withheld() {
    let server = Server::new();
    server.link(json!({"url": URL, "code": "x"})).await;
    let editor = make(&server, json!({"name": "ann", "role": "editor"})).await;
    let editor = format!("Bearer {editor}");
    let by_editor = |call: Call| call.header("authorization", &editor);
    let abuse = json!({"kind": "abuse", "reason": "Phishing"});
    let forbidden = (403, "forbidden".to_owned(), Some("withheld".to_owned()));
    for withheld in [abuse.clone(), Value::Null] {
        let reply = server.call(by_editor(hold(withheld))).await;
        assert_eq!(refused(&reply), forbidden);
        assert!(detail(&reply).contains("only the role admin"), "{reply:?}");
    }
    let new = json!({"url": URL, "code": "y", "withheld": abuse});
    let reply = server
        .call(by_editor(Call::post("/v1/links").json(&new)))
        .await;
    assert_eq!(refused(&reply), forbidden);
    let line = Call::post("/v1/links:batch").body("application/x-ndjson", new.to_string());
    let reply = server.call(by_editor(line)).await;
    assert_eq!(reply.json()["status"], 403, "{reply:?}");
    assert_eq!(server.store.len(), 1);

    assert_eq!(server.call(hold(abuse.clone())).await.status, 200);
    let before = server.call(Call::get("/v1/links/x")).await.json();
    let withheld = (403, "link-withheld".to_owned(), None);
    for call in [
        Call::patch("/v1/links/x").json(&json!({"url": "https://example.org/"})),
        Call::patch("/v1/links/x").json(&json!({"expires_at": "2023-11-14T22:13:21Z"})),
        Call::patch("/v1/links/x").json(&json!({"title": "a"})),
        Call::delete("/v1/links/x"),
        Call::delete("/v1/links/x").header("if-match", &format!("\"{}\"", before["version"])),
    ] {
        let reply = server.call(by_editor(call)).await;
        assert_eq!(refused(&reply), withheld, "{reply:?}");
    }
    assert_eq!(server.call(Call::get("/v1/links/x")).await.json(), before);
    let old = Call::delete("/v1/links/x").header("if-match", "\"1\"");
    assert_eq!(server.call(by_editor(old)).await.status, 412);
    // An admin may, and it stays withheld.
    let moved = Call::patch("/v1/links/x").json(&json!({"url": "https://example.org/"}));
    let moved = server.call(moved).await.json();
    assert_eq!(
        (&moved["url"], &moved["withheld"]),
        (&json!("https://example.org/"), &abuse)
    );
    assert_eq!(server.call(Call::delete("/v1/links/x")).await.status, 204);
}

#[tokio::test]
async fn lists_tell_withheld_links_from_live_ones() {
    let server = Server::new();
    let end = "2023-11-14T22:13:21Z";
    let abuse = json!({"kind": "abuse", "reason": "Phishing"});
    for (code, more) in [
        ("live", json!({})),
        ("held", json!({ "withheld": abuse })),
        ("over", json!({"expires_at": end, "withheld": abuse})),
    ] {
        let mut body = more;
        body["url"] = json!(URL);
        body["code"] = json!(code);
        server.link(body).await;
    }
    server.clock.set(UnixTime(NOW.0 + 1));
    let codes = async |query: &str| {
        let list = server
            .call(Call::get(&format!("/v1/links{query}")))
            .await
            .json();
        let links = list["links"].as_array().unwrap().iter();
        links
            .map(|link| link["code"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(codes("").await, ["held", "live"]);
    assert_eq!(codes("?state=live").await, ["live"]);
    assert_eq!(codes("?state=withheld").await, ["held"]);
    assert_eq!(codes("?state=ended").await, ["over"]);
}

#[tokio::test]
async fn what_is_wrong_with_a_reason_is_said() {
    let server = Server::new();
    server.link(json!({"url": URL, "code": "x"})).await;
    let check = async |withheld: Value, status: u16, text: &str| {
        let reply = server.call(hold(withheld)).await;
        let kind = match status {
            400 => "invalid-body",
            _ => "withheld-refused",
        };
        assert_eq!(
            refused(&reply),
            (status, kind.into(), Some("withheld".into()))
        );
        assert!(detail(&reply).contains(text), "{reply:?}");
    };
    check(
        json!(true),
        400,
        "neither null nor an object such as {\"kind\"",
    )
    .await;
    check(json!("abuse"), 400, "neither null nor an object").await;
    check(json!({"kind": "abuse"}), 400, "has no \"reason\"").await;
    check(json!({"reason": "x"}), 400, "has no \"kind\"").await;
    check(
        json!({"kind": 7, "reason": "x"}),
        400,
        "\"kind\" is not a string",
    )
    .await;
    check(
        json!({"kind": "abuse", "reason": "x", "by": "y"}),
        400,
        "unknown member \"by\"",
    )
    .await;
    check(
        json!({"kind": "spam", "reason": "x"}),
        422,
        "neither \"abuse\" nor \"legal\"",
    )
    .await;
    check(
        json!({"kind": "abuse", "reason": " "}),
        422,
        "people who open the link",
    )
    .await;
    let long = "x".repeat(201);
    check(json!({"kind": "abuse", "reason": long}), 422, "at most 200").await;
    let authority = json!({"kind": "legal", "reason": "x", "authority": "ftp://court.example/"});
    check(authority, 422, "the authority is not accepted").await;
    let needless = json!({"kind": "abuse", "reason": "x", "authority": "https://court.example/"});
    check(needless, 422, "leave it out").await;
}
