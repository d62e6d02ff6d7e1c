//! Creates links for a piece of records, in batches of the admin API.
//!
//! ```text
//!   records ── wanted ── batch, with their codes ──┬── made, there already, merged, refused
//!                                                  │
//!                                                  └── code taken: to which URL does it lead?
//!                                                         │
//!                                                      batch, without codes ── renamed, refused
//! ```
//!
//! There is one request at a time; meanwhile the next piece is read. The server creates 64 links of a batch at
//! once, which is the limit of its DynamoDB store, so of two batches each would only delay the other. With
//! SQLite a second batch gained some 15 percent when it was measured.
//!
//! # Merged, or there already
//!
//! The API gives the same answer in both cases: the link exists. Versions are times, so they distinguish the
//! cases. A link older than the first link of this import was there already. A younger link was made by another
//! record of the same import, whose code differs in case: the records are merged. There are two exceptions,
//! which count as there already: lines that were sent before, which may have made the link themselves, and
//! items with the very version of the link. Such items occur when the import reads the table that the server
//! writes to.

use std::collections::HashSet;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::client::Client;
use super::super::transfer::{Patience, Screen, Server};
use super::record::{Called, Flaw, Record, Terms};
use super::report::{Done, Outcome, Why};
use super::targets::{Destination, Targets};
use crate::base::clock::{Clock, UnixTime};
use crate::cli::api_client::{Batch, LineResult, NewLink, ProblemDocument, is_passing};
use crate::link::{Code, Note, Origin, TargetUrl, TargetUrlError, Title, Ttl};

/// The most lines of one request.
const MAX_LINES: usize = 500;
/// The most bytes of the body of one request, without its last line. The answers to such a body fit into the
/// buffers of the server and the kernel, so the server never stops reading because this client does not read
/// yet.
const MAX_BODY: usize = 128 * 1024;

/// Creates the links of records.
pub(super) struct Registrar {
    server: Server,
    screen: Screen,
    targets: Targets,
    clock: Clock,
    /// The version of the first link that this import has made.
    pub(super) first_made: Option<u64>,
    /// Whether links may have codes that the server reserves.
    use_reserved: bool,
}

/// A link to create.
struct Wanted<'a> {
    /// The index of its record.
    index: usize,
    url: &'a str,
    zone: Origin,
    /// Its code; without one the server derives it from the URL.
    code: Option<Code>,
    /// Why it cannot have the code of its record.
    why: Option<Why>,
    terms: Terms,
}

/// The answer of the API to a line.
struct LineAnswer {
    result: LineResult,
    /// Whether the line was sent before with an unknown outcome.
    repeated: bool,
}

impl Registrar {
    pub(super) fn new(
        server: Server,
        screen: Screen,
        targets: Targets,
        first_made: Option<u64>,
    ) -> Self {
        Self {
            server,
            screen,
            targets,
            clock: Clock::default(),
            first_made,
            use_reserved: false,
        }
    }

    /// The same with links that may have codes which the server reserves, if `use_reserved` says so.
    pub(super) fn with_reserved(self, use_reserved: bool) -> Self {
        Self {
            use_reserved,
            ..self
        }
    }

    /// Creates the links of a piece, and returns the outcome of each record. `repeated` says that the piece may
    /// have been sent before.
    ///
    /// # Errors
    /// The API fails for good. A part of the piece may be done; sending it again is safe.
    pub(super) async fn register(
        &mut self,
        records: &[Record],
        repeated: bool,
    ) -> anyhow::Result<Vec<Done>> {
        let now = self.clock.now();
        let mut outcomes: Vec<Option<Done>> = Vec::with_capacity(records.len());
        let mut wanted = Vec::new();
        for (index, record) in records.iter().enumerate() {
            match want(index, record, &self.targets, now) {
                Ok(link) => {
                    wanted.push(link);
                    outcomes.push(None);
                }
                Err(outcome) => outcomes.push(Some(outcome.into())),
            }
        }
        while !wanted.is_empty() {
            let (now, later) = rounds(wanted);
            wanted = later;
            let answers = self.send_all(&now, repeated).await?;
            let mut without_code = Vec::new();
            for (link, answer) in now.into_iter().zip(answers) {
                match self.why_not(&link, &answer).await? {
                    Some(why) => without_code.push(Wanted {
                        code: None,
                        why: Some(why),
                        ..link
                    }),
                    None => outcomes[link.index] = Some(self.judge(&link, answer)),
                }
            }
            let answers = self.send_all(&without_code, repeated).await?;
            for (link, answer) in without_code.iter().zip(answers) {
                outcomes[link.index] = Some(self.judge(link, answer));
            }
        }
        let lost = || Outcome::Refused("the admin API has not answered".into());
        let known = outcomes.into_iter();
        Ok(known
            .map(|done| done.unwrap_or_else(|| lost().into()))
            .collect())
    }

