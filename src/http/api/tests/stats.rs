//! Statistics of links and zones.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::http::ApiRules;
use crate::http::testing::{Call, Server};

/// A server with counts of two links of the first zone and of one of the second.
async fn counted() -> Server {
    let server = Server::new();
    for (code, zone) in [
        ("sale", "s.example.com"),
        ("plain", "s.example.com"),
        ("net", "t.example.net"),
    ] {
        let body = json!({"url": format!("https://example.net/{code}"), "code": code});
        let made = server
            .call(Call::post(&format!("/v1/links?zone={zone}")).json(&body))
            .await;
        assert_eq!(made.status, 201);
    }
    let counts = [
        (
            "sale.s.example.com",
            "2023-11-14T22:10:00Z",
            "lookup:txt",
            2,
        ),
        (
            "sale.s.example.com",
            "2023-11-14T22:10:00Z",
            "lookup:address",
            5,
        ),
        (
            "sale.s.example.com",
            "2023-11-14T21:59:59Z",
            "click:person",
            3,
        ),
        ("sale.s.example.com", "2023-11-14T21:00:00Z", "click:bot", 4),
        (
            "sale.s.example.com",
            "2023-11-14T21:00:00Z",
            "referrer:example.org",
            1,
        ),
        (
            "sale.s.example.com",
            "2023-11-14T21:00:00Z",
            "referrer:other",
            1,
        ),
        (
            "sale.s.example.com",
            "2023-11-14T21:00:00Z",
            "country:DE",
            1,
        ),
        (
            "sale.s.example.com",
            "2023-11-14T21:00:00Z",
            "country:unknown",
            2,
        ),
        (
            "sale.s.example.com",
            "2023-09-01T00:00:00Z",
            "click:person",
            10,
        ),
        (
            "plain.s.example.com",
            "2023-11-14T21:00:00Z",
            "click:person",
            7,
        ),
        (
            "net.t.example.net",
            "2023-11-13T21:00:00Z",
            "click:person",
            100,
        ),
    ];
    for (name, at, counter, count) in counts {
        server.store.statistics.count(name, at, counter, count);
    }
    server
}

#[tokio::test]
async fn a_link_has_its_counts_by_unit_kind_class_host_and_country() {
    let server = counted().await;
    let stats = "/v1/links/sale/stats?from=2023-11-14T20:30:00Z";
    let reply = server.call(Call::get(stats)).await;
    assert_eq!(reply.status, 200);
    let none = json!({"all": 0, "address": 0, "txt": 0, "uri": 0, "other": 0});
    let some = json!({"all": 7, "address": 5, "txt": 2, "uri": 0, "other": 0});
    let clicks = |person: u64, bot: u64| json!({"person": person, "bot": bot, "preview": 0, "head": 0, "prefetch": 0});
    let unit = |start: &str, lookups: &Value, clicks: Value| json!({"start": start, "lookups": lookups, "clicks": clicks});
    let series = json!([
        unit("2023-11-14T20:00:00Z", &none, clicks(0, 0)),
        unit("2023-11-14T21:00:00Z", &none, clicks(3, 4)),
        unit("2023-11-14T22:00:00Z", &some, clicks(0, 0)),
    ]);
    let expected = json!({
        "code": "sale", "zone": "s.example.com", "by": "hour",
        "from": "2023-11-14T20:00:00Z", "to": "2023-11-14T23:00:00Z",
        "lookups": some, "clicks": clicks(3, 4), "all_time": {"lookups": 7, "clicks": 13},
        "referrers": [{"host": "example.org", "clicks": 1}], "other_referrers": 1,
        "countries": [{"country": null, "clicks": 2}, {"country": "DE", "clicks": 1}],
        "series": series,
    });
    assert_eq!(reply.json(), expected);

    let months = server
        .call(Call::get("/v1/links/sale/stats?by=month"))
        .await
        .json();
    let shown = months["series"].as_array().unwrap().iter();
    let shown: Vec<_> = shown
        .map(|unit| (&unit["start"], &unit["clicks"]["person"]))
        .collect();
    let (september, november) = (json!("2023-09-01T00:00:00Z"), json!("2023-11-01T00:00:00Z"));
    let (ten, nothing, three) = (json!(10), json!(0), json!(3));
    let october = json!("2023-10-01T00:00:00Z");
    assert_eq!(
        shown,
        [
            (&september, &ten),
            (&october, &nothing),
            (&november, &three)
        ]
    );
}

