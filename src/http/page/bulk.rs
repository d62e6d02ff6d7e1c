//! Many links at once.
//!
//! The batch of the API makes them. A script gets each result as soon as it is known, as a line of JSON; otherwise the
//! response is a page with all of them.

use std::collections::VecDeque;

use askama::Template;
use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream::{self, Stream, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::bulk_input::{self, Row};
use super::form::{self, MAX_UPLOAD_BYTES};
use super::frame::{Frame, Place};
use super::state::Shared;
use super::values::{LinkData, sentence};
use super::visitor::Visitor;
use super::{calls, render};
use crate::http::api::Sent;

/// The type of a stream of results.
const STREAM_TYPE: &str = "application/x-ndjson";

#[derive(Template)]
#[template(path = "page/templates/bulk.html")]
struct BulkPage {
    frame: Frame,
    zones: Vec<String>,
    zone: String,
    lines: String,
    error: Option<String>,
    results: Vec<Outcome>,
    /// The URL of the report, once there are results.
    report: Option<String>,
}

impl BulkPage {
    fn new(visitor: &Visitor, zones: Vec<String>) -> Self {
        Self {
            frame: Frame::new("Many links at once", visitor, Place::Bulk),
            zones,
            zone: String::new(),
            lines: String::new(),
            error: None,
            results: Vec::new(),
            report: None,
        }
    }

    fn count(&self, kind: &str) -> usize {
        let of_kind = self.results.iter().filter(|result| result.kind == kind);
        of_kind.count()
    }

    fn max_mib(&self) -> usize {
        MAX_UPLOAD_BYTES >> 20
    }
}

/// The result of one row.
#[derive(Clone, Debug, Serialize)]
struct Outcome {
    line: u64,
    url: String,
    /// `made`, `there` or `failed`.
    kind: &'static str,
    /// The short URL; empty if there is none.
    short_url: String,
    /// What is wrong; empty if nothing is.
    detail: String,
}

/// A result of the API.
#[derive(Deserialize)]
struct LineResult {
    status: u16,
    link: Option<LinkData>,
    problem: Option<LineProblem>,
}

#[derive(Deserialize)]
struct LineProblem {
    detail: String,
}

impl Outcome {
    fn of(row: Row, line: &[u8]) -> Self {
        let result: Option<LineResult> = serde_json::from_slice(line).ok();
        let (kind, short_url, detail) = match result {
            Some(LineResult {
                status,
                link: Some(link),
                ..
            }) => {
                let kind = match status {
                    201 => "made",
                    _ => "there",
                };
                (kind, link.short_url, String::new())
            }
            Some(LineResult { problem, .. }) => {
                let detail = problem.map(|problem| sentence(&problem.detail));
                ("failed", String::new(), detail.unwrap_or_default())
            }
            None => ("failed", String::new(), "The server gave no result.".into()),
        };
        Self {
            line: row.line,
            url: row.url,
            kind,
            short_url,
            detail,
        }
    }
}

/// `GET /bulk`
pub(super) async fn show(
    State(state): State<Shared>,
    visitor: Visitor,
) -> Result<Response, Response> {
    let zones = state.zones(&visitor).await;
    let zones = zones.map_err(|problem| render::problem(Some(&visitor), &problem))?;
    let page = BulkPage::new(&visitor, zones);
    Ok(render::page(StatusCode::OK, &page))
}

/// `POST /bulk`
pub(super) async fn create(
    State(state): State<Shared>,
    visitor: Visitor,
    request: Request<Body>,
) -> Result<Response, Response> {
    let wants_stream = wants_stream(request.headers());
    let fields = form::read_upload(request, &visitor).await?;
    let zones = state.zones(&visitor).await;
    let zones = zones.map_err(|problem| render::problem(Some(&visitor), &problem))?;
    let zone = fields.get("zone").to_owned();
    let text = match fields.get("file") {
        "" => fields.get("lines"),
        file => file,
    };
    let page = BulkPage {
        zone: zone.clone(),
        lines: fields.get("lines").to_owned(),
        ..BulkPage::new(&visitor, zones)
    };
    let rows = match bulk_input::read(text, state.clock.now()) {
        Ok(rows) => rows,
        Err(error) => {
            let page = BulkPage {
                error: Some(error),
                ..page
            };
            return Ok(render::page(StatusCode::UNPROCESSABLE_ENTITY, &page));
        }
    };
    let total = rows.len();
    let body: String = rows.iter().map(|row| format!("{}\n", row.body)).collect();
    let sent = Sent {
        body: Some((STREAM_TYPE, body.into_bytes())),
        if_match: None,
    };
    let target = format!("/v1/links:batch?{}", calls::query([("zone", &*zone)]));
    let body = state
        .api
        .post_stream(&visitor.on_behalf, &target, sent)
        .await;
    let body = body.map_err(|problem| render::problem(Some(&visitor), &problem))?;
    let outcomes = outcomes(body, rows);
    if wants_stream {
        return Ok(streamed(total, outcomes));
    }
    let results: Vec<Outcome> = outcomes.collect().await;
    let page = BulkPage {
        report: Some(report_url(&results)),
        results,
        lines: String::new(),
        ..page
    };
    Ok(render::page(StatusCode::OK, &page))
}

fn wants_stream(headers: &HeaderMap) -> bool {
    headers
        .get(ACCEPT)
        .is_some_and(|value| value == STREAM_TYPE)
}

/// The outcomes as lines of JSON, after a line with their number.
fn streamed(total: usize, outcomes: impl Stream<Item = Outcome> + Send + 'static) -> Response {
    let line = |value: serde_json::Value| Ok::<_, axum::Error>(Bytes::from(format!("{value}\n")));
    let first = stream::iter([line(json!({ "total": total }))]);
    let rest = outcomes.map(move |outcome| line(json!(outcome)));
    let content_type = HeaderValue::from_static(STREAM_TYPE);
    let body = Body::from_stream(first.chain(rest));
    ([(CONTENT_TYPE, content_type)], body).into_response()
}

/// The outcomes of the rows, from the lines of the API's response. Rows without a result have failed.
fn outcomes(body: Body, rows: Vec<Row>) -> impl Stream<Item = Outcome> + Send + 'static {
    let reading = Reading {
        body: body.into_data_stream(),
        text: Vec::new(),
        rows: rows.into(),
        is_over: false,
    };
    stream::unfold(reading, |mut reading| async {
        let outcome = reading.next().await?;
        Some((outcome, reading))
    })
}

