//! The outcome of each record: counted, and reported if the link differs from the record.
//!
//! The report names all links that have another code than in the source, and all records without a link. The
//! number of records read is the sum of the other counts.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::record::Record;
use crate::base::text::one_line;

/// The most characters of a key or URL that a report shows; in an item of DynamoDB they may have 400 KB.
const MAX_SHOWN: usize = 2_048;

/// The outcome of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The import created the link.
    Made,
    /// The link existed before the import.
    There,
    /// The link has another code than in the source.
    Renamed {
        why: Why,
        /// Its name.
        name: String,
    },
    /// Another record of the same import has created this link.
    Merged {
        /// Its name.
        name: String,
    },
    /// The link has expired already.
    Expired,
    /// The item only marks a deleted link.
    Deleted,
    /// The record has no link, for this reason.
    Refused(String),
}

/// Why a link has another code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The code leads elsewhere. The URL is none if that link has expired meanwhile.
    Taken { code: String, url: Option<String> },
    /// The link cannot have that code, for this reason.
    Unfit(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken {
                code,
                url: Some(url),
            } => write!(f, "the code {code} already leads to {url}"),
            Self::Taken { code, url: None } => write!(f, "the code {code} was taken"),
            Self::Unfit(reason) => f.write_str(reason),
        }
    }
}

/// The outcome of a record, and its link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) outcome: Outcome,
    /// The short URL of the link, or its name if the server has no redirect host; none without a link.
    pub(super) short: Option<String>,
}

impl From<Outcome> for Done {
    fn from(outcome: Outcome) -> Self {
        let short = None;
        Self { outcome, short }
    }
}

/// How many records had each outcome.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Counts {
    pub(super) read: u64,
    made: u64,
    there: u64,
    renamed: u64,
    merged: u64,
    expired: u64,
    deleted: u64,
    pub(super) refused: u64,
}

impl Counts {
    /// Counts the outcome of a record.
    pub(super) fn count(&mut self, outcome: &Outcome) {
        self.read += 1;
        *match outcome {
            Outcome::Made => &mut self.made,
            Outcome::There => &mut self.there,
            Outcome::Renamed { .. } => &mut self.renamed,
            Outcome::Merged { .. } => &mut self.merged,
            Outcome::Expired => &mut self.expired,
            Outcome::Deleted => &mut self.deleted,
            Outcome::Refused(_) => &mut self.refused,
        } += 1;
    }
}

/// The summary.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            read,
            made,
            there,
            renamed,
            merged,
            expired,
            deleted,
            refused,
        } = self;
        let skipped = expired + deleted;
        write!(
            f,
            "read {read}: made {made}, there already {there}, renamed {renamed}, merged {merged}, \
             skipped {skipped} (ended {expired}, deleted {deleted}), refused {refused}"
        )
    }
}

/// A line of the report as JSON.
#[derive(Serialize)]
struct Line<'a> {
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    key: &'a str,
    url: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    taken_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

/// The line of a URL of a list, as JSON.
#[derive(Serialize)]
struct Shortened<'a> {
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    short_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// The line of a URL of a list: its short URL for standard output, with the line's end, or as an error the
/// reason why it has none, for standard error.
pub(super) fn shortened_line(record: &Record, done: &Done, json: bool) -> Result<String, String> {
    let (url, short) = (shortened(&record.url), done.short.as_deref());
    let (outcome, reason) = match &done.outcome {
        Outcome::Made => ("made", None),
        Outcome::Refused(reason) => ("refused", Some(reason.as_str())),
        _ => ("there", None),
    };
    if json {
        let line = Shortened {
            outcome,
            line: record.line,
            url: &url,
            short_url: short,
            reason,
        };
        // Texts and numbers always serialise.
        let text = serde_json::to_string(&line).unwrap_or_default();
        return Ok(format!("{text}\n"));
    }
    match short {
        Some(short) => Ok(format!("{}\t{}\n", one_line(short), one_line(&url))),
        None => {
            let line = record.line.unwrap_or_default();
            let reason = reason.unwrap_or("it has no link");
            Err(one_line(&format!("line {line}: {url} : refused: {reason}")))
        }
    }
}

/// The line of a record in the report, with its end; none if the link is as in the source.
pub(super) fn line(record: &Record, outcome: &Outcome, json: bool) -> Option<String> {
    let (kind, reason, name, taken_by) = match outcome {
        Outcome::Made | Outcome::There | Outcome::Expired | Outcome::Deleted => return None,
        Outcome::Renamed { why, name } => {
            let url = match why {
                Why::Taken { url, .. } => url.as_deref(),
                Why::Unfit(_) => None,
            };
            ("renamed", why.to_string(), Some(name.as_str()), url)
        }
        Outcome::Merged { name } => {
            let reason = format!("the code {} leads there already", code(name));
            ("merged", reason, Some(name.as_str()), None)
        }
        Outcome::Refused(reason) => ("refused", reason.clone(), None, None),
    };
    let (key, url) = (shortened(&record.key), shortened(&record.url));
    if json {
        let line = Line {
            outcome: kind,
            line: record.line,
            key: &key,
            url: &url,
            reason: &reason,
            taken_by,
            name,
        };
        // Texts and numbers always serialise.
        let text = serde_json::to_string(&line).unwrap_or_default();
        return Some(format!("{text}\n"));
    }
    let end = match outcome {
        Outcome::Renamed { name, .. } => format!("{reason}; registered as {}", code(name)),
        Outcome::Refused(reason) => format!("refused: {reason}"),
        _ => format!("{reason}; merged"),
    };
    let place = match (record.line, key.is_empty()) {
        (Some(line), true) => format!("(line {line})"),
        _ => key,
    };
    let lead = match url.is_empty() {
        true => place,
        false => format!("{place} -> {url}"),
    };
    Some(format!("{}\n", one_line(&format!("{lead} : {end}"))))
}

