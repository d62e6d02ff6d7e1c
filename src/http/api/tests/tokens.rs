//! Tokens: their calls, and what each role and zone allows.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use axum::http::Method;
use serde_json::{Value, json};

use super::super::{OPEN_PATHS, routes};
use crate::access::{Permission, Role};
use crate::base::metrics::{AuthFailure, AuthFailureLabel};
use crate::http::testing::{Call, NOW, Reply, Server, TOKEN};

/// Makes a token and returns its secret.
pub(super) async fn make(server: &Server, body: Value) -> String {
    let reply = server.call(Call::post("/v1/tokens").json(&body)).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.json()["token"].as_str().unwrap().to_owned()
}

impl Call {
    fn with(self, secret: &str) -> Self {
        self.header("authorization", &format!("Bearer {secret}"))
    }

    pub(super) fn from(mut self, peer: &str) -> Self {
        let peer: SocketAddr = peer.parse().unwrap();
        self.request.extensions_mut().insert(ConnectInfo(peer));
        self
    }
}

fn refused(reply: &Reply) -> (u16, String) {
    (reply.status.as_u16(), reply.problem().0)
}

#[tokio::test]
async fn every_route_is_closed_to_roles_that_it_does_not_name() {
    let server = Server::new();
    let methods = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PATCH,
        Method::DELETE,
    ];
    for role in Role::ALL {
        let name = role.name();
        let secret = make(
            &server,
            json!({"name": format!("the-{name}"), "role": name}),
        )
        .await;
        for route in routes() {
            let path = route.path.replace("{code}", "abc").replace("{name}", "abc");
            let path = path.replace("{zone}", "s.example.com");
            for method in &methods {
                let known = match method {
                    &Method::HEAD => &Method::GET,
                    method => method,
                };
                let needed = route.needs.iter().find(|(method, _)| method == known);
                let call = Call::new(method.clone(), &path).with(&secret);
                let reply = server.call(call).await;
                let is_refused = reply.status == 403;
                match needed {
                    Some((_, needed)) => {
                        assert_eq!(is_refused, !role.may(*needed), "{role} {method} {path}");
                    }
                    None => assert!(!is_refused, "{role} {method} {path}"),
                }
            }
            let is_open = OPEN_PATHS.contains(&route.path);
            assert_eq!(route.needs.is_empty(), is_open, "{path}");
        }
    }
}

#[tokio::test]
async fn what_changes_links_needs_an_editor_and_what_manages_tokens_an_admin() {
    for route in routes() {
        for (method, needed) in route.needs {
            let expected = match (route.path, method) {
                (path, _) if path.starts_with("/v1/tokens") => Permission::Administer,
                (path, _) if path.starts_with("/v1/certificates") => Permission::Administer,
                (path, _) if path.starts_with("/v1/pools") => Permission::Administer,
                ("/v1/audit" | "/v1/sessions" | "/v1/servers", _) => Permission::Administer,
                (_, &Method::GET) => Permission::Read,
                _ => Permission::Write,
            };
            assert_eq!(*needed, expected, "{method} {}", route.path);
        }
    }
}

#[tokio::test]
async fn a_token_from_its_creation_to_its_end() {
    let server = Server::new();
    let body = json!({"name": "ann", "role": "editor", "expires_at": "2023-11-14T22:13:30Z"});
    let made = server.call(Call::post("/v1/tokens").json(&body)).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.header("location"), Some("/v1/tokens/ann"));
    let secret = made.json()["token"].as_str().unwrap().to_owned();

    let link = Call::post("/v1/links").json(&json!({"url": "https://example.net/"}));
    let link = server.call(link.with(&secret)).await;
    assert_eq!(link.status, 201);
    assert_eq!(link.json()["created_by"], "ann");

    let listed = server.call(Call::get("/v1/tokens")).await;
    assert!(!listed.text().contains(&secret), "{}", listed.text());
    let expected = json!({"tokens": [{
        "name": "ann", "role": "editor", "zones": null,
        "created_at": "2023-11-14T22:13:20Z", "created_by": "admin",
        "expires_at": "2023-11-14T22:13:30Z", "rate": null, "burst": null, "last_used_at": "2023-11-14T22:13:20Z",
    }]});
    assert_eq!(listed.json(), expected);

    server.clock.set(crate::base::clock::UnixTime(NOW.0 + 10));
    let ended = server.call(Call::get("/v1/links").with(&secret)).await;
    assert_eq!(refused(&ended), (401, "unauthorized".into()));

    let other = make(&server, json!({"name": "bob", "role": "admin"})).await;
    let revoke = Call::delete("/v1/tokens/ann").with(&other);
    assert_eq!(server.call(revoke).await.status, 204);
    // A token may revoke itself.
    let revoke = Call::delete("/v1/tokens/bob").with(&other);
    assert_eq!(server.call(revoke).await.status, 204);
    let gone = server.call(Call::get("/v1/tokens").with(&other)).await;
    assert_eq!(refused(&gone), (401, "unauthorized".into()));
    let again = server.call(Call::delete("/v1/tokens/bob")).await;
    assert_eq!(refused(&again), (404, "no-such-token".into()));
    let listed = server.call(Call::get("/v1/tokens")).await;
    assert_eq!(listed.json(), json!({"tokens": []}));
}

