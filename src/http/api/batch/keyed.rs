//! A batch with an `Idempotency-Key`: it is carried out once, and a repeat gets the same results.
//!
//! The server compares the whole body to recognise a repeat, and keeps the results. So it limits the size of such a batch,
//! and refuses a larger one before it makes any link. A task makes the links; it goes on when the
//! client disconnects. The response has the results as they come, and ends when they are kept.
//!
//! A batch of which a line failed for the server's reasons is not kept: the repeat is carried out, and finds the links that
//! were made. Results that are too long for the store even if deflated are kept without their links: this takes a thousand
//! links with long notes.

use std::pin::pin;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use futures_util::stream::{self, StreamExt};
use serde_json::Value;
use tokio::sync::mpsc;
use tracing::Instrument;

use super::{Batch, LineDone, MEDIA_TYPE, Tally, respond};
use crate::http::api::body;
use crate::http::api::idempotency::{Held, Key, Keyed, Outcome, Turn, claim, is_final};
use crate::http::problem::{Kind, Problem};
use crate::store::StoreError;
use crate::store::idempotency::MAX_OUTCOME_LEN;

/// How many batches with keys may be in work at once; the others wait. Each has its body and its results in memory: usually
/// some 2 MB, at worst 14 MB.
pub(in crate::http::api) const KEYED_AT_ONCE: usize = 16;
/// How many lines a batch with a key may have. Blank ones do not count.
pub(in crate::http::api) const MAX_LINES: usize = 1_000;
/// How long a batch with a key may be, in bytes.
pub(in crate::http::api) const MAX_BYTES: usize = 1 << 20;
/// Takes the place of the reason in results that are kept in brief.
const BRIEF: &str = "the response to the first request has the reason";

impl Batch {
    /// Makes the links, unless a request with this key has.
    pub(super) async fn carry_out_once(
        self,
        key: Key,
        request: Request,
    ) -> Result<Response, Problem> {
        let (head, body) = request.into_parts();
        // The semaphore is never closed.
        let place = Arc::clone(&self.admin.keyed_batches).acquire_owned().await;
        let place = place.map_err(|_| StoreError::Overloaded)?;
        let body = body::read_up_to(body, MAX_BYTES).await;
        let body = body.map_err(|problem| match problem.is(Kind::BodyTooLarge) {
            true => too_large(),
            false => problem,
        })?;
        let is_blank = |line: &[u8]| line.iter().all(u8::is_ascii_whitespace);
        let lines = body.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !is_blank(line)).count();
        if lines > MAX_LINES {
            return Err(too_large());
        }
        let keyed = Keyed {
            key,
            caller: &self.caller,
            id: &self.id,
            method: &Method::POST,
            path: head.uri.path(),
            origin: &self.origin,
            body: &body,
            links: u32::try_from(lines).unwrap_or(u32::MAX).max(1),
        };
        match claim(&self.admin, &keyed, place).await? {
            Turn::Answered(response) => Ok(response),
            Turn::Ours(held) => Ok(self.begin(held, body)),
        }
    }

    /// Begins to make the links in a task, and returns the response with their results.
    fn begin(self, held: Held, body: Bytes) -> Response {
        // Room for all results, so that the task never waits for the client.
        let (sender, receiver) = mpsc::channel(MAX_LINES);
        let links = self.admin.links.clone();
        let task = async move {
            let mut tally = Tally::new(self.id.clone());
            let mut results = pin!(self.results(Body::from(body)));
            let work = async {
                let mut all = Vec::new();
                while let Some(done) = results.next().await {
                    tally.count(Some(&done));
                    // The body is in memory and cannot break off.
                    if let Ok(done) = done {
                        // An error means that the client has gone.
                        let _ = sender.try_send(done.text.clone());
                        all.push(done);
                    }
                }
                tally.count(None);
                all
            };
            let all = held.during(work).await;
            drop(tally);
            let kept = tokio::task::spawn_blocking(move || pack(&all)).await;
            held.end(kept.ok().flatten(), || drop(sender)).await;
        };
        links.carry_out(Box::pin(task.in_current_span()));
        respond(stream::unfold(receiver, |mut receiver| async {
            let text = receiver.recv().await?;
            Some((Ok(text), receiver))
        }))
    }
}

