//! Turns raw values into valid ones, and knows where they stand. What is here serves every part of
//! the file; what one part alone needs is in that part's module.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{ConfigError, Problem};
use super::raw::{RawConfig, RawNumber};

/// Turns raw values into valid ones, and knows where they stand.
pub(super) struct Reader<'a> {
    pub(super) text: &'a str,
    pub(super) path: &'a Path,
}

impl Reader<'_> {
    pub(super) fn raw(&self) -> Result<RawConfig, ConfigError> {
        read_toml(self.text).map_err(|fault| {
            let message = match fault.key.split('.').next() {
                Some("redis" | "cookies") => without_text(&fault.message),
                _ => fault.message.as_str().into(),
            };
            let problem = Problem::Toml(one_line(&message));
            self.error(fault.at..fault.at, &one_line(&fault.key), problem)
        })
    }

    /// A text that has to pass a check.
    pub(super) fn text(
        &self,
        raw: Option<Spanned<String>>,
        key: &str,
        is_good: impl Fn(&str) -> bool,
        problem: fn(String) -> Problem,
    ) -> Result<Option<String>, ConfigError> {
        match raw.map(|raw| (raw.span(), raw.into_inner())) {
            None => Ok(None),
            Some((_, text)) if is_good(&text) => Ok(Some(text)),
            Some((span, text)) => Err(self.error(span, key, problem(text))),
        }
    }

    pub(super) fn file(
        &self,
        raw: Option<Spanned<String>>,
        key: &str,
        default: &str,
    ) -> Result<PathBuf, ConfigError> {
        match raw {
            Some(path) if path.get_ref().is_empty() => {
                Err(self.error(path.span(), key, Problem::EmptyPath))
            }
            Some(path) => Ok(path.into_inner().into()),
            None => Ok(default.into()),
        }
    }

    /// A whole number from `min` to `max`.
    pub(super) fn number<T>(
        &self,
        raw: Spanned<RawNumber>,
        key: &str,
        min: T,
        max: T,
        unit: &'static str,
    ) -> Result<T, ConfigError>
    where
        T: TryFrom<i64> + PartialOrd + Copy + Into<u32>,
    {
        let RawNumber(value) = *raw.get_ref();
        match T::try_from(value) {
            Ok(number) if min <= number && number <= max => Ok(number),
            _ => {
                let (min, max) = (min.into(), max.into());
                let problem = Problem::Range {
                    value,
                    min,
                    max,
                    unit,
                };
                Err(self.error(raw.span(), key, problem))
            }
        }
    }

    /// One of a few words; `pick` gets none where there is none in the file.
    pub(super) fn choice<T>(
        &self,
        raw: Option<Spanned<String>>,
        key: &str,
        known: &'static str,
        pick: impl Fn(Option<&str>) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let word = raw.as_ref().map(|word| word.get_ref().as_str());
        pick(word).ok_or_else(|| {
            let found = word.unwrap_or_default().to_owned();
            let span = raw.as_ref().map_or(0..0, Spanned::span);
            self.error(span, key, Problem::Choice { found, known })
        })
    }

    pub(super) fn error(&self, span: Range<usize>, key: &str, problem: Problem) -> ConfigError {
        ConfigError::Invalid {
            file: self.path.into(),
            line: self.line(span.start),
            key: key.into(),
            problem,
        }
    }

    pub(super) fn line(&self, offset: usize) -> usize {
        line_of(self.text.as_bytes(), offset)
    }
}

/// Why a text in TOML is not what it should be.
pub(crate) struct TomlFault {
    /// The byte where that is seen.
    pub(crate) at: usize,
    /// The key with the names of its tables; empty where there is none.
    pub(crate) key: String,
    /// What is wrong. Key and message may hold control characters of the text.
    pub(crate) message: String,
}

/// Reads a text in TOML.
pub(crate) fn read_toml<T: DeserializeOwned>(text: &str) -> Result<T, TomlFault> {
    let fault = |e: &toml::de::Error, table: Option<&DeTable<'_>>| {
        let at = e.span().unwrap_or(0..0).start;
        TomlFault {
            at,
            key: table.and_then(|t| key_at(t, at)).unwrap_or_default(),
            message: e.message().into(),
        }
    };
    let table = DeTable::parse(text).map_err(|e| fault(&e, None))?;
    T::deserialize(toml::Deserializer::from(table.clone()))
        .map_err(|e| fault(&e, Some(table.get_ref())))
}

/// Whether a text has nothing but letters, digits and these marks.
pub(super) fn is_word(text: &str, marks: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || marks.contains(c))
}

/// The line of a byte, counted from 1.
pub(crate) fn line_of(text: &[u8], offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

/// The dotted name of the key, or of the key whose value, is at this byte. A table's own place is
/// only its header, so the search goes into every table.
fn key_at(table: &DeTable<'_>, offset: usize) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let name = key.get_ref().to_string();
        let inner = match value.get_ref() {
            DeValue::Table(table) => key_at(table, offset),
            DeValue::Array(array) => array
                .iter()
                .filter_map(|item| item.get_ref().as_table())
                .find_map(|table| key_at(table, offset)),
            _ => None,
        };
        match inner {
            Some(inner) => Some(format!("{name}.{inner}")),
            None => {
                (key.span().contains(&offset) || value.span().contains(&offset)).then_some(name)
            }
        }
    })
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

/// The text with its control characters escaped, for one line of a terminal or a log: a quoted key
/// may hold a line break, and what a server sends may hold anything.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().fold(String::new(), |mut line, c| {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
        line
    })
}
