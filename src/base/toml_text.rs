//! Reads a text in TOML to its end, whatever is wrong in it: serde stops at the first key that it does not
//! know or cannot use. So that key is struck out and the rest is read again, until the rest is good.

use std::collections::HashSet;
use std::fmt;

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

/// How many faults of one text are told.
pub(crate) const MAX_FAULTS: usize = 50;
/// The most letters in which an unknown key differs from the known one that may be meant.
const MAX_TYPOS: usize = 2;
/// What toml says of a key that comes again.
const DUPLICATE: &str = "duplicate key";

/// Why a text in TOML is not what it should be. The texts may hold control characters of the file.
#[derive(Debug)]
pub(crate) struct TomlFault {
    /// The byte where that is seen; 0 where it is not known.
    pub(crate) at: usize,
    /// The key with the names of its tables; empty where there is none.
    pub(crate) key: String,
    /// What is wrong.
    pub(crate) what: TomlProblem,
}

/// What is wrong with a text in TOML.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TomlProblem {
    /// TOML does not allow it, or the value is of another type.
    #[error("{0}")]
    Message(String),
    /// The key is there already.
    #[error("duplicate key {0}; keep one of the two")]
    Duplicate(String),
    /// The key means nothing there.
    #[error("unknown key{} Known here: {}", Suggestion(close.as_deref()), known.join(", "))]
    Unknown {
        /// The known key that it may be a misspelling of.
        close: Option<String>,
        /// The known ones.
        known: Vec<String>,
    },
}

/// What a key may have been meant to be.
struct Suggestion<'a>(Option<&'a str>);

impl fmt::Display for Suggestion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("."),
            Some(key) => write!(f, "; did you mean {key:?}?"),
        }
    }
}

/// What a text in TOML came to.
pub(crate) struct Reading<T> {
    /// What is good; none where too little is.
    pub(crate) value: Option<T>,
    /// What is not. The value is the whole of the text only if there is none.
    pub(crate) faults: Vec<TomlFault>,
    /// The keys that were struck out, or meant by one that was.
    pub(crate) struck: Struck,
}

/// The keys that a text has, but that cannot be read.
#[derive(Default)]
pub(crate) struct Struck {
    /// By the byte where their table begins, and their own name.
    in_table: HashSet<(usize, String)>,
    /// By the names of all their tables and their own.
    names: HashSet<String>,
}

impl Struck {
    /// Whether the table that begins at this byte has this key.
    pub(crate) fn in_table(&self, table: usize, key: &str) -> bool {
        self.in_table.contains(&(table, key.into()))
    }

    /// Whether any table of these names has this key.
    pub(crate) fn anywhere(&self, key: &str) -> bool {
        self.names.contains(key)
    }

    fn insert(&mut self, taken: &Taken, key: &str) {
        self.in_table.insert((taken.table, key.into()));
        let name = match taken.tables.as_str() {
            "" => key.into(),
            tables => format!("{tables}.{key}"),
        };
        self.names.insert(name);
    }
}

/// A key that was taken out of its table.
struct Taken {
    /// The names of its tables; empty for a key of the whole text.
    tables: String,
    /// Where the innermost of them begins.
    table: usize,
    /// Its own name.
    key: String,
}

impl Taken {
    fn name(&self) -> String {
        match self.tables.as_str() {
            "" => self.key.clone(),
            tables => format!("{tables}.{}", self.key),
        }
    }
}

/// Where the whole text begins, as a table: nowhere, since the first table may begin at byte 0.
const WHOLE: usize = usize::MAX;

/// Reads a text of which nothing is of use unless it is good.
///
/// # Errors
/// The first fault.
pub(crate) fn read_toml<T: DeserializeOwned>(text: &str) -> Result<T, TomlFault> {
    let reading = read_all(text);
    match (reading.value, reading.faults.into_iter().next()) {
        (Some(value), None) => Ok(value),
        (_, Some(fault)) => Err(fault),
        (None, None) => Err(TomlFault {
            at: 0,
            key: String::new(),
            what: TomlProblem::Message("cannot be read".into()),
        }),
    }
}