/// The code of a name.
fn code(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn record(key: &str, url: &str) -> Record {
        Record {
            key: key.into(),
            url: url.into(),
            ..Record::bad(Some(7), "")
        }
    }

    fn taken(url: Option<&str>) -> Outcome {
        Outcome::Renamed {
            why: Why::Taken {
                code: "ab3".into(),
                url: url.map(Into::into),
            },
            name: "7rfsv45q.s.example.com".into(),
        }
    }

    #[test]
    fn lines_for_people() {
        let check = |record: &Record, outcome: Outcome, expected: &str| {
            let found = line(record, &outcome, false).unwrap();
            assert_eq!(found, format!("{expected}\n"));
        };
        let record_ = record("aB3", "https://example.net/b");
        check(
            &record_,
            taken(Some("https://example.net/a")),
            "aB3 -> https://example.net/b : the code ab3 already leads to https://example.net/a; \
             registered as 7rfsv45q",
        );
        check(
            &record_,
            taken(None),
            "aB3 -> https://example.net/b : the code ab3 was taken; registered as 7rfsv45q",
        );
        let name = "ab3.s.example.com".to_owned();
        check(
            &record_,
            Outcome::Merged { name },
            "aB3 -> https://example.net/b : the code ab3 leads there already; merged",
        );
        let refused = || Outcome::Refused("no".into());
        check(
            &record("x", "ftp://y"),
            refused(),
            "x -> ftp://y : refused: no",
        );
        check(&record("x", ""), refused(), "x : refused: no");
        check(&record("", ""), refused(), "(line 7) : refused: no");
        check(&record("", "u"), refused(), "(line 7) -> u : refused: no");
        check(
            &record("a\nb", "\u{1b}"),
            refused(),
            "a\\nb -> \\u{1b} : refused: no",
        );
        let long = "é".repeat(3_000);
        let shown = format!("x -> {}… : refused: no", "é".repeat(MAX_SHOWN));
        check(&record("x", &long), refused(), &shown);
    }

    #[test]
    fn lines_for_programs() {
        let check = |outcome: Outcome, expected: Value| {
            let found = line(&record("aB3", "u"), &outcome, true).unwrap();
            assert!(found.ends_with("}\n"), "{found}");
            assert_eq!(serde_json::from_str::<Value>(&found).unwrap(), expected);
        };
        check(
            taken(Some("v")),
            json!({"outcome": "renamed", "line": 7, "key": "aB3", "url": "u",
                "reason": "the code ab3 already leads to v", "taken_by": "v",
                "name": "7rfsv45q.s.example.com"}),
        );
        check(
            Outcome::Refused("no".into()),
            json!({"outcome": "refused", "line": 7, "key": "aB3", "url": "u", "reason": "no"}),
        );
    }

    #[test]
    fn lines_of_a_list_that_was_shortened() {
        let line = |outcome: Outcome, short: Option<&str>, json: bool| {
            let short = short.map(Into::into);
            shortened_line(
                &record("", "https://example.net/"),
                &Done { outcome, short },
                json,
            )
        };
        let short = Some("http://7rfsv45q.s.example.com/");
        let both = "http://7rfsv45q.s.example.com/\thttps://example.net/\n";
        assert_eq!(line(Outcome::Made, short, false), Ok(both.into()));
        assert_eq!(line(Outcome::There, short, false), Ok(both.into()));
        let refused = || Outcome::Refused("no\n".into());
        assert_eq!(
            line(refused(), None, false),
            Err("line 7: https://example.net/ : refused: no\\n".into())
        );
        let check = |outcome: Outcome, short: Option<&str>, expected: Value| {
            let found = line(outcome, short, true).unwrap();
            assert!(found.ends_with("}\n"), "{found}");
            assert_eq!(serde_json::from_str::<Value>(&found).unwrap(), expected);
        };
        let url = "https://example.net/";
        let made = json!({"outcome": "made", "line": 7, "url": url, "short_url": short});
        check(Outcome::Made, short, made);
        let merged = Outcome::Merged { name: "x".into() };
        let there = json!({"outcome": "there", "line": 7, "url": url, "short_url": short});
        check(merged, short, there);
        let reason = json!({"outcome": "refused", "line": 7, "url": url, "reason": "no\n"});
        check(refused(), None, reason);
    }

    #[test]
    fn links_as_in_the_source_are_only_counted() {
        let mut counts = Counts::default();
        for outcome in [
            Outcome::Made,
            Outcome::There,
            Outcome::Expired,
            Outcome::Deleted,
        ] {
            assert_eq!(line(&record("x", "u"), &outcome, false), None);
            counts.count(&outcome);
        }
        counts.count(&taken(None));
        counts.count(&Outcome::Merged { name: "x".into() });
        counts.count(&Outcome::Refused("no".into()));
        counts.count(&Outcome::Made);
        assert_eq!(
            counts.to_string(),
            "read 8: made 2, there already 1, renamed 1, merged 1, \
             skipped 2 (ended 1, deleted 1), refused 1"
        );
    }
}
