//! Turns raw values into valid ones, and knows where they stand. What is wrong is noted, and reading goes on with
//! the default in its place, so that an operator learns of all faults at once. What is here serves every part of
//! the file; what one part alone needs is in that part's module.

use crate::base::text::one_line;
use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::problem::{Fault, Faults, Problem};
use super::raw::{RawConfig, RawNumber};
use crate::base::toml_text::{Struck, TomlFault, TomlProblem, column_of, line_of, read_all};

/// Turns raw values into valid ones, and knows where they stand.
pub(super) struct ConfigReader<'a> {
    text: &'a str,
    path: &'a Path,
    /// What is in the file, but cannot be read.
    struck: Struck,
    faults: RefCell<Vec<Fault>>,
}

impl<'a> ConfigReader<'a> {
    /// Reads a file's text as far as it can be read; none where that is no configuration.
    pub(super) fn new(text: &'a str, path: &'a Path) -> (Self, Option<RawConfig>) {
        let reading = read_all(text);
        let reader = Self {
            text,
            path,
            struck: reading.struck,
            faults: RefCell::default(),
        };
        for fault in reading.faults {
            let TomlFault { at, key, what } = fault;
            let problem = toml_problem(&key, &what);
            reader.note(at..at, &one_line(&key), problem);
        }
        (reader, reading.value)
    }

    /// All that was noted; none where all is well.
    pub(super) fn faults(self) -> Option<Faults> {
        Faults::new(self.faults.into_inner())
    }

    /// Notes that something is wrong.
    pub(super) fn note(&self, span: Range<usize>, key: &str, problem: Problem) {
        let text = self.text.as_bytes();
        self.faults.borrow_mut().push(Fault {
            file: self.path.into(),
            line: line_of(text, span.start),
            column: column_of(text, span.start),
            key: key.into(),
            problem,
        });
    }

    /// Notes that `part` needs a key that its section does not have, unless it is there with a value that was
    /// complained of already. The section has this place and this name.
    pub(super) fn note_missing(
        &self,
        section: Range<usize>,
        name: &str,
        part: &'static str,
        key: &'static str,
    ) {
        if !self.is_struck_in(section.clone(), key) {
            self.note(section, name, Problem::Missing { part, key });
        }
    }

    /// Whether the section at this place has a key that was complained of already.
    pub(super) fn is_struck_in(&self, section: Range<usize>, key: &str) -> bool {
        self.struck.in_table(section.start, key)
    }

    /// Whether a key, with the names of its tables, is in the file and was complained of already.
    pub(super) fn is_struck(&self, key: &str) -> bool {
        self.struck.anywhere(key)
    }

    /// A text that has to pass a check.
    pub(super) fn text(
        &self,
        raw: Option<Spanned<String>>,
        key: &str,
        is_good: impl Fn(&str) -> bool,
        problem: fn(String) -> Problem,
    ) -> Option<String> {
        let raw = raw?;
        let (span, text) = (raw.span(), raw.into_inner());
        if is_good(&text) {
            return Some(text);
        }
        self.note(span, key, problem(text));
        None
    }

    /// The path of a file or directory.
    pub(super) fn file(&self, raw: Option<Spanned<String>>, key: &str, default: &str) -> PathBuf {
        self.optional_file(raw, key)
            .unwrap_or_else(|| default.into())
    }

    /// The path of a file that need not be there.
    pub(super) fn optional_file(&self, raw: Option<Spanned<String>>, key: &str) -> Option<PathBuf> {
        let text = self.text(raw, key, |path| !path.is_empty(), |_| Problem::EmptyPath);
        text.map(PathBuf::from)
    }

    /// A whole number from `min` to `max`; without one, `default`.
    pub(super) fn number<T>(
        &self,
        raw: Option<Spanned<RawNumber>>,
        key: &str,
        (min, max): (T, T),
        unit: &'static str,
        default: T,
    ) -> T
    where
        T: TryFrom<i64> + PartialOrd + Copy + Into<u32>,
    {
        self.optional_number(raw, key, (min, max), unit)
            .unwrap_or(default)
    }

    /// A whole number from `min` to `max`, if there is one.
    pub(super) fn optional_number<T>(
        &self,
        raw: Option<Spanned<RawNumber>>,
        key: &str,
        (min, max): (T, T),
        unit: &'static str,
    ) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Copy + Into<u32>,
    {
        let raw = raw?;
        let RawNumber(value) = *raw.get_ref();
        match T::try_from(value) {
            Ok(number) if min <= number && number <= max => Some(number),
            _ => {
                let (min, max) = (min.into(), max.into());
                let problem = Problem::Range {
                    value,
                    min,
                    max,
                    unit,
                };
                self.note(raw.span(), key, problem);
                None
            }
        }
    }

    /// One of a few words; `pick` gets none where there is none in the file. None where it is another word.
    pub(super) fn choice<T>(
        &self,
        raw: Option<Spanned<String>>,
        key: &str,
        known: &'static str,
        pick: impl Fn(Option<&str>) -> Option<T>,
    ) -> Option<T> {
        let word = raw.as_ref().map(|word| word.get_ref().as_str());
        let picked = pick(word);
        if picked.is_none() {
            let found = word.unwrap_or_default().to_owned();
            let span = raw.as_ref().map_or(0..0, Spanned::span);
            self.note(span, key, Problem::Choice { found, known });
        }
        picked
    }

    pub(super) fn line(&self, offset: usize) -> usize {
        line_of(self.text.as_bytes(), offset)
    }
}

/// What is wrong with a key with these names of tables.
fn toml_problem(key: &str, what: &TomlProblem) -> Problem {
    let text = what.to_string();
    let text = match (key.split('.').next(), what) {
        (Some("redis" | "cookies"), TomlProblem::Message(_)) => without_text(&text),
        _ => text.as_str().into(),
    };
    Problem::Toml(one_line(&text))
}

/// Whether a text has nothing but letters, digits and these marks.
pub(super) fn is_word(text: &str, marks: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || marks.contains(c))
}

/// A message of serde without the text that it complains of: in `[redis]`, that may be a URL with a
/// password in it, and in `[cookies]` a secret.
fn without_text(message: &str) -> Cow<'_, str> {
    match message.strip_prefix("invalid type: string ") {
        Some(rest) => {
            let expected = rest
                .rsplit_once(", expected ")
                .map_or("", |(_, known)| known);
            format!("invalid type: string, expected {expected}").into()
        }
        None => message.into(),
    }
}