#[tokio::test]
async fn a_token_with_a_rate_of_its_own_is_limited_and_others_are_not() {
    let server = Server::new();
    let body = json!({"name": "slow", "role": "editor", "rate": 1, "burst": 3});
    let made = server.call(Call::post("/v1/tokens").json(&body)).await;
    let made = made.json();
    assert_eq!((&made["rate"], &made["burst"]), (&json!(1), &json!(3)));
    let slow = made["token"].as_str().unwrap();
    let other = make(
        &server,
        json!({"name": "other", "role": "editor", "rate": 7}),
    )
    .await;
    let listed = server.call(Call::get("/v1/tokens")).await.json();
    let shown = |n: usize| [&listed["tokens"][n]["rate"], &listed["tokens"][n]["burst"]];
    assert_eq!(shown(0), [1, 3]);
    assert_eq!(shown(1), [7, 14], "the burst by default");

    let mut statuses = Vec::new();
    for _ in 0..50 {
        let reply = server.call(Call::get("/v1/zones").with(slow)).await;
        statuses.push(reply.status.as_u16());
    }
    assert_eq!(statuses[..3], [200; 3]);
    assert!(statuses.contains(&429), "{statuses:?}");
    for token in [&*other, TOKEN] {
        let reply = server.call(Call::get("/v1/zones").with(token)).await;
        assert_eq!(reply.status, 200);
    }
    let log = server.call(Call::get("/v1/audit?actor=admin")).await.json();
    let after = |n: usize| {
        [
            &log["entries"][n]["after"]["rate"],
            &log["entries"][n]["after"]["burst"],
        ]
    };
    assert_eq!(
        (after(1), after(0)),
        ([&json!(1), &json!(3)], [&json!(7), &json!(14)])
    );
}

#[tokio::test]
async fn a_token_of_one_zone_sees_no_other() {
    let server = Server::new();
    let zones = ["t.example.net"];
    let body = json!({"name": "t", "role": "editor", "zones": zones});
    let secret = make(&server, body).await;
    server
        .link(json!({"url": "https://example.net/", "code": "hidden"}))
        .await;

    let zones = server.call(Call::get("/v1/zones").with(&secret)).await;
    assert_eq!(
        zones.json(),
        json!({"zones": [{"origin": "t.example.net"}]})
    );
    // The zone of calls that name none is the first that the token allows.
    let body = json!({"url": "https://example.net/", "code": "shown"});
    let made = server
        .call(Call::post("/v1/links").json(&body).with(&secret))
        .await;
    assert_eq!(made.json()["name"], "shown.t.example.net");
    assert_eq!(made.header("location"), Some("/v1/links/shown"));
    let hidden = server
        .call(Call::get("/v1/links/hidden").with(&secret))
        .await;
    assert_eq!(refused(&hidden), (404, "no-such-link".into()));

    for zone in ["s.example.com", "nowhere.example.com", ""] {
        let patch = json!({"ttl": 1});
        let calls = [
            Call::get(&format!("/v1/links?zone={zone}")),
            Call::post(&format!("/v1/links?zone={zone}")).json(&body),
            Call::post(&format!("/v1/links:batch?zone={zone}"))
                .body("application/x-ndjson", body.to_string()),
            Call::get(&format!("/v1/links/hidden?zone={zone}")),
            Call::patch(&format!("/v1/links/hidden?zone={zone}")).json(&patch),
            Call::delete(&format!("/v1/links/hidden?zone={zone}")),
        ];
        for call in calls {
            let shown = format!("{} {}", call.request.method(), call.request.uri());
            let reply = server.call(call.with(&secret)).await;
            assert_eq!(refused(&reply), (403, "forbidden".into()), "{shown}");
            assert_eq!(reply.problem().1.as_deref(), Some("zone"), "{shown}");
        }
    }
    assert_eq!(server.call(Call::get("/v1/links/hidden")).await.status, 200);
}