/// Reads a text to its end.
pub(crate) fn read_all<T: DeserializeOwned>(text: &str) -> Reading<T> {
    let (mut table, errors) = DeTable::parse_recoverable(text);
    let mut reading = Reading {
        value: None,
        faults: syntax_faults(text, &errors),
        struck: Struck::default(),
    };
    // What comes again is left out. Behind any other fault of syntax a part of the text may be lost, and
    // what would be said of that misleads.
    let is_whole = errors.iter().all(|error| error.message() == DUPLICATE);
    while is_whole && reading.faults.len() <= MAX_FAULTS {
        let error = match T::deserialize(toml::Deserializer::from(table.clone())) {
            Ok(value) => {
                reading.value = Some(value);
                break;
            }
            Err(error) => error,
        };
        let at = error.span().map(|span| span.start);
        let taken = at.and_then(|at| take_at(table.get_mut(), WHOLE, "", at));
        let what = what(error.message(), taken.as_ref());
        if let Some(taken) = &taken {
            reading.struck.insert(taken, &taken.key);
        }
        if let (
            Some(taken),
            TomlProblem::Unknown {
                close: Some(close), ..
            },
        ) = (&taken, &what)
        {
            reading.struck.insert(taken, close);
        }
        let is_taken = taken.is_some();
        reading.faults.push(TomlFault {
            at: at.unwrap_or(0),
            key: taken.map(|taken| taken.name()).unwrap_or_default(),
            what,
        });
        if !is_taken {
            break;
        }
    }
    reading
}

/// One fault a line: what follows on the same line is said of a text that was mended by a guess.
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

/// Takes out the innermost key that is, or whose value is, at this byte. A table's own place is only its
/// header, so the search goes into every table.
fn take_at(table: &mut DeTable<'_>, start: usize, tables: &str, at: usize) -> Option<Taken> {
    let mut found = None;
    for (key, value) in table.iter_mut() {
        let name = match tables {
            "" => key.get_ref().to_string(),
            tables => format!("{tables}.{}", key.get_ref()),
        };
        let span = value.span();
        let mut is_here = key.span().contains(&at) || span.contains(&at);
        let inner = match value.get_mut() {
            DeValue::Table(table) => take_at(table, span.start, &name, at),
            DeValue::Array(items) => items.iter_mut().find_map(|item| {
                let span = item.span();
                is_here |= span.contains(&at);
                match item.get_mut() {
                    DeValue::Table(table) => take_at(table, span.start, &name, at),
                    _ => None,
                }
            }),
            _ => None,
        };
        if inner.is_some() {
            return inner;
        }
        if is_here {
            found = Some(key.clone());
            break;
        }
    }
    let key = found?;
    table.remove(&key);
    Some(Taken {
        tables: tables.into(),
        table: start,
        key: key.into_inner().into_owned(),
    })
}

/// What serde says, in words of this program where the key is not known.
fn what(message: &str, taken: Option<&Taken>) -> TomlProblem {
    let unknown = taken.and_then(|taken| {
        let rest = message.strip_prefix("unknown field `")?;
        let rest = rest.strip_prefix(taken.key.as_str())?;
        rest.strip_prefix("`, expected ")
            .map(|known| (taken.key.as_str(), known))
    });
    let Some((key, known)) = unknown else {
        return TomlProblem::Message(message.into());
    };
    // Each is between backquotes, and has none in it.
    let known: Vec<String> = known
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    let close = known
        .iter()
        .map(|known| (strsim::osa_distance(key, known), known))
        .filter(|(typos, known)| *typos <= MAX_TYPOS && *typos < known.len().div_ceil(2))
        .min_by_key(|(typos, _)| *typos)
        .map(|(_, known)| known.clone());
    TomlProblem::Unknown { close, known }
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