    /// Sends lines to their zones, and returns the answers in the order of the lines.
    async fn send_all(
        &mut self,
        wanted: &[Wanted<'_>],
        repeated: bool,
    ) -> anyhow::Result<Vec<LineAnswer>> {
        let mut answers: Vec<Option<LineAnswer>> = wanted.iter().map(|_| None).collect();
        let mut zones: Vec<&Origin> = wanted.iter().map(|link| &link.zone).collect();
        zones.sort();
        zones.dedup();
        for zone in zones {
            let own = |i: &usize| wanted[*i].zone == *zone;
            let left: Vec<usize> = (0..wanted.len()).filter(own).collect();
            self.send(zone, wanted, left, repeated, &mut answers)
                .await?;
        }
        let answers: Vec<LineAnswer> = answers.into_iter().flatten().collect();
        let made = answers.iter().filter(|a| a.result.status == 201);
        let versions = made.filter_map(|a| a.result.link.as_ref()?.version);
        self.first_made = versions.chain(self.first_made).min();
        Ok(answers)
    }

    /// Sends lines to one zone until each has an answer.
    async fn send(
        &self,
        zone: &Origin,
        wanted: &[Wanted<'_>],
        mut left: Vec<usize>,
        repeated: bool,
        answers: &mut [Option<LineAnswer>],
    ) -> anyhow::Result<()> {
        let mut sent = vec![repeated; wanted.len()];
        let mut patience = Patience::default();
        while !left.is_empty() {
            let (body, lines) = body(wanted, &left, self.use_reserved)?;
            let batch = self.batch(zone, body, lines).await?;
            let mut failed = None;
            let mut again = Vec::new();
            let mut results = batch.results.into_iter();
            for &index in &left[..lines] {
                let repeated = std::mem::replace(&mut sent[index], true);
                match results.next() {
                    Some(result) if is_passing(result.status) => {
                        failed = failed.or(result.problem.and_then(|p| p.reason()));
                        again.push(index);
                    }
                    Some(result) => answers[index] = Some(LineAnswer { result, repeated }),
                    None => again.push(index),
                }
            }
            if again.len() < lines {
                patience = Patience::default();
            }
            left.splice(..lines, again);
            match (batch.failure, failed) {
                (Some(failure), _) if failure.may_pass() => {
                    self.screen.wait(&mut patience, failure).await?;
                }
                (Some(failure), _) => return Err(failure.into()),
                (None, Some(reason)) => {
                    self.screen.wait(&mut patience, Failed(reason)).await?;
                }
                (None, None) => {}
            }
        }
        Ok(())
    }

    async fn batch(&self, zone: &Origin, body: String, lines: usize) -> anyhow::Result<Batch> {
        let zone = zone.clone();
        let send =
            move |client: &Client| client.api.batch(&client.token, Some(&zone), &body, lines);
        self.server.call(send).await
    }

    /// Why a link cannot have its code, if the API refused the code.
    async fn why_not(&self, link: &Wanted<'_>, answer: &LineAnswer) -> anyhow::Result<Option<Why>> {
        let (Some(code), Some(problem)) = (&link.code, &answer.result.problem) else {
            return Ok(None);
        };
        match problem.kind() {
            "code-taken" => {
                let (zone, asked) = (link.zone.clone(), code.clone());
                let holder = self
                    .server
                    .insist(move |client| client.api.get(&client.token, Some(&zone), &asked));
                let url = match holder.await? {
                    Ok(holder) => Some(holder.link.url),
                    // The other link has expired meanwhile.
                    Err(error) if error.is_not_found() => None,
                    Err(error) => return Err(error.into()),
                };
                let code = code.to_string();
                Ok(Some(Why::Taken { code, url }))
            }
            "code-reserved" => Ok(problem.reason().map(Why::Unfit)),
            _ => Ok(None),
        }
    }

    /// The outcome by the last answer to a link.
    fn judge(&self, link: &Wanted<'_>, answer: LineAnswer) -> Done {
        let LineAnswer { result, repeated } = answer;
        let found = match (result.status, result.link) {
            (200 | 201, Some(found)) => found,
            _ => return refusal(&link.terms, result.problem.as_ref(), self.clock.now()).into(),
        };
        let short = Some(found.short_url.unwrap_or_else(|| found.name.clone()));
        let ours = self.first_made.is_some() && found.version >= self.first_made;
        let itself = found.version.is_some() && found.version == link.terms.version;
        let name = found.name;
        let outcome = match (&link.why, result.status) {
            (Some(why), _) => Outcome::Renamed {
                why: why.clone(),
                name,
            },
            (None, 201) => Outcome::Made,
            (None, _) if ours && !repeated && !itself => Outcome::Merged { name },
            (None, _) => Outcome::There,
        };
        Done { outcome, short }
    }
}

/// The API cannot create links at the moment.
#[derive(Debug, thiserror::Error)]
#[error("the server cannot create links: {0}")]
pub(super) struct Failed(String);

/// The link that a record asks for, or its outcome if no request is needed.
fn want<'a>(
    index: usize,
    record: &'a Record,
    targets: &Targets,
    now: UnixTime,
) -> Result<Wanted<'a>, Outcome> {
    let terms = match &record.terms {
        Ok(terms) => terms.clone(),
        Err(Flaw::Deleted) => return Err(Outcome::Deleted),
        Err(Flaw::Bad(reason)) => return Err(Outcome::Refused(reason.clone())),
    };
    if is_over(&terms, now) {
        return Err(Outcome::Expired);
    }
    if record.url.len() > TargetUrl::MAX_LEN {
        let reason = TargetUrlError::TooLong(record.url.len());
        return Err(Outcome::Refused(reason.to_string()));
    }
    let place = targets.place(&record.key, record.called);
    let Destination { zone, code } = place.map_err(Outcome::Refused)?;
    let (code, why) = match code {
        // It had no code, so it has not lost one.
        _ if record.called == Called::Nothing => (None, None),
        Ok(code) => (Some(code), None),
        Err(_) if record.key.trim().is_empty() => (None, Some("it has no code".to_owned())),
        Err(reason) => (None, Some(reason)),
    };
    Ok(Wanted {
        index,
        url: &record.url,
        zone,
        code,
        why: why.map(Why::Unfit),
        terms,
    })
}