fn too_large() -> Problem {
    let detail = format!(
        "a batch with an Idempotency-Key has at most {MAX_LINES} lines and {MAX_BYTES} bytes; nothing was done. Split it, \
         with a key for each part, or leave the key out: a line that is sent again makes no second link"
    );
    Problem::new(Kind::KeyedBatchTooLarge, detail).of("Idempotency-Key")
}

/// The outcome for the store; none if a repeat may fare better.
fn pack(all: &[LineDone]) -> Option<Vec<u8>> {
    let status = |done: &LineDone| StatusCode::from_u16(done.status);
    if !all.iter().all(|done| status(done).is_ok_and(is_final)) {
        return None;
    }
    let whole = outcome(all.iter().map(|done| done.text.clone()));
    if whole.len() <= MAX_OUTCOME_LEN {
        return Some(whole);
    }
    Some(outcome(all.iter().map(|done| brief(&done.text))))
}

fn outcome(lines: impl Iterator<Item = Bytes>) -> Vec<u8> {
    let body = lines.collect::<Vec<_>>().concat();
    let content_type = (CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    Outcome::new(StatusCode::OK, HeaderMap::from_iter([content_type]), body).pack()
}

/// A result without its link, and without the reason of a problem.
fn brief(text: &[u8]) -> Bytes {
    let mut result: Value = serde_json::from_slice(text).unwrap_or_default();
    if let Some(members) = result.as_object_mut() {
        members.remove("link");
    }
    if let Some(problem) = result.get_mut("problem") {
        problem["detail"] = BRIEF.into();
    }
    format!("{result}\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(status: u16, text: String) -> LineDone {
        LineDone {
            status,
            text: text.into(),
            denied: None,
            is_announced: true,
        }
    }

    fn replayed(kept: &[u8]) -> String {
        let response = Outcome::unpack(kept).unwrap().into_response();
        let body = futures_util::FutureExt::now_or_never(axum::body::to_bytes(
            response.into_body(),
            usize::MAX,
        ));
        String::from_utf8(body.unwrap().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn results_are_kept_unless_a_repeat_may_fare_better() {
        let made = || done(201, "{\"line\":1,\"status\":201}\n".into());
        let refused = || done(422, "{\"line\":2,\"status\":422}\n".into());
        let failed = || done(503, "{\"line\":2,\"status\":503}\n".into());
        let kept = pack(&[made(), refused()]).unwrap();
        let text = "{\"line\":1,\"status\":201}\n{\"line\":2,\"status\":422}\n";
        assert_eq!(replayed(&kept), text);
        assert_eq!(pack(&[made(), failed()]), None);
        assert_eq!(replayed(&pack(&[]).unwrap()), "");
    }

    #[test]
    fn results_that_are_too_long_are_kept_in_brief() {
        // Random, so that it cannot be deflated.
        let long = |line: usize| {
            let noise: String = (0..13_000).map(|_| fastrand::alphanumeric()).collect();
            let link =
                format!("{{\"line\":{line},\"status\":201,\"link\":{{\"note\":\"{noise}\"}}}}\n");
            done(201, link)
        };
        let problem =
            "{\"line\":0,\"status\":409,\"problem\":{\"type\":\"t\",\"detail\":\"why\"}}\n";
        let mut all = vec![done(409, problem.into())];
        all.extend((1..MAX_LINES).map(long));
        let kept = pack(&all).unwrap();
        assert!(kept.len() < 20_000, "{} bytes", kept.len());
        let text = replayed(&kept);
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), MAX_LINES);
        assert_eq!(lines[0]["problem"]["detail"], BRIEF);
        assert_eq!(lines[7], serde_json::json!({"line": 7, "status": 201}));
    }
}
