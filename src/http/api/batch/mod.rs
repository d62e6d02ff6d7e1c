//! Many links in one request: one JSON object a line in the request, one a line in the response.
//!
//! ```text
//!   body ─ Lines ─ parse ─ up to CONCURRENCY creations at once ─ results in order ─ response
//! ```
//!
//! Both are streams. The response begins at once, and each result is sent as soon as it is known, while the request
//! still arrives. Memory does not grow with the length of the batch, so the length has no bound: at most
//! [`CONCURRENCY`] parsed lines and one unfinished line are held. hyper takes results only as fast as the client
//! reads them, and lines are read only as fast as results leave; so a client that stops reading causes no more work.
//! Many creations are in flight at once, so that the store can commit them together.
//!
//! With `wait=servers` the receipt of all links follows the last result.
//!
//! A batch with an `Idempotency-Key` is another matter; see [`keyed`].
//!
//! When the client disconnects, the response is dropped with every creation that waits. A creation that has begun at
//! the store may still be done. It is safe to send the batch again; the results then show what was done.

mod keyed;
mod lines;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use serde::Serialize;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

pub(super) use self::keyed::KEYED_AT_ONCE;
use self::lines::{Line, Lines};
use super::body::{self, LinkJson, MAX_BODY_BYTES};
use super::idempotency::Key;
use super::visible::{BatchReceipt, ChangeQuery};
use super::{Admin, Problem, query};
use crate::access::Caller;
use crate::http::problem::{Document, Kind};
use crate::http::serve::request_log::RequestId;
use crate::link::Origin;
use crate::links::{CreateLink, Creation, LinkError, Wait};
use crate::store::StoreError;

/// How many creations of one batch are in flight at once.
const CONCURRENCY: usize = 256;
/// How many creations of all batches together are at the store at once. The others wait in order and without a time
/// limit, while their clients receive the earlier results. So several batches do not make each other fail, and
/// batches do not keep single calls from the store.
pub(super) const AT_STORE: usize = 256;
/// How many results that are ready at the same time are sent in one piece.
const MAX_JOINED: usize = 64;
/// The media type of responses.
const MEDIA_TYPE: &str = "application/x-ndjson";

/// `POST /v1/links:batch`
pub(super) async fn create(
    State(admin): State<Arc<Admin>>,
    Extension(id): Extension<RequestId>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let asked: ChangeQuery = query(request.uri())?;
    let origin = admin.zone(&caller, asked.zone.as_deref())?;
    let key = Key::of(request.headers())?;
    body::check_media_type(request.headers(), is_ndjson, "application/x-ndjson")?;
    let batch = Batch {
        admin,
        id,
        caller,
        origin,
        wait: asked.wait(),
    };
    match key {
        None => Ok(batch.carry_out(request.into_body())),
        Some(key) => batch.carry_out_once(key, request).await,
    }
}

/// What all lines of a batch share.
struct Batch {
    admin: Arc<Admin>,
    id: RequestId,
    caller: Caller,
    origin: Origin,
    wait: Wait,
}

/// The result of one line, or the receipt: a line of the response.
struct LineDone {
    status: u16,
    text: Bytes,
    /// Whether this server may have denied the name of the link before; none if no link was made or found.
    denied: Option<bool>,
    /// Whether other servers hear of the link.
    is_announced: bool,
}

impl Batch {
    /// Makes the links while the response is read.
    fn carry_out(self, body: Body) -> Response {
        let mut tally = Tally::new(self.id.clone());
        let results = self
            .results(body)
            .map(Some)
            // The end is an item, too: without it, the stream was dropped because the client disconnected.
            .chain(stream::iter([None]))
            .filter_map(move |result| {
                tally.count(result.as_ref());
                std::future::ready(result.map(|result| result.map(|done| done.text)))
            });
        respond(results)
    }

    /// The results of all lines in their order. The links are made while the stream is polled.
    fn results(self, body: Body) -> impl Stream<Item = Result<LineDone, axum::Error>> + use<> {
        let Self {
            admin,
            id,
            caller,
            origin,
            wait,
        } = self;
        let receipt = BatchReceipt::new(origin.clone());
        let at_end = Arc::clone(&admin);
        // The stream outlives the request's span, and log lines of the store need the request's id.
        let span = tracing::Span::current();
        let lines = Lines::new(body).into_stream();
        let results = lines
            .map(move |read| {
                // Parsed here and not in the future, so that the memory of a long line is freed at once.
                let work = read.map(|line| (line.number, prepare(&admin, &caller, &origin, line)));
                let (admin, caller) = (Arc::clone(&admin), caller.clone());
                let id = id.clone();
                let work = async move {
                    let (number, prepared) = work?;
                    Ok(finish(&admin, &caller, &id, number, prepared).await)
                };
                work.instrument(span.clone())
            })
            .buffered(CONCURRENCY);
        match wait {
            Wait::No => results.left_stream(),
            Wait::Look | Wait::Servers => with_receipt(results, receipt, at_end).right_stream(),
        }
    }
}

/// The results, and at their end the receipt of all of them. Without an end, there is none.
fn with_receipt(
    results: impl Stream<Item = Result<LineDone, axum::Error>> + Send,
    receipt: BatchReceipt,
    admin: Arc<Admin>,
) -> impl Stream<Item = Result<LineDone, axum::Error>> + Send {
    let state = Some((Box::pin(results), receipt, admin));
    stream::unfold(state, |state| async {
        let (mut results, mut receipt, admin) = state?;
        match results.next().await {
            Some(Ok(done)) => {
                if let Some(denied) = done.denied {
                    receipt.note(denied, done.is_announced);
                }
                Some((Ok(done), Some((results, receipt, admin))))
            }
            Some(Err(error)) => Some((Err(error), None)),
            None => {
                let last = LineDone {
                    status: 200,
                    text: receipt.line(&admin).await.into(),
                    denied: None,
                    is_announced: true,
                };
                Some((Ok(last), None))
            }
        }
    })
}

