//! Batches of links.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::Value;
use tower::ServiceExt;

use super::{URL, unavailable};
use crate::http::api::batch::AT_STORE;
use crate::http::api::body::MAX_BODY_BYTES;
use crate::http::testing::{Call, Server};

/// The results of a batch: line, status and, where there is one, the kind of the problem.
async fn batch(server: &Server, lines: impl Into<Vec<u8>>) -> Vec<(u64, u64, String)> {
    let call = Call::post("/v1/links:batch").body("application/x-ndjson", lines);
    let reply = server.call(call).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
    let lines = reply.text().lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let kind = line["problem"]["type"].as_str().unwrap_or_default();
        let kind = kind.rsplit(':').next().unwrap().to_owned();
        if !kind.is_empty() {
            assert_eq!(line["problem"]["status"], line["status"]);
            assert_eq!(
                line["problem"]["request_id"].as_str(),
                reply.header("x-request-id")
            );
        }
        (
            line["line"].as_u64().unwrap(),
            line["status"].as_u64().unwrap(),
            kind,
        )
    });
    lines.collect()
}

fn results(expected: &[(u64, u64, &str)]) -> Vec<(u64, u64, String)> {
    let owned = expected
        .iter()
        .map(|(line, status, kind)| (*line, *status, (*kind).into()));
    owned.collect()
}

#[tokio::test]
async fn a_batch_answers_line_by_line() {
    let server = Server::new();
    let long = format!("{{\"url\":\"https://a/{}\"}}", "x".repeat(MAX_BODY_BYTES));
    let text = format!(
        "{{\"url\":\"{URL}\",\"code\":\"a\"}}\n\
         \r\n\
         {{\"url\":\"{URL}\",\"code\":\"a\"}}\r\n\
         {{\"url\":\"https://example.org/\",\"code\":\"a\"}}\n\
         {long}\n\
         {{\"url\":\"ftp://x/\"}}\n\
         not JSON\n\
         [\"{URL}\"]\n\
         {{\"url\":\"{URL}\",\"code\":\"www\"}}\n\
         {{\"url\":\"{URL}\"}}"
    );
    let expected = results(&[
        (1, 201, ""),
        (3, 200, ""),
        (4, 409, "code-taken"),
        (5, 413, "body-too-large"),
        (6, 422, "url-refused"),
        (7, 400, "invalid-body"),
        (8, 400, "invalid-body"),
        (9, 422, "code-reserved"),
        (10, 201, ""),
    ]);
    assert_eq!(batch(&server, text).await, expected);
    assert_eq!(server.store.len(), 2);
    assert_eq!(batch(&server, "").await, []);
    assert_eq!(batch(&server, "\n\n").await, []);
    let invalid = b"{\"url\":\"https://a/\xFF\"}\n".to_vec();
    assert_eq!(
        batch(&server, invalid).await,
        results(&[(1, 400, "invalid-body")])
    );
}

#[tokio::test]
async fn a_batch_goes_on_after_a_failure_of_the_store() {
    let server = Server::new();
    let line = format!("{{\"url\":\"{URL}\"}}\n");
    server.store.fail(Some(unavailable));
    let expected = results(&[(1, 503, "store-unavailable"), (2, 503, "store-unavailable")]);
    assert_eq!(batch(&server, line.repeat(2)).await, expected);
    server.store.fail(None);
    server.draining.store(true, Ordering::Relaxed);
    assert_eq!(
        batch(&server, line).await,
        results(&[(1, 503, "shutting-down")])
    );
    assert_eq!(server.store.len(), 0);
}

#[tokio::test]
async fn a_long_batch_keeps_its_order() {
    let server = Server::new();
    let lines = (0..1_000).map(|n| format!("{{\"url\":\"https://example.net/{}\"}}\n", n % 900));
    let call = Call::post("/v1/links:batch").body("application/jsonl", lines.collect::<String>());
    let reply = server.call(call).await;
    for (n, line) in reply.text().lines().enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["line"], n + 1);
        assert_eq!(line["status"], if n < 900 { 201 } else { 200 });
        assert_eq!(
            line["link"]["url"],
            format!("https://example.net/{}", n % 900)
        );
    }
    assert_eq!(reply.text().lines().count(), 1_000);
    assert_eq!(server.store.len(), 900);
}

#[tokio::test]
async fn a_client_that_does_not_read_its_results_keeps_no_turn_from_others() {
    let server = Server::new();
    server.store.held.store(true, Ordering::SeqCst);
    let lines = (0..AT_STORE).map(|n| format!("{{\"url\":\"https://example.net/{n}\"}}\n"));
    let call = Call::post("/v1/links:batch").body("application/jsonl", lines.collect::<String>());
    let reply = server.admin.clone().oneshot(call.request).await.unwrap();
    let mut unread = reply.into_body().into_data_stream();
    assert!(futures_util::poll!(unread.next()).is_pending());
    let begun = || server.store.begun.load(Ordering::SeqCst);
    while begun() < AT_STORE as u64 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.store.held.store(false, Ordering::SeqCst);
    // From now on nobody asks for results of the first one.
    let other = batch(&server, format!("{{\"url\":\"{URL}\"}}"));
    let other = tokio::time::timeout(Duration::from_secs(20), other).await;
    assert_eq!(other, Ok(results(&[(1, 201, "")])));
    let read: Vec<_> = unread.map(|piece| piece.unwrap()).collect().await;
    assert_eq!(read.concat().split(|b| *b == b'\n').count(), AT_STORE + 1);
}

#[tokio::test]
async fn a_batch_needs_its_media_type_and_its_zone() {
    let server = Server::new();
    let check = async |query: &str, media: &str, status: u16| {
        let call = Call::post(&format!("/v1/links:batch{query}")).body(media, "");
        assert_eq!(server.call(call).await.status, status, "{media}");
    };
    check("", "application/x-ndjson", 200).await;
    check("", "application/ndjson; charset=utf-8", 200).await;
    check("?zone=t.example.net", "application/jsonl", 200).await;
    check("?zone=example.org", "application/jsonl", 404).await;
    check("?limit=1", "application/jsonl", 400).await;
    check("", "application/json", 415).await;
    check("", "", 415).await;
}
