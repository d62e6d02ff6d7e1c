//! How commands show errors on standard error: as lines for people or, with `--json`, as one JSON object a line.
//!
//! The object has one member, `error`, so that a program can tell it from other lines. `error` has a `message`, which
//! is the text for people, and the members of the problem document (RFC 9457), if the API sent one. An error about one
//! of several links or URLs also has `line`, its line in standard input, or `argument`, its text on the command line.

use std::fmt;

use serde::Serialize;

use super::api_client::{ApiError, ProblemDocument};
use crate::base::text::{one_line, with_causes};

/// How errors are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorForm {
    /// Lines for people.
    Text,
    /// A JSON object.
    Json,
}

/// The one of several links or URLs that an error is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Place {
    /// A line of standard input.
    Line { line: u64 },
    /// A URL or link of the command line.
    Argument { argument: String },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { line } => write!(f, "line {line}"),
            Self::Argument { argument } => f.write_str(&one_line(argument)),
        }
    }
}

#[derive(Serialize)]
struct Object<'a> {
    error: Members<'a>,
}

#[derive(Serialize)]
struct Members<'a> {
    message: &'a str,
    #[serde(flatten)]
    place: Option<&'a Place>,
    #[serde(flatten)]
    problem: Option<&'a ProblemDocument>,
}

impl ErrorForm {
    /// The form for a command with `--json`, or without it.
    pub(super) fn of(json: bool) -> Self {
        match json {
            true => Self::Json,
            false => Self::Text,
        }
    }

    /// The text of an error for standard error, with the ends of its lines.
    pub fn shown(self, error: &anyhow::Error) -> String {
        let problem = error.chain().find_map(|cause| {
            let error: Option<&ApiError> = cause.downcast_ref();
            error.and_then(ApiError::problem)
        });
        self.text(&complaint(error), None, problem)
    }

    /// The same for an error about one of several links or URLs.
    pub(super) fn shown_at(self, place: &Place, error: &ApiError) -> String {
        let problem = error.problem();
        self.text(&with_causes(error), Some(place), problem)
    }

    /// The same for an error that did not come from the API.
    pub(super) fn shown_text(self, place: Option<&Place>, message: &str) -> String {
        self.text(message, place, None)
    }

    fn text(
        self,
        message: &str,
        place: Option<&Place>,
        problem: Option<&ProblemDocument>,
    ) -> String {
        match (self, place) {
            (Self::Text, Some(place)) => format!("tinyns: {place}: {message}\n"),
            // The faults of zone files have a line each.
            (Self::Text, None) => {
                let lines = message.lines().map(|line| format!("tinyns: {line}\n"));
                lines.collect()
            }
            (Self::Json, _) => {
                let error = Members {
                    message,
                    place,
                    problem,
                };
                // Texts and numbers always serialise.
                serde_json::to_string(&Object { error }).unwrap_or_default() + "\n"
            }
        }
    }
}

/// An error with its causes, as `effect: cause: …`. The faults of zone files keep their lines.
pub(super) fn complaint(error: &anyhow::Error) -> String {
    with_causes(error.as_ref())
}

/// Writes errors about some of several links or URLs, and counts them.
#[derive(Debug)]
pub(super) struct Failures {
    form: ErrorForm,
    count: u64,
}

impl Failures {
    pub(super) fn new(json: bool) -> Self {
        Self {
            form: ErrorForm::of(json),
            count: 0,
        }
    }

    /// Reports an error of the API.
    pub(super) fn add(&mut self, place: &Place, error: &ApiError) {
        self.write(&self.form.shown_at(place, error));
    }

    /// Reports another error.
    pub(super) fn add_text(&mut self, place: &Place, message: &str) {
        self.write(&self.form.shown_text(Some(place), message));
    }

    fn write(&mut self, text: &str) {
        use std::io::Write as _;
        self.count += 1;
        // A closed standard error is no failure of the command.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use ureq::http::StatusCode;

    use super::*;

    fn refused() -> ApiError {
        let problem = r#"{"type":"urn:tinyns:problem:code-taken","title":"Code taken","status":409,
            "detail":"a\nb","field":"code","request_id":"1f"}"#;
        let problem = serde_json::from_str(problem).unwrap();
        ApiError::refused(StatusCode::CONFLICT, problem).unwrap()
    }

    #[test]
    fn errors_for_people() {
        let check = |error: anyhow::Error, expected: &str| {
            assert_eq!(ErrorForm::Text.shown(&error), expected);
        };
        check(anyhow::anyhow!("a").context("b"), "tinyns: b: a\n");
        check(
            anyhow::anyhow!("x:1: a\ny:2: b"),
            "tinyns: x:1: a\ntinyns: y:2: b\n",
        );
        check(refused().into(), "tinyns: refused (409 Conflict): a\\nb\n");
        let at = ErrorForm::Text.shown_at(&Place::Line { line: 7 }, &refused());
        assert_eq!(at, "tinyns: line 7: refused (409 Conflict): a\\nb\n");
        let link = Place::Argument {
            argument: "\u{1b}[2J".into(),
        };
        let at = ErrorForm::Text.shown_text(Some(&link), "no");
        assert_eq!(at, "tinyns: \\u{1b}[2J: no\n");
    }

    #[test]
    fn errors_for_programs() {
        let problem = "\"type\":\"urn:tinyns:problem:code-taken\",\"title\":\"Code taken\",\"status\":409,\
                       \"detail\":\"a\\nb\",\"field\":\"code\",\"request_id\":\"1f\"";
        let message = "\"message\":\"refused (409 Conflict): a\\\\nb\"";
        let error = anyhow::Error::new(refused());
        assert_eq!(
            ErrorForm::Json.shown(&error),
            format!("{{\"error\":{{{message},{problem}}}}}\n")
        );
        let at = ErrorForm::Json.shown_at(&Place::Line { line: 7 }, &refused());
        assert_eq!(
            at,
            format!("{{\"error\":{{{message},\"line\":7,{problem}}}}}\n")
        );
        let other = anyhow::anyhow!("x:1: a\ny:2: b").context("c");
        assert_eq!(
            ErrorForm::Json.shown(&other),
            "{\"error\":{\"message\":\"c: x:1: a\\ny:2: b\"}}\n"
        );
    }
}