/// The response with these results.
fn respond(results: impl Stream<Item = Result<Bytes, axum::Error>> + Send + 'static) -> Response {
    let pieces = results
        .ready_chunks(MAX_JOINED)
        .flat_map(|results| stream::iter(joined(results)));
    let content_type = HeaderValue::from_static(MEDIA_TYPE);
    ([(CONTENT_TYPE, content_type)], Body::from_stream(pieces)).into_response()
}

/// No media type is registered for lines of JSON. These are the names in use.
fn is_ndjson(essence: &str) -> bool {
    matches!(
        essence,
        "application/x-ndjson" | "application/ndjson" | "application/jsonl"
    )
}

/// The result of one line.
#[derive(Serialize)]
struct LineResult<'a> {
    line: u64,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<LinkJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Document<'a>>,
}

/// Parses a line, and finds all problems that do not need the store.
fn prepare(
    admin: &Admin,
    caller: &Caller,
    origin: &Origin,
    line: Line,
) -> Result<CreateLink, Problem> {
    if admin.draining.load(Ordering::Relaxed) {
        let detail = "the server is shutting down; send this line again";
        return Err(Problem::new(Kind::ShuttingDown, detail));
    }
    match line.text {
        Some(text) => body::creation(&text, origin.clone(), caller),
        None => {
            let detail = format!("the line has more than {MAX_BODY_BYTES} bytes");
            Err(Problem::new(Kind::BodyTooLarge, detail))
        }
    }
}

/// Creates the link when it is its turn. A task does it: the stream makes no progress while the client does not read
/// its results, and a future of the stream would hold its turn meanwhile, for which others wait. If the client
/// disconnects, the task is aborted.
async fn in_turn(
    admin: &Arc<Admin>,
    caller: &Caller,
    request: CreateLink,
) -> Result<Creation, Problem> {
    let admin = Arc::clone(admin);
    let wait = admin.rates.reserve(caller, Instant::now());
    let creating = async move {
        tokio::time::sleep(wait).await;
        // The semaphore is never closed. If it were, the store has limits of its own.
        let _turn = admin.batch_turns.acquire().await;
        admin.links.create(request).await
    };
    let created = AbortOnDropHandle::new(tokio::spawn(creating.in_current_span())).await;
    let created = created.map_err(|broken| StoreError::Unavailable(broken.to_string()));
    Ok(created.map_err(LinkError::from).flatten()?)
}

/// Creates the link, and returns the line with the result.
async fn finish(
    admin: &Arc<Admin>,
    caller: &Caller,
    id: &RequestId,
    line: u64,
    prepared: Result<CreateLink, Problem>,
) -> LineDone {
    let created = match prepared {
        Ok(request) => in_turn(admin, caller, request).await,
        Err(problem) => Err(problem),
    };
    let (status, link) = match &created {
        Ok(Creation::New(link)) => (201, Some(link)),
        Ok(Creation::Same(link)) => (200, Some(link)),
        Err(problem) => (problem.status().as_u16(), None),
    };
    let is_announced = link.is_none_or(|link| admin.links.is_visible_elsewhere(&link.name));
    let result = LineResult {
        line,
        status,
        link: link.map(|link| LinkJson::new(link, admin.short_urls).changed(is_announced)),
        problem: created.as_ref().err().map(|p| p.document(id.as_str())),
    };
    // Strings and numbers always serialise.
    let mut text = serde_json::to_vec(&result).unwrap_or_default();
    text.push(b'\n');
    LineDone {
        status,
        text: text.into(),
        denied: link.map(|link| admin.links.may_have_denied(&link.name)),
        is_announced,
    }
}

/// Joins results that are ready at the same time to one piece of the response. If the request was cut off, the known
/// results are still sent, and then the response is cut off, too. Other lines may still be done; their results show
/// when the batch is sent again.
fn joined(results: Vec<Result<Bytes, axum::Error>>) -> Vec<Result<Bytes, axum::Error>> {
    let mut text = Vec::new();
    let mut broken = None;
    for result in results {
        match result {
            Ok(line) => text.extend_from_slice(&line),
            Err(error) => broken = Some(Err(error)),
        }
    }
    let text = (!text.is_empty()).then(|| Ok(text.into()));
    text.into_iter().chain(broken).collect()
}

/// Counts the results of a batch, for one line in the log when it ends.
struct Tally {
    id: RequestId,
    results: u64,
    /// Whether the request was cut off.
    broken: bool,
    /// Whether every line that was read has its result.
    ended: bool,
}

impl Tally {
    fn new(id: RequestId) -> Self {
        Self {
            id,
            results: 0,
            broken: false,
            ended: false,
        }
    }

    fn count(&mut self, result: Option<&Result<LineDone, axum::Error>>) {
        match result {
            Some(Ok(_)) => self.results += 1,
            Some(Err(_)) => self.broken = true,
            None => self.ended = true,
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        tracing::info!(
            request_id = self.id.as_str(),
            results = self.results,
            complete = self.ended && !self.broken,
            "batch ended"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_before_an_error_still_go_out() {
        let broken = axum::Error::new(std::io::Error::other("gone"));
        let pieces = joined(vec![Ok("a\n".into()), Ok("b\n".into()), Err(broken)]);
        assert_eq!(pieces[0].as_ref().unwrap(), "a\nb\n");
        assert!(pieces[1].is_err());
        assert_eq!(pieces.len(), 2);
    }
}
