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
//! When the client disconnects, the response is dropped with every creation that waits. A creation that has begun at
//! the store may still be done. It is safe to send the batch again; the results then show what was done.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{Extension, Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use serde::Serialize;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::body::{self, LinkJson, MAX_BODY_BYTES};
use super::{Admin, Problem};
use crate::access::Caller;
use crate::http::problem::{Document, Kind};
use crate::http::serve::request_log::RequestId;
use crate::link::Origin;
use crate::links::{CreateLink, Creation, LinkError};
use crate::store::StoreError;

/// How many creations of one batch are in flight at once.
const CONCURRENCY: usize = 64;
/// How many creations of all batches together are at the store at once. The others wait in order and without a time
/// limit, while their clients receive the earlier results. So several batches do not make each other fail, and
/// batches do not keep single calls from the store.
pub(super) const AT_STORE: usize = 64;
/// How many results that are ready at the same time are sent in one piece.
const MAX_JOINED: usize = 64;

/// `POST /v1/links:batch`
pub(super) async fn create(
    State(admin): State<Arc<Admin>>,
    Extension(id): Extension<RequestId>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let origin = admin.zone_of(&caller, request.uri())?;
    body::check_media_type(request.headers(), is_ndjson, "application/x-ndjson")?;
    let mut tally = Tally::new(id.clone());
    // The stream outlives the request's span, and log lines of the store need the request's id.
    let span = tracing::Span::current();
    let lines = Lines::new(request.into_body()).into_stream();
    let results = lines
        .map(move |read| {
            // Parsed here and not in the future, so that the memory of a long line is freed at once.
            let work = read.map(|line| (line.number, prepare(&admin, &caller, &origin, line)));
            let admin = Arc::clone(&admin);
            let id = id.clone();
            let work = async move {
                let (number, prepared) = work?;
                Ok(finish(&admin, &id, number, prepared).await)
            };
            work.instrument(span.clone())
        })
        .buffered(CONCURRENCY)
        .map(Some)
        // The end is an item, too: without it, the stream was dropped because the client disconnected.
        .chain(stream::iter([None]))
        .filter_map(move |result| {
            tally.count(result.as_ref());
            std::future::ready(result)
        })
        .ready_chunks(MAX_JOINED)
        .flat_map(|results| stream::iter(joined(results)));
    let content_type = HeaderValue::from_static("application/x-ndjson");
    let body = Body::from_stream(results);
    Ok(([(CONTENT_TYPE, content_type)], body).into_response())
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
async fn in_turn(admin: &Arc<Admin>, request: CreateLink) -> Result<Creation, Problem> {
    let admin = Arc::clone(admin);
    let creating = async move {
        if let Some(rates) = &admin.rates {
            let wait = rates.reserve(&request.created_by.name, Instant::now());
            tokio::time::sleep(wait).await;
        }
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
    id: &RequestId,
    line: u64,
    prepared: Result<CreateLink, Problem>,
) -> Vec<u8> {
    let created = match prepared {
        Ok(request) => in_turn(admin, request).await,
        Err(problem) => Err(problem),
    };
    let (status, link) = match &created {
        Ok(Creation::New(link)) => (201, Some(link)),
        Ok(Creation::Same(link)) => (200, Some(link)),
        Err(problem) => (problem.status().as_u16(), None),
    };
    let result = LineResult {
        line,
        status,
        link: link.map(|link| {
            let is_visible = admin.links.is_visible_elsewhere(&link.name);
            LinkJson::new(link, admin.short_urls).changed(is_visible)
        }),
        problem: created.as_ref().err().map(|p| p.document(id.as_str())),
    };
    // Strings and numbers always serialise.
    let mut text = serde_json::to_vec(&result).unwrap_or_default();
    text.push(b'\n');
    text
}

/// Joins results that are ready at the same time to one piece of the response. If the request was cut off, the known
/// results are still sent, and then the response is cut off, too. Other lines may still be done; their results show
/// when the batch is sent again.
fn joined(results: Vec<Result<Vec<u8>, axum::Error>>) -> Vec<Result<Bytes, axum::Error>> {
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

    fn count(&mut self, result: Option<&Result<Vec<u8>, axum::Error>>) {
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

/// One line that is not blank.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    /// Its number, from 1. Blank lines count.
    number: u64,
    /// The line without its line break; none if it is too long.
    text: Option<Bytes>,
}

/// Cuts a body into lines of at most [`MAX_BODY_BYTES`].
struct Lines {
    body: BodyDataStream,
    /// Received bytes that are not yet cut into lines.
    chunk: Bytes,
    /// The line that began in an earlier chunk.
    begun: Vec<u8>,
    /// Whether that line is too long already. Then its text is not kept.
    too_long: bool,
    /// The number of the line being read.
    number: u64,
    ended: bool,
}

impl Lines {
    fn new(body: Body) -> Self {
        Self {
            body: body.into_data_stream(),
            chunk: Bytes::new(),
            begun: Vec::new(),
            too_long: false,
            number: 1,
            ended: false,
        }
    }

    fn into_stream(self) -> impl Stream<Item = Result<Line, axum::Error>> {
        stream::unfold(self, |mut lines| async {
            let line = lines.next().await?;
            Some((line, lines))
        })
    }

    async fn next(&mut self) -> Option<Result<Line, axum::Error>> {
        loop {
            if let Some(end) = self.chunk.iter().position(|b| *b == b'\n') {
                let mut last = self.chunk.split_to(end + 1);
                last.truncate(end);
                if let Some(line) = self.complete(last) {
                    return Some(Ok(line));
                }
                continue;
            }
            let part = std::mem::take(&mut self.chunk);
            if self.ended {
                return None;
            }
            self.keep(&part);
            match self.body.next().await {
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(error)) => {
                    self.ended = true;
                    return Some(Err(error));
                }
                None => {
                    self.ended = true;
                    return self.complete(Bytes::new()).map(Ok);
                }
            }
        }
    }

    /// Adds a part to the unfinished line.
    fn keep(&mut self, part: &[u8]) {
        if self.begun.len() + part.len() > MAX_BODY_BYTES {
            self.too_long = true;
            self.begun = Vec::new();
        }
        if !self.too_long {
            self.begun.extend_from_slice(part);
        }
    }

    /// Completes the line with its last part; none if it is blank.
    fn complete(&mut self, last: Bytes) -> Option<Line> {
        let text = if self.begun.is_empty() && !self.too_long && last.len() <= MAX_BODY_BYTES {
            last
        } else {
            self.keep(&last);
            Bytes::from(std::mem::take(&mut self.begun))
        };
        let too_long = std::mem::take(&mut self.too_long);
        let number = self.number;
        self.number += 1;
        if too_long {
            return Some(Line { number, text: None });
        }
        let blank = text.iter().all(u8::is_ascii_whitespace);
        (!blank).then_some(Line {
            number,
            text: Some(text),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a body that arrives in these chunks: number, and length or -1 if too long.
    async fn lines(chunks: Vec<String>) -> Vec<(u64, i64)> {
        let chunks = chunks.into_iter().map(Ok::<_, axum::Error>);
        let body = Body::from_stream(stream::iter(chunks));
        let lines = Lines::new(body).into_stream();
        let shown = lines.map(|line| {
            let line = line.unwrap();
            (line.number, line.text.map_or(-1, |text| text.len() as i64))
        });
        shown.collect().await
    }

    #[tokio::test]
    async fn lines_do_not_depend_on_chunks() {
        let text = "ab\n\n \r\ncde\r\n\nf";
        let expected = [(1, 2), (4, 4), (6, 1)];
        for size in 1..=text.len() {
            let chunks = text.as_bytes().chunks(size);
            let chunks = chunks.map(|c| String::from_utf8(c.to_vec()).unwrap());
            assert_eq!(lines(chunks.collect()).await, expected, "chunks of {size}");
        }
        assert_eq!(lines(vec![]).await, []);
        assert_eq!(lines(vec!["\n".into()]).await, []);
        assert_eq!(lines(vec!["a\n".into()]).await, [(1, 1)]);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_skipped_alone() {
        let full = "x".repeat(MAX_BODY_BYTES);
        let limit = MAX_BODY_BYTES as i64;
        for size in [1_000, MAX_BODY_BYTES - 1, MAX_BODY_BYTES, 1 << 20] {
            let text = format!("a\n{full}\n{full}x\n{full}{full}\nb\n{full}y");
            let chunks = text.as_bytes().chunks(size);
            let chunks = chunks.map(|c| String::from_utf8(c.to_vec()).unwrap());
            let expected = [(1, 1), (2, limit), (3, -1), (4, -1), (5, 1), (6, -1)];
            assert_eq!(lines(chunks.collect()).await, expected, "chunks of {size}");
        }
    }

    #[tokio::test]
    async fn a_broken_body_ends_the_lines_with_an_error() {
        let broken = axum::Error::new(std::io::Error::other("gone"));
        let chunks = [Ok("a\nb".to_owned()), Err(broken)];
        let body = Body::from_stream(stream::iter(chunks));
        let found: Vec<_> = Lines::new(body).into_stream().collect().await;
        assert_eq!(found.len(), 2);
        assert!(found[0].is_ok());
        assert!(found[1].is_err());
    }

    #[test]
    fn results_before_an_error_still_go_out() {
        let broken = axum::Error::new(std::io::Error::other("gone"));
        let pieces = joined(vec![Ok(b"a\n".to_vec()), Ok(b"b\n".to_vec()), Err(broken)]);
        assert_eq!(pieces[0].as_ref().unwrap(), "a\nb\n");
        assert!(pieces[1].is_err());
        assert_eq!(pieces.len(), 2);
    }
}
