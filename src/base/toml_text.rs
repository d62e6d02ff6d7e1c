//! Reads text in TOML, and says where in the text a fault is.

use std::collections::HashSet;
use std::fmt;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The most letters in which a misspelt key differs from the known key.
const MAX_TYPOS: usize = 2;
/// The message of the `toml` crate for a key that occurs twice in a table.
const DUPLICATE: &str = "duplicate key";

/// A fault in a text in TOML. The texts may hold control characters of the file.
#[derive(Debug)]
pub(crate) struct TomlFault {
    /// The offset of the fault in the text, in bytes; 0 where it is not known.
    pub(crate) at: usize,
    /// The key with the names of its tables; empty for a fault of syntax.
    pub(crate) key: String,
    /// What is wrong.
    pub(crate) what: TomlProblem,
}

/// What is wrong with a text in TOML.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TomlProblem {
    /// The text is not TOML, or the value is of another type.
    #[error("{0}")]
    Message(String),
    /// The table already has the key.
    #[error("duplicate key {0}; keep one of the two")]
    Duplicate(String),
    /// The table cannot have the key.
    #[error("unknown key{} Known here: {}", Suggestion(close.as_deref()), known.join(", "))]
    Unknown {
        /// The known key that it may be a misspelling of.
        close: Option<String>,
        /// The known keys.
        known: Vec<String>,
    },
}

impl TomlProblem {
    /// The problem of a key that is not one of the known ones.
    pub(crate) fn unknown_key(key: &str, known: Vec<String>) -> Self {
        let close = known
            .iter()
            .filter(|known| is_misspelling(key, known))
            .min_by_key(|known| strsim::osa_distance(key, known))
            .cloned();
        Self::Unknown { close, known }
    }
}

/// Whether a key may be a misspelling of a known one.
pub(crate) fn is_misspelling(key: &str, known: &str) -> bool {
    let typos = strsim::osa_distance(key, known);
    typos <= MAX_TYPOS && typos < known.len().div_ceil(2)
}

/// The known key that an unknown key may stand for.
struct Suggestion<'a>(Option<&'a str>);

impl fmt::Display for Suggestion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("."),
            Some(key) => write!(f, "; did you mean {key:?}?"),
        }
    }
}

/// The tables of a text, and the faults of its syntax. There are no tables if a fault may have hidden a part
/// of the text: complaints about what seems to be missing would mislead. Of a duplicate key the first value
/// counts.
pub(crate) fn parse_toml(text: &str) -> (Option<Spanned<DeTable<'_>>>, Vec<TomlFault>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let is_whole = errors.iter().all(|error| error.message() == DUPLICATE);
    (is_whole.then_some(table), syntax_faults(text, &errors))
}

/// Reads a text that is of no use unless all of it is good.
///
/// # Errors
/// The first fault.
pub(crate) fn read_toml<T: DeserializeOwned>(text: &str) -> Result<T, TomlFault> {
    let (table, faults) = parse_toml(text);
    if let Some(fault) = faults.into_iter().next() {
        return Err(fault);
    }
    let table = table.unwrap_or_else(|| Spanned::new(0..0, DeTable::new()));
    T::deserialize(toml::Deserializer::from(table.clone())).map_err(|error| {
        let at = error.span().map(|span| span.start);
        let place = at.and_then(|at| key_at(table.get_ref(), "", at));
        let what = problem(error.message(), place.as_ref());
        TomlFault {
            at: at.unwrap_or(0),
            key: place.map(|place| place.full).unwrap_or_default(),
            what,
        }
    })
}

/// The first fault of each line: the parser guesses how to go on behind a fault, so further faults of the same
/// line may be none.
fn syntax_faults(text: &str, errors: &[toml::de::Error]) -> Vec<TomlFault> {
    let mut lines = HashSet::new();
    let mut faults = Vec::new();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let key = text.get(span.clone()).unwrap_or_default();
        let what = match error.message() {
            DUPLICATE => TomlProblem::Duplicate(key.into()),
            message => TomlProblem::Message(message.into()),
        };
        if lines.insert(line_of(text.as_bytes(), span.start)) {
            faults.push(TomlFault {
                at: span.start,
                key: String::new(),
                what,
            });
        }
    }
    faults
}

/// A key of a text.
struct KeyPlace {
    /// The key with the names of its tables.
    full: String,
    /// The key alone.
    key: String,
}

/// The innermost key that is at this byte, or whose value is. The span of a table is only its header, so the
/// search goes into every table.
fn key_at(table: &DeTable<'_>, tables: &str, at: usize) -> Option<KeyPlace> {
    let mut found = None;
    for (key, value) in table {
        let full = match tables {
            "" => key.get_ref().to_string(),
            tables => format!("{tables}.{}", key.get_ref()),
        };
        let mut is_here = key.span().contains(&at) || value.span().contains(&at);
        let inner = match value.get_ref() {
            DeValue::Table(table) => key_at(table, &full, at),
            DeValue::Array(items) => items.iter().find_map(|item| {
                is_here |= item.span().contains(&at);
                key_at(item.get_ref().as_table()?, &full, at)
            }),
            _ => None,
        };
        if inner.is_some() {
            return inner;
        }
        if is_here {
            let key = key.get_ref().to_string();
            found = Some(KeyPlace { full, key });
            break;
        }
    }
    found
}

/// The message of serde, in words of this program if the key is unknown.
fn problem(message: &str, place: Option<&KeyPlace>) -> TomlProblem {
    let unknown = place.and_then(|place| {
        let rest = message.strip_prefix("unknown field `")?;
        let rest = rest.strip_prefix(place.key.as_str())?;
        let known = rest.strip_prefix("`, expected ")?;
        // Each known key stands between backquotes, and contains none.
        let known = known.split('`').skip(1).step_by(2).map(str::to_owned);
        Some(TomlProblem::unknown_key(&place.key, known.collect()))
    });
    unknown.unwrap_or_else(|| TomlProblem::Message(message.into()))
}

/// The line of a byte, counted from 1.
pub(crate) fn line_of(text: &[u8], offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

/// The column of a byte, in characters and counted from 1.
pub(crate) fn column_of(text: &[u8], offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.rsplit(|byte| *byte == b'\n').next();
    1 + String::from_utf8_lossy(line.unwrap_or_default())
        .chars()
        .count()
}