#[tokio::test]
async fn a_reply_is_json_lines_or_csv() {
    let server = counted().await;
    let stats = "/v1/links/sale/stats?from=2023-11-14T21:00:00Z";
    let get = async |accept: &str| server.call(Call::get(stats).header("accept", accept)).await;
    let csv = get("text/csv").await;
    assert_eq!(
        csv.text(),
        "start,lookups,lookups_address,lookups_txt,lookups_uri,lookups_other,clicks_person,clicks_bot,clicks_preview,\
         clicks_head,clicks_prefetch\r\n\
         2023-11-14T21:00:00Z,0,0,0,0,0,3,4,0,0,0\r\n\
         2023-11-14T22:00:00Z,7,5,2,0,0,0,0,0,0,0\r\n"
    );
    assert_eq!(csv.header("vary"), Some("Accept"));
    let lines = get("application/x-ndjson").await;
    let read: Vec<Value> = lines
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let whole = get("application/json").await;
    assert_eq!(json!(read), whole.json()["series"]);
    let refused = get("text/html").await;
    assert_eq!(refused.status, 406);
    assert_eq!(
        refused.problem(),
        ("not-acceptable".into(), Some("Accept".into()))
    );

    // Each form has a tag of its own, which stays until something is counted.
    let tag = csv.header("etag").unwrap().to_owned();
    assert_ne!(Some(&*tag), whole.header("etag"));
    let again = async || {
        let call = Call::get(stats)
            .header("accept", "text/csv")
            .header("if-none-match", &tag);
        server.call(call).await
    };
    assert_eq!(again().await.status, 304);
    server.store.statistics.count(
        "sale.s.example.com",
        "2023-11-14T22:00:00Z",
        "click:head",
        1,
    );
    assert_eq!(again().await.status, 200);
}

#[tokio::test]
async fn zones_have_their_sums_and_their_most_used_links() {
    let server = counted().await;
    let get = async |query: &str| {
        server
            .call(Call::get(&format!("/v1/stats{query}")))
            .await
            .json()
    };
    let all = get("").await;
    assert_eq!(all["zones"], json!(["s.example.com", "t.example.net"]));
    assert_eq!(all["by"], "day");
    assert_eq!(all["clicks"]["person"], 110);
    assert_eq!(all["most_used"]["unit"], "total");
    let ranked =
        |code: &str, zone: &str, count: u64| json!({"code": code, "zone": zone, "count": count});
    let net = ranked("net", "t.example.net", 100);
    let sale = ranked("sale", "s.example.com", 13);
    let plain = ranked("plain", "s.example.com", 7);
    assert_eq!(all["most_used"]["by_clicks"], json!([net, sale, plain]));
    assert_eq!(
        all["most_used"]["by_lookups"],
        json!([ranked("sale", "s.example.com", 7)])
    );

    let one = get("?zone=s.example.com&from=2023-11-14&to=2023-11-14&by=day&limit=1").await;
    assert_eq!(one["zones"], json!(["s.example.com"]));
    assert_eq!(one["clicks"]["person"], 10);
    assert_eq!(one["most_used"]["unit"], "day");
    assert_eq!(one["most_used"]["by_clicks"], json!([plain]));
    let refused = server.call(Call::get("/v1/stats?limit=101")).await;
    assert_eq!(
        refused.problem(),
        ("invalid-query".into(), Some("limit".into()))
    );
}

#[tokio::test]
async fn a_token_reads_the_statistics_of_its_zones_alone() {
    let server = counted().await;
    let body = json!({"name": "ann", "role": "reader", "zones": ["t.example.net"]});
    let made = server
        .call(Call::post("/v1/tokens").json(&body))
        .await
        .json();
    let token = format!("Bearer {}", made["token"].as_str().unwrap());
    let get = async |uri: &str| {
        server
            .call(Call::get(uri).header("authorization", &token))
            .await
    };
    let all = get("/v1/stats").await.json();
    assert_eq!(all["zones"], json!(["t.example.net"]));
    assert_eq!(all["clicks"]["person"], 100);
    assert_eq!(
        get("/v1/links/net/stats").await.json()["clicks"]["person"],
        100
    );
    for uri in [
        "/v1/stats?zone=s.example.com",
        "/v1/links/sale/stats?zone=s.example.com",
    ] {
        assert_eq!(get(uri).await.problem().0, "forbidden", "{uri}");
    }
}

