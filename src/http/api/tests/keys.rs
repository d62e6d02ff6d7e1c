//! Requests with an `Idempotency-Key`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::Method;
use serde_json::json;
use tower::ServiceExt;

use super::{URL, unavailable};
use crate::base::clock::UnixTime;
use crate::base::metrics::{KeyUse, KeyUseLabel};
use crate::http::api::batch::KEYED_AT_ONCE;
use crate::http::testing::{Call, NOW, Reply, Server};
use crate::store::StoreError;
use crate::store::idempotency::{KEPT_FOR, LEASE};

async fn create(server: &Server, key: &str, url: &str) -> Reply {
    let call = Call::post("/v1/links").json(&json!({"url": url, "code": "x"}));
    server.call(call.header("idempotency-key", key)).await
}

fn check(reply: &Reply, status: u16, is_replayed: bool) {
    let replayed = reply.header("idempotent-replayed");
    assert_eq!(
        (reply.status.as_u16(), replayed),
        (status, is_replayed.then_some("true")),
        "{reply:?}"
    );
}

#[tokio::test]
async fn an_outcome_is_found_for_a_day() {
    let server = Server::new();
    let first = create(&server, "k", URL).await;
    check(&first, 201, false);
    let made_at = NOW.0;
    for elapsed in [0, LEASE, KEPT_FOR - 1] {
        server.clock.set(UnixTime(made_at + elapsed));
        let again = create(&server, "\"k\"", URL).await;
        check(&again, 201, true);
        assert_eq!(again.body, first.body);
        assert_eq!(again.header("etag"), first.header("etag"));
        assert_eq!(again.header("location"), first.header("location"));
        check(
            &create(&server, "k", "https://example.org/").await,
            422,
            false,
        );
    }
    server.clock.set(UnixTime(made_at + KEPT_FOR));
    check(&create(&server, "k", URL).await, 200, false);
    check(&create(&server, "k", URL).await, 200, true);
}

#[tokio::test]
async fn a_request_goes_on_without_its_client() {
    let server = Server::new();
    server.store.held.store(true, Ordering::SeqCst);
    let call = Call::post("/v1/links").json(&json!({"url": URL, "code": "x"}));
    let call = call.header("idempotency-key", "k");
    let mut first = Box::pin(server.admin.clone().oneshot(call.request));
    while server.store.begun.load(Ordering::SeqCst) == 0 {
        assert!(futures_util::poll!(&mut first).is_pending());
        tokio::task::yield_now().await;
    }
    let refused = create(&server, "k", URL).await;
    check(&refused, 409, false);
    assert_eq!(refused.problem().0, "idempotency-key-in-use");
    assert_eq!(refused.header("retry-after"), Some("1"));
    drop(first);
    server.store.held.store(false, Ordering::SeqCst);
    let replayed = async {
        loop {
            let again = create(&server, "k", URL).await;
            if again.status != 409 {
                return again;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let again = tokio::time::timeout(Duration::from_secs(20), replayed).await;
    check(&again.unwrap(), 201, true);
    let count = |result| {
        let uses = &server.metrics.key_uses;
        uses.get_or_create(&KeyUseLabel { result }).get()
    };
    assert_eq!(count(KeyUse::First), 1);
    assert_eq!(count(KeyUse::Replayed), 1);
}

#[tokio::test]
async fn a_failing_store_neither_keeps_nor_takes_keys() {
    let server = Server::new();
    server.store.fail(Some(unavailable));
    check(&create(&server, "k", URL).await, 503, false);
    server.store.fail(None);
    assert_eq!(server.store.len(), 0);
    server
        .store
        .fail_creations(Some(|| StoreError::Refused("full".into())));
    check(&create(&server, "k", URL).await, 503, false);
    server.store.fail_creations(None);
    // At once, without waiting for the lease.
    check(&create(&server, "k", URL).await, 201, false);
    check(&create(&server, "k", URL).await, 201, true);
}

#[tokio::test]
async fn an_outcome_that_is_not_kept_is_told_and_found_again() {
    let server = Server::new();
    server.store.keeps_nothing.store(true, Ordering::SeqCst);
    let first = create(&server, "k", URL).await;
    check(&first, 201, false);
    check(&create(&server, "k", URL).await, 409, false);
    server.store.keeps_nothing.store(false, Ordering::SeqCst);
    server.clock.set(UnixTime(NOW.0 + LEASE));
    let second = create(&server, "k", URL).await;
    check(&second, 200, false);
    assert_eq!(second.link(), first.link());
    check(&create(&server, "k", URL).await, 200, true);
}

#[tokio::test]
async fn only_registrations_have_keys() {
    let server = Server::new();
    server.link(json!({"url": URL, "code": "x"})).await;
    // Elsewhere the header means nothing, and is not read.
    for method in [Method::PATCH, Method::GET, Method::DELETE] {
        let call = Call::new(method.clone(), "/v1/links/x");
        let call = match method {
            Method::PATCH => call.json(&json!({"ttl": 7})),
            _ => call,
        };
        let reply = server.call(call.header("idempotency-key", "\"")).await;
        assert!(reply.status.is_success(), "{reply:?}");
    }
}

#[tokio::test]
async fn a_batch_is_kept_unless_a_line_failed() {
    let server = Server::new();
    let lines = format!("{{\"url\":\"{URL}\",\"code\":\"x\"}}\n{{}}\n");
    let batch = async |key: &str| {
        let call = Call::post("/v1/links:batch").body("application/x-ndjson", lines.clone());
        server.call(call.header("idempotency-key", key)).await
    };
    server
        .store
        .fail_creations(Some(|| StoreError::Refused("full".into())));
    let first = batch("k").await;
    check(&first, 200, false);
    assert!(first.text().contains("\"status\":503"), "{first:?}");
    server.store.fail_creations(None);
    let second = batch("k").await;
    check(&second, 200, false);
    assert!(second.text().contains("\"status\":201"), "{second:?}");
    let third = batch("k").await;
    check(&third, 200, true);
    assert_eq!(third.body, second.body);
    assert_eq!(third.header("content-type"), Some("application/x-ndjson"));
}

#[tokio::test]
async fn batches_with_keys_wait_for_a_place() {
    let server = Server::new();
    server.store.held.store(true, Ordering::SeqCst);
    let begin = |n: usize| {
        let line = format!("{{\"url\":\"{URL}\",\"code\":\"c{n}\"}}\n");
        let call = Call::post("/v1/links:batch").body("application/x-ndjson", line);
        let call = call.header("idempotency-key", &n.to_string());
        server.admin.clone().oneshot(call.request)
    };
    for n in 0..KEYED_AT_ONCE {
        assert_eq!(begin(n).await.unwrap().status(), 200);
    }
    let mut next = Box::pin(begin(KEYED_AT_ONCE));
    for _ in 0..100 {
        assert!(futures_util::poll!(&mut next).is_pending());
        tokio::task::yield_now().await;
    }
    server.store.held.store(false, Ordering::SeqCst);
    assert_eq!(next.await.unwrap().status(), 200);
}
