//! Several URLs: batches, and a line for each link.

use anyhow::{Context, bail};
use serde::Serialize;
use ureq::http::StatusCode;

use super::AddArgs;
use super::ignored::{ignored, members, options};
use super::source::{Item, Source};
use crate::base::progress::Extent;
use crate::base::text::one_line;
use crate::cli::api_client::{ApiError, LineResult, Link, NewLink};
use crate::cli::client::Client;
use crate::cli::counter::Counter;
use crate::cli::failure::{Failures, Place};
use crate::cli::outcome::Exit;
use crate::cli::output::{print, say, write};
use crate::cli::shown::{self, NOT_VISIBLE};
use crate::link::Code;

/// Creates a link for each URL, and prints the links.
///
/// # Errors
/// A URL has no link.
pub(super) fn add(
    client: &Client,
    args: &AddArgs,
    expires_at: Option<&str>,
    mut source: Source<'_>,
) -> anyhow::Result<Exit> {
    let mut work = Work {
        client,
        args,
        expires_at,
        failures: Failures::new(args.client.json),
        counter: Counter::new("add", Extent::Unknown),
        ignored: false,
        is_hidden: false,
        last: None,
    };
    loop {
        let piece = source.piece()?;
        if piece.is_empty() || !work.piece(&piece)? {
            break;
        }
    }
    work.counter.clear();
    if work.is_hidden && !args.client.json {
        say(NOT_VISIBLE);
    }
    let everywhere = work.wait()?;
    match (work.failures.count(), work.ignored) {
        (0, false) => Ok(everywhere),
        (0, true) => Ok(Exit::Ignored),
        (count, _) => bail!(
            "{count} of {} URLs have no link; see above",
            work.counter.done()
        ),
    }
}

/// The work so far.
struct Work<'a> {
    client: &'a Client,
    args: &'a AddArgs,
    expires_at: Option<&'a str>,
    failures: Failures,
    counter: Counter,
    /// Whether options were ignored.
    ignored: bool,
    /// Whether other servers do not show some of the links yet.
    is_hidden: bool,
    /// The code of the last link.
    last: Option<Code>,
}

/// The line of a link with `--json`.
#[derive(Serialize)]
struct Added<'a> {
    #[serde(flatten)]
    place: &'a Place,
    #[serde(flatten)]
    link: &'a Link,
    created: bool,
    ignored: Vec<&'static str>,
}

impl Work<'_> {
    /// Creates the links of a piece. Returns false if the reader of standard output has closed it.
    fn piece(&mut self, piece: &[Item]) -> anyhow::Result<bool> {
        let (mut sent, mut body) = (Vec::new(), String::new());
        for item in piece {
            match &item.url {
                Ok(url) => {
                    body += &serde_json::to_string(&self.new_link(url))?;
                    body.push('\n');
                    sent.push((&item.place, url.as_str()));
                }
                Err(error) => {
                    self.counter.clear();
                    self.failures.add_text(&item.place, &error.to_string());
                }
            }
        }
        let zone = self.args.client.zone.as_ref();
        let (api, token) = (&self.client.api, &self.client.token);
        let batch = match sent.len() {
            0 => None,
            lines => Some(api.batch(token, zone, &body, lines)),
        };
        let (results, failure) = batch.map_or((Vec::new(), None), |b| (b.results, b.failure));
        let answered = results.len();
        self.counter.clear();
        let mut text = String::new();
        for ((place, url), result) in sent.iter().zip(results) {
            text += &self.line(place, url, result);
        }
        let is_read = write(text.as_bytes())?;
        self.counter.add(piece.len() as u64);
        match (failure, sent.get(answered)) {
            (Some(failure), Some((place, _))) => {
                Err(failure).with_context(|| format!("no answer for {place} and what follows"))
            }
            (Some(failure), None) => Err(failure.into()),
            (None, _) => Ok(is_read),
        }
    }

    /// With `--wait`, waits until all servers answer with the links.
    fn wait(&self) -> anyhow::Result<Exit> {
        let Some(code) = self.last.as_ref().filter(|_| self.args.wait) else {
            return Ok(Exit::Done);
        };
        let (api, token) = (&self.client.api, &self.client.token);
        let zone = self.args.client.zone.as_ref();
        // Who has the last link has all others.
        let visible = api.wait_for_servers(token, zone, code)?;
        match self.args.client.json {
            true => print(&format!("{}\n", serde_json::json!({ "visible": visible })))?,
            false => say(&format!("servers: {}", shown::receipt(&visible))),
        }
        Ok(shown::exit_of(Some(&visible)))
    }

    fn new_link<'u>(&'u self, url: &'u str) -> NewLink<'u> {
        self.args.new_link(Some(url), self.expires_at)
    }

    /// The line of a result on standard output. What went wrong goes to standard error.
    fn line(&mut self, place: &Place, url: &str, result: LineResult) -> String {
        let created = result.status == StatusCode::CREATED;
        let (Some(link), None) = (result.link, &result.problem) else {
            let status = StatusCode::from_u16(result.status).unwrap_or_default();
            let problem = result.problem.unwrap_or_default();
            match ApiError::refused(status, problem) {
                Some(error) => self.failures.add(place, &error),
                None => self.failures.add_text(place, "refused without a reason"),
            }
            return String::new();
        };
        let ignored = ignored(&self.new_link(url), &link, created);
        self.ignored |= !ignored.is_empty();
        self.is_hidden |= link.visible_elsewhere == Some(false);
        let code = link.name.split('.').next().unwrap_or_default();
        self.last = Code::parse(code).ok().or(self.last.take());
        if self.args.client.json {
            let ignored = members(&ignored);
            let added = Added {
                place,
                link: &link,
                created,
                ignored,
            };
            // Texts and numbers always serialise.
            return serde_json::to_string(&added).unwrap_or_default() + "\n";
        }
        if !ignored.is_empty() {
            say(&format!(
                "{place}: the link exists already and was not changed; ignored: {}",
                options(&ignored)
            ));
        }
        one_line(link.short_url.as_ref().unwrap_or(&link.name)) + "\n"
    }
}