#[tokio::test]
async fn a_token_that_breaks_a_rule_is_refused() {
    let server = Server::new();
    let check = async |body: Value, status: u16, kind: &str, field: &str| {
        let reply = server.call(Call::post("/v1/tokens").json(&body)).await;
        let (found, at) = reply.problem();
        let place = format!("{body}: {reply:?}");
        assert_eq!((reply.status.as_u16(), &*found), (status, kind), "{place}");
        assert_eq!(at.unwrap_or_default(), field, "{place}");
    };
    check(json!({"role": "editor"}), 400, "invalid-body", "name").await;
    check(json!({"name": "a"}), 400, "invalid-body", "role").await;
    check(
        json!({"name": 1, "role": "editor"}),
        400,
        "invalid-body",
        "name",
    )
    .await;
    let zones = |zones: Value| json!({"name": "a", "role": "editor", "zones": zones});
    check(zones(json!("s.example.com")), 400, "invalid-body", "zones").await;
    check(zones(json!([1])), 400, "invalid-body", "zones").await;
    check(zones(json!([])), 422, "token-refused", "zones").await;
    check(
        zones(json!(["x.example.com"])),
        422,
        "token-refused",
        "zones",
    )
    .await;
    check(zones(json!(["-"])), 422, "token-refused", "zones").await;
    let role = |name: &str, role: &str| json!({"name": name, "role": role});
    check(role("a b", "editor"), 422, "token-refused", "name").await;
    check(role("ADMIN", "editor"), 422, "token-refused", "name").await;
    check(role("a", "owner"), 422, "token-refused", "role").await;
    let admin = json!({"name": "a", "role": "admin", "zones": ["s.example.com"]});
    check(admin, 422, "token-refused", "zones").await;
    let ended = json!({"name": "a", "role": "reader", "expires_at": "2023-11-14T22:13:20Z"});
    check(ended, 422, "expiry-refused", "expires_at").await;

    let rate = |member: &str, value: Value| json!({"name": "a", "role": "reader", member: value});
    check(rate("rate", json!("5")), 400, "invalid-body", "rate").await;
    check(rate("rate", json!(0.5)), 400, "invalid-body", "rate").await;
    for bad in [json!(0), json!(-1), json!(1_000_001), json!(1e300)] {
        check(rate("rate", bad.clone()), 422, "token-refused", "rate").await;
        let burst = json!({"name": "a", "role": "reader", "rate": 1, "burst": bad});
        check(burst, 422, "token-refused", "burst").await;
    }
    check(rate("burst", json!(1)), 422, "token-refused", "burst").await;

    make(&server, role("ann", "reader")).await;
    check(role("Ann", "editor"), 409, "token-exists", "name").await;
    let listed = server.call(Call::get("/v1/tokens")).await.json();
    assert_eq!(listed["tokens"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_store_that_fails_leaves_tokens_in_doubt_but_not_the_root_token() {
    let server = Server::new();
    let secret = make(&server, json!({"name": "ann", "role": "reader"})).await;
    server.store.fail(Some(super::unavailable));
    // The copy of the list decides for another moment, if the test is fast; with a wrong secret there is no copy.
    let wrong = format!("tns_{}", "0".repeat(64));
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    for token in [&secret, &wrong] {
        let reply = server.call(Call::get("/v1/zones").with(token)).await;
        assert_eq!(refused(&reply), (503, "store-unavailable".into()));
    }
    assert_eq!(server.call(Call::get("/v1/zones")).await.status, 200);
    // Without the form of a secret the store is not needed.
    let reply = server.call(Call::get("/v1/zones").with("guess")).await;
    assert_eq!(reply.status, 401);
}

#[tokio::test]
async fn a_network_that_guesses_is_refused_and_counted() {
    let server = Server::new();
    let began = std::time::Instant::now();
    let guess = async |number: u64| {
        let call = Call::get("/v1/zones").with(&format!("guess-{number}"));
        server
            .call(call.from("192.0.2.7:1000"))
            .await
            .status
            .as_u16()
    };
    let mut statuses = Vec::new();
    for number in 0..60 {
        statuses.push(guess(number).await);
    }
    assert_eq!(statuses[..20], [401; 20]);
    // One wrong token comes back every three seconds.
    let looked_at = statuses.iter().filter(|status| **status == 401).count() as u64;
    let returned = began.elapsed().as_secs() / 3 + 1;
    assert!(looked_at <= 20 + returned, "{statuses:?}");
    assert!(statuses.contains(&429), "{statuses:?}");

    // Not even the right token is looked at, unless three seconds have passed since the guess before it.
    let mut refusals = Vec::new();
    for number in 60..70 {
        guess(number).await;
        let reply = server
            .call(Call::get("/v1/zones").from("192.0.2.9:1"))
            .await;
        if reply.status != 200 {
            refusals.push(refused(&reply));
        }
    }
    assert_eq!(refusals.first(), Some(&(429, "too-many-guesses".into())));
    let elsewhere = Call::get("/v1/zones").from("192.0.3.9:1");
    assert_eq!(server.call(elsewhere).await.status, 200);
    // Health checks go on.
    let health = Call::get("/healthz").from("192.0.2.7:1");
    assert_eq!(server.call(health).await.status, 200);
    let count = |reason| {
        let label = AuthFailureLabel { reason };
        server.metrics.auth_failures.get_or_create(&label).get()
    };
    assert!(count(AuthFailure::WrongToken) >= looked_at);
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert!(count(AuthFailure::TooManyGuesses) >= refused as u64);
}
