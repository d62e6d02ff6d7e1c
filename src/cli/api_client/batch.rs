//! Many links in one request: a body of lines, and an answer with a line for each.

use std::io::{self, BufRead, BufReader, Read};
use std::time::Duration;

use ureq::http::StatusCode;

use super::api::{Api, MAX_ANSWER_LEN};
use super::error::ApiError;
use super::messages::{LineResult, Link};
use crate::link::Origin;

/// The longest time for a batch of some hundred links. The server creates 64 at once, and each may take ten
/// seconds while its store is slow.
const BATCH_TIMEOUT: Duration = Duration::from_secs(60);
/// The media type of lines of JSON.
const NDJSON: &str = "application/x-ndjson";

/// The known results of a batch.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The results of the first lines, in order.
    pub(crate) results: Vec<LineResult>,
    /// Why results are missing, if they are. The server may have processed lines without a result.
    pub(crate) failure: Option<ApiError>,
}

impl Api {
    /// Creates many links: `body` has `lines` lines, each a [`NewLink`](super::NewLink).
    ///
    /// The API answers lines while it still receives others, and stops reading while its answers are not read.
    /// This client reads only after it has sent the whole body. So the answers to a body have to fit into the
    /// buffers of both ends: see `MAX_BODY` in `cli::import::register`.
    pub(crate) fn batch(
        &self,
        token: &str,
        zone: Option<&Origin>,
        body: &str,
        lines: usize,
    ) -> Batch {
        let mut results = Vec::with_capacity(lines);
        let failure = self.send_batch(token, zone, body, lines, &mut results);
        Batch {
            results,
            failure: failure.err(),
        }
    }

    fn send_batch(
        &self,
        token: &str,
        zone: Option<&Origin>,
        body: &str,
        lines: usize,
        results: &mut Vec<LineResult>,
    ) -> Result<(), ApiError> {
        let url = self.url("v1/links:batch", zone)?;
        let response = self
            .agent
            .post(url.as_str())
            .config()
            .timeout_global(Some(BATCH_TIMEOUT))
            .build()
            .header("authorization", format!("Bearer {token}"))
            .content_type(NDJSON)
            .send(body);
        let response = response.map_err(|e| self.failure(e))?;
        let status = response.status();
        if status != StatusCode::OK {
            let (_, body) = self.read(Ok(response), MAX_ANSWER_LEN)?;
            return Err(self.refusal(status, &body));
        }
        let mut answers = BufReader::new(response.into_body().into_reader());
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut limited = answers.by_ref().take(MAX_ANSWER_LEN);
            let read = limited.read_until(b'\n', &mut line);
            let read = read.map_err(|e| self.failure(e.into()))?;
            if read == 0 && results.len() == lines {
                return Ok(());
            }
            if !line.ends_with(b"\n") && read < MAX_ANSWER_LEN as usize {
                let broken = io::Error::new(io::ErrorKind::UnexpectedEof, "the answer ended early");
                return Err(self.failure(ureq::Error::Io(broken)));
            }
            match serde_json::from_slice::<LineResult>(&line) {
                Ok(result)
                    if results.len() < lines
                        && result.line == results.len() as u64 + 1
                        && result.link.as_ref().is_none_or(Link::is_sound) =>
                {
                    results.push(result);
                }
                _ => return Err(self.foreign(status)),
            }
        }
    }
}