struct Reading {
    body: BodyDataStream,
    /// What has come of lines that are not read yet.
    text: Vec<u8>,
    rows: VecDeque<Row>,
    is_over: bool,
}

impl Reading {
    async fn next(&mut self) -> Option<Outcome> {
        loop {
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                return Some(Outcome::of(self.rows.pop_front()?, &line));
            }
            if self.is_over {
                return Some(Outcome::of(self.rows.pop_front()?, b""));
            }
            match self.body.next().await {
                Some(Ok(chunk)) => self.text.extend_from_slice(&chunk),
                Some(Err(_)) | None => self.is_over = true,
            }
        }
    }
}

/// The report as a CSV file, in a URL of its own: so the server need not keep it.
fn report_url(results: &[Outcome]) -> String {
    let mut csv = "line,url,result,short_url,reason\r\n".to_owned();
    for result in results {
        let line = result.line.to_string();
        let cells = [
            &line,
            &result.url,
            result.kind,
            &result.short_url,
            &result.detail,
        ];
        let cells = cells.map(cell);
        csv.push_str(&cells.join(","));
        csv.push_str("\r\n");
    }
    format!(
        "data:text/csv;charset=utf-8;base64,{}",
        STANDARD.encode(csv)
    )
}

/// A cell of a CSV file. Spreadsheets would take a text that begins with one of these characters for a formula.
fn cell(text: &str) -> String {
    let text = match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{text}"),
        false => text.to_owned(),
    };
    match text.contains(['"', ',', '\r', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells() {
        assert_eq!(cell("a"), "a");
        assert_eq!(cell("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(cell("=1+1"), "'=1+1");
    }

    #[tokio::test]
    async fn results_do_not_depend_on_chunks() {
        let row = |line| Row {
            line,
            url: "u".into(),
            body: json!({}),
        };
        let text = "{\"line\":1,\"status\":422,\"problem\":{\"detail\":\"no\"}}\n{\"line\":2,\"status\":500}\n";
        for size in 1..=text.len() {
            let chunks: Vec<_> = text.as_bytes().chunks(size).map(<[u8]>::to_vec).collect();
            let body =
                Body::from_stream(stream::iter(chunks.into_iter().map(Ok::<_, axum::Error>)));
            let found: Vec<_> = outcomes(body, vec![row(3), row(5), row(7)]).collect().await;
            let found: Vec<_> = found.iter().map(|o| (o.line, o.kind, &*o.detail)).collect();
            let last = (7, "failed", "The server gave no result.");
            assert_eq!(found, [(3, "failed", "No."), (5, "failed", ""), last]);
        }
    }
}