/// The links that can be sent together, and those that have to wait. Two links with one code cannot be sent
/// together: the server creates many links at once, and the first record of the source is to get the code.
fn rounds(wanted: Vec<Wanted<'_>>) -> (Vec<Wanted<'_>>, Vec<Wanted<'_>>) {
    let mut taken = HashSet::new();
    wanted.into_iter().partition(|link| match &link.code {
        Some(code) => taken.insert((link.zone.clone(), code.clone())),
        None => true,
    })
}

fn is_over(terms: &Terms, now: UnixTime) -> bool {
    terms.expires_at.is_some_and(|end| end <= now)
}

/// The body of a request for the first of these links, and their number: at least one.
fn body(
    wanted: &[Wanted<'_>],
    left: &[usize],
    use_reserved: bool,
) -> anyhow::Result<(String, usize)> {
    let mut body = String::new();
    let mut lines = 0;
    for link in left.iter().take(MAX_LINES).map(|index| &wanted[*index]) {
        if body.len() >= MAX_BODY {
            break;
        }
        let expires_at = link.terms.expires_at.map(rfc3339).transpose()?;
        let about = &link.terms.about;
        let new = NewLink {
            url: Some(link.url),
            destinations: &link.terms.destinations,
            code: link.code.as_ref().map(Code::as_str),
            // The server makes no code that is reserved.
            use_reserved: use_reserved && link.code.is_some(),
            expires_at: expires_at.as_deref(),
            ttl: link.terms.ttl.map(Ttl::as_secs),
            title: about.title().map(Title::as_str),
            tags: about.tags().iter().collect(),
            note: about.note().map(Note::as_str),
            withheld: link.terms.withheld.as_ref(),
        };
        body += &serde_json::to_string(&new)?;
        body.push('\n');
        lines += 1;
    }
    Ok((body, lines))
}

/// A time in the form of the API. Records have no time beyond the calendar.
fn rfc3339(time: UnixTime) -> anyhow::Result<String> {
    let seconds = i64::try_from(time.0)?;
    Ok(OffsetDateTime::from_unix_timestamp(seconds)?.format(&Rfc3339)?)
}

/// The outcome of a line that created no link.
fn refusal(terms: &Terms, problem: Option<&ProblemDocument>, now: UnixTime) -> Outcome {
    match problem {
        // The link expired while the request was in progress.
        Some(problem) if problem.kind() == "expiry-refused" && is_over(terms, now) => {
            Outcome::Expired
        }
        Some(problem) => Outcome::Refused(problem.reason().unwrap_or_else(|| "no reason".into())),
        None => Outcome::Refused("the admin API gives no reason".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, url: &str) -> Record {
        Record {
            line: None,
            key: key.into(),
            called: Called::Code,
            url: url.into(),
            terms: Ok(Terms::default()),
        }
    }

    fn targets() -> Targets {
        let zones = ["s.example.com", "t.example.net"];
        let zones = zones.map(|zone| Origin::parse(zone).unwrap());
        Targets::new(zones.into(), None).unwrap()
    }

    fn wanted(records: &[Record]) -> Vec<Wanted<'_>> {
        let targets = targets();
        let each = records.iter().enumerate();
        each.map(|(i, record)| want(i, record, &targets, UnixTime(7)).unwrap())
            .collect()
    }

    #[test]
    fn lines_have_the_form_of_the_api() {
        let mut records = [
            record("aB3", "https://example.net/\"1"),
            record("a_b", "u"),
            record("C4.t.example.net", "v"),
            record("resume.pdf", "w"),
            Record::from_url(1, b"x".to_vec()),
        ];
        records[2].terms = Ok(Terms {
            expires_at: Some(UnixTime(1_893_456_000)),
            ttl: Ttl::from_secs(0),
            version: Some(9),
            ..Terms::default()
        });
        let wanted = wanted(&records);
        let (plain, lines) = body(&wanted, &[2, 0, 1, 3, 4], false).unwrap();
        assert_eq!(lines, 5);
        let reserved = body(&wanted, &[3, 2], true).unwrap().0;
        let with_code = "{\"url\":\"v\",\"code\":\"c4\",\"use_reserved\":true,";
        assert!(reserved.starts_with("{\"url\":\"w\"}\n"), "{reserved}");
        assert!(reserved.contains(with_code), "{reserved}");
        assert_eq!(
            plain,
            "{\"url\":\"v\",\"code\":\"c4\",\"expires_at\":\"2030-01-01T00:00:00Z\",\"ttl\":0}\n\
             {\"url\":\"https://example.net/\\\"1\",\"code\":\"ab3\"}\n\
             {\"url\":\"u\"}\n\
             {\"url\":\"w\"}\n\
             {\"url\":\"x\"}\n"
        );
        assert!(matches!(wanted[1].why, Some(Why::Unfit(_))));
        assert!(matches!(wanted[3].why, Some(Why::Unfit(_))));
        assert_eq!(wanted[4].why, None);
        assert_eq!(wanted[2].zone.as_str(), "t.example.net");
    }

    #[test]
    fn a_request_is_bounded_in_lines_and_bytes() {
        let check = |url_len: usize, expected: usize| {
            let records = vec![record("x", &"u".repeat(url_len)); 600];
            let left: Vec<usize> = (0..600).collect();
            let (body, lines) = body(&wanted(&records), &left, false).unwrap();
            assert_eq!(lines, expected, "URLs of {url_len} bytes");
            assert_eq!(body.lines().count(), lines);
            assert!(body.len() < MAX_BODY + 2_100);
        };
        check(20, MAX_LINES);
        check(2_048, MAX_BODY.div_ceil(2_048 + 22));
    }

    #[test]
    fn outcomes_without_a_request() {
        let check = |record: &Record, expected: Outcome| {
            let found = want(0, record, &targets(), UnixTime(7));
            assert_eq!(found.err(), Some(expected), "{record:?}");
        };
        let with = |terms| Record {
            terms,
            ..record("x", "u")
        };
        let ends = |end| Terms {
            expires_at: Some(UnixTime(end)),
            ..Terms::default()
        };
        check(&with(Err(Flaw::Deleted)), Outcome::Deleted);
        check(&with(Ok(ends(7))), Outcome::Expired);
        assert!(want(0, &with(Ok(ends(8))), &targets(), UnixTime(7)).is_ok());
        let refused = |reason: &str| Outcome::Refused(reason.into());
        check(&with(Err(Flaw::Bad("no".into()))), refused("no"));
        check(
            &record("x", &"u".repeat(2_049)),
            refused("the URL has 2049 bytes; at most 2048 are accepted"),
        );
        let elsewhere = Record {
            called: Called::Name,
            ..record("x.example.org", "u")
        };
        check(
            &elsewhere,
            refused(
                "the name is in the zone \"example.org\", and links go into s.example.com, t.example.net",
            ),
        );
    }

    #[test]
    fn the_first_record_gets_the_code() {
        let records = [
            record("aB3", "1"),
            record("Ab3", "2"),
            record("a_b", "3"),
            record("a_b", "4"),
            record("ab3.t.example.net", "5"),
            record("AB3", "6"),
        ];
        let urls = |links: &[Wanted<'_>]| links.iter().map(|link| link.url).collect::<String>();
        let (now, later) = rounds(wanted(&records));
        assert_eq!((urls(&now), urls(&later)), ("1345".into(), "26".into()));
        let (now, later) = rounds(later);
        assert_eq!((urls(&now), urls(&later)), ("2".into(), "6".into()));
    }
}