#[tokio::test]
async fn what_was_not_counted_is_told_from_what_is_no_link() {
    let server = counted().await;
    let get = async |uri: &str| server.call(Call::get(uri)).await;
    assert_eq!(
        get("/v1/links/none/stats").await.problem().0,
        "no-such-link"
    );
    let quiet = json!({"url": "https://example.net/quiet", "code": "quiet"});
    server.link(quiet).await;
    let none = get("/v1/links/quiet/stats?by=month").await.json();
    assert_eq!(none["series"].as_array().unwrap().len(), 1);
    assert_eq!(none["all_time"], json!({"lookups": 0, "clicks": 0}));
    // The sums of a deleted link, if they are kept.
    server.call(Call::delete("/v1/links/plain")).await;
    assert_eq!(
        get("/v1/links/plain/stats").await.json()["clicks"]["person"],
        7
    );
    let wrong = get("/v1/links/sale/stats?from=yesterday").await;
    assert_eq!(
        wrong.problem(),
        ("invalid-query".into(), Some("from".into()))
    );
    let late = get("/v1/links/sale/stats?from=2023-11-15").await;
    assert_eq!(
        late.problem(),
        ("period-refused".into(), Some("from".into()))
    );
}

#[tokio::test]
async fn a_server_without_statistics_says_so() {
    let rules = ApiRules {
        statistics_off: true,
        ..ApiRules::default()
    };
    let server = Server::with_rules(rules);
    for uri in ["/v1/stats", "/v1/links/sale/stats"] {
        let reply = server.call(Call::get(uri)).await;
        assert_eq!(reply.status, 404);
        assert_eq!(reply.problem().0, "no-statistics");
        assert!(reply.text().contains("[statistics]"), "{reply:?}");
    }
    let server = Server::new();
    server.store.has_no_statistics.store(true, Ordering::SeqCst);
    let reply = server.call(Call::get("/v1/stats")).await;
    assert_eq!(reply.problem().0, "no-statistics");
    assert!(reply.text().contains("store"), "{reply:?}");
}

#[tokio::test]
async fn links_are_listed_by_their_use() {
    let server = counted().await;
    server
        .link(json!({"url": "https://example.net/quiet", "code": "quiet"}))
        .await;
    let codes = |page: &Value| -> Vec<String> {
        let links = page["links"].as_array().unwrap().iter();
        links
            .map(|link| link["code"].as_str().unwrap().to_owned())
            .collect()
    };
    let get = async |query: &str| server.call(Call::get(&format!("/v1/links?{query}"))).await;
    let all = get("sort=clicks").await.json();
    assert_eq!(codes(&all), ["sale", "plain"]);
    assert_eq!(all["next_cursor"], Value::Null);
    assert_eq!(codes(&get("sort=lookups").await.json()), ["sale"]);
    assert_eq!(
        codes(&get("sort=clicks&host=example.net&q=plain").await.json()),
        ["plain"]
    );

    let first = get("sort=clicks&limit=1").await.json();
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = get(&format!("sort=clicks&limit=1&cursor={cursor}"))
        .await
        .json();
    assert_eq!(
        (codes(&first), codes(&second)),
        (vec!["sale".into()], vec!["plain".into()])
    );
    for other in ["sort=lookups&", ""] {
        let refused = get(&format!("{other}limit=1&cursor={cursor}")).await;
        assert_eq!(
            refused.problem(),
            ("invalid-query".into(), Some("cursor".into()))
        );
    }
    server.call(Call::delete("/v1/links/sale")).await;
    assert_eq!(codes(&get("sort=clicks").await.json()), ["plain"]);
    server.store.has_no_statistics.store(true, Ordering::SeqCst);
    let refused = get("sort=clicks").await;
    assert_eq!(
        refused.problem(),
        ("sort-refused".into(), Some("sort".into()))
    );
}
